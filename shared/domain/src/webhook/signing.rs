//! The signatures of a webhook's deliveries, and which of them can be combined.

use super::settings::{Settings, SigningKeyOf};
use crate::signing::secret::SecretFormat;
use crate::signing::signature::{Signature, SignatureScheme};

impl Settings {
    /// Returns the signatures that every delivery carries, in order; for an inbound webhook, the signature that callers
    /// must send.
    #[must_use]
    pub fn signatures(&self) -> Vec<Signature> {
        let header = self.signature_header.clone();
        let first = Signature { scheme: self.signature_scheme, header, encoding: self.signature_encoding };
        std::iter::once(first).chain(self.further_signatures.iter().cloned()).collect()
    }

    /// Returns whose key pair signs. Webhooks written by earlier versions do not say; their receivers have the tenant's
    /// key.
    #[must_use]
    pub fn signing_key(&self) -> SigningKeyOf {
        let legacy = if self.signs_with_key_pair() { SigningKeyOf::Tenant } else { SigningKeyOf::Webhook };
        self.signing_key.unwrap_or(legacy)
    }

    /// Sets whose key pair signs if the caller does not: the same as before the change, or the webhook's own for a new
    /// webhook.
    pub fn resolve_signing_key(&mut self, before: Option<&Self>) {
        let default = before.map_or(SigningKeyOf::Webhook, Self::signing_key);
        self.signing_key.get_or_insert(default);
    }

    /// Returns whether a key pair signs.
    #[must_use]
    pub fn signs_with_key_pair(&self) -> bool {
        self.signatures().iter().any(|signature| signature.scheme == SignatureScheme::StandardWebhooksEd25519)
    }

    /// Returns a JSON pointer to the first scheme that a secret of this format cannot sign with.
    #[must_use]
    pub fn cannot_sign_with(&self, format: SecretFormat) -> Option<String> {
        let signatures = self.signatures();
        let index = signatures.iter().position(|signature| !signature.scheme.takes(format))?;
        Some(pointers(index)[0].clone())
    }
}

/// Returns the pointers to a signature's scheme, header and encoding. Those of the first signature have names of their
/// own.
pub(super) fn pointers(index: usize) -> [String; 3] {
    match index.checked_sub(1) {
        None => ["/signature_scheme", "/signature_header", "/signature_encoding"].map(str::to_owned),
        Some(index) => ["scheme", "header", "encoding"].map(|field| format!("/further_signatures/{index}/{field}")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::super::settings::tests::parse;
    use super::*;
    use crate::attempt::target::TargetPolicy;

    fn faults(more: &Value) -> Vec<String> {
        let faults = parse(more).unwrap().check(&TargetPolicy::default());
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[rstest]
    #[case::base64_by_another_name(json!({"signature_scheme": "hmac-sha256", "signature_header": "X-Acme", "signature_encoding": "base64"}))]
    #[case::both_of_standard_webhooks(json!({"further_signatures": [{"scheme": "standard-webhooks-ed25519"}]}))]
    #[case::four(json!({"signature_scheme": "github", "further_signatures": [
        {"scheme": "stripe"}, {"scheme": "superoffice"}, {"scheme": "shopify"}]}))]
    #[case::plain_twice(json!({"signature_scheme": "hmac-sha256", "further_signatures": [
        {"scheme": "hmac-sha256", "header": "X-Acme", "encoding": "base64"}]}))]
    #[case::inbound_by_another_name(json!({"direction": "inbound", "url": "", "signature_scheme": "hmac-sha256",
        "signature_header": "X-Acme"}))]
    fn stand_together(#[case] more: Value) {
        assert_eq!(faults(&more), [] as [&str; 0]);
    }

    #[rstest]
    #[case::header_of_a_vendor_s(json!({"signature_header": "X-Acme"}), &["/signature_header"])]
    #[case::encoding_of_a_vendor_s(json!({"signature_scheme": "github", "signature_encoding": "base64"}), &["/signature_encoding"])]
    #[case::no_name(json!({"signature_scheme": "hmac-sha256", "signature_header": "X Acme"}), &["/signature_header"])]
    #[case::empty(json!({"signature_scheme": "hmac-sha256", "signature_header": ""}), &["/signature_header"])]
    #[case::long(json!({"signature_scheme": "hmac-sha256", "signature_header": "x".repeat(101)}), &["/signature_header"])]
    #[case::ours(json!({"signature_scheme": "hmac-sha256", "signature_header": "Webhook-Signature"}), &["/signature_header"])]
    #[case::secret(json!({"signature_scheme": "hmac-sha256", "signature_header": "Authorization"}), &["/signature_header"])]
    #[case::too_many(json!({"signature_scheme": "github", "further_signatures": [
        {"scheme": "stripe"}, {"scheme": "superoffice"}, {"scheme": "shopify"}, {"scheme": "hmac-sha256"}]}),
        &["/further_signatures"])]
    #[case::twice(json!({"further_signatures": [{"scheme": "standard-webhooks"}]}), &["/further_signatures/0/scheme"])]
    #[case::plain_without_a_name(json!({"signature_scheme": "hmac-sha256", "further_signatures": [{"scheme": "hmac-sha256"}]}),
        &["/further_signatures/0/header"])]
    #[case::by_a_vendor_s_name(json!({"signature_scheme": "github", "further_signatures": [
        {"scheme": "stripe"}, {"scheme": "hmac-sha256", "header": "X-Hub-Signature-256"}]}), &["/further_signatures/1/header"])]
    #[case::by_the_name_of_the_one_before(json!({"signature_scheme": "github", "further_signatures": [
        {"scheme": "hmac-sha256", "header": "X-Hub-Signature-256-Previous"}]}), &["/further_signatures/0/header"])]
    #[case::header_that_the_owner_adds(json!({"signature_scheme": "hmac-sha256", "signature_header": "X-Acme",
        "headers": {"x-acme": "1", "X-Acme-Previous": "2", "X-Other": "3"}}), &["/headers/X-Acme-Previous", "/headers/x-acme"])]
    #[case::header_that_a_vendor_adds(json!({"signature_scheme": "superoffice", "headers": {"X-SuperOffice-Event": "x"}}),
        &["/headers/X-SuperOffice-Event"])]
    #[case::inbound_with_the_tenants_key(json!({"direction": "inbound", "url": "", "signature_scheme": "standard-webhooks-ed25519"}),
        &["/signature_scheme"])]
    #[case::inbound_with_two(json!({"direction": "inbound", "url": "", "further_signatures": [{"scheme": "github"}]}),
        &["/further_signatures"])]
    fn names_what_cannot_be(#[case] more: Value, #[case] pointers: &[&str]) {
        assert_eq!(faults(&more), pointers);
    }

    #[rstest]
    #[case::first(json!({}), Some("/signature_scheme"))]
    #[case::further(json!({"signature_scheme": "github", "further_signatures": [{"scheme": "standard-webhooks"}]}),
        Some("/further_signatures/0/scheme"))]
    #[case::none(json!({"signature_scheme": "github", "further_signatures": [{"scheme": "standard-webhooks-ed25519"}]}), None)]
    fn a_plain_secret_does_not_sign_everything(#[case] more: Value, #[case] pointer: Option<&str>) {
        let settings = parse(&more).unwrap();
        assert_eq!(settings.cannot_sign_with(SecretFormat::Plain).as_deref(), pointer);
        assert_eq!(settings.cannot_sign_with(SecretFormat::Whsec), None);
    }
}
