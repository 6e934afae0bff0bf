"""Keeps numbers exact: where a number of a user goes, neither `serde_json::Value` nor `f64` may cut its digits."""

from __future__ import annotations

import re
from pathlib import Path

# Where values of events, filters and settings go.
FOLDERS = (
    "shared/domain/src/event",
    "shared/domain/src/matching",
    "shared/domain/src/payload",
    "shared/domain/src/source",
    "shared/domain/src/value",
    "shared/domain/src/webhook/tags.rs",
    "functions/api/src/registration",
    "functions/api/src/sample.rs",
)

# Files that may use them, with the reason.
ALLOWED = {
    "shared/domain/src/event/catalog.rs": "JSON Schemas",
    "shared/domain/src/event/trace.rs": "the part of the traces that the operator has exported",
    "shared/domain/src/matching/filter/sieve.rs": "rounding never reverses an order, and candidates are compared again",
    "shared/domain/src/payload/chat.rs": "the fixed parts of a card",
    "shared/domain/src/payload/template/environment.rs": "templates compute with the numbers of their engine",
    "shared/domain/src/payload/template/shown.rs": "what its engine cannot hold exactly is shown digit by digit",
    "shared/domain/src/source/record/wire.rs": "the time of a change is a number of Lambda's",
    "functions/api/src/registration/authorization.rs": "no field of an authorization is a number of a user",
    "functions/api/src/registration/field_names.rs": "names the methods of a deserializer",
    "functions/api/src/registration/schemas.rs": "the contract",
}

INEXACT = re.compile(
    r"\bserde_json::(?:Value|Map|Number|to_value|from_value|\{[^}]*\b(?:Value|Map|Number)\b)|\bf64\b|\bas_f64\b"
)

TESTS = re.compile(r"#\[cfg\(test\)\]\n(?:pub\(\w+\) )?mod tests \{")


def faults(root: Path) -> list[str]:
    """Returns the lines at fault. Tests write JSON as they like."""
    found = []
    for folder in FOLDERS:
        at = root / folder
        for file in sorted(at.rglob("*.rs")) if at.is_dir() else [at]:
            name = str(file.relative_to(root))
            if name in ALLOWED or "tests" in file.parts or file.name == "tests.rs":
                continue
            for number, line in enumerate(TESTS.split(file.read_text())[0].splitlines(), 1):
                code = line.split("//")[0]
                # Rounding for the sieve is the one place that makes a float.
                if INEXACT.search(code) and "fn rounded(" not in code:
                    found.append(f"{name}:{number}: {line.strip()}: use domain::value, which keeps every digit")
    return found
