//! Turns for receivers that take only so much: taken for a batch before its requests, given back after them.

use std::collections::BTreeMap;

use aws::StoreError;
use aws::ledger::Loaded;
use domain::delivery::Decision;
use domain::flow::{Limits, Turn};
use domain::id::WebhookId;
use futures::future::join_all;
use jiff::Timestamp;

use crate::App;
use crate::attempt::Plan;

/// What was taken, to be given back.
pub(crate) struct Taken {
    holder: String,
    webhooks: Vec<WebhookId>,
}

/// Takes a turn for each request that is planned to a webhook with limits; a fault stands in the place of the plan.
pub(crate) async fn take<'a>(
    app: &App,
    loaded: &Loaded,
    plans: Vec<Plan<'a>>,
    deadline: Timestamp,
) -> (Vec<Result<Plan<'a>, StoreError>>, Taken) {
    let now = app.clock.now();
    let mut limited: BTreeMap<WebhookId, (Limits, Vec<(usize, bool)>)> = BTreeMap::new();
    for (index, plan) in plans.iter().enumerate() {
        let webhook = loaded.webhooks.get(&plan.message.webhook);
        if let (Decision::Attempt { had_turn, .. }, Some(webhook)) = (&plan.decision, webhook)
            && !plan.message.test
            && webhook.settings.limits().any()
        {
            let (_, requests) = limited.entry(webhook.id).or_insert_with(|| (webhook.settings.limits(), Vec::new()));
            requests.push((index, *had_turn));
        }
    }
    let mut plans: Vec<_> = plans.into_iter().map(Ok).collect();
    let holder = format!("{:032x}", runtime::random::bits());
    let asked = limited.into_iter().map(|(webhook, (limits, requests))| {
        let holder = &holder;
        async move {
            let had_turn: Vec<bool> = requests.iter().map(|(_, had_turn)| *had_turn).collect();
            let turns = app.ledger.take_turns(webhook, limits, &had_turn, holder, deadline, now).await;
            (webhook, limits, requests, turns)
        }
    });
    let mut webhooks = Vec::new();
    for (webhook, limits, requests, turns) in join_all(asked).await {
        match turns {
            Ok(turns) => {
                if limits.concurrency.is_some() && turns.iter().any(|turn| matches!(turn, Turn::At(_))) {
                    webhooks.push(webhook);
                }
                for ((index, _), turn) in requests.into_iter().zip(turns) {
                    if let Ok(plan) = &mut plans[index] {
                        plan.turn = turn;
                    }
                }
            }
            Err(error) => {
                let why = error.to_string();
                for (index, _) in requests {
                    plans[index] = Err(StoreError::Unavailable(why.clone()));
                }
            }
        }
    }
    (plans, Taken { holder, webhooks })
}

/// Gives turns back; one that is not given back ends with the time of the invocation.
pub(crate) async fn give_back(app: &App, taken: Taken) {
    let Taken { holder, webhooks } = taken;
    let released = join_all(webhooks.iter().map(|webhook| app.ledger.release_turns(*webhook, &holder)));
    for (webhook, result) in webhooks.iter().zip(released.await) {
        if let Err(error) = result {
            tracing::warn!(webhook.id = %webhook, %error, "turns were not given back; they end by themselves");
        }
    }
}
