"""Evaluates whether the policies of a caller allow what a call needs.

The emulator's own evaluator does the work, and follows AWS: an explicit deny wins, then an allow counts, otherwise the
call is denied. Where it would ignore something unknown, this file refuses. tests/test_policy.py tests AWS's documented
examples.
"""

from __future__ import annotations

from ministack.core.iam_evaluator import EvalContext, ParsedStatement, evaluate, fnmatch_iam, fnmatch_iam_cs

from gate.callers import Caller
from gate.calls import KEY_PREFIXES, KEYS, Need
from gate.cloud import ACCOUNT, REGION

# Condition operators that the tests cover.
OPERATORS = frozenset(
    {
        "stringequals",
        "stringnotequals",
        "stringlike",
        "stringnotlike",
        "arnequals",
        "arnlike",
        "bool",
        "null",
    }
)
SETS = ("forallvalues:", "foranyvalue:")


def denial(caller: Caller, need: Need) -> str | None:
    """Returns why a caller may not make a call, or nothing if it may."""
    statements = [statement for policy in caller.policies for statement in policy]
    if unknown := unknowns([statement for statement in statements if concerns(statement, need)]):
        return f"because the gate cannot evaluate parts of a policy of the role: {', '.join(unknown)}; see policy.py"
    context = EvalContext(
        principal_arn=caller.arn,
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=need.action,
        resource_arn=need.resource,
        region=REGION,
        # On AWS every call of a function uses TLS.
        secure_transport=True,
        # The emulator treats a request without tags like one that sets the key to an empty list.
        service_context={"aws:tagkeys": None, **need.keys},
    )
    result = evaluate(context, caller.policies, *caller.limits)
    if result.decision == "Allow":
        return None
    if result.decision == "Deny":
        return "with an explicit deny in an identity-based policy"
    return f"because no identity-based policy allows the {need.action} action"


def unknowns(statements: list[ParsedStatement]) -> list[str]:
    """Returns the operators, condition keys and variables of policies that the gate cannot evaluate."""
    found = set()
    for statement in statements:
        for operator, conditions in statement.conditions.items():
            if base(operator) not in OPERATORS:
                found.add(f"operator {operator}")
            found |= {f"key {key}" for key in conditions if not is_known(key.lower())}
            found |= {f"variable {value}" for value in conditions.values() if "${" in str(value)}
        found |= {
            f"variable {resource}" for resource in statement.resources + statement.not_resources if "${" in resource
        }
    return sorted(found)


def is_known(key: str) -> bool:
    """Returns whether the gate can evaluate a condition key."""
    return key in KEYS or key.startswith(KEY_PREFIXES)


def concerns(statement: ParsedStatement, need: Need) -> bool:
    """Returns whether a statement may apply to a need, ignoring its conditions."""
    action = not statement.actions or any(fnmatch_iam(need.action, pattern) for pattern in statement.actions)
    patterns = statement.resources
    return action and (not patterns or any("${" in each or fnmatch_iam_cs(need.resource, each) for each in patterns))


def base(operator: str) -> str:
    """Returns a condition operator without its qualifiers for sets and absent keys."""
    name = operator.lower()
    for prefix in SETS:
        name = name.removeprefix(prefix)
    return name.removesuffix("ifexists")
