"""`python infra/local/gate`: the emulator behind the gate, on the port of GATEWAY_PORT."""

import os
import sys
from pathlib import Path

# Appended, so that no module of this project shadows a library.
sys.path.pop(0)
sys.path.append(str(Path(__file__).resolve().parents[1]))
# Gives each function credentials of its role, by which the gate identifies it.
os.environ["AUTH"] = "true"

from ministack import app as emulator

from gate import front, logs, moves
from gate.app import Gate

front.install()
moves.install()
logs.install()
emulator.app = Gate(emulator.app)
emulator.main()
