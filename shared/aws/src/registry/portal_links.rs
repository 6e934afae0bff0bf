//! Portal links. Each link has two items: the authorizer finds one by the key in the link's address, and the API lists
//! the other by tenant. DynamoDB deletes both after the link has ended.
//!
//! Neither has the key of an API key's item, so that functions of earlier versions do not find them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update};
use domain::access::api_key::KeyHash;
use domain::access::portal::{PortalLink, Theme};
use domain::access::tenant::{AppId, TenantId};
use domain::id::PortalLinkId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Registry, built, hash_value, of_transaction, tenant_pk};
use crate::StoreError;
use crate::items::{from_item, key, live_at, text, to_item};

#[derive(Debug, Serialize, Deserialize)]
struct PortalLinkItem {
    pk: String,
    sk: String,
    v: u8,
    id: PortalLinkId,
    tenant: TenantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app: Option<AppId>,
    read_only: bool,
    /// Only in the item that the authorizer reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<KeyHash>,
    /// Only in the item that the API reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    theme: Option<Theme>,
    created_at: Timestamp,
    created_by: String,
    /// In seconds since 1970.
    expires_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
}

impl PortalLinkItem {
    fn new((pk, sk): (String, String), link: &PortalLink) -> Self {
        let PortalLink { id, tenant, app, read_only, theme, created_at, created_by, expires_at, revoked_at } =
            link.clone();
        let expires_at = expires_at.as_second();
        Self {
            pk,
            sk,
            v: 1,
            id,
            tenant,
            app,
            read_only,
            hash: None,
            theme,
            created_at,
            created_by,
            expires_at,
            revoked_at,
        }
    }

    fn to_authorize(link: &PortalLink, hash: &KeyHash) -> Self {
        Self { hash: Some(hash.clone()), theme: None, ..Self::new(lookup_key(link.id), link) }
    }

    fn to_list(link: &PortalLink) -> Self {
        Self::new(list_key(&link.tenant, link.id), link)
    }

    fn link(self) -> PortalLink {
        let Self { id, tenant, app, read_only, theme, created_at, created_by, expires_at, revoked_at, .. } = self;
        // A time that cannot be read has passed.
        let expires_at = Timestamp::from_second(expires_at).unwrap_or(Timestamp::MIN);
        PortalLink { id, tenant, app, read_only, theme, created_at, created_by, expires_at, revoked_at }
    }
}

/// A page of portal links.
#[derive(Debug)]
pub struct PortalLinkPage {
    /// Newest first.
    pub links: Vec<PortalLink>,
    /// Whether more follow the last one.
    pub more: bool,
}

fn lookup_key(id: PortalLinkId) -> (String, String) {
    (format!("K#{id}"), "LINK".to_owned())
}

fn list_key(tenant: &TenantId, id: PortalLinkId) -> (String, String) {
    (tenant_pk(tenant), format!("PORTALLINK#{id}"))
}

impl Registry {
    /// Writes a new link, to both items. With `before`, an earlier try of the same request wrote the link with that
    /// hash. The new one replaces it, unless the link was revoked.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the link exists, or not as `before` says. Otherwise, if the table is unavailable.
    pub async fn write_portal_link(
        &self,
        link: &PortalLink,
        hash: &KeyHash,
        before: Option<&KeyHash>,
    ) -> Result<(), StoreError> {
        let put = |item: &PortalLinkItem| {
            Ok::<_, StoreError>(Put::builder().table_name(&self.table).set_item(Some(to_item(item)?)))
        };
        let (mut authorized, mut listed) =
            (put(&PortalLinkItem::to_authorize(link, hash))?, put(&PortalLinkItem::to_list(link))?);
        if let Some(before) = before {
            // Only the first item has the hash. Both are always written together.
            authorized = authorized
                .condition_expression("#hash = :before AND attribute_not_exists(revoked_at)")
                .expression_attribute_names("#hash", "hash")
                .expression_attribute_values(":before", hash_value(before)?);
        } else {
            authorized = authorized.condition_expression("attribute_not_exists(pk)");
            listed = listed.condition_expression("attribute_not_exists(pk)");
        }
        let mut request = self.client.transact_write_items();
        for put in [authorized, listed] {
            request = request.transact_items(TransactWriteItem::builder().put(built(put.build())?).build());
        }
        request.send().await.map_err(|error| of_transaction(&error, link.id))?;
        Ok(())
    }

    /// Returns a link by its id alone, without its theme, and the hash to compare; for the authorizer. The link may
    /// have ended.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn find_portal_link(&self, id: PortalLinkId) -> Result<Option<(PortalLink, KeyHash)>, StoreError> {
        let (pk, sk) = lookup_key(id);
        let item = self.get(&pk, &sk).await?.map(from_item::<PortalLinkItem>).transpose()?;
        Ok(item.and_then(|mut item| item.hash.take().map(|hash| (item.link(), hash))))
    }

    /// Returns a link of the tenant, which may have ended or been revoked.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn portal_link(&self, tenant: &TenantId, id: PortalLinkId) -> Result<Option<PortalLink>, StoreError> {
        let (pk, sk) = list_key(tenant, id);
        Ok(self.get(&pk, &sk).await?.map(from_item::<PortalLinkItem>).transpose()?.map(PortalLinkItem::link))
    }

    /// Lists up to `limit` of the tenant's valid links, newest first: those that are older than `before`.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn portal_links(
        &self,
        tenant: &TenantId,
        before: Option<PortalLinkId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<PortalLinkPage, StoreError> {
        let prefix = "PORTALLINK#";
        let start = before.map(|id| list_key(tenant, id)).map(|(pk, sk)| key(&pk, &sk));
        let mut found = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .scan_index_forward(false)
            .set_exclusive_start_key(start)
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .filter_expression("expires_at > :live_at AND attribute_not_exists(revoked_at)")
            .set_expression_attribute_values(Some(HashMap::from([
                (":pk".to_owned(), text(tenant_pk(tenant))),
                (":prefix".to_owned(), text(prefix)),
                (":live_at".to_owned(), live_at(now)),
            ])))
            .into_paginator()
            .items()
            .send();
        let mut links = Vec::new();
        while let Some(item) = found.next().await {
            let item = item.map_err(|error| StoreError::unavailable(&error))?;
            if links.len() == limit {
                return Ok(PortalLinkPage { links, more: true });
            }
            links.push(from_item::<PortalLinkItem>(item)?.link());
        }
        Ok(PortalLinkPage { links, more: false })
    }

    /// Marks a link as revoked, in both items.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn revoke_portal_link(&self, link: &PortalLink, at: Timestamp) -> Result<(), StoreError> {
        let mut request = self.client.transact_write_items();
        for (pk, sk) in [lookup_key(link.id), list_key(&link.tenant, link.id)] {
            let update = Update::builder()
                .table_name(&self.table)
                .set_key(Some(key(&pk, &sk)))
                .update_expression("SET revoked_at = :at")
                .condition_expression("attribute_exists(pk)")
                .expression_attribute_values(":at", text(at.to_string()));
            request = request.transact_items(TransactWriteItem::builder().update(built(update.build())?).build());
        }
        request.send().await.map_err(|error| StoreError::unavailable(&error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use domain::access::api_key::KeyText;
    use domain::access::portal::Mode;

    use super::*;
    use crate::items::number;

    fn link(app: Option<&str>) -> (PortalLink, KeyHash) {
        let id = PortalLinkId::from_parts(Timestamp::UNIX_EPOCH, 1);
        let theme = Theme { name: Some("Acme".to_owned()), mode: Mode::Dark, ..Theme::default() };
        let link = PortalLink {
            id,
            tenant: "acme".parse().unwrap(),
            app: app.map(|app| app.parse().unwrap()),
            read_only: true,
            theme: Some(theme),
            created_at: Timestamp::UNIX_EPOCH,
            created_by: "anna".to_owned(),
            expires_at: Timestamp::from_second(3600).unwrap(),
            revoked_at: None,
        };
        (link, KeyText::of_link(id, [1; 32]).hash())
    }

    #[test]
    fn a_link_is_read_as_it_was_written() {
        for app in [None, Some("crm")] {
            let (link, hash) = link(app);
            let listed = to_item(&PortalLinkItem::to_list(&link)).unwrap();
            assert!(!listed.contains_key("hash"));
            assert_eq!(from_item::<PortalLinkItem>(listed).unwrap().link(), link);
            let authorized = to_item(&PortalLinkItem::to_authorize(&link, &hash)).unwrap();
            assert!(authorized.contains_key("hash"));
            let without_theme = PortalLink { theme: None, ..link };
            assert_eq!(from_item::<PortalLinkItem>(authorized).unwrap().link(), without_theme);
        }
    }

    /// DynamoDB deletes only items whose `expires_at` is a number, and functions of earlier versions look for
    /// `K#key_…` with `KEY`, and `APIKEY#…` below the tenant.
    #[test]
    fn a_link_expires_and_is_no_api_key() {
        let (link, hash) = link(None);
        for item in [PortalLinkItem::to_list(&link), PortalLinkItem::to_authorize(&link, &hash)] {
            let item = to_item(&item).unwrap();
            assert_eq!(item["expires_at"], number(3600));
            let [pk, sk] = ["pk", "sk"].map(|name| item[name].as_s().unwrap().clone());
            assert!(!pk.starts_with("K#key_") && sk != "KEY" && !sk.starts_with("APIKEY#"), "{pk} {sk}");
        }
    }
}
