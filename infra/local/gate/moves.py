"""SQS's message move tasks (the redrive of dead letters), which the emulator lacks.

A task takes messages from a dead-letter queue, oldest first, either to one destination or each back to the queue that
SQS's redrive policy took it from. A message that was sent to the dead-letter queue directly has no source queue:
without a destination the task ends there, FAILED with CouldNotDetermineMessageSource. A moved message is a new message.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, field

from ministack.services import sqs

# The rate of a task that names none. AWS chooses it, up to 500.
RATE = 500
SAME = "Source queue arn and destination queue arn cannot be the same."
NO_DLQ = "Source queue must be configured as a Dead Letter Queue."
ACTIVE = "There is already a task running. Only one active task is allowed for a source queue arn at a given time."
OTHER_TYPE = "Source queue and destination queue must both be standard queues or both be FIFO queues."


@dataclass
class Task:
    """A move task."""

    source: str
    destination: str | None
    rate: int | None
    to_move: int
    handle: str = field(default_factory=lambda: base64.b64encode(uuid.uuid4().bytes).decode())
    started: int = field(default_factory=lambda: int(time.time() * 1000))
    status: str = "RUNNING"
    moved: int = 0
    reason: str | None = None
    # Kept, because nothing else references a running asyncio task.
    work: asyncio.Task | None = None

    def entry(self) -> dict:
        """Returns the task in the form of ListMessageMoveTasks."""
        shown = {
            "TaskHandle": self.handle if self.status == "RUNNING" else None,
            "Status": self.status,
            "SourceArn": self.source,
            "DestinationArn": self.destination,
            "MaxNumberOfMessagesPerSecond": self.rate,
            "ApproximateNumberOfMessagesMoved": self.moved,
            "ApproximateNumberOfMessagesToMove": self.to_move,
            "FailureReason": self.reason,
            "StartedTimestamp": self.started,
        }
        return {name: value for name, value in shown.items() if value is not None}


# By the ARN of the source, the latest last.
TASKS: dict[str, list[Task]] = defaultdict(list)


def install() -> None:
    """Adds the three operations to the emulator's SQS."""
    sqs._HANDLERS.update(StartMessageMoveTask=start, ListMessageMoveTasks=list_tasks, CancelMessageMoveTask=cancel)


def start(data: dict, _url: str) -> dict:
    """StartMessageMoveTask."""
    source, destination, rate = (
        data.get("SourceArn", ""),
        data.get("DestinationArn"),
        data.get("MaxNumberOfMessagesPerSecond"),
    )
    queue = existing(source, "SourceArn")
    if not any(target(other) == source for _, other in sqs._queues.all_items()):
        raise invalid(NO_DLQ)
    if destination is not None:
        if destination == source:
            raise invalid(SAME)
        if existing(destination, "DestinationArn")["is_fifo"] != queue["is_fifo"]:
            raise invalid(OTHER_TYPE)
    if rate is not None and not 1 <= rate <= RATE:
        raise invalid(
            f"Value {rate} for parameter MaxNumberOfMessagesPerSecond is invalid. Reason: Must be between 1 and {RATE}."
        )
    if any(task.status == "RUNNING" for task in TASKS[source]):
        raise invalid(ACTIVE)
    task = Task(source, destination, rate, len(visible(queue)))
    TASKS[source].append(task)
    task.work = asyncio.get_running_loop().create_task(run(task))
    return {"TaskHandle": task.handle}


def list_tasks(data: dict, _url: str) -> dict:
    """ListMessageMoveTasks."""
    source = data.get("SourceArn", "")
    existing(source, "SourceArn")
    latest = TASKS[source][::-1][: data.get("MaxResults") or 1]
    return {"Results": [task.entry() for task in latest]}


def cancel(data: dict, _url: str) -> dict:
    """CancelMessageMoveTask."""
    task = next((task for tasks in TASKS.values() for task in tasks if task.handle == data.get("TaskHandle")), None)
    if task is None:
        raise sqs._Err("ResourceNotFoundException", "Task does not exist.")
    if task.status != "RUNNING":
        raise invalid("Only active tasks can be cancelled.")
    task.status = "CANCELLED"
    return {"ApproximateNumberOfMessagesMoved": task.moved}


async def run(task: Task) -> None:
    """Moves messages until the queue is empty, a message has no destination, or the task is cancelled."""
    pause = 1 / (task.rate or RATE)
    # A client that lists tasks immediately sees it running, as on AWS.
    await asyncio.sleep(0.2)
    while task.status == "RUNNING":
        try:
            left = move(task)
        except sqs._Err as error:
            task.status, task.reason = "FAILED", error.code
            return
        if not left:
            task.status = "COMPLETED"
        await asyncio.sleep(pause)


def move(task: Task) -> bool:
    """Moves the oldest message that is visible; returns whether there was one."""
    # Lambda's poller runs in another thread.
    with sqs._queues_lock:
        queue = existing(task.source, "SourceArn")
        messages = visible(queue)
        if not messages:
            return False
        message = messages[0]
        destination = task.destination or message["sys"].get("DeadLetterQueueSourceArn")
        if destination is None:
            raise sqs._Err("CouldNotDetermineMessageSource", "")
        sent = sqs._queue_by_arn(destination)
        if sent is None:
            raise sqs._Err("AWS.SimpleQueueService.NonExistentQueue", "")
        sqs._act_send_message(copy(message, sent), sent["url"])
        queue["messages"].remove(message)
        task.moved += 1
        return True


def copy(message: dict, destination: dict) -> dict:
    """Returns the request that sends a message again."""
    request = {
        "MessageBody": message["body"],
        "MessageAttributes": message["message_attributes"],
        "QueueUrl": destination["url"],
    }
    if message["group_id"]:
        request["MessageGroupId"] = message["group_id"]
    if destination["is_fifo"]:
        # A redrive policy replaces the deduplication id, so that the queue does not drop the letter as a duplicate.
        redriven = "DeadLetterQueueSourceArn" in message["sys"]
        request["MessageDeduplicationId"] = message["id"] if redriven else message["dedup_id"]
    return request


def visible(queue: dict) -> list[dict]:
    """Returns the visible messages, oldest first."""
    for message in queue["messages"]:
        sqs._ensure_msg_fields(message)
    now = time.time()
    return [message for message in queue["messages"] if message["visible_at"] <= now]


def target(queue: dict) -> str | None:
    """Returns the ARN of a queue's dead-letter queue."""
    policy = queue["attributes"].get("RedrivePolicy")
    return json.loads(policy).get("deadLetterTargetArn") if policy else None


def existing(arn: str, parameter: str) -> dict:
    """Returns the queue of an ARN."""
    queue = sqs._queue_by_arn(arn)
    if queue is None:
        message = f"The resource that you specified for the {parameter} parameter doesn't exist."
        raise sqs._Err("ResourceNotFoundException", message)
    return queue


def invalid(message: str) -> sqs._Err:
    """Returns SQS's error about a parameter."""
    return sqs._Err("InvalidParameterValue", message)
