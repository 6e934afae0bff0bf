"""What Schemathesis has to know to make values that are meant."""

import uuid

import schemathesis
from hypothesis import strategies

# A key that ends in the past is refused.
schemathesis.openapi.format(
    "date-time", strategies.integers(2100, 2999).map(lambda year: f"{year}-01-01T00:00:00Z")
)


@schemathesis.hook
def map_headers(context, headers):
    """An idempotency key belongs to one request, and what makes requests likes to use one value again and again."""
    if headers and 1 <= len(headers.get("Idempotency-Key", "")) <= 255:
        headers["Idempotency-Key"] = uuid.uuid4().hex
    return headers
