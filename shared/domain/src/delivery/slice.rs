//! What of an event's renderings fits into its shard, and what goes to a queue of its own.
//!
//! A shard carries the events of many tenants, and one event may be wanted by webhooks with hundreds of different templates. So
//! each event may take so much [`Work`] in its shard, and each tenant so much in a batch. The rest is put into slices, each of
//! bounded work, which go through the queue `renderings`.
//!
//! A slice has with it all that its deliveries are made of: the event and the settings of each rendering, as fan-out found them. So
//! the same slice makes the same bytes however often it is processed, and whatever became of the webhook meanwhile; whether the
//! webhook still wants a delivery is decided when it is attempted.
//!
//! What would take too much of the shard even as a slice goes as a list of webhooks: the function that reads it looks up what they want.
//! That is so for webhooks whose conditions were not judged, for settings that are large together, and for very many deliveries.
//!
//! Webhooks that keep an order are never in a slice or a list: a later event would overtake it. Their renderings have a share of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::chain::entity;
use super::message::{Body, Message};
use crate::access::tenant::AppId;
use crate::budget::Deferral;
use crate::event::Event;
use crate::event::types::EventType;
use crate::id::WebhookId;
use crate::matching::subscription::Subscription;
use crate::payload::work::Work;
use crate::payload::{PayloadFormat, Rendering};

/// How much work the renderings of one event may take in its shard, and those of all events of one tenant in a batch.
///
/// A unit is about a nanosecond of a whole core, and fan-out has a seventh of one: 35 ms and 70 ms.
pub const EVENT_WORK: Work = Work::new(5_000_000);
/// See [`EVENT_WORK`].
pub const BATCH_WORK: Work = Work::new(10_000_000);

/// How many bytes the settings of renderings may have that are copied in the shard: for one event, and for all events of one tenant in a
/// batch.
pub const EVENT_SETTINGS: usize = 128 * 1024;
/// See [`EVENT_SETTINGS`].
pub const BATCH_SETTINGS: usize = 512 * 1024;

/// How many messages to webhooks without order the events of one tenant may make in a batch before the rest goes as lists.
pub const BATCH_MESSAGES: usize = 300;

/// How many webhooks a list names whose conditions or renderings may take much work, and how many of all others.
const HEAVY_A_LIST: usize = 10;
const LIGHT_A_LIST: usize = 100;

/// The work that judging one webhook of a list may take, as comparisons: 0.3 s of a whole core.
pub const JUDGE_EFFORT: u64 = 40_000_000;

/// How much work the renderings for webhooks that keep an order may take, for one event: 0.14 s. They cannot go elsewhere, so what
/// does not fit fails, and does so whenever the event is fanned out.
pub const ORDERED_WORK: Work = Work::new(20_000_000);

/// The most work in a slice, should all of its renderings take as much as they may; one that may take more is alone.
const SLICE_WORK: Work = Work::new(150_000_000);

/// How many webhooks one slice may have, and how many bytes the settings of its renderings may take.
const SLICE_WEBHOOKS: usize = 1_000;
const SLICE_BYTES: usize = 256 * 1024;

/// One way in which an event is rendered, and the webhooks that want it so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// How it is rendered.
    pub rendering: Rendering,
    /// The type under which it is shown.
    pub event_type: EventType,
    /// Who wants it, in the order of their ids.
    pub webhooks: Vec<Wanting>,
}

/// A webhook that wants an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanting {
    /// The webhook.
    pub webhook: WebhookId,
    /// The application that registered it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// Whether it wants the deliveries of an entity in order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ordered: bool,
    /// When its turn comes, if its tenant's budget for the day is used up: decided once, before the rendering is put into a slice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deferral: Option<Deferral>,
}

impl Part {
    /// Says whether one of the webhooks keeps an order.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.webhooks.iter().any(|wanting| wanting.ordered)
    }

    /// Returns the webhooks that keep an order, and the others, if there are any.
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

    /// Returns one message for each webhook that gets the body.
    #[must_use]
    pub fn messages(&self, event: &Event, body: &Body) -> Vec<Message> {
        let message = |wanting: &Wanting| {
            let (event_type, tenant) = (self.event_type.clone(), event.tenant.clone());
            Message {
                app: wanting.app.clone(),
                sequence: Some(event.sequence.clone()),
                hops: event.hops,
                deferral: wanting.deferral,
                entity: wanting.ordered.then(|| entity(&event.entity.path())),
                content_type: self.rendering.content_type(),
                ..Message::first(event.id, event_type, wanting.webhook, tenant, body.clone())
            }
        };
        self.webhooks.iter().map(message).collect()
    }
}

/// Returns how an event is rendered for the webhooks that want it: each way once. What needs no template comes first, and then what
/// keeps an order, so that it does not wait for the others.
#[must_use]
pub fn parts(event: &Event, wanted: &[Arc<Subscription>]) -> Vec<Part> {
    let mut places: BTreeMap<(String, EventType), usize> = BTreeMap::new();
    let mut parts: Vec<Part> = Vec::new();
    for subscription in wanted {
        // It wants the event, so it asks for a type of it.
        let event_type = subscription.type_for(event).unwrap_or_else(|| event.event_type.clone());
        let Subscription { webhook, app, rendering, ordered, .. } = &**subscription;
        // Settings were read from JSON. Those that could not be written would be rendered for each webhook.
        let settings = serde_json::to_string(rendering).unwrap_or_else(|_| webhook.to_string());
        let place = *places.entry((settings, event_type.clone())).or_insert(parts.len());
        if place == parts.len() {
            parts.push(Part { rendering: rendering.clone(), event_type, webhooks: Vec::new() });
        }
        parts[place].webhooks.push(Wanting { webhook: *webhook, app: app.clone(), ordered: *ordered, deferral: None });
    }
    parts.sort_by_key(|part| (part.is_template(), !part.is_ordered()));
    parts
}

/// What is done with a rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is made in the shard.
    Here,
    /// It goes into a slice.
    InASlice,
    /// It is not made: its webhooks keep an order, and their share is used up.
    Never,
}

/// What the renderings of one event may still take.
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
    /// Decides about the next rendering; `batch` is what the tenant has left in the batch. One is begun as long as anything is left,
    /// if it takes no more than that at least; the first one without a template takes no more than the event took to read.
    #[must_use]
    pub fn decide(&self, part: &Part, event: &Event, batch: Work) -> Verdict {
        let nothing = Work::default();
        if part.is_ordered() {
            return if self.ordered > nothing { Verdict::Here } else { Verdict::Never };
        }
        if self.is_first && !part.is_template() {
            return Verdict::Here;
        }
        let left = self.event.min(batch);
        if left > nothing && Work::of_event(event) <= left { Verdict::Here } else { Verdict::InASlice }
    }

    /// Takes off what a rendering took.
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

/// Puts renderings into slices. One that very many webhooks want is in several.
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

/// What is left to one tenant of the shard in a batch, to make messages of its events there.
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
    /// Adds webhooks that have not been judged.
    pub fn add_not_judged<'a>(&mut self, webhooks: impl IntoIterator<Item = &'a Arc<Subscription>>) {
        self.heavy.extend(webhooks.into_iter().map(|subscription| subscription.webhook));
    }

    /// Moves webhooks to the lists whose renderings would take too much of the shard. Those that keep an order stay.
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

/// Takes subscriptions out, and returns their webhooks.
fn take(
    subscriptions: &mut Vec<Arc<Subscription>>,
    goes: impl Fn(&Arc<Subscription>) -> bool,
) -> impl Iterator<Item = WebhookId> {
    subscriptions.extract_if(.., move |subscription| goes(subscription)).map(|subscription| subscription.webhook)
}

/// A slice, on its queue: each half is in the message if it is small, and stored otherwise.
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
