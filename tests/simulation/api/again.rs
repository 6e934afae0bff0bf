//! Requests with an `Idempotency-Key` that die at any of their calls, and are sent again. The next try finishes the
//! work.

use std::sync::atomic::Ordering;

use domain::access::api_key::KeyText;
use domain::signing::keys::KeyOwner;
use domain::time::Clock as _;
use jiff::SignedDuration;
use rstest::rstest;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tests::cloud::Fault;

use super::{Answer, Api, HALF_A_MINUTE, World, path, tenant, webhook};

const FAULTS: [Fault; 3] = [Fault::DieBefore, Fault::DieAfter, Fault::LoseAnswer];

impl World {
    /// Returns the texts of the secrets that sign the webhook's deliveries, the current one first.
    async fn signing(&self, shown: &Value) -> Vec<String> {
        let (webhook, keyring) = self.webhook(shown).await;
        let found = keyring.secrets(&webhook, self.hand.now()).await.unwrap();
        found.iter().map(|secret| secret.to_text().expose_secret().to_owned()).collect()
    }

    /// Makes a request that has the fault at each of its calls, one after the other, each in a world of its own that
    /// `prepare` prepares. Then sends the request again half a minute later, and passes the response to `check`.
    async fn each_call<P>(
        in_table: bool,
        prepare: impl AsyncFn(&Api) -> P,
        request: impl AsyncFn(&Api, &P) -> Answer,
        check: impl AsyncFn(&Self, &P, Answer),
    ) {
        for fault in FAULTS {
            let mut died = 0;
            for call in 0.. {
                let world = Self::new(in_table);
                let api = world.api().await;
                let prepared = prepare(&api).await;
                let dying = world.api_with(call, fault).await;
                let first = dying.or_dies(request(&dying, &prepared)).await;
                if !dying.had_fault.load(Ordering::Relaxed) {
                    break;
                }
                // 409: the answer to the claim of the idempotency key was lost.
                let answer = if let Some(answer) = first.filter(|(status, _)| *status < 500 && *status != 409) {
                    answer
                } else {
                    world.turn(HALF_A_MINUTE);
                    died += 1;
                    request(&api, &prepared).await
                };
                check(&world, &prepared, answer).await;
            }
            assert!(died > 3 || fault == Fault::LoseAnswer, "{fault:?}: {died}");
        }
    }
}

fn text(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}")).to_owned()
}

/// Once the response was stored, it is what a repeated request gets, without what is shown once.
fn is_replayed(answer: &Value, name: &str) -> bool {
    answer[name].is_null()
}

/// Whatever the first try did, the receiver's secret signs next to the one that the response shows.
#[rstest]
#[case::generated(false, json!({}), &[])]
#[case::generated_in_a_table(true, json!({}), &[])]
#[case::given(false, json!({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}), &[])]
#[case::given_in_a_table(true, json!({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}), &[])]
#[case::of_a_version(false, json!({}), &[("if-match", "\"1\"")])]
#[tokio::test(start_paused = true)]
async fn a_rotation_that_dies_is_finished_by_the_next_try(
    #[case] in_table: bool,
    #[case] body: Value,
    #[case] headers: &[(&str, &str)],
) {
    let headers = [headers, &[("idempotency-key", "k")]].concat();
    World::each_call(
        in_table,
        async |api| api.call("POST", "/webhooks", &webhook()).await.1,
        async |api, created| {
            api.send("POST", &path(created, "/secret/rotate"), &headers, body.to_string().as_bytes()).await
        },
        async |world, created, (status, rotated)| {
            assert_eq!(status, 200, "{rotated}");
            let signing = world.signing(created).await;
            assert_eq!((signing.len(), &signing[1]), (2, &text(created, "secret")), "the receiver's secret");
            if !is_replayed(&rotated, "secret") {
                assert_eq!(signing[0], text(&rotated, "secret"), "the secret that is shown");
            }
        },
    )
    .await;
}

/// The second try dies too, a while later.
#[rstest]
#[case::secrets_manager(false)]
#[case::kms(true)]
#[tokio::test(start_paused = true)]
async fn a_rotation_that_dies_twice_is_finished_by_the_third_try(#[case] in_table: bool) {
    for call in 0..14 {
        let world = World::new(in_table);
        let api = world.api().await;
        let (_, created) = api.call("POST", "/webhooks", &webhook()).await;
        let rotate = path(&created, "/secret/rotate");
        for pause in [SignedDuration::from_secs(31), SignedDuration::from_hours(2)] {
            let dying = world.api_with(call, Fault::DieAfter).await;
            dying.or_dies(dying.post(&rotate, "k", &json!({}))).await;
            world.turn(pause);
        }
        let (status, rotated) = api.post(&rotate, "k", &json!({})).await;
        assert_eq!(status, 200, "{rotated}");
        let signing = world.signing(&created).await;
        assert_eq!((signing.len(), &signing[1]), (2, &text(&created, "secret")), "call {call}");
        if !is_replayed(&rotated, "secret") {
            assert_eq!(signing[0], text(&rotated, "secret"), "call {call}");
        }
        // Later rotations find everything in order.
        let (_, next) = api.call("POST", &rotate, &json!({})).await;
        assert_eq!(world.signing(&created).await, [text(&next, "secret"), signing[0].clone()], "call {call}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotation_to_the_current_secret_changes_nothing() {
    let world = World::new(false);
    let api = world.api().await;
    let (_, created) = api.call("POST", "/webhooks", &webhook()).await;
    let rotate = path(&created, "/secret/rotate");
    let given = json!({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"});
    let (_, first) = api.call("POST", &rotate, &given).await;
    let (status, second) = api.call("POST", &rotate, &given).await;
    assert_eq!((status, &second["version"], &second["secret"]), (200, &first["version"], &given["secret"]));
    assert_eq!(world.signing(&created).await, [text(&given, "secret"), text(&created, "secret")]);
}

/// The public keys are the new one and the one before, whatever the first try did.
#[tokio::test(start_paused = true)]
async fn the_rotation_of_a_key_pair_is_finished_by_the_next_try() {
    let mut signed = webhook();
    signed["signature_scheme"] = json!("standard-webhooks-ed25519");
    World::each_call(
        false,
        async |api| {
            let (_, created) = api.call("POST", "/webhooks", &signed).await;
            created
        },
        async |api, created| api.post(&path(created, "/signing-key/rotate"), "k", &json!({})).await,
        async |world, created, (status, rotated)| {
            assert_eq!(status, 200, "{rotated}");
            let id = created["id"].as_str().unwrap().parse().unwrap();
            let owner = KeyOwner { tenant: tenant(), webhook: Some(id) };
            let keys = world.registry().await.signing_keys(&owner).await.unwrap().unwrap();
            let shown: Vec<_> = rotated["keys"].as_array().unwrap().iter().map(|key| &key["whpk"]).collect();
            assert_eq!(shown, [&keys.current.to_string(), &keys.previous.unwrap().key.to_string()]);
            assert_eq!(keys.version, 2, "it was rotated once");
        },
    )
    .await;
}

/// There is one key, and its text is the one that is shown.
#[tokio::test(start_paused = true)]
async fn the_creation_of_an_api_key_is_finished_by_the_next_try() {
    World::each_call(
        false,
        async |_| (),
        async |api, ()| api.post("/api-keys", "k", &json!({"name": "n"})).await,
        async |world, (), (status, created)| {
            assert_eq!(status, 201, "{created}");
            let (_, list) = world.api().await.call("GET", "/api-keys", &json!({})).await;
            assert_eq!((list["data"].as_array().unwrap().len(), &list["data"][0]["id"]), (1, &created["id"]));
            if !is_replayed(&created, "key") {
                let text: KeyText = text(&created, "key").parse().unwrap();
                let (_, hash) = world.registry().await.find_api_key(text.id()).await.unwrap().unwrap();
                assert!(hash.matches(&text.hash()), "the key works");
            }
        },
    )
    .await;
}

/// There is one link, and its address is the one that is shown.
#[tokio::test(start_paused = true)]
async fn the_creation_of_a_portal_link_is_finished_by_the_next_try() {
    World::each_call(
        false,
        async |_| (),
        async |api, ()| api.post("/portal-links", "k", &json!({})).await,
        async |world, (), (status, created)| {
            assert_eq!(status, 201, "{created}");
            let (_, list) = world.api().await.call("GET", "/portal-links", &json!({})).await;
            assert_eq!((list["data"].as_array().unwrap().len(), &list["data"][0]["id"]), (1, &created["id"]));
            if !is_replayed(&created, "url") {
                let url = text(&created, "url");
                let text: KeyText = url.split_once("#token=").unwrap().1.parse().unwrap();
                let (_, hash) =
                    world.registry().await.find_portal_link(text.portal_link().unwrap()).await.unwrap().unwrap();
                assert!(hash.matches(&text.hash()), "the link works");
            }
        },
    )
    .await;
}

/// Someone saw an unknown key, or an unknown link, and revoked it before the request was sent again.
#[rstest]
#[case::api_key("/api-keys", json!({"name": "n"}))]
#[case::portal_link("/portal-links", json!({}))]
#[tokio::test(start_paused = true)]
async fn what_was_revoked_does_not_come_back(#[case] path: &str, #[case] body: Value) {
    let world = World::new(false);
    let api = world.api().await;
    for call in 0.. {
        let dying = world.api_with(call, Fault::DieAfter).await;
        dying.or_dies(dying.post(path, "k", &body)).await;
        world.turn(HALF_A_MINUTE);
        let (_, list) = api.call("GET", path, &json!({})).await;
        if let Some(id) = list["data"][0]["id"].as_str() {
            assert_eq!(api.call("DELETE", &format!("{path}/{id}"), &json!({})).await.0, 200);
            break;
        }
    }
    let (status, problem) = api.post(path, "k", &body).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:dynahook:problem:conflict")), "{problem}");
    let (_, list) = api.call("GET", path, &json!({})).await;
    assert_eq!(list["data"], json!([]));
}
