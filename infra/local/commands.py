"""The commands, inside the tools' environment."""

from __future__ import annotations

import signal
import sys

import arm64
import bench
import book
import demo
import deploy
import failures
import fuzz
import latency
import lint
import package
import pictures
import pins
import recording
import recover
import shell
import size
import smoke
import source
import test
import upgrade
import vendor
from common import StackError
from sessions import stop_lost

COMMANDS = {
    "run": demo.run,
    "demo": demo.demo,
    "deploy": deploy.deploy,
    "recover": recover.recover,
    "change": demo.change,
    "token": shell.token,
    "logs": shell.logs,
    "source": source.source,
    "replay-failures": failures.replay_failures,
    "smoke": smoke.smoke,
    "test": test.test,
    "arm64": arm64.arm64,
    "faults": test.faults,
    "lint": lint.lint,
    "book": book.book,
    "recording": recording.recording,
    "pictures": pictures.pictures,
    "size": size.show_sizes,
    "package": package.package,
    "bench": bench.bench,
    "fuzz": fuzz.fuzz,
    "soak": bench.soak,
    "latency": latency.latency,
    "upgrade": upgrade.upgrade,
    "down": stop_lost,
    "requirements": pins.pin,
    "vendor": vendor.vendor,
}


def main() -> int:
    """Runs one command; a fault that a person can mend is one line."""
    # A terminated command cleans up as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return COMMANDS[sys.argv[1]]() or 0
    except StackError as error:
        print(f"dynahook: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndynahook: stopped")
        return 130


if __name__ == "__main__":
    sys.exit(main())
