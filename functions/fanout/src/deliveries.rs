//! Turns an event into deliveries, as far as they fit into the shard, and the rest into slices and lists.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws::queue::Outgoing;
use aws::{Bodies, StoreError};
use domain::access::tenant::TenantId;
use domain::delivery::message::{Body, MAX_INLINE_BYTES, Message, to_queue_json};
use domain::delivery::slice::{EventBudget, Lists, ORDERED_WORK, Part, Placement, Room, SliceMessage, parts, slices};
use domain::event::Event;
use domain::matching::matcher::Found;
use domain::matching::subscription::{Subscription, TypedEvent};
use domain::payload::RenderError;
use domain::payload::work::Work;
use jiff::Timestamp;

use crate::App;
use crate::budget;
use crate::cache::{self, Cache};
use crate::route::{too_much, wanting};

/// If more webhooks than this want an event, its body is stored even if it is small, instead of being repeated in each
/// message.
const MANY: usize = 200;

/// What each tenant has left in a batch.
pub(crate) type Left = HashMap<TenantId, Share>;

/// The part of the shard that a tenant's events of one batch may use.
#[derive(Debug)]
pub(crate) struct Share {
    /// To find the webhooks that want the events.
    effort: cache::Left,
    /// To evaluate ordered webhooks that `effort` did not suffice for.
    ordered: cache::Left,
    /// To make their messages.
    room: Room,
}

impl Default for Share {
    fn default() -> Self {
        Self { effort: cache::Left::of_all(), ordered: cache::Left::of_ordered(), room: Room::default() }
    }
}

/// The messages that an event makes.
#[derive(Debug, Default)]
pub(crate) struct Routed {
    pub(crate) messages: Vec<Message>,
    /// Messages to the queue `renderings`.
    pub(crate) slices: Vec<Outgoing>,
    /// Why some deliveries are missing, if any are.
    pub(crate) missing: Option<String>,
}

/// Returns the largest size of a body that travels in its message, in bytes. A body for many webhooks is stored even if
/// it is small, so that their messages together do not take too much memory.
pub(crate) fn inline_bytes(webhooks: usize) -> usize {
    if webhooks > MANY { MAX_INLINE_BYTES / 20 } else { MAX_INLINE_BYTES }
}

/// Renders the event in one way. Returns a message for each webhook that wants this rendering, and the work that it
/// took.
pub(crate) async fn render(
    bodies: &Bodies,
    event: &Event,
    part: &Part,
    inline: usize,
    now: Timestamp,
) -> Result<(Vec<Message>, Work), StoreError> {
    let (body, work) = bodies.render(&part.rendering, event, &part.event_type, inline, now).await?;
    if let (Body::Failed(error), Some(first)) = (&body, part.webhooks.first()) {
        tracing::warn!(webhook.id = %first.webhook, event.id = %event.id, error, "the payload could not be rendered");
    }
    Ok((part.messages(event, &body), work))
}

/// Returns one message for each webhook that wants the event, and slices and lists of those for which the shard has no
/// room or no time. The body is rendered once for all webhooks with the same rendering, and stored once if it is large.
pub(crate) async fn deliveries(
    app: &App,
    cache: &mut Cache,
    event: &Event,
    left: &mut Left,
    is_late: &impl Fn() -> bool,
) -> Result<Routed, StoreError> {
    let Share { effort, ordered, room: in_batch } = left.entry(event.tenant.clone()).or_default();
    let Found { mut wanted, not_judged } = wanting(app, cache, event, effort).await?;
    let (in_order, others): (Vec<_>, Vec<_>) = not_judged.into_iter().partition(|subscription| subscription.ordered);
    let not_judged = judge(event, in_order, ordered, &mut wanted);
    let missing = (not_judged > 0).then(|| too_much(not_judged, event));
    let mut lists = Lists::default();
    lists.add_not_judged(&others);
    lists.take_from(&mut wanted, in_batch);
    let inline = inline_bytes(wanted.len());
    let batch = &mut in_batch.work;
    let mut room = EventBudget::default();
    let (mut messages, mut rest) = (Vec::with_capacity(wanted.len()), Vec::new());
    for mut part in parts(event, &wanted) {
        budget::take_turns(&app.usage, event, &mut part);
        match room.decide(&part, event, *batch) {
            // Ordered renderings are made however late it is, because they cannot go into a slice. They take little
            // work.
            Placement::Here if is_late() && !part.is_ordered() => rest.push(part),
            Placement::Here => {
                let (made, work) = render(&app.bodies, event, &part, inline, app.clock.now()).await?;
                room.spend(&part, work, batch);
                messages.extend(made);
            }
            Placement::InASlice => rest.push(part),
            Placement::Never => {
                let (ordered, others) = part.by_order();
                let why = RenderError::NoShare { limit: ORDERED_WORK.units() }.to_string();
                tracing::warn!(event.id = %event.id, error = why, "the payload could not be rendered");
                messages.extend(ordered.messages(event, &Body::Failed(why)));
                rest.extend(others);
            }
        }
    }
    let slices = to_send(&app.bodies, event, slices(event, rest), lists, app.clock.now()).await?;
    if !slices.is_empty() {
        tracing::info!(event.id = %event.id, slices = slices.len(), "the rest of the event goes to render as slices");
    }
    Ok(Routed { messages, slices, missing })
}

/// Evaluates webhooks, as far as the effort goes, and adds those that want the event to `wanted`. Returns how many were
/// not evaluated.
fn judge(
    event: &Event,
    webhooks: Vec<Arc<Subscription>>,
    left: &mut cache::Left,
    wanted: &mut Vec<Arc<Subscription>>,
) -> usize {
    let mut not_judged = 0;
    if webhooks.is_empty() {
        return not_judged;
    }
    let seen = TypedEvent::new(event);
    left.ask(|effort| {
        for subscription in webhooks {
            let wants = not_judged == 0 && subscription.wants_within(&seen, &effort);
            if effort.is_spent() {
                not_judged += 1;
            } else if wants {
                wanted.push(subscription);
            }
        }
        ((), effort)
    });
    not_judged
}

/// Returns the messages of slices and lists. The event is stored once for all of them if it is large or there are many.
async fn to_send(
    bodies: &Bodies,
    event: &Event,
    slices: Vec<Vec<Part>>,
    lists: Lists,
    now: Timestamp,
) -> Result<Vec<Outgoing>, StoreError> {
    let lists = lists.into_lists();
    let count = slices.len() + lists.len();
    if count == 0 {
        return Ok(Vec::new());
    }
    let id = event.id.to_string();
    let json = |error: serde_json::Error| StoreError::Refused(format!("a slice cannot be written: {error}"));
    let carried = serde_json::to_string(event).map_err(json)?;
    let carried = bodies.carry(&id, &carried, MAX_INLINE_BYTES / count, now).await?;
    let mut all = Vec::with_capacity(count);
    for slice in slices {
        let parts = serde_json::to_string(&slice).map_err(json)?;
        let parts = bodies.carry(&id, &parts, MAX_INLINE_BYTES, now).await?;
        all.push(SliceMessage { event: carried.clone(), parts: Some(parts), webhooks: Vec::new() });
    }
    all.extend(lists.into_iter().map(|webhooks| SliceMessage { event: carried.clone(), parts: None, webhooks }));
    let tenant = Some(event.tenant.clone());
    let outgoing = |message: SliceMessage| Outgoing {
        body: to_queue_json(&message),
        tenant: tenant.clone(),
        delay: Duration::ZERO,
        cause: None,
    };
    Ok(all.into_iter().map(outgoing).collect())
}
