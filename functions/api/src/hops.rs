//! How many deliveries led to a request, by its header `webhook-hops`.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::hops::{HEADER, Hops, MAX_HOPS};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Required, Type};

use crate::problem::Problem;

/// The hops of a request that publishes: its events get the same count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestHops(pub(crate) Hops);

impl IntoParams for RequestHops {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(MAX_HOPS));
        let parameter = ParameterBuilder::new()
            .name(HEADER)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "If the request follows from a delivery, what that had in this header: so that webhooks that lead to each other end",
            ))
            .schema(Some(number))
            .build();
        vec![parameter]
    }
}

impl<S: Sync> FromRequestParts<S> for RequestHops {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let values = parts.headers.get_all(HEADER).iter().map(|value| value.to_str().ok());
        Hops::read(values).map(Self).map_err(Problem::Loop)
    }
}
