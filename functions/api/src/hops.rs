//! The request header `webhook-hops`: how many deliveries led to the request. The contract describes it in prose only.
//! If it were a parameter, Schemathesis would treat every other header as a fault.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::event::hops::{HEADER, Hops};

use crate::problem::Problem;

/// The hops of a request that publishes. Its events get the same number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestHops(pub(crate) Hops);

impl<S: Sync> FromRequestParts<S> for RequestHops {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let values = parts.headers.get_all(HEADER).iter().map(|value| value.to_str().ok());
        Hops::read(values).map(Self).map_err(Problem::Loop)
    }
}
