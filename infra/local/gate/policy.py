"""Whether the policies of a caller allow what a call needs.

The evaluation is the emulator's own evaluator, which follows AWS: an explicit deny wins, then an allow counts, else it
is denied. Where it would ignore what it does not know, this file refuses instead. tests/test_policy.py holds it against
AWS's documented examples.
"""

from __future__ import annotations

from ministack.core.iam_evaluator import EvalContext, ParsedStatement, evaluate, fnmatch_iam, fnmatch_iam_cs

from gate.callers import Caller
from gate.calls import KEYS, Need
from gate.cloud import ACCOUNT, REGION

# Condition operators whose meaning the tests cover.
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
    """Returns why a caller may not do it, or nothing if it may."""
    statements = [statement for policy in caller.policies for statement in policy]
    if unknown := unknowns([statement for statement in statements if concerns(statement, need)]):
        return (
            f"because the gate does not know what a policy of the role says of it: {', '.join(unknown)}; see policy.py"
        )
    context = EvalContext(
        principal_arn=caller.arn,
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=need.action,
        resource_arn=need.resource,
        region=REGION,
        # On AWS every call of a function is encrypted.
        secure_transport=True,
        # The emulator takes a request without tags for one that sets the key to an empty list.
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
            found |= {f"key {key}" for key in conditions if key.lower() not in KEYS}
            found |= {f"variable {value}" for value in conditions.values() if "${" in str(value)}
        found |= {
            f"variable {resource}" for resource in statement.resources + statement.not_resources if "${" in resource
        }
    return sorted(found)


def concerns(statement: ParsedStatement, need: Need) -> bool:
    """Whether a statement may be about a need, its conditions aside."""
    action = not statement.actions or any(fnmatch_iam(need.action, pattern) for pattern in statement.actions)
    patterns = statement.resources
    return action and (not patterns or any("${" in each or fnmatch_iam_cs(need.resource, each) for each in patterns))


def base(operator: str) -> str:
    """Returns a condition operator without what says how it treats sets and absent keys."""
    name = operator.lower()
    for prefix in SETS:
        name = name.removeprefix(prefix)
    return name.removesuffix("ifexists")
