//! Secrets in a [`Cloud`]: the suite over both stores, what only the table has, lost answers, and random rotations that
//! die anywhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws::{LimitReached, Limited, Secrets, StoreError};
use domain::signing::secret::{Fingerprint, WebhookSecret};
use domain::time::Clock;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rstest::rstest;
use serde_json::json;
use tests::cloud::{Cloud, Fault, FaultScript, Faults, secrets_table};
use tests::secret_suite::{self, Vault};

use crate::seed;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A clock that a test moves.
#[derive(Clone, Default)]
pub(crate) struct Hand(Arc<Mutex<SignedDuration>>);

impl Hand {
    pub(crate) fn turn(&self, by: SignedDuration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_795_244_140).unwrap() + *self.0.lock().unwrap()
    }
}

/// A cloud and its clock.
struct World {
    cloud: Arc<Cloud>,
    hand: Hand,
}

impl World {
    fn new() -> Self {
        let hand = Hand::default();
        Self { cloud: Cloud::new(Arc::new(hand.clone())), hand }
    }

    async fn secrets(&self, in_table: bool) -> Secrets {
        self.secrets_over(in_table, Arc::new(|_, _| Faults::default())).await
    }

    async fn secrets_over(&self, in_table: bool, faults: FaultScript) -> Secrets {
        let aws = self.cloud.line(faults).aws().await;
        aws.secrets_in(in_table.then(secrets_table), Arc::new(self.hand.clone()))
    }
}

/// Rotations that die leave texts behind. They have a limit, and are removed in parts that fit a write.
#[tokio::test(start_paused = true)]
async fn texts_that_no_one_names_have_a_limit_and_are_removed() {
    let world = World::new();
    let secrets = world.secrets(true).await;
    let vault = Vault::new(&secrets);
    let first = vault.secret(0);
    vault.create(&first).await.unwrap();
    let stage = async |number: u8| {
        let (fingerprint, secret) = vault.secret(number);
        secrets.stage(&vault.path, Some(&first.0), (&fingerprint, &secret)).await.map(drop)
    };
    for number in 1..64 {
        stage(number).await.unwrap();
    }
    assert!(matches!(stage(64).await, Err(StoreError::Limit(LimitReached { limit: 64, what: Limited::Secrets }))));
    stage(1).await.unwrap();
    world.hand.turn(SignedDuration::from_hours(2));
    for number in 64..100 {
        stage(number).await.unwrap();
    }
    vault.read(&first).await.unwrap();
    assert!(vault.read(&vault.secret(2)).await.is_err(), "what no one names is removed");
    vault.read(&vault.secret(99)).await.unwrap();
}

/// A secret that was moved to the table stays deleted in Secrets Manager when its webhook changes.
#[tokio::test(start_paused = true)]
async fn a_moved_secret_does_not_come_back() {
    let world = World::new();
    let path = "/test/webhooks/acme/whk_moved";
    let (before, after) = (world.secrets(false).await, world.secrets(true).await);
    let (old, new) = (Vault::at(&before, path), Vault::at(&after, path));
    old.create(&old.secret(0)).await.unwrap();
    before.delete(path).await.unwrap();
    new.create(&new.secret(0)).await.unwrap();
    after.restore(path, None).await.unwrap();
    assert!(old.read(&old.secret(0)).await.is_err(), "Secrets Manager is still deleting it");
    // Of a deleted webhook, both come back: its previous secret may be in Secrets Manager.
    after.delete(path).await.unwrap();
    after.restore(path, None).await.unwrap();
    old.read(&old.secret(0)).await.unwrap();
}

macro_rules! over_both {
    ($($name:ident),* $(,)?) => {$(
        #[rstest]
        #[case::secrets_manager(false)]
        #[case::kms(true)]
        #[tokio::test(start_paused = true)]
        async fn $name(#[case] in_table: bool) {
            let world = World::new();
            secret_suite::$name(&world.secrets(in_table).await).await;
            assert_eq!(world.cloud.secrets.count() == 0, in_table, "secrets are in one store");
        }
    )*};
}

tests::each_secret_test!(over_both);

/// Does something until the store is available, as callers do.
async fn until(mut done: impl AsyncFnMut() -> Result<(), StoreError>) {
    for _ in 0..3 {
        match done().await {
            Err(StoreError::Unavailable(_)) => {}
            other => return other.unwrap(),
        }
    }
    panic!("the store stays unavailable");
}

/// The SDK repeats a call whose answer was lost, and so does the client of KMS; if it has repeated too many in this
/// process, the caller does. Nothing shows it.
#[rstest]
#[case::secrets_manager(false)]
#[case::kms(true)]
#[tokio::test(start_paused = true)]
async fn lost_answers_and_throttles_change_nothing(#[case] in_table: bool) {
    for fault in [Fault::LoseAnswer, Fault::Throttle] {
        let calls = Arc::new(AtomicUsize::new(0));
        let mut hit = 0;
        // Every call of the scenario gets the fault once.
        while hit <= calls.load(Ordering::Relaxed) {
            calls.store(0, Ordering::Relaxed);
            let world = World::new();
            let counted = Arc::clone(&calls);
            let faults: FaultScript = Arc::new(move |_, _| {
                let number = counted.fetch_add(1, Ordering::Relaxed);
                Faults { fault: (number == hit).then_some(fault), ..Faults::default() }
            });
            let secrets = world.secrets_over(in_table, faults).await;
            let vault = Vault::new(&secrets);
            let [first, second, third] = [1, 2, 3].map(|number| vault.secret(number));
            until(async || vault.create(&first).await).await;
            until(async || vault.try_to_rotate(&first, &second).await).await;
            until(async || secrets.replace(&vault.path, &third.0, &third.1).await).await;
            until(async || vault.read(&second).await).await;
            until(async || secrets.delete(&vault.path).await).await;
            until(async || secrets.restore(&vault.path, None).await).await;
            until(async || vault.read(&third).await).await;
            until(async || vault.read(&second).await).await;
            hit += 1;
        }
        assert!(hit > 8, "{hit} calls");
    }
}

/// A deleted secret is gone after 30 days, whether or not DynamoDB has removed the row.
#[tokio::test(start_paused = true)]
async fn a_deleted_secret_is_gone_after_its_recovery_window() {
    let world = World::new();
    let secrets = world.secrets(true).await;
    let vault = Vault::new(&secrets);
    let (first, second) = (vault.secret(1), vault.secret(2));
    vault.create(&first).await.unwrap();
    secrets.delete(&vault.path).await.unwrap();
    world.hand.turn(DAY * 30 - SignedDuration::from_secs(1));
    secrets.restore(&vault.path, None).await.unwrap();
    vault.read(&first).await.unwrap();
    secrets.delete(&vault.path).await.unwrap();
    world.hand.turn(DAY * 30);
    assert!(matches!(secrets.restore(&vault.path, None).await, Err(StoreError::Missing { .. })));
    vault.create(&second).await.unwrap();
    vault.read(&second).await.unwrap();
    assert!(vault.read(&first).await.is_err());
}

/// A row does not grow: what was staged and never named is removed, and so are the secrets before the previous one.
#[tokio::test(start_paused = true)]
async fn a_row_keeps_few_secrets() {
    let world = World::new();
    let secrets = world.secrets(true).await;
    let vault = Vault::new(&secrets);
    let mut named = vault.secret(0);
    vault.create(&named).await.unwrap();
    for number in 1..40 {
        let next = vault.secret(number);
        vault.rotate(&named, &next).await;
        vault.read(&named).await.unwrap();
        named = next;
        drop(secrets.stage(&vault.path, Some(&named.0), (&vault.secret(100).0, &vault.secret(100).1)).await.unwrap());
        world.hand.turn(SignedDuration::from_hours(2));
        let row = &world.cloud.tables.items("secrets")[0];
        assert!(row["texts"]["M"].as_object().unwrap().len() <= 4, "{row}");
    }
    vault.read(&named).await.unwrap();
}

/// A ciphertext is bound to its path: moved to another row, it is not decrypted.
#[tokio::test(start_paused = true)]
async fn a_secret_of_another_path_is_not_decrypted() {
    let world = World::new();
    let secrets = world.secrets(true).await;
    let (mine, other) = (Vault::new(&secrets), Vault::new(&secrets));
    let secret = mine.secret(1);
    other.create(&secret).await.unwrap();
    mine.read(&secret).await.unwrap_err();
    let mut row = world.cloud.tables.items("secrets")[0].clone();
    row["pk"] = json!({"S": mine.path});
    world.cloud.tables.put("secrets", &row);
    other.read(&secret).await.unwrap();
    assert!(matches!(mine.read(&secret).await, Err(StoreError::Inconsistent { .. })));
}

/// After the storage was changed, secrets of the time before are read where they are, and move when they are rotated.
#[tokio::test(start_paused = true)]
async fn secrets_of_the_time_before_stay_readable() {
    let world = World::new();
    let (before, secrets) = (world.secrets(false).await, world.secrets(true).await);
    let old = Vault::new(&before);
    let vault = Vault::at(&secrets, &old.path);
    let [first, second, third, fourth] = [1, 2, 3, 4].map(|number| vault.secret(number));
    old.create(&first).await.unwrap();
    old.rotate(&first, &second).await;
    vault.read(&first).await.unwrap();
    vault.read(&second).await.unwrap();
    world.cloud.take_calls();
    vault.rotate(&second, &third).await;
    vault.read(&second).await.unwrap();
    vault.read(&third).await.unwrap();
    secrets.delete(&vault.path).await.unwrap();
    for secret in [&second, &third] {
        assert!(matches!(vault.read(secret).await, Err(StoreError::Missing { .. })));
    }
    secrets.restore(&vault.path, None).await.unwrap();
    vault.read(&second).await.unwrap();
    vault.rotate(&third, &fourth).await;
    vault.read(&third).await.unwrap();
    vault.read(&fourth).await.unwrap();
    let calls = world.cloud.take_calls();
    assert!(!["CreateSecret", "PutSecretValue"].iter().any(|write| calls.contains_key(*write)), "{calls:?}");
    // One that was never rotated since is deleted and restored where it is.
    let other = Vault::new(&before);
    other.create(&first).await.unwrap();
    secrets.delete(&other.path).await.unwrap();
    assert!(other.read(&first).await.is_err());
    secrets.restore(&other.path, None).await.unwrap();
    other.read(&first).await.unwrap();
}

/// Random rotations that die anywhere, deletions and restorations. Whatever the webhook names can be read, and so can
/// the secret that it named before.
#[rstest]
#[case::secrets_manager(false, false)]
#[case::kms(true, true)]
#[case::changed_to_kms(false, true)]
#[tokio::test(start_paused = true)]
async fn what_a_webhook_names_can_always_be_read(#[case] first: bool, #[case] then: bool) {
    for number in 0..30 {
        let seed = seed().wrapping_add(number);
        let (world, mut random) = (World::new(), StdRng::seed_from_u64(seed));
        let mut secrets = world.secrets(first).await;
        let path = Vault::new(&secrets).path;
        let mut named = Vault::at(&secrets, &path).secret(0);
        let mut before: Option<(Fingerprint, WebhookSecret)> = None;
        Vault::at(&secrets, &path).create(&named).await.unwrap();
        for step in 1..40_u8 {
            if step == 20 {
                secrets = world.secrets(then).await;
            }
            world.hand.turn(SignedDuration::from_mins(random.random_range(0..90)));
            let vault = Vault::at(&secrets, &path);
            // Now and then the text of an earlier secret comes back.
            let new = vault.secret(if random.random_ratio(1, 4) { random.random_range(0..step) } else { step });
            if random.random_ratio(1, 8) {
                secrets.delete(&path).await.unwrap();
                assert!(vault.read(&named).await.is_err(), "seed {seed}");
                secrets.restore(&path, None).await.unwrap();
            } else if let Some(before) = before.as_ref().filter(|before| new.0 != before.0 && new.0 != named.0)
                && random.random_ratio(1, 4)
            {
                // A later try of the request that made the named one.
                let staged = secrets.stage_again(&path, (&named.0, &before.0), (&new.0, &new.1)).await.unwrap();
                if random.random_ratio(2, 3) {
                    named = new;
                    if random.random_ratio(2, 3) {
                        secrets.promote(staged).await.unwrap();
                    }
                }
            } else {
                let staged = secrets.stage(&path, Some(&named.0), (&new.0, &new.1)).await.unwrap();
                if random.random_ratio(1, 3) {
                    // Another request stages one, and never gets further.
                    let other = vault.secret(100 + step);
                    drop(secrets.stage(&path, Some(&named.0), (&other.0, &other.1)).await.unwrap());
                }
                if random.random_ratio(2, 3) {
                    before = Some(std::mem::replace(&mut named, new));
                    if random.random_ratio(2, 3) {
                        secrets.promote(staged).await.unwrap();
                    }
                }
            }
            vault.read(&named).await.unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}"));
            if let Some(before) = &before {
                vault.read(before).await.unwrap_or_else(|error| panic!("seed {seed}, step {step}, before: {error}"));
            }
        }
    }
}
