"""A client made by openapi-python-client: creates a webhook with a filter, publishes an event, and reads an error."""

import os

from dynahook import AuthenticatedClient
from dynahook.api.events import events_publish
from dynahook.api.webhooks import webhooks_create
from dynahook.models import (
    NewEvent,
    NewEventData,
    NewWebhook,
    NewWebhookFilterType0,
    PayloadFormat,
    Problem,
    Published,
    WebhookWithSecret,
)

client = AuthenticatedClient(base_url=os.environ["API"], token=os.environ["TOKEN"])

webhook = webhooks_create.sync(
    client=client,
    body=NewWebhook(
        url="https://example.com/webhooks",
        event_types=["order.created"],
        payload_format=PayloadFormat.STANDARD,
        filter_=NewWebhookFilterType0.from_dict({"value": {"total": [{"numeric": [">", 100]}]}}),
    ),
)
assert isinstance(webhook, WebhookWithSecret), webhook
print(webhook.id, webhook.payload_format)

data = NewEventData.from_dict({"total": 250})
published = events_publish.sync(client=client, body=NewEvent(event_type="order.created", data=data))
assert isinstance(published, Published), published
print(published.event_type)

problem = webhooks_create.sync(client=client, body=NewWebhook(url="nowhere"))
assert isinstance(problem, Problem), problem
assert problem.errors
print(problem.status, problem.type_, problem.errors[0].pointer)
