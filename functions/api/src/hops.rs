//! How many deliveries led to a request, by its header `webhook-hops`. The contract describes it in words: the tools that
//! check requests by the contract would take every other header for a fault if it were a parameter.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::event::hops::{HEADER, Hops};

use crate::problem::Problem;

/// The hops of a request that publishes: its events get the same count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestHops(pub(crate) Hops);

impl<S: Sync> FromRequestParts<S> for RequestHops {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let values = parts.headers.get_all(HEADER).iter().map(|value| value.to_str().ok());
        Hops::read(values).map(Self).map_err(Problem::Loop)
    }
}
