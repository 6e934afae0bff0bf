//! Requests at the same time, with each order of their calls.

use std::time::Duration;

use domain::time::Clock as _;
use rstest::rstest;
use serde_json::{Value, json};

use super::{World, path, webhook};

impl World {
    /// Returns whether the secrets that a webhook names can be read: to sign, in both ways, and to authorize.
    async fn has_all_secrets(&self, shown: &Value) -> bool {
        let (webhook, keyring) = self.webhook(shown).await;
        let keys = keyring.signing_keys(&self.registry().await, &webhook.own_key_owner(), self.hand.now()).await;
        let authorization = webhook.authorization.as_ref().unwrap();
        keyring.secrets(&webhook, self.hand.now()).await.is_ok()
            && keyring.authorizing(authorization).await.is_ok()
            && keys.is_ok()
    }
}

/// A webhook that is restored while a second request deletes it has its secrets.
#[rstest]
#[case::secrets_manager(false)]
#[case::kms(true)]
#[tokio::test(start_paused = true)]
async fn a_restored_webhook_has_its_secrets(#[case] in_table: bool) {
    let mut signed = webhook();
    signed["signature_scheme"] = json!("standard-webhooks-ed25519");
    signed["authorization"] = json!({"type": "bearer", "token": "t"});
    let mut restored = 0;
    for (deletes, restores) in (1..8).flat_map(|deletes| (1..14).map(move |restores| (deletes, restores))) {
        let world = World::new(in_table);
        let api = world.api().await;
        let (_, created) = api.call("POST", "/webhooks", &signed).await;
        let webhook = path(&created, "");
        assert_eq!(api.call("DELETE", &webhook, &json!({})).await.0, 204);
        // Each is late at one of its calls, and the first one later than the second one.
        let deleting = world.api_late_at(deletes, Duration::from_secs(2)).await;
        let restoring = world.api_late_at(restores, Duration::from_secs(1)).await;
        let (restore, nothing) = (path(&created, "/restore"), json!({}));
        let both =
            tokio::join!(deleting.call("DELETE", &webhook, &nothing), restoring.call("POST", &restore, &nothing));
        let ((_, _), (status, answer)) = both;
        if api.call("GET", &webhook, &json!({})).await.0 == 200 {
            assert_eq!(status, 200, "{answer}");
            assert!(
                Box::pin(world.has_all_secrets(&created)).await,
                "deletes late at {deletes}, restores at {restores}"
            );
            restored += 1;
        }
    }
    assert!(restored > 30, "{restored}");
}
