"""Tests of what `.ci/run` shows its checks of the machine: settings and toolchains, but no caches."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import commands
import main
from common import ROOT
from samcli.yamlhelper import yaml_parse

# Replaces `make`: reports what it sees, and uses the caches as the tools do.
MAKE = """#!/bin/sh
{
  echo "target $1"
  env
  echo "config $(cat "$CARGO_HOME/config.toml" "$HOME/.npmrc" "$HOME/.config/pip/pip.conf" | tr '\\n' ' ')"
  echo "cargo $(command -v cargo) $(command -v rustc)"
  echo "tool $(command -v cargo-lambda)"
  echo "registry $(ls "$CARGO_HOME/registry" 2>/dev/null)"
} >> "$SEEN"
mkdir -p "$CARGO_HOME/registry" "$HOME/.cache/zig" "$PIP_CACHE_DIR" "$npm_config_cache"
[ "$1" != "$FAILING" ]
"""


class Commands(unittest.TestCase):
    """What the Makefile, main.py and commands.py know."""

    def test_each_target_is_a_command_and_has_a_line_of_help(self) -> None:
        text = (ROOT / "Makefile").read_text()
        started = set(re.findall(r"^\t@.*\$\(LOCAL\) ([a-z0-9-]+)$", text, re.MULTILINE))
        self.assertEqual(started, set(main.ENVIRONMENTS))
        self.assertEqual(started, set(commands.COMMANDS))
        targets = set(re.findall(r"^([a-z0-9-]+):", text, re.MULTILINE))
        self.assertEqual(targets, set(re.findall(r"^([a-z0-9-]+):.*## \S", text, re.MULTILINE)))
        (phony,) = re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)
        self.assertEqual(targets, set(phony.split()))

    def test_the_hosted_run_is_the_same(self) -> None:
        steps = yaml_parse((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["everything"]["steps"]
        self.assertIn(".ci/run", [step.get("run") for step in steps])


class CleanRun(unittest.TestCase):
    """`.ci/run` in its own clone, with a home that has everything."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.clone, self.home, self.seen = self.folder / "clone", self.folder / "home", self.folder / "seen"
        (self.clone / ".ci").mkdir(parents=True)
        shutil.copy(ROOT / ".ci" / "run", self.clone / ".ci")
        self.file("home/.cargo/config.toml", "[net]\nretry = 7\n")
        self.file("home/.cargo/registry/index/known", "")
        self.file("home/.npmrc", "fund=false\n")
        self.file("home/.config/pip/pip.conf", "[global]\ntimeout = 7\n")
        self.file("home/.cache/pip/http/known", "")
        for program in ("cargo", "cargo-lambda", "rustup"):
            self.file(f"home/.cargo/bin/{program}", "#!/bin/sh\n", 0o755)
        self.file("bin/make", MAKE, 0o755)
        # Whether it is called depends on the machine.
        self.file("bin/apt-get", "#!/bin/sh\n", 0o755)

    def file(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def run_ci(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the script as a developer does."""
        bins = f"{self.home}/.cargo/bin:{self.home}/.cargo/bin:{self.folder}/bin:/usr/local/bin:/usr/bin:/bin"
        given = {"HOME": str(self.home), "PATH": bins, "SEEN": str(self.seen), "FAILING": "", **environment}
        command = ["bash", str(self.clone / ".ci" / "run")]
        return subprocess.run(command, env=given, cwd=self.folder, capture_output=True, text=True, check=False)

    def test_it_has_settings_and_toolchains_but_no_cache(self) -> None:
        before = sorted(self.home.rglob("*"))
        run = self.run_ci(
            RUSTC_WRAPPER="sccache", CARGO_TARGET_DIR="/elsewhere", PIP_CACHE_DIR=f"{self.home}/.cache/pip"
        )
        self.assertEqual(run.returncode, 0, run.stderr)
        seen = self.seen.read_text().splitlines()
        targets = [line for line in seen if line.startswith("target ")]
        self.assertEqual(targets[0], "target lint")
        self.assertEqual(sorted(targets[1:]), ["target arm64", "target test"])
        scratch = self.clone / ".local" / "ci"
        for line in (
            f"HOME={scratch}/home",
            f"CARGO_HOME={scratch}/cargo",
            f"PIP_CACHE_DIR={scratch}/home/.cache/pip",
            f"XDG_CACHE_HOME={scratch}/home/.cache",
            f"npm_config_cache={scratch}/home/.npm",
            f"CARGO_TARGET_DIR={self.clone}/target",
            f"RUSTUP_HOME={self.home}/.rustup",
            "RUSTC_WRAPPER=",
            "config [net] retry = 7  fund=false [global] timeout = 7 ".replace("  ", " "),
            f"cargo {scratch}/cargo/bin/cargo {scratch}/cargo/bin/rustc",
            "tool ",
            "registry ",
        ):
            self.assertIn(line, seen)
        self.assertFalse(scratch.exists(), "the caches of the run were not deleted")
        self.assertEqual(sorted(self.home.rglob("*")), before, "the run wrote into the developer's home")

    def test_a_check_that_fails_fails_it_and_leaves_no_cache(self) -> None:
        for failing in ("lint", "test", "arm64"):
            with self.subTest(failing=failing):
                run = self.run_ci(FAILING=failing)
                self.assertNotEqual(run.returncode, 0)
                self.assertFalse((self.clone / ".local" / "ci").exists())
        # In the background a function may start too late, so it is tried again.
        targets = [line for line in self.seen.read_text().splitlines() if line.startswith("target ")]
        self.assertEqual((targets[-1], targets[-4:].count("target arm64")), ("target arm64", 2))

    def test_another_cargo_home_keeps_its_settings_too(self) -> None:
        elsewhere = self.folder / "cargo"
        shutil.move(self.home / ".cargo", elsewhere)
        path = f"{elsewhere}/bin:{self.folder}/bin:/usr/local/bin:/usr/bin:/bin"
        run = self.run_ci(CARGO_HOME=str(elsewhere), PATH=path, RUSTUP_HOME="/opt/rustup")
        self.assertEqual(run.returncode, 0, run.stderr)
        seen = self.seen.read_text()
        for line in ("retry = 7", "RUSTUP_HOME=/opt/rustup\n", "tool \n"):
            self.assertIn(line, seen)
