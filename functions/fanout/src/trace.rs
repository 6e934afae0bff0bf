//! The spans of a batch: one for the batch, in a trace of its own, and one for each of its events whose trace is
//! sampled.

use domain::event::Event;
use domain::event::trace::{EventTrace, SpanId, TraceId};
use domain::id::EventId;
use jiff::Timestamp;
use runtime::traces::{Attribute, Kind, Span, Tracer, attribute, new_span};

use crate::App;

/// The spans of a batch that are under way. Without a tracer there are none.
pub(crate) struct Spans<'a>(Option<Open<'a>>);

struct Open<'a> {
    tracer: &'a Tracer,
    started: Timestamp,
    records: usize,
    events: Vec<Fanned>,
}

/// An event that became deliveries, and is not sent yet.
struct Fanned {
    id: EventId,
    trace: EventTrace,
    attributes: Vec<Attribute>,
}

impl<'a> Spans<'a> {
    /// Starts the spans of a batch.
    pub(crate) fn start(app: &'a App, records: usize) -> Self {
        let started = || app.clock.now();
        Self(app.tracer.as_ref().map(|tracer| Open { tracer, started: started(), records, events: Vec::new() }))
    }

    /// Adds an event, which made that many messages and slices.
    pub(crate) fn add(&mut self, event: &Event, messages: usize, slices: usize) {
        let Some(open) = &mut self.0 else { return };
        let trace = open.tracer.sampling().of_event(event.id, event.traceparent);
        if !trace.sampled {
            return;
        }
        let attributes = vec![
            Attribute::text(attribute::MESSAGING_SYSTEM, "aws_sqs"),
            Attribute::text(attribute::MESSAGING_OPERATION_TYPE, "send"),
            Attribute::text(attribute::MESSAGING_OPERATION_NAME, "send"),
            Attribute::number(attribute::MESSAGING_BATCH_MESSAGE_COUNT, messages + slices),
            Attribute::text("dynahook.tenant.id", &event.tenant),
            Attribute::text("dynahook.event.id", &event.id),
            Attribute::text("dynahook.event.type", &event.event_type),
            Attribute::text("dynahook.event.source", &event.source),
            Attribute::text("dynahook.event.at", &event.at),
            Attribute::number("dynahook.event.deliveries", messages),
            Attribute::number("dynahook.event.slices", slices),
        ];
        open.events.push(Fanned { id: event.id, trace, attributes });
    }

    /// Ends the spans, once everything was sent. A batch that is not done is received again, and then has the same
    /// spans of events.
    pub(crate) fn end(self, now: Timestamp) {
        let Some(Open { tracer, started, records, events }) = self.0.filter(|open| !open.events.is_empty()) else {
            return;
        };
        let batch = (TraceId::new(started.as_second(), runtime::random::bits()), new_span());
        let span = Span {
            trace: batch.0,
            id: batch.1,
            parent: None,
            links: events.iter().map(|event| (event.trace.trace, SpanId::of_event(event.id))).collect(),
            name: "process changes".into(),
            kind: Kind::Consumer,
            start: started,
            end: now,
            attributes: vec![
                Attribute::text(attribute::MESSAGING_SYSTEM, "aws_dynamodb_streams"),
                Attribute::text(attribute::MESSAGING_OPERATION_TYPE, "process"),
                Attribute::text(attribute::MESSAGING_OPERATION_NAME, "process"),
                Attribute::number(attribute::MESSAGING_BATCH_MESSAGE_COUNT, records),
                Attribute::text(attribute::FAAS_TRIGGER, "datasource"),
            ],
            failed: false,
        };
        tracer.record(span);
        for Fanned { id, trace: EventTrace { trace, parent, .. }, attributes } in events {
            tracer.record(Span {
                trace,
                id: SpanId::of_event(id),
                parent,
                links: vec![batch],
                name: "send deliveries".into(),
                kind: Kind::Producer,
                start: started,
                end: now,
                attributes,
                failed: false,
            });
        }
    }
}
