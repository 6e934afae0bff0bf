//! The form in which Lambda passes stream records on.

use std::borrow::Cow;

use serde::Deserialize;

use crate::source::image::Image;

/// A stream record, as Lambda passes it on.
#[derive(Debug, Deserialize)]
pub(super) struct Wire<'a> {
    #[serde(rename = "eventID", default, borrow)]
    pub(super) event_id: Cow<'a, str>,
    #[serde(rename = "eventName", default, borrow)]
    pub(super) event_name: Cow<'a, str>,
    #[serde(rename = "eventSourceARN", default, borrow)]
    pub(super) source_arn: Cow<'a, str>,
    #[serde(rename = "userIdentity", default)]
    pub(super) user_identity: Option<UserIdentity>,
    pub(super) dynamodb: StreamRecord,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamRecord {
    /// In seconds.
    pub(super) approximate_creation_date_time: f64,
    #[serde(default)]
    pub(super) new_image: Option<Image>,
    #[serde(default)]
    pub(super) old_image: Option<Image>,
    #[serde(default)]
    pub(super) sequence_number: String,
}

/// Who removed an item, if it was DynamoDB itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserIdentity {
    #[serde(default, alias = "PrincipalId")]
    pub(super) principal_id: String,
    #[serde(default, alias = "Type")]
    pub(super) r#type: String,
}
