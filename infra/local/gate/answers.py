"""AWS's refusals, service by service, in the form that SDKs expect."""

from __future__ import annotations

import json
import uuid
from xml.sax.saxutils import escape

from gate.calls import Call

# Status, content type and the name of the error.
DENIED = {
    "dynamodb": (400, "application/x-amz-json-1.0", "com.amazon.coral.service#AccessDeniedException"),
    "secretsmanager": (400, "application/x-amz-json-1.1", "AccessDeniedException"),
    "kms": (400, "application/x-amz-json-1.1", "AccessDeniedException"),
    "sqs": (403, "application/x-amz-json-1.0", "com.amazonaws.sqs#AccessDeniedException"),
}
THROTTLED = {
    "dynamodb": (
        400,
        "application/x-amz-json-1.0",
        "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
    ),
    "secretsmanager": (400, "application/x-amz-json-1.1", "ThrottlingException"),
    "sqs": (400, "application/x-amz-json-1.0", "com.amazonaws.sqs#RequestThrottled"),
}

Answer = tuple[int, dict[str, str], bytes]


def denied(call: Call, message: str) -> Answer:
    """Returns the answer to a call that the role does not allow."""
    if call.service == "s3":
        return xml("AccessDenied", message, 403)
    if call.service == "cloudformation":
        return xml("AccessDenied", message, 403, "<ErrorResponse>{}</ErrorResponse>")
    status, kind, error = DENIED.get(call.service, (403, "application/x-amz-json-1.1", "AccessDeniedException"))
    return answer(status, kind, error, message, "AccessDenied")


def throttled(call: Call) -> Answer:
    """Returns the answer to a throttled call."""
    if call.service == "s3":
        return xml("SlowDown", "Please reduce your request rate.", 503)
    status, kind, error = THROTTLED.get(call.service, (400, "application/x-amz-json-1.1", "ThrottlingException"))
    return answer(status, kind, error, "Rate exceeded; a test asked for it.", "RequestThrottled")


def answer(status: int, kind: str, error: str, message: str, legacy: str) -> Answer:
    """Returns an error of a JSON protocol."""
    headers = {"content-type": kind, "x-amzn-requestid": str(uuid.uuid4())}
    if "sqs" in error:
        # SDKs report the name that the error had before SQS supported JSON.
        headers["x-amzn-query-error"] = f"{legacy};Sender"
    return status, headers, json.dumps({"__type": error, "message": message, "Message": message}).encode()


def xml(error: str, message: str, status: int, envelope: str = "<?xml version='1.0'?>{}") -> Answer:
    """Returns an error of S3, or of a query protocol with its envelope."""
    body = f"<Error><Code>{error}</Code><Message>{escape(message)}</Message></Error>"
    return status, {"content-type": "application/xml"}, envelope.format(body).encode()
