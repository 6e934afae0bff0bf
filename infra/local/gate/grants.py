"""Unused permissions of the functions' roles. After a whole `make test`, they can probably be removed."""

from __future__ import annotations

from dataclasses import dataclass, field

from ministack.core.iam_evaluator import fnmatch_iam, fnmatch_iam_cs

from gate import callers, cloud, services
from gate.callers import Caller
from gate.calls import Need

# An action and a resource, as a policy writes them.
Grant = tuple[str, str]

# Sessions in which tests run a function themselves.
TESTS = "tests-"


@dataclass
class Grants:
    """The permissions that were used since the emulator started."""

    # By function.
    used: set[tuple[str, Grant]] = field(default_factory=set)

    def use(self, caller: Caller, need: Need) -> None:
        """Records the permission that allowed a call."""
        name = caller.name.removeprefix(TESTS)
        self.used |= {(name, grant) for grant in grants(caller) if covers(grant, need)}

    def unused(self) -> list[str]:
        """Returns the unused permissions of functions' roles, one line each."""
        found = []
        for function in cloud.functions():
            if caller := callers.function(function):
                by_services = services.function_needs(function)
                left = [grant for grant in grants(caller) if not any(covers(grant, need) for need in by_services)]
                left = [grant for grant in left if (caller.name, grant) not in self.used]
                found += [f"{caller.name} {action} {resource}" for action, resource in left]
        return sorted(found)


def grants(caller: Caller) -> list[Grant]:
    """Returns the permissions of a role, each action on each resource."""
    allowed = [statement for policy in caller.policies for statement in policy if statement.effect == "Allow"]
    # The emulator keeps a statement that the template omits when a list parameter is empty; it then names no resource.
    return [
        (action, resource)
        for statement in allowed
        for action in statement.actions
        for resource in statement.resources
        if resource
    ]


def covers(grant: Grant, need: Need) -> bool:
    """Returns whether a grant covers a need, ignoring its conditions."""
    return fnmatch_iam(need.action, grant[0]) and fnmatch_iam_cs(need.resource, grant[1])
