//! Parameters that several routes take, as the contract describes them.

use domain::access::tenant::TenantId;
use utoipa::IntoParams;

use crate::problem::Problem;

/// The id of a webhook.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes path parameters")]
pub(crate) struct WebhookPath {
    /// `whk_` and a ULID.
    #[param(pattern = "^whk_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK")]
    id: String,
}

/// The version that the caller expects to change.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header")]
pub(crate) struct IfMatchHeader {
    /// The `ETag` of the version to change, or several, comma-separated. 412 if none matches the current version; a weak
    /// one never matches.
    #[param(rename = "If-Match", value_type = String, required = false, pattern = r#"^(\*|[0-9]{1,18}|(W/)?"[0-9]{1,18}"(, ?(W/)?"[0-9]{1,18}")*)$"#, example = "\"1\"")]
    if_match: Option<String>,
}

/// The ids of a webhook and a delivery.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes path parameters")]
pub(crate) struct DeliveryPath {
    /// `whk_` and a ULID.
    #[param(pattern = "^whk_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK")]
    id: String,
    /// `dlv_` and a ULID.
    #[param(pattern = "^dlv_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "dlv_01JD3V7Q5N8Z4T6W9X2Y1R0PMK")]
    delivery: String,
}

/// The name of a table.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes path parameters")]
pub(crate) struct TablePath {
    /// The table's name.
    #[param(pattern = "^[A-Za-z0-9_.-]+$", min_length = 3, max_length = 255, example = "orders")]
    table: String,
}

/// The name of a tenant.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes path parameters")]
pub(crate) struct TenantPath {
    /// The tenant.
    #[param(min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_.@+=-]+$", example = "acme")]
    tenant: String,
}

/// Returns the tenant that a path names.
pub(crate) fn tenant_of(tenant: &str) -> Result<TenantId, Problem> {
    tenant.parse().map_err(|_| Problem::NotFound("tenant"))
}
