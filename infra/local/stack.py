"""The stack on this machine: the emulator, the build, the deployment."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import boto3
import requests
from botocore.exceptions import ClientError

from tokens import AUDIENCE, ISSUER, Issuer

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
BUILD = ROOT / ".aws-sam" / "build"
EMULATOR_PYTHON = LOCAL / "venv" / "emulator" / "bin" / "python"
GATE = ROOT / "infra" / "local" / "gate"
STACK = "dynahook-local"
REGION = "us-east-1"

# Whom the alarms tell; nobody is there.
ALARM_TOPIC = f"arn:aws:sns:{REGION}:000000000000:alarms"
STARTED = time.monotonic()

# How Cargo builds soon what is not measured: nothing of it is slower than the emulator.
SOON = {
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
    "CARGO_PROFILE_RELEASE_LTO": "off",
    "CARGO_PROFILE_RELEASE_OPT_LEVEL": "1",
}
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


class StackError(Exception):
    """Something that a person can mend; its text is the whole message."""


def step(text: str) -> None:
    """Says what takes time, and when it starts."""
    minutes, seconds = divmod(int(time.monotonic() - STARTED), 60)
    print(f"· {minutes}:{seconds:02} {text}", flush=True)


def free_port() -> int:
    """Returns a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check_port(port: int, what: str, variable: str) -> None:
    """Says so if a port is taken."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise StackError(f"port {port} for {what} is taken: stop what uses it, or set {variable} to another port")


class Stack:
    """An emulator of its own with the template deployed to it; a context manager that leaves nothing running."""

    def __init__(self, name: str, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.port = port
        self.folder = LOCAL / name
        self.folder.mkdir(parents=True, exist_ok=True)
        # What the tests were answered, a line each: method, path, headers, body.
        self.answers = self.folder / "answers.jsonl"
        self.issuer = Issuer(LOCAL / "keys")
        self.outputs: dict[str, str] = {}
        self._pid_file = self.folder / "emulator.pid"
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Stack:
        try:
            build()
            self._start()
            self._deploy()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        """The emulator's process, which leads the session of the functions' processes."""
        if self._process is None:
            raise StackError("the emulator does not run")
        return self._process.pid

    @property
    def environment(self) -> dict[str, str]:
        """What points an AWS client at the emulator."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
        }

    @property
    def api_url(self) -> str:
        """Where the API answers; names under `.localhost` are this machine."""
        return f"http://{self.outputs['ApiId']}.execute-api.localhost:{self.port}"

    def client(self, service: str):
        """Returns a boto3 client for the emulator."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def call(
        self, method: str, path: str, token: str, body: object = None, headers: dict[str, str] | None = None
    ) -> requests.Response:
        """Calls the API; `path` is below /api/v1/integration."""
        # By address, with the name as the host: not every resolver knows names under .localhost.
        return requests.request(
            method,
            f"{self.endpoint}/api/v1/integration{path}",
            headers={
                "Host": self.api_url.removeprefix("http://"),
                "Authorization": f"Bearer {token}",
                **(headers or {}),
            },
            json=body,
            timeout=30,
        )

    def expect(self, status: int, *call) -> dict:
        """Calls the API and wants that status."""
        response = self.call(*call)
        if response.status_code != status:
            raise StackError(f"{call[0]} {call[1]} answered {response.status_code}: {response.text}")
        return response.json() if response.content else {}

    def create_table(self, name: str, hash_key: str, range_key: str) -> None:
        """Creates a table with a stream, as an application has one, and attaches it to fanout."""
        self.client("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in (hash_key, range_key)],
            KeySchema=[
                {"AttributeName": hash_key, "KeyType": "HASH"},
                {"AttributeName": range_key, "KeyType": "RANGE"},
            ],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        self.attach(name)

    def attach(self, table: str) -> None:
        """Attaches a table whose stream is on to fanout."""
        stream = self.client("dynamodb").describe_table(TableName=table)["Table"]["LatestStreamArn"]
        self._sam_deploy(
            source_stack(table),
            {
                "TableStreamArn": stream,
                # LATEST would lose the first change: MiniStack takes its position when it first finds a record, after it.
                "StartingPosition": "TRIM_HORIZON",
                **{key: self.outputs[key] for key in ("FanoutFunction", "StreamFailuresBucketArn")},
            },
            template=ROOT / "infra" / "source.yaml",
        )

    def join(self) -> None:
        """Uses the stack that another command keeps up on this port."""
        try:
            with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=5):
                pass
        except OSError:
            raise StackError(
                f"no stack answers on port {self.port}: start one with make run in another terminal, "
                "or set DYNAHOOK_PORT to the port that it has"
            ) from None
        try:
            self._read_outputs()
        except (ClientError, KeyError):
            raise StackError(
                f"the stack on port {self.port} is not deployed yet: wait until make run says that it is up"
            ) from None

    def _start(self) -> None:
        step(f"starting the emulator on port {self.port}")
        # The emulator unpacks the functions anew each time, and leaves them behind.
        for unpacked in self.folder.glob("ministack-provided-code-*"):
            shutil.rmtree(unpacked)
        self.answers.unlink(missing_ok=True)
        log = (self.folder / "emulator.log").open("w")
        # The emulator calls itself for the functions, and keeps its files where they can be found.
        environment = {
            **os.environ,
            **self.environment,
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "TMPDIR": str(self.folder),
        }
        environment.pop("VIRTUAL_ENV", None)
        self._process = subprocess.Popen(
            # Behind the gate, which enforces the functions' roles as AWS does.
            [EMULATOR_PYTHON, GATE],
            cwd=self.folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._pid_file.write_text(str(self._process.pid))
        for _ in range(300):
            if self._process.poll() is not None:
                raise StackError(f"the emulator ended at once; see {self.folder / 'emulator.log'}")
            try:
                with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise StackError(f"the emulator does not answer; see {self.folder / 'emulator.log'}")

    def _stop(self) -> None:
        if self._process is not None:
            stop_session(self._process.pid)
            self._process.wait()
            self._process = None
        self._pid_file.unlink(missing_ok=True)

    def _deploy(self) -> None:
        step("deploying infra/template.yaml with sam deploy")
        parameters = {
            "Stage": "local",
            "DeletionProtection": "false",
            "Architecture": architecture(),
            "JwtIssuer": ISSUER,
            "JwtAudience": AUDIENCE,
            "Jwks": self.issuer.jwks(),
            "TargetAllowedCidrs": "127.0.0.0/8",
            "TargetAllowHttp": "true",
            "TargetAllowedPorts": "1-65535",
            "AlarmTopicArn": ALARM_TOPIC,
            # Schemathesis and the measurements ask as one tenant, and as fast as this machine answers.
            "TenantRateLimit": "200",
            "LogLevel": os.environ.get("DYNAHOOK_LOG_LEVEL", "info"),
        }
        self._sam_deploy(STACK, parameters)
        self._read_outputs()
        (self.folder / "outputs.json").write_text(json.dumps(self.outputs, indent=2))
        self._mend_concurrency()

    def _read_outputs(self) -> None:
        stacks = self.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}

    def _mend_concurrency(self) -> None:
        """Sets each mapping's concurrency once more: MiniStack keeps a template's numeric parameter as a string, and its
        poller then fails to compare it."""
        functions = self.client("lambda")
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            if limit := mapping.get("ScalingConfig", {}).get("MaximumConcurrency"):
                functions.update_event_source_mapping(
                    UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": int(limit)}
                )

    def _sam_deploy(self, stack: str, parameters: dict[str, str], template: Path | None = None) -> None:
        command = ["sam", "deploy", "--config-env", "local", "--stack-name", stack]
        if template is not None:
            # SAM looks for its settings beside the template, unless told.
            command += ["--template-file", str(template), "--config-file", str(ROOT / "samconfig.toml")]
        command += ["--parameter-overrides", *overrides(parameters)]
        run(command, f"sam deploy of {stack}", self.folder / f"deploy-{stack}.log", self.environment)


def source_stack(table: str) -> str:
    """Names the stack that attaches a table. Tables have dots and underscores in their names and may be long; stacks not."""
    name = re.sub("[^A-Za-z0-9-]", "-", table)[:64]
    # Two tables never share a stack: that of the second would detach the first.
    return f"{STACK}-source-{name}" + ("" if name == table else f"-{hashlib.sha256(table.encode()).hexdigest()[:8]}")


def overrides(parameters: dict[str, str]) -> list[str]:
    """Returns template parameters as SAM reads them."""
    escaped = {key: value.replace('"', '\\"') for key, value in parameters.items()}
    return [f'ParameterKey={key},ParameterValue="{value}"' for key, value in escaped.items()]


def architecture() -> str:
    """Returns this machine's architecture: the emulator runs the binaries as they are."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise StackError(f"no functions can be built for a {machine} machine")
    return ARCHITECTURES[machine]


def build(processor: str | None = None, folder: Path = BUILD, as_deployed: bool = False) -> None:
    """Builds the functions, by default for this machine and with a faster profile than the deployed one. Cargo decides what is to be done."""
    processor = processor or architecture()
    target = {"x86_64": "x86_64", "arm64": "aarch64"}[processor] + "-unknown-linux-gnu"
    cold = not (ROOT / "target" / target / "release").exists()
    step(f"building the functions for {processor} with sam build" + (" (the first time takes several minutes)" if cold else ""))
    placeholders = {"JwtIssuer": ISSUER, "JwtAudience": AUDIENCE}
    command = ["sam", "build", "--config-env", "local", "--build-dir", str(folder), "--parameter-overrides"]
    command += overrides({"Architecture": processor, **placeholders})
    # SAM shows what cargo says only when it is done; what stands in its folder tells how far it is.
    compiled = ROOT / "target" / target / "release" / "deps"
    run(
        command,
        "sam build",
        LOCAL / f"build-{processor}.log",
        {"AWS_DEFAULT_REGION": REGION, **({} if as_deployed else SOON)},
        lambda: f"{len(list(compiled.glob('*.rlib')))} crates compiled",
    )


def run(
    command: list[str], what: str, log: Path, environment: dict[str, str], progress: Callable[[], str] | None = None
) -> None:
    """Runs a long step with its output in a log; says every 15 seconds how far it is."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while True:
                try:
                    process.wait(timeout=15)
                    break
                except subprocess.TimeoutExpired:
                    state = progress() if progress else last_line(log)
                    print(f"  … {time.monotonic() - started:.0f} s: {state}", flush=True)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode != 0:
        tail = "\n".join(log.read_text().splitlines()[-20:])
        raise StackError(f"{what} failed; the end of {log}:\n{tail}")


def last_line(log: Path) -> str:
    """Returns the last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:100] if lines else "no output yet"


def stop_session(leader: int) -> None:
    """Ends every process of the session that `leader` leads: the emulator, and the functions that it runs."""
    for end in (signal.SIGTERM, signal.SIGKILL):
        for process in session(leader):
            try:
                os.kill(process, end)
            except ProcessLookupError:
                pass
        for _ in range(50):
            if not session(leader):
                return
            time.sleep(0.1)


def session(leader: int) -> list[int]:
    """Returns the living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name in brackets: state, parent, group, session.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def stop_lost() -> int:
    """Stops what a command that was killed left running, by the pid files that it wrote."""
    for pid_file in LOCAL.glob("*/emulator.pid"):
        pid = int(pid_file.read_text())
        processes = session(pid)
        stop_session(pid)
        pid_file.unlink()
        print(f"{pid_file.parent.name}: {len(processes)} processes stopped")
    return 0
