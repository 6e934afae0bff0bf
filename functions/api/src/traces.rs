//! The trace of a request that publishes events. The contract describes the header in prose only, like
//! [`webhook-hops`](crate::hops).

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use domain::access::tenant::TenantId;
use domain::event::trace::{HEADER, TraceParent};
use jiff::Timestamp;
use runtime::traces::{Attribute, Kind, Span, attribute};

use crate::App;

/// The context in the header `traceparent`, if it is valid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestTrace(pub(crate) Option<TraceParent>);

impl<S: Sync> FromRequestParts<S> for RequestTrace {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let values = parts.headers.get_all(HEADER).iter().map(|value| value.to_str().ok());
        Ok(Self(TraceParent::read(values)))
    }
}

/// The span of a request that publishes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestSpan {
    given: Option<TraceParent>,
    /// What its events get. Without a tracer it is what the request came with.
    pub(crate) context: Option<TraceParent>,
    started: Timestamp,
}

impl RequestSpan {
    /// Starts the span.
    pub(crate) fn start(app: &App, RequestTrace(given): RequestTrace) -> Self {
        let started = app.clock.now();
        let context = app.tracer.as_ref().map(|tracer| tracer.context(given, started)).or(given);
        Self { given, context, started }
    }

    /// Ends the span with a response, if its trace is sampled.
    pub(crate) fn end(self, app: &App, tenant: &TenantId, route: &'static str, status: StatusCode) {
        let (Some(tracer), Some(context)) = (&app.tracer, self.context.filter(|context| context.sampled)) else {
            return;
        };
        let failed = status.is_server_error();
        let mut attributes = vec![
            Attribute::text(attribute::HTTP_REQUEST_METHOD, "POST"),
            Attribute::text(attribute::HTTP_ROUTE, route),
            Attribute::text(attribute::URL_SCHEME, "https"),
            Attribute::number(attribute::HTTP_RESPONSE_STATUS_CODE, status.as_u16()),
            Attribute::text(attribute::FAAS_TRIGGER, "http"),
            Attribute::text("dynahook.tenant.id", tenant),
        ];
        if failed {
            attributes.push(Attribute::text(attribute::ERROR_TYPE, &status.as_u16()));
        }
        tracer.record(Span {
            trace: context.trace,
            id: context.span,
            parent: self.given.map(|given| given.span),
            links: Vec::new(),
            name: format!("POST {route}").into(),
            kind: Kind::Server,
            start: self.started,
            end: app.clock.now(),
            attributes,
            failed,
        });
    }
}
