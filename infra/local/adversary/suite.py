"""The part of `make test`: all attacks at once, and what the healthy tenant notices of them."""

from __future__ import annotations

import time

from adversary.doors import doors
from adversary.healthy import Healthy, percentile
from adversary.hostile import Load
from adversary.loads import Blocker, Burner
from adversary.loops import Relay
from adversary.processes import processes
from stack import Stack, step

# How long each phase is timed, in seconds.
PHASE = 60

# How much slower the healthy tenant's deliveries may be than alone.
RATIO = 1.5

# How much of its memory a process may use.
MEMORY = 200 / 256


def check_adversaries(stack: Stack) -> list[str]:
    """Returns what broke."""
    healthy, burner, blocker = Healthy(stack), Burner(stack), Blocker(stack)
    # The first ones start processes.
    healthy.latencies(healthy.change(5), 60)
    step("the healthy tenant alone")
    alone = healthy.latencies(healthy.change(PHASE), 60)
    step("two hostile tenants register what they may")
    burner.prepare()
    blocker.prepare()
    step("all attacks at once")
    relay = Relay(blocker.hostile)
    loads = [*burner.loads(), *blocker.loads()]
    for load in loads:
        load.start()
    relay.start()
    # Time for whatever hangs to hang, and for a breaker to notice.
    time.sleep(10)
    items = healthy.change(PHASE)
    attacked = healthy.latencies(items, 120)
    tried = [*doors(blocker.hostile, blocker.receiver), *relay.doors()]
    for load in loads:
        load.stop()
    found = [f"{door.name}: {door.answered} {door.detail}" for door in tried if not door.held]
    report(tried, loads, [burner, blocker])
    found += timing(alone, attacked, len(items)) + memory(stack)
    for receiver in (healthy.receiver, burner.receiver, blocker.receiver, blocker.slow):
        receiver.close()
    relay.close()
    return found


def timing(alone: list[float], attacked: list[float], sent: int) -> list[str]:
    """Compares how long the healthy tenant's deliveries took."""
    for name, taken in (("alone", alone), ("with two hostile tenants", attacked)):
        shown = ", ".join(f"p{percent} {percentile(taken, percent) * 1000:.0f} ms" for percent in (50, 90, 99) if taken)
        print(f"the healthy tenant {name}: {len(taken)} deliveries, {shown}")
    found = [f"{sent - len(attacked)} of the healthy tenant's deliveries did not arrive"] if len(attacked) < sent else []
    if alone and attacked:
        ratio = percentile(attacked, 99) / percentile(alone, 99)
        print(f"p99 is {ratio:.2f}× of alone, and may be {RATIO}×")
        found += [f"the healthy tenant's p99 is {ratio:.2f}× of what it is alone"] if ratio > RATIO else []
    return found


def memory(stack: Stack) -> list[str]:
    """Shows the most memory that a process of each function has had."""
    peaks: dict[str, tuple[float, float]] = {}
    for process in processes(stack):
        peaks[process.function] = max(peaks.get(process.function, (0.0, 0.0)), (process.peak, process.limit))
    for function, (peak, limit) in sorted(peaks.items()):
        print(f"{function:24} at most {peak:5.0f} of {limit:.0f} MiB")
    over = [f"{function} took {peak:.0f} of {limit:.0f} MiB" for function, (peak, limit) in peaks.items() if peak > limit * MEMORY]
    return over if peaks else ["no process of a function was found"]


def report(tried: list, loads: list[Load], tenants: list) -> None:
    """Shows what was tried, and what it was answered."""
    for door in tried:
        print(f"{'held ' if door.held else 'BROKE'} {door.answered} {door.name} {door.detail}")
    for load in loads:
        print(f"{load.strikes:5} × {load.name}" + (f", {dict(load.errors)}" if load.errors else ""))
    for tenant in tenants:
        print(f"{tenant.hostile.tenant}: " + ", ".join(f"{what} {status} × {count}" for (what, status), count in sorted(tenant.hostile.answers.items())))
