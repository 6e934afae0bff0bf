"""The part of `make test`: all attacks at once, and their effect on the healthy tenant."""

from __future__ import annotations

import time

from stack import Stack

from adversary.doors import Door, doors
from adversary.healthy import Healthy, percentile
from adversary.hostile import Load
from adversary.loads import Blocker, Burner
from adversary.loops import Relay
from adversary.processes import give_way, processes

# How long the attacks are timed, and how long they run before that, in seconds. By then receivers hang and breakers are
# open.
PHASE = 40
BEFORE = 10

# The 99th percentile of the healthy tenant's deliveries, in seconds, must stay below this: far more than the emulator's
# own delays, and far less than a wait behind a hostile tenant, which took 35 s.
LONGEST = 5.0

# The share of its memory limit that a process may use.
MEMORY = 200 / 256


def check_adversaries(stack: Stack) -> list[str]:
    """Returns failures."""
    healthy = Healthy(stack)
    # The first changes start processes.
    healthy.latencies(healthy.change(5), 60)
    shards = fan_outs(stack)
    hostile = Neighbours(stack)
    relay = Relay(hostile.blocker.hostile)
    relay.start()
    taken = hostile.timed(healthy)
    tried = [*doors(hostile.blocker.hostile, hostile.blocker.receiver), *relay.doors()]
    hostile.stop()
    relay.close()
    healthy.receiver.close()
    report(tried, hostile)
    broken = [f"{door.name}: {door.answered} {door.detail}" for door in tried if not door.held]
    return broken + timing(healthy, taken) + memory(stack, shards)


class Neighbours:
    """Two tenants next to the healthy one, and their continuous loads."""

    def __init__(self, stack: Stack) -> None:
        self.burner, self.blocker = Burner(stack), Blocker(stack)
        self.burner.prepare()
        self.blocker.prepare()
        self.loads = [*self.burner.loads(), *self.blocker.loads()]
        self._gives_way = Load("processes off the way stand back", 1, lambda: give_way(stack))

    def timed(self, healthy: Healthy) -> list[float]:
        """Starts the loads; returns how long the healthy tenant's deliveries took with them."""
        for load in (*self.loads, self._gives_way):
            load.start()
        time.sleep(BEFORE)
        return healthy.latencies(healthy.change(PHASE), 120)

    def stop(self) -> None:
        """Stops the loads. Work that they started continues for a moment."""
        for load in (*self.loads, self._gives_way):
            load.stop()
        for receiver in (self.burner.receiver, self.blocker.receiver, self.blocker.slow):
            receiver.close()


def report(tried: list[Door], hostile: Neighbours) -> None:
    """Shows the attacks and their answers."""
    for door in tried:
        print(f"{'held ' if door.held else 'BROKE'} {door.answered} {door.name} {door.detail}")
    for load in hostile.loads:
        print(f"{load.strikes:5} × {load.name}" + (f", {dict(load.errors)}" if load.errors else ""))
    for tenant in (hostile.burner.hostile, hostile.blocker.hostile):
        answers = ", ".join(f"{what} {status} × {count}" for (what, status), count in sorted(tenant.answers.items()))
        print(f"{tenant.tenant}: {answers}")


def timing(healthy: Healthy, taken: list[float]) -> list[str]:
    """Shows how long the healthy tenant's deliveries took, and returns those that did not arrive.

    It compares them with nothing: here the emulator starts the processes that hanging receivers occupy, and serves the
    reads of dry runs, in one process and on the same cores. `make bench` measures the ratio to the healthy tenant
    alone, with the built functions and without the emulator (neighbours.rs)."""
    found = [f"the healthy tenant's item {item} did not arrive" for item in healthy.missing()]
    if taken:
        shown = ", ".join(f"p{percent} {percentile(taken, percent) * 1000:.0f} ms" for percent in (50, 90, 99))
        print(f"the healthy tenant with hostile neighbours: {len(taken)} deliveries, {shown}")
        slow = percentile(taken, 99)
        found += [f"the healthy tenant's p99 is {slow:.1f} s with hostile neighbours"] if slow > LONGEST else []
    return found


def fan_outs(stack: Stack) -> set[int]:
    """Returns the processes of fan-out. Each change keeps them busy, so a missing one was killed or crashed."""
    return {process.pid for process in processes(stack) if process.function == "FanoutFunction"}


def memory(stack: Stack, shards: set[int]) -> list[str]:
    """Shows the peak memory of each function. `shards` are the processes of fan-out before the attacks."""
    peaks: dict[str, tuple[float, float]] = {}
    for process in processes(stack):
        peaks[process.function] = max(peaks.get(process.function, (0.0, 0.0)), (process.peak, process.limit))
    for function, (peak, limit) in sorted(peaks.items()):
        print(f"{function:24} at most {peak:5.0f} of {limit:.0f} MiB")
    over = [
        f"{function} took {peak:.0f} of {limit:.0f} MiB"
        for function, (peak, limit) in peaks.items()
        if peak > limit * MEMORY
    ]
    # The emulator ends idle processes, but not all of them.
    gone = [] if shards & fan_outs(stack) else ["every process of fan-out has ended"]
    return over + gone if peaks and shards else ["no process of a function was found"]
