//! `/egress-addresses`: where deliveries come from. For every caller, because each may have a receiver behind a
//! firewall.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::attempt::target::Network;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::caller::Caller;
use crate::problem::Problem;

/// Where deliveries come from.
#[derive(Debug, Serialize, ToSchema)]
pub struct EgressAddresses {
    /// The networks, in CIDR notation. Empty if this deployment has no fixed addresses: deliveries then come from any
    /// address of its AWS region.
    #[schema(value_type = Vec<String>, examples(json!(["203.0.113.7/32"])))]
    addresses: Vec<Network>,
}

/// Lists the addresses that deliveries come from
///
/// For receivers that accept known addresses only. The signature, not the address, proves that a delivery is genuine.
#[utoipa::path(get, path = "/egress-addresses", tag = "Egress addresses",
    responses((status = 200, description = "The addresses", body = EgressAddresses)))]
pub(super) async fn get(State(app): State<Arc<App>>, _: Caller) -> Result<Json<EgressAddresses>, Problem> {
    Ok(Json(EgressAddresses { addresses: app.egress_addresses.clone() }))
}
