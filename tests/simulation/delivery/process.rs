//! Processes: execution environments of deliver and sweep. A plan decides the faults of their calls, and whether they
//! die at one of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use domain::attempt::outcome::{Outcome, Verdict};
use domain::delivery::patience::{FIRST_PATIENCE, GRACE};
use domain::id::WebhookId;
use domain::time::Clock;
use domain::webhook::SecretsTable;
use domain::webhook::authorization::token::Token;
use jiff::{SignedDuration, Timestamp};
use outbound::{Client, Request, Script, TokenError};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tests::cloud::environment::variable;
use tests::cloud::recursion::{DELIVER, invoked};
use tests::cloud::{Cloud, Fault, FaultScript, Faults, Letter, Line, sqs_event};

use super::model::{Model, Mood};

/// The timeout of an invocation, as in the template.
const TIMEOUT: Duration = Duration::from_mins(1);

pub(super) type Shared<T> = Arc<Mutex<T>>;

/// Tokio's clock, which is paused while anything happens, plus the time by which it was advanced.
pub(super) struct Time {
    started: tokio::time::Instant,
    moved: AtomicI64,
}

impl Time {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { started: tokio::time::Instant::now(), moved: AtomicI64::new(1_795_244_140_000) })
    }

    pub(super) fn jump(&self, by: SignedDuration) {
        self.moved.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for Time {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.moved.load(Ordering::Relaxed)).unwrap() + self.started.elapsed()
    }
}

/// The clock of one machine, which deviates slightly.
struct Skewed(Arc<Time>, SignedDuration);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        self.0.now() + self.1
    }
}

/// What happens to an invocation.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Whether calls fail now and then.
    pub(super) flaky: bool,
    /// Whether each index that is queried repeats its items.
    pub(super) repeats: bool,
    /// The call at which the process dies, and how.
    pub(super) dies: Option<(usize, Fault)>,
    /// Whether the process dies when its next request arrives.
    pub(super) dies_at_request: bool,
    /// The number of calls so far.
    pub(super) calls: usize,
    /// The faults that were met.
    pub(super) met: BTreeMap<&'static str, usize>,
}

/// The part of AWS of which every call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outage {
    Secrets,
    Tables,
}

impl Outage {
    fn hits(self, operation: &str) -> bool {
        let is_of_secrets = ["GetSecretValue", "Decrypt"].contains(&operation);
        let is_of_queues = ["SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch"].contains(&operation);
        match self {
            Self::Secrets => is_of_secrets,
            Self::Tables => !is_of_secrets && !is_of_queues,
        }
    }
}

/// What all processes have in common.
#[derive(Clone)]
pub(super) struct Fixture {
    pub(super) random: Shared<StdRng>,
    pub(super) time: Arc<Time>,
    pub(super) cloud: Arc<Cloud>,
    pub(super) model: Shared<Model>,
    pub(super) outage: Shared<Option<Outage>>,
    /// Where the webhooks' secrets are, if not in Secrets Manager.
    pub(super) secrets_table: Option<SecretsTable>,
    /// Created once, because it reads the system's certificates.
    pub(super) client: Client,
}

pub(super) struct Process<A> {
    pub(super) app: A,
    pub(super) plan: Shared<Plan>,
    clock: Arc<Skewed>,
    line: Line,
}

fn fault_script(plan: &Shared<Plan>, fixture: &Fixture) -> FaultScript {
    let (plan, random, outage) = (Arc::clone(plan), Arc::clone(&fixture.random), Arc::clone(&fixture.outage));
    Arc::new(move |operation, _| {
        let (mut plan, mut random) = (plan.lock().unwrap(), random.lock().unwrap());
        plan.calls += 1;
        let delay = Duration::from_millis(random.random_range(0..15));
        let fault = match plan.dies {
            Some((call, fault)) if call == plan.calls => Some(fault),
            _ if outage.lock().unwrap().is_some_and(|outage| outage.hits(operation)) => {
                Some(*[Fault::Throttle, Fault::HangBefore].choose(&mut *random).unwrap())
            }
            _ if plan.repeats && operation == "Query" => Some(Fault::Repeat),
            _ if plan.flaky && random.random_ratio(1, 4) => {
                let faults =
                    [Fault::Throttle, Fault::LoseAnswer, Fault::RefuseSome, Fault::HangBefore, Fault::HangAfter];
                let faults = if operation == "Query" { &[Fault::Stale, Fault::Repeat][..] } else { &faults[..] };
                let fault = *faults.choose(&mut *random).unwrap();
                Some(fault)
            }
            _ => None,
        };
        if let Some(fault) = fault {
            *plan.met.entry(name(fault)).or_default() += 1;
        }
        Faults { delay, fault }
    })
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::Throttle => "throttled",
        Fault::Conflict => "met a transaction",
        Fault::LoseAnswer => "lost an answer",
        Fault::RefuseSome => "refused some",
        Fault::HangBefore => "hung before",
        Fault::HangAfter => "hung after",
        Fault::DieBefore => "died before a call",
        Fault::DieAfter => "died after a call",
        Fault::Stale => "lagged",
        Fault::Repeat => "repeated items",
    }
}

async fn connect(fixture: &Fixture) -> (Shared<Plan>, Arc<Skewed>, Line, aws::Aws) {
    let plan = Shared::<Plan>::default();
    let skew = fixture.random.lock().unwrap().random_range(-1500..1500);
    let clock = Arc::new(Skewed(Arc::clone(&fixture.time), SignedDuration::from_millis(skew)));
    let line = fixture.cloud.line(fault_script(&plan, fixture));
    let aws = line.aws().await;
    (plan, clock, line, aws)
}

/// A clock that the process shares with its app.
struct Of(Arc<Skewed>);

impl Clock for Of {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl<A> Process<A> {
    fn deadline(&self) -> SystemTime {
        (self.clock.now() + TIMEOUT).into()
    }

    /// Sets the plan of the next invocation.
    pub(super) fn plan(&self, plan: Plan) {
        *self.plan.lock().unwrap() = plan;
    }

    /// Runs an invocation; `None` if it died.
    async fn run<T>(&self, invocation: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = invocation => Some(done),
            () = self.line.dies.notified() => None,
            () = tokio::time::sleep(TIMEOUT) => None,
        }
    }
}

impl Process<deliver::App> {
    pub(super) async fn start(fixture: &Fixture) -> Self {
        let (plan, clock, line, aws) = connect(fixture).await;
        let config = deliver::Config {
            secrets_table: fixture.secrets_table.clone(),
            delivered_retention_days: 15,
            ..deliver::Config::from_lookup(variable).unwrap()
        };
        let random = Arc::clone(&fixture.random);
        let draw = Box::new(move || random.lock().unwrap().random());
        let receivers = fixture.client.clone().scripted(script(fixture, &plan, &line));
        let app = deliver::App::new(config, &aws, receivers, Box::new(Of(Arc::clone(&clock))), draw);
        Self { app, plan, clock, line }
    }

    /// Passes a batch to deliver; returns the ids of the messages that it returns to the queue, or `None` if it died.
    pub(super) async fn deliver(&self, letters: &[Letter]) -> Option<Vec<u64>> {
        self.line.invoked_with(Some(invoked(DELIVER, letters)));
        let event = serde_json::from_value(sqs_event(letters)).unwrap();
        let response = self.run(deliver::handle(&self.app, event, self.deadline())).await?;
        Some(tests::cloud::handed_back(&serde_json::to_value(response).unwrap()))
    }
}

impl Process<sweep::App> {
    pub(super) async fn start(fixture: &Fixture) -> Self {
        let (plan, clock, line, aws) = connect(fixture).await;
        let config = sweep::Config::from_lookup(variable).unwrap();
        let app = sweep::App::new(config, &aws, Box::new(Of(Arc::clone(&clock))));
        Self { app, plan, clock, line }
    }

    /// Runs the sweep once; `None` if it died or failed.
    pub(super) async fn sweep(&self) -> Option<sweep::Ran> {
        self.run(sweep::run(&self.app, self.deadline())).await?.ok()
    }
}

/// Returns the receivers of all webhooks for a process. A webhook's URL ends with its id.
fn script(fixture: &Fixture, plan: &Shared<Plan>, line: &Line) -> Script {
    let (fixture, plan, line) = (fixture.clone(), Arc::clone(plan), line.clone());
    Script::new(move |request| receive(fixture.clone(), Arc::clone(&plan), line.clone(), request))
        .with_token_servers(token)
}

/// Acts as an authorization server. Its URL ends with the seconds after which it answers.
async fn token(url: String) -> Result<Token, TokenError> {
    let (_, seconds) = url.rsplit_once('/').unwrap();
    tokio::time::sleep(Duration::from_secs(seconds.parse().unwrap())).await;
    Ok(Token { text: "token".to_owned().into(), lifetime: Duration::from_mins(5) })
}

/// A current request, until it has ended or its process has died.
struct UnderWay(Shared<Model>, WebhookId);

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Ok(mut model) = self.0.lock() {
            model.hooks.get_mut(&self.1).unwrap().under_way -= 1;
        }
    }
}

/// A request whose response no one has read yet. A process that ends it after this time may have left it.
struct Unanswered {
    model: Shared<Model>,
    webhook: WebhookId,
    event: String,
    since: tokio::time::Instant,
    is_answered: bool,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if !self.is_answered
            && self.since.elapsed() >= FIRST_PATIENCE + GRACE
            && let Ok(mut model) = self.model.lock()
        {
            model.left(self.webhook, &self.event);
        }
    }
}

async fn receive(fixture: Fixture, plan: Shared<Plan>, line: Line, request: Request) -> Outcome {
    let (_, id) = request.url.rsplit_once('/').unwrap();
    let webhook: WebhookId = id.parse().unwrap();
    let (counts, mood, wait, luck) = {
        let (mut model, mut random) = (fixture.model.lock().unwrap(), fixture.random.lock().unwrap());
        let counts = model.arrived(webhook, &request, fixture.time.now());
        (counts, model.hooks[&webhook].mood, random.random_range(1..200), random.random_bool(0.5))
    };
    let _under_way = counts.then(|| UnderWay(Arc::clone(&fixture.model), webhook));
    let header = request.headers.iter().find(|(name, _)| name == "webhook-id");
    let event = header.map(|(_, value)| value.clone()).unwrap();
    let (model, since) = (Arc::clone(&fixture.model), tokio::time::Instant::now());
    let mut unanswered = Unanswered { model, webhook, event: event.clone(), since, is_answered: false };
    let took = || fixture.model.lock().unwrap().took(webhook, &event);
    let accepts = matches!(mood, Mood::Up | Mood::Late(_)) || (mood == Mood::Flapping && luck);
    if accepts && luck {
        took();
    }
    if std::mem::take(&mut plan.lock().unwrap().dies_at_request) {
        *plan.lock().unwrap().met.entry("died at a request").or_default() += 1;
        return line.die().await;
    }
    if mood == Mood::Killing {
        return line.die().await;
    }
    let wait = if let Mood::Late(milliseconds) = mood { milliseconds } else { wait };
    let wait = Duration::from_millis(wait).min(request.timeout);
    tokio::time::sleep(wait).await;
    unanswered.is_answered = mood != Mood::Slow;
    let answered =
        |verdict, status| Outcome { status: Some(status), ..Outcome::unanswered(verdict, "as the test demands") };
    let duration_ms = u32::try_from(since.elapsed().as_millis()).unwrap();
    match mood {
        _ if accepts => {
            took();
            Outcome { error: None, duration_ms, ..answered(Verdict::Accepted, 204) }
        }
        Mood::Up | Mood::Late(_) | Mood::Failing | Mood::Flapping => answered(Verdict::ServerFailed, 500),
        Mood::Refusing => answered(Verdict::Refused, 403),
        Mood::Throttling => answered(Verdict::Throttled, 429),
        Mood::Unavailable => answered(Verdict::Unavailable, 503),
        Mood::Gone => {
            fixture.model.lock().unwrap().hooks.get_mut(&webhook).unwrap().gone = true;
            answered(Verdict::Gone, 410)
        }
        Mood::Unreachable => Outcome::unanswered(Verdict::ConnectFailed, "nothing listens"),
        Mood::Slow | Mood::Killing => {
            tokio::time::sleep(request.timeout.saturating_sub(wait)).await;
            unanswered.is_answered = true;
            Outcome::unanswered(Verdict::TimedOut, "no complete answer within the timeout")
        }
    }
}
