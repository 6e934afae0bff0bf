//! What may happen to the sweep.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use tests::{Answer, Cut, eventually, row_key};

use super::{DONE, Scene, event};

/// Lets the time come at which the sweep looks at the scene's delivery.
pub(super) async fn overdue(scene: &Scene) {
    let key = row_key(scene.message.webhook, scene.message.delivery);
    let update = scene.stack.dynamodb.update_item().table_name(scene.stack.output("DeliveriesTable"));
    let update = update.set_key(Some(key));
    let past = AttributeValue::N("1000".to_owned());
    let update =
        update.update_expression("SET lane_at = :past, next_at = :past").expression_attribute_values(":past", past);
    update.send().await.unwrap();
}

/// A sweep dies before its message is sent, another runs, and two run at once: the attempt is made once.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_20_a_sweep_dies_and_two_run() {
    let scene = Scene::start(|number| Answer::Status(if number == 0 { 500 } else { 204 })).await;
    let mut deliver = scene.deliver().await;
    deliver.invoke(scene.first()).await;
    let sweep = scene.function("SweepFunction").await;
    scene.proxy.cut("SendMessageBatch", Cut::Before);
    overdue(&scene).await;
    sweep.send(json!({})).await;
    // It dies here; or had nothing to send, if the stack's own sweep was quicker.
    let _ = tokio::time::timeout(Duration::from_secs(5), scene.proxy.was_cut()).await;
    sweep.kill().await;
    scene.proxy.mend();

    overdue(&scene).await;
    let (mut one, mut other) = (scene.function("SweepFunction").await, scene.function("SweepFunction").await);
    tokio::join!(one.invoke(json!({})), other.invoke(json!({})));
    eventually("the second attempt", async || {
        if let Some(retry) = scene.retries.look().await {
            for _ in 0..2 {
                assert_eq!(deliver.invoke(event(&retry.to_json())).await, DONE());
            }
        }
        (scene.receiver.received().len() == 2).then_some(())
    })
    .await;
    scene.assert_received(2);
}
