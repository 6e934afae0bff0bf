//! Splits the renderings of an event between its shard and the queue `renderings`.
//!
//! A shard carries the events of many tenants, and webhooks with hundreds of different templates may want the same
//! event. Each event may therefore use a limited amount of [`Work`] in its shard, and each tenant a limited amount per
//! batch. The remaining renderings are put into slices of bounded work, which go through the queue `renderings`.
//!
//! A slice contains everything that its deliveries are made from: the event and the settings of each rendering, as
//! fan-out read them. Processing it again gives the same bytes, even if the webhook has changed. Whether the webhook
//! still wants a delivery is decided at the attempt.
//!
//! What would take too much of the shard even as a slice goes as a list of webhooks, whose settings the reader looks
//! up: webhooks whose conditions were not evaluated, settings that are large together, and very many deliveries.
//!
//! Ordered webhooks are never put into a slice or a list, because a later event could overtake it. Their renderings
//! have a budget of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::chain::entity;
use super::message::{Body, Message, entity_path};
use super::notices;
use crate::access::tenant::AppId;
use crate::budget::Deferral;
use crate::event::Event;
use crate::event::types::EventType;
use crate::id::WebhookId;
use crate::matching::subscription::Subscription;
use crate::payload::work::Work;
use crate::payload::{PayloadFormat, Rendering};

/// How much work the renderings of one event may take in its shard. [`BATCH_WORK`] limits all events of a tenant in a
/// batch.
///
/// A unit is about one nanosecond on a full core. Fan-out has about a seventh of a core, so these are 35 ms and 70 ms.
pub const EVENT_WORK: Work = Work::new(5_000_000);
/// See [`EVENT_WORK`].
pub const BATCH_WORK: Work = Work::new(10_000_000);

/// How many bytes the settings of renderings may have that are copied in the shard: for one event, and for all events
/// of one tenant in a batch.
pub const EVENT_SETTINGS: usize = 128 * 1024;
/// See [`EVENT_SETTINGS`].
pub const BATCH_SETTINGS: usize = 512 * 1024;

/// How many messages to webhooks without order the events of one tenant may make in a batch before the rest goes as
/// lists.
pub const BATCH_MESSAGES: usize = 300;

/// How many webhooks a list names whose conditions or renderings may take much work, and how many of all others.
const HEAVY_A_LIST: usize = 10;
const LIGHT_A_LIST: usize = 100;

/// The work that judging one webhook of a list may take, as comparisons: 0.3 s of a whole core.
pub const JUDGE_EFFORT: u64 = 40_000_000;

/// How much work the renderings for ordered webhooks may take for one event: 0.14 s. They cannot be moved to a slice,
/// so renderings over this limit fail, every time the event is fanned out.
pub const ORDERED_WORK: Work = Work::new(20_000_000);

/// The largest amount of work in a slice, counting each rendering at its limit. A rendering with a higher limit is in a
/// slice alone.
const SLICE_WORK: Work = Work::new(150_000_000);

/// The largest number of webhooks in one slice, and of bytes that the settings of its renderings take.
const SLICE_WEBHOOKS: usize = 1_000;
const SLICE_BYTES: usize = 256 * 1024;

/// One rendering of an event, and the webhooks that want it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// How it is rendered.
    pub rendering: Rendering,
    /// The event type that the payload shows.
    pub event_type: EventType,
    /// The webhooks, ordered by id.
    pub webhooks: Vec<Wanting>,
}

/// A webhook that wants an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanting {
    /// The webhook.
    pub webhook: WebhookId,
    /// The application that registered the webhook, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// Whether the webhook wants the deliveries of an entity in order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ordered: bool,
    /// Whether the webhook is a notice.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notice: bool,
    /// How long the delivery is deferred if its tenant's daily budget is used up. Decided once, before the rendering is
    /// put into a slice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deferral: Option<Deferral>,
}

impl Part {
    /// Returns whether any of the webhooks is ordered.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.webhooks.iter().any(|wanting| wanting.ordered)
    }

    /// Splits the part into the ordered webhooks and the others, if any.
    #[must_use]
    pub fn by_order(self) -> (Self, Option<Self>) {
        let Self { rendering, event_type, webhooks } = self;
        let (ordered, others): (Vec<_>, Vec<_>) = webhooks.into_iter().partition(|wanting| wanting.ordered);
        let part = |webhooks| Self { rendering: rendering.clone(), event_type: event_type.clone(), webhooks };
        let rest = (!others.is_empty()).then(|| part(others));
        (part(ordered), rest)
    }

    fn is_template(&self) -> bool {
        self.rendering.format == PayloadFormat::Template
    }

    /// Returns one message for each webhook, with the given body.
    #[must_use]
    pub fn messages(&self, event: &Event, body: &Body) -> Vec<Message> {
        let message = |wanting: &Wanting| {
            let (event_type, tenant) = (self.event_type.clone(), event.tenant.clone());
            let first = Message::first(event.id, event_type, wanting.webhook, tenant, body.clone());
            let delivery = if wanting.notice { notices::delivery(event, wanting.webhook) } else { first.delivery };
            Message {
                delivery,
                app: wanting.app.clone(),
                sequence: Some(event.sequence.clone()),
                hops: event.hops,
                traceparent: event.traceparent,
                deferral: wanting.deferral,
                entity: wanting.ordered.then(|| entity(&event.entity.path())),
                entity_path: entity_path(event),
                content_type: self.rendering.content_type(),
                ..first
            }
        };
        self.webhooks.iter().map(message).collect()
    }
}

/// Groups webhooks by how they want an event rendered, so that each rendering is made once. Renderings without a
/// template come first, then those for ordered webhooks, so that these do not wait for the others.
#[must_use]
pub fn parts(event: &Event, wanted: &[Arc<Subscription>]) -> Vec<Part> {
    let mut places: BTreeMap<(String, EventType), usize> = BTreeMap::new();
    let mut parts: Vec<Part> = Vec::new();
    for subscription in wanted {
        // The webhook wants the event, so one of its types matches.
        let event_type = subscription.type_for(event).unwrap_or_else(|| event.event_type.clone());
        let Subscription { webhook, app, rendering, ordered, notice, .. } = &**subscription;
        // Settings were read from JSON, so writing them does not fail. If it did, each webhook would get a rendering of
        // its own.
        let settings = serde_json::to_string(rendering).unwrap_or_else(|_| webhook.to_string());
        let place = *places.entry((settings, event_type.clone())).or_insert(parts.len());
        if place == parts.len() {
            parts.push(Part { rendering: rendering.clone(), event_type, webhooks: Vec::new() });
        }
        let (app, deferral) = (app.clone(), None);
        parts[place].webhooks.push(Wanting { webhook: *webhook, app, ordered: *ordered, notice: *notice, deferral });
    }
    parts.sort_by_key(|part| (part.is_template(), !part.is_ordered()));
    parts
}

/// Where a rendering is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In the shard.
    Here,
    /// In a slice.
    InASlice,
    /// Nowhere: its webhooks are ordered, and the budget for those is used up.
    Never,
}

/// The work that the renderings of one event may still use.
#[derive(Debug)]
pub struct EventBudget {
    event: Work,
    ordered: Work,
    is_first: bool,
}

impl Default for EventBudget {
    fn default() -> Self {
        Self { event: EVENT_WORK, ordered: ORDERED_WORK, is_first: true }
    }
}

impl EventBudget {
    /// Decides about the next rendering. `batch` is what the tenant has left in the batch. A rendering is started as
    /// long as any budget is left and its minimum fits. The first rendering without a template takes no more work than
    /// reading the event did.
    #[must_use]
    pub fn decide(&self, part: &Part, event: &Event, batch: Work) -> Placement {
        let nothing = Work::default();
        if part.is_ordered() {
            return if self.ordered > nothing { Placement::Here } else { Placement::Never };
        }
        if self.is_first && !part.is_template() {
            return Placement::Here;
        }
        let left = self.event.min(batch);
        if left > nothing && Work::of_event(event) <= left { Placement::Here } else { Placement::InASlice }
    }

    /// Subtracts the work that a rendering took.
    pub fn spend(&mut self, part: &Part, work: Work, batch: &mut Work) {
        self.is_first = false;
        if part.is_ordered() {
            self.ordered = self.ordered.less(work);
        } else {
            self.event = self.event.less(work);
            *batch = batch.less(work);
        }
    }
}

/// Puts renderings into slices. A rendering that many webhooks want may be spread over several slices.
#[must_use]
pub fn slices(event: &Event, parts: Vec<Part>) -> Vec<Vec<Part>> {
    let mut slices: Vec<Vec<Part>> = Vec::new();
    let (mut work, mut webhooks, mut bytes) = (Work::default(), 0, 0);
    for part in parts {
        let each = Work::most(&part.rendering, event);
        let size = part.rendering.template.as_ref().map_or(0, String::len)
            + serde_json::to_string(&part.rendering.properties).map_or(0, |text| text.len());
        for some in part.webhooks.chunks(SLICE_WEBHOOKS) {
            let some = Part { webhooks: some.to_vec(), ..part.clone() };
            let fits = work + each <= SLICE_WORK
                && webhooks + some.webhooks.len() <= SLICE_WEBHOOKS
                && bytes + size <= SLICE_BYTES;
            (work, webhooks, bytes) = (work + each, webhooks + some.webhooks.len(), bytes + size);
            match slices.last_mut() {
                Some(slice) if fits => slice.push(some),
                _ => {
                    (work, webhooks, bytes) = (each, some.webhooks.len(), size);
                    slices.push(vec![some]);
                }
            }
        }
    }
    slices
}

/// What one tenant may still use of the shard in a batch, to make messages of its events there.
#[derive(Debug)]
pub struct Room {
    /// To render them.
    pub work: Work,
    settings: usize,
    messages: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { work: BATCH_WORK, settings: BATCH_SETTINGS, messages: BATCH_MESSAGES }
    }
}

/// The webhooks of an event that are not processed in the shard.
#[derive(Debug, Default)]
pub struct Lists {
    heavy: Vec<WebhookId>,
    light: Vec<WebhookId>,
}

impl Lists {
    /// Adds webhooks whose conditions were not evaluated.
    pub fn add_not_judged<'a>(&mut self, webhooks: impl IntoIterator<Item = &'a Arc<Subscription>>) {
        self.heavy.extend(webhooks.into_iter().map(|subscription| subscription.webhook));
    }

    /// Moves webhooks to the lists whose renderings would take too much of the shard. Ordered webhooks stay.
    pub fn take_from(&mut self, wanted: &mut Vec<Arc<Subscription>>, room: &mut Room) {
        let settings = |subscription: &Arc<Subscription>| {
            if subscription.ordered { 0 } else { subscription.rendering_bytes() }
        };
        let bytes = wanted.iter().map(settings).sum::<usize>();
        if bytes > EVENT_SETTINGS.min(room.settings) {
            self.heavy.extend(take(wanted, |subscription| settings(subscription) > 0));
        } else {
            room.settings -= bytes;
        }
        let messages = wanted.iter().filter(|subscription| !subscription.ordered).count();
        if messages > room.messages {
            self.light.extend(take(wanted, |subscription| !subscription.ordered));
        } else {
            room.messages -= messages;
        }
    }

    /// Returns lists of bounded work.
    #[must_use]
    pub fn into_lists(self) -> Vec<Vec<WebhookId>> {
        let lists = self.heavy.chunks(HEAVY_A_LIST).chain(self.light.chunks(LIGHT_A_LIST));
        lists.map(<[WebhookId]>::to_vec).collect()
    }
}

/// Removes subscriptions, and returns their webhooks.
fn take(
    subscriptions: &mut Vec<Arc<Subscription>>,
    goes: impl Fn(&Arc<Subscription>) -> bool,
) -> impl Iterator<Item = WebhookId> {
    subscriptions.extract_if(.., move |subscription| goes(subscription)).map(|subscription| subscription.webhook)
}

/// A slice on its queue. The event and the renderings are each in the message if small, and stored otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceMessage {
    /// The event, as JSON.
    pub event: Body,
    /// The renderings, as JSON, unless this is a list of webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Body>,
    /// Webhooks whose settings the reader looks up, and that get the event if they want it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookId>,
}

#[cfg(test)]
mod tests;
