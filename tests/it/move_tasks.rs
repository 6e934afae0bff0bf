//! SQS's message move tasks, by which an operator sends dead letters back: what works on AWS, and what does not.

use aws_sdk_sqs::error::ProvideErrorMetadata as _;
use aws_sdk_sqs::types::{ListMessageMoveTasksResultEntry, Message, QueueAttributeName};
use rstest::rstest;
use tests::{Answer, Receiver, Stack, eventually, unique};

use crate::crash::first_message;

/// A queue and its dead-letter queue, of a test's own.
struct Queues {
    stack: Stack,
    fifo: bool,
    source: String,
    letters: String,
}

impl Queues {
    async fn create(stack: &Stack, fifo: bool) -> Self {
        let letters = create(stack, fifo, None).await;
        let source = create(stack, fifo, Some(&arn(stack, &letters).await)).await;
        Self { stack: stack.clone(), fifo, source, letters }
    }

    async fn send(&self, queue: &str, body: &str) {
        let send = self.stack.sqs.send_message().queue_url(queue).message_body(body);
        let send = if self.fifo { send.message_group_id("g").message_deduplication_id(unique("d")) } else { send };
        send.send().await.unwrap();
    }

    /// Starts a task, and waits until it has ended.
    async fn moves(&self, destination: Option<&str>) -> ListMessageMoveTasksResultEntry {
        let from = arn(&self.stack, &self.letters).await;
        let start = self.stack.sqs.start_message_move_task().source_arn(&from);
        start.set_destination_arn(destination.map(ToOwned::to_owned)).send().await.unwrap();
        eventually("the end of the task", async || {
            let tasks = self.stack.sqs.list_message_move_tasks().source_arn(&from).send().await.unwrap();
            let latest = tasks.results.unwrap_or_default().into_iter().next()?;
            (latest.status() != Some("RUNNING")).then_some(latest)
        })
        .await
    }
}

/// Creates a queue whose messages are visible again at once, and go to the dead letters the second time.
async fn create(stack: &Stack, fifo: bool, letters: Option<&str>) -> String {
    let name = unique("moves") + if fifo { ".fifo" } else { "" };
    let mut create = stack.sqs.create_queue().queue_name(name).attributes(QueueAttributeName::VisibilityTimeout, "0");
    if fifo {
        create = create.attributes(QueueAttributeName::FifoQueue, "true");
    }
    if let Some(letters) = letters {
        let policy = format!(r#"{{"deadLetterTargetArn": "{letters}", "maxReceiveCount": 1}}"#);
        create = create.attributes(QueueAttributeName::RedrivePolicy, policy);
    }
    create.send().await.unwrap().queue_url.unwrap()
}

async fn arn(stack: &Stack, queue: &str) -> String {
    let name = QueueAttributeName::QueueArn;
    let answer = stack.sqs.get_queue_attributes().queue_url(queue).attribute_names(name.clone()).send().await.unwrap();
    answer.attributes.unwrap().remove(&name).unwrap()
}

async fn receive(stack: &Stack, queue: &str) -> Option<Message> {
    let answer = stack.sqs.receive_message().queue_url(queue).send().await.unwrap();
    answer.messages.unwrap_or_default().into_iter().next()
}

#[rstest]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_letter_that_was_sent_there_goes_to_a_named_queue_alone(#[values(false, true)] fifo: bool) {
    let stack = Stack::connect().await;
    let queues = Queues::create(&stack, fifo).await;
    queues.send(&queues.letters, "ours").await;
    let failed = queues.moves(None).await;
    assert_eq!(failed.status(), Some("FAILED"));
    assert_eq!(failed.failure_reason(), Some("CouldNotDetermineMessageSource"));
    assert_eq!(failed.approximate_number_of_messages_moved(), 0);

    let done = queues.moves(Some(&arn(&stack, &queues.source).await)).await;
    assert_eq!((done.status(), done.failure_reason()), (Some("COMPLETED"), None));
    assert_eq!(done.approximate_number_of_messages_moved(), 1);
    let message = receive(&stack, &queues.source).await.expect("the moved message");
    assert_eq!(message.body(), Some("ours"));
    assert!(receive(&stack, &queues.letters).await.is_none());
}

#[rstest]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_letter_of_a_redrive_policy_goes_back_by_itself(#[values(false, true)] fifo: bool) {
    let stack = Stack::connect().await;
    let queues = Queues::create(&stack, fifo).await;
    queues.send(&queues.source, "theirs").await;
    let first = receive(&stack, &queues.source).await.expect("the message");
    assert!(receive(&stack, &queues.source).await.is_none(), "the second time it is a dead letter");

    let done = queues.moves(None).await;
    assert_eq!((done.status(), done.approximate_number_of_messages_moved()), (Some("COMPLETED"), 1));
    let again = receive(&stack, &queues.source).await.expect("the moved message");
    assert_eq!(again.body(), Some("theirs"));
    assert_ne!(again.message_id(), first.message_id(), "what is moved is a new message");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn only_a_dead_letter_queue_is_a_source() {
    let stack = Stack::connect().await;
    let queues = Queues::create(&stack, false).await;
    let ordered = Queues::create(&stack, true).await;
    let (source, letters) = (arn(&stack, &queues.source).await, arn(&stack, &queues.letters).await);
    let start = async |from: &str, to: Option<&str>, rate: i32| {
        let start = stack.sqs.start_message_move_task().source_arn(from).max_number_of_messages_per_second(rate);
        let error = start.set_destination_arn(to.map(ToOwned::to_owned)).send().await.unwrap_err();
        error.meta().code().unwrap_or_default().to_owned()
    };
    assert_eq!(start(&source, Some(&letters), 1).await, "InvalidParameterValue");
    assert_eq!(start(&letters, Some(&letters), 1).await, "InvalidParameterValue");
    assert_eq!(start(&letters, Some(&source), 501).await, "InvalidParameterValue");
    assert_eq!(start(&letters, Some(&arn(&stack, &ordered.source).await), 1).await, "InvalidParameterValue");
    assert_eq!(start(&letters, Some(&format!("{source}-gone")), 1).await, "ResourceNotFoundException");
    assert_eq!(start(&format!("{letters}-gone"), None, 1).await, "ResourceNotFoundException");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn one_task_at_a_time_and_it_can_be_stopped() {
    let stack = Stack::connect().await;
    let queues = Queues::create(&stack, false).await;
    for _ in 0..3 {
        queues.send(&queues.letters, "ours").await;
    }
    let (letters, source) = (arn(&stack, &queues.letters).await, arn(&stack, &queues.source).await);
    let start = stack.sqs.start_message_move_task().source_arn(&letters).destination_arn(source);
    let start = start.max_number_of_messages_per_second(1);
    let task = start.clone().send().await.unwrap().task_handle.unwrap();
    assert_eq!(start.send().await.unwrap_err().meta().code(), Some("InvalidParameterValue"));
    let stopped = stack.sqs.cancel_message_move_task().task_handle(&task).send().await.unwrap();
    assert!(stopped.approximate_number_of_messages_moved() < 3);
    let again = stack.sqs.cancel_message_move_task().task_handle(&task).send().await.unwrap_err();
    assert_eq!(again.meta().code(), Some("InvalidParameterValue"));
    assert!(receive(&stack, &queues.letters).await.is_some(), "what was not moved stays");
}

/// The redrive of a delivery's message, from its letter to its receiver.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_moved_letter_is_delivered() {
    let stack = Stack::connect().await;
    let queues = Queues::create(&stack, false).await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|_| Answer::Status(204)).await;
    let webhook = tenant.webhook(&receiver.url, serde_json::json!({})).await;
    let message = first_message(&tenant.name, &webhook);
    queues.send(&queues.letters, &message.to_json()).await;
    let deliveries = arn(&stack, stack.output("DeliveriesQueueUrl")).await;
    assert_eq!(queues.moves(Some(&deliveries)).await.status(), Some("COMPLETED"));
    eventually("the request", async || (!receiver.received().is_empty()).then_some(())).await;
}

/// The runbook's redrives start from these queues, and AWS takes no queue as a source that is not the dead-letter queue of
/// another.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn the_dead_letter_queues_of_the_template_are_sources() {
    let stack = Stack::connect().await;
    for (letters, queue) in [
        ("DeadLetterQueueUrl", "DeliveriesQueueUrl"),
        ("OrderedDeadLetterQueueUrl", "OrderedQueueUrl"),
        ("ExhaustedQueueUrl", "ExhaustedSourceQueueUrl"),
    ] {
        let policy = QueueAttributeName::RedrivePolicy;
        let asked = stack.sqs.get_queue_attributes().queue_url(stack.output(queue)).attribute_names(policy.clone());
        let attributes = asked.send().await.unwrap().attributes.unwrap();
        let target = arn(&stack, stack.output(letters)).await;
        assert!(attributes[&policy].contains(&target), "{letters} is not the dead-letter queue of {queue}");
    }
}
