use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

use super::*;

type Requests = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

fn policy() -> TracePolicy {
    TracePolicy {
        sampling: "1".parse().unwrap(),
        endpoint: "https://collector.example/v1/traces".parse().unwrap(),
        signed: false,
        headers_secret_arn: None,
    }
}

/// Returns a tracer whose collector keeps requests and answers them in this way.
fn tracer(answer: impl Fn(usize) -> Sending + Send + Sync + 'static) -> (Tracer, Requests) {
    let requests = Requests::default();
    let kept = Arc::clone(&requests);
    let send = Box::new(move |body: Vec<u8>| {
        let mut kept = kept.lock().unwrap();
        kept.push(ExportTraceServiceRequest::decode(body.as_slice()).unwrap());
        answer(kept.len())
    });
    (Tracer::new(&policy(), "deliver", send), requests)
}

fn span() -> Span {
    let start = Timestamp::from_second(10).unwrap();
    Span {
        trace: TraceId::new(10, 7),
        id: SpanId::new(1),
        parent: Some(SpanId::new(2)),
        links: vec![(TraceId::new(9, 8), SpanId::new(3))],
        name: "POST".into(),
        kind: Kind::Client,
        start,
        // A clock that goes backwards.
        end: Timestamp::from_second(9).unwrap(),
        attributes: vec![
            Attribute::text(attribute::SERVER_ADDRESS, "receiver.example"),
            Attribute::number(attribute::HTTP_RESPONSE_STATUS_CODE, 503_u16),
        ],
        failed: true,
    }
}

fn accepts(_: usize) -> Sending {
    Box::pin(async { Ok(Vec::new()) })
}

#[tokio::test]
async fn an_export_has_the_spans_since_the_last_one_in_the_form_of_otlp() {
    let (tracer, requests) = tracer(accepts);
    tracer.export().await;
    tracer.record(span());
    tracer.record(span());
    tracer.export().await;
    tracer.export().await;
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 1, "nothing is sent without spans");
    let of_resource = &requests[0].resource_spans[0];
    let resource = &of_resource.resource.as_ref().unwrap().attributes;
    assert!(resource.contains(&Attribute::text("service.name", "deliver").0), "{resource:?}");
    let spans = &of_resource.scope_spans[0].spans;
    assert_eq!(spans.len(), 2);
    let Wire { trace_id, parent_span_id, links, status, kind, start_time_unix_nano, end_time_unix_nano, .. } =
        &spans[0];
    assert_eq!((trace_id.len(), parent_span_id.as_slice()), (16, &[0, 0, 0, 0, 0, 0, 0, 2][..]));
    assert_eq!((links[0].span_id.as_slice(), *kind), (&[0, 0, 0, 0, 0, 0, 0, 3][..], SpanKind::Client.into()));
    assert_eq!(status.as_ref().unwrap().code, i32::from(StatusCode::Error));
    assert_eq!((*start_time_unix_nano, *end_time_unix_nano), (10_000_000_000, 10_000_000_000), "no negative duration");
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_hangs_takes_little_time_and_then_none_for_a_while() {
    let (tracer, requests) =
        tracer(|number| if number == 1 { Box::pin(std::future::pending()) } else { accepts(number) });
    let started = Instant::now();
    tracer.record(span());
    tracer.export().await;
    assert_eq!(started.elapsed(), PATIENCE);
    for _ in 0..10 {
        tracer.record(span());
        tracer.export().await;
    }
    assert_eq!((started.elapsed(), requests.lock().unwrap().len()), (PATIENCE, 1), "no call during the pause");
    tokio::time::advance(PAUSE).await;
    tracer.record(span());
    tracer.export().await;
    assert_eq!(requests.lock().unwrap().len(), 2);
    assert_eq!(requests.lock().unwrap()[1].resource_spans[0].scope_spans[0].spans.len(), 1, "the others are dropped");
    assert_eq!(tracer.buffer.lock().unwrap().dropped, 0, "their number was logged");
}

#[test]
fn an_export_ends_before_the_invocation() {
    let now = Timestamp::from_second(100).unwrap();
    let left =
        |milliseconds: i64| patience(Some(now + jiff::SignedDuration::from_millis(milliseconds)), now).as_millis();
    assert_eq!([left(60_000), left(2_000), left(600), left(500), left(-1)], [2_000, 1_500, 100, 0, 0]);
    assert_eq!(patience(None, now), PATIENCE);
}

#[tokio::test]
async fn an_export_is_bounded() {
    let (tracer, requests) = tracer(accepts);
    (0..MOST + 5).for_each(|_| tracer.record(span()));
    assert_eq!(tracer.buffer.lock().unwrap().dropped, 5);
    tracer.export().await;
    let requests = requests.lock().unwrap();
    assert_eq!(requests[0].resource_spans[0].scope_spans[0].spans.len(), MOST);
    assert!(requests[0].encoded_len() < 1024 * MOST, "{} bytes", requests[0].encoded_len());
}

#[tokio::test]
async fn a_refused_export_is_dropped() {
    let (tracer, requests) = tracer(|_| Box::pin(async { Err("the collector answered 401".to_owned()) }));
    tracer.record(span());
    tracer.export().await;
    assert!(tracer.buffer.lock().unwrap().spans.is_empty());
    assert_eq!(requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_partial_success_is_a_success() {
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too old".to_owned() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let (tracer, _) = tracer(move |_| {
        let answer = answer.clone();
        Box::pin(async move { Ok(answer) })
    });
    tracer.record(span());
    tracer.export().await;
    assert!(tracer.buffer.lock().unwrap().paused_until.is_none());
}

#[test]
fn a_request_continues_its_trace_or_starts_one() {
    let (tracer, _) = tracer(accepts);
    let now = Timestamp::from_second(1_795_255_200).unwrap();
    let given: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00".parse().unwrap();
    let continued = tracer.context(Some(given), now);
    assert_eq!((continued.trace, continued.sampled), (given.trace, false), "the caller decides");
    assert_ne!(continued.span, given.span);
    let started = tracer.context(None, now);
    assert!(started.sampled);
    assert_ne!(started.trace, tracer.context(None, now).trace);
}
