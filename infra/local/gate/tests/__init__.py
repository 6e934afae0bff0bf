"""Tests of the gate, without an emulator: `.local/venv/emulator/bin/python -m unittest discover -s
infra/local/gate/tests -t infra/local`."""
