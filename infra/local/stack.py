"""The stack on this machine: the emulator, the build, the deployment."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.exceptions import ClientError, WaiterError
from build import architecture, build, overrides
from common import LOCAL, REGION, ROOT, StackError, run, step
from samcli.yamlhelper import yaml_parse
from sessions import stop_session
from tokens import AUDIENCE, ISSUER, Issuer

EMULATOR_PYTHON = LOCAL / "venv" / "emulator" / "bin" / "python"
GATE = ROOT / "infra" / "local" / "gate"
STACK = "dynahook-local"

# The topic that alarms notify; it has no subscribers.
ALARM_TOPIC = f"arn:aws:sns:{REGION}:000000000000:alarms"

# Notices: the sender of mails, which GET /_ministack/ses/messages shows, and a topic without subscribers.
NOTICE_SENDER = "webhooks@example.com"
NOTICE_TOPIC = f"arn:aws:sns:{REGION}:000000000000:notices"


class Stack:
    """An emulator of its own with the template deployed to it; a context manager that leaves nothing running."""

    def __init__(self, name: str, port: int, profile: str = "local", template: Path | None = None) -> None:
        """Without a template, the stack is built: with Cargo's `profile`."""
        self._profile = profile
        self._template = template
        self.endpoint = f"http://127.0.0.1:{port}"
        # The product that shows the console in a frame, which tests/console serves on this socket. It is another site
        # than the endpoint. A port that is only noted would be another connection's by the time that the tests run.
        self.portal_socket = socket.create_server(("127.0.0.1", 0))
        self.portal_origin = f"http://localhost:{self.portal_socket.getsockname()[1]}"
        self.port = port
        self.folder = LOCAL / name
        self.folder.mkdir(parents=True, exist_ok=True)
        # What the tests were answered, a line each: method, path, headers, body.
        self.answers = self.folder / "answers.jsonl"
        self.issuer = Issuer(LOCAL / "keys")
        self.outputs: dict[str, str] = {}
        # The customer-managed key of the stack, if it has one.
        self.key: str | None = None
        self._pid_file = self.folder / "emulator.pid"
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Stack:
        try:
            template = self._template or build(self._profile)
            self._start()
            self._prepare_notices()
            self.deploy(template)
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
        """Where the API answers: at the emulator's own address, where the gate hands on what is no call of AWS."""
        return self.endpoint

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
        self, method: str, path: str, token: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> requests.Response:
        """Calls the API; `path` is below /api/v1/integration."""
        return requests.request(
            method,
            f"{self.api_url}/api/v1/integration{path}",
            headers={"Authorization": f"Bearer {token}", **(headers or {})},
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
        """Attaches a table whose stream is on to fanout, with infra/source.yaml."""
        stream = self.client("dynamodb").describe_table(TableName=table)["Table"]["LatestStreamArn"]
        parameters = {
            "TableStreamArn": stream,
            # LATEST would lose the first change: MiniStack takes its position when it first finds a record, after it.
            "StartingPosition": "TRIM_HORIZON",
            **{key: self.outputs[key] for key in ("FanoutFunction", "StreamFailuresBucketArn")},
        }
        # It has no code to package, and SAM CLI takes seconds to start.
        self._create_or_update(source_stack(table), ROOT / "infra" / "source.yaml", parameters)

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
        # The emulator unpacks the functions at each start and does not remove them.
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
        self.portal_socket.close()

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of a stack on the emulator."""
        return {
            "Stage": "local",
            "DeletionProtection": "false",
            "Architecture": architecture(),
            "PublicUrl": self.api_url,
            "JwtIssuer": ISSUER,
            "JwtAudience": AUDIENCE,
            "Jwks": self.issuer.jwks(),
            "TargetAllowedCidrs": "127.0.0.0/8",
            "TargetAllowHttp": "true",
            "TargetAllowedPorts": "1-65535",
            "AlarmTopicArn": ALARM_TOPIC,
            "NoticeSender": NOTICE_SENDER,
            "NoticeTopicArns": NOTICE_TOPIC,
            "PortalOrigins": self.portal_origin,
            "RelatedTables": "*",
            # Schemathesis and the measurements ask as one tenant, and as fast as this machine answers.
            "TenantRateLimit": "200",
            "LogLevel": os.environ.get("DYNAHOOK_LOG_LEVEL", "info"),
        }

    def deploy(self, template: Path) -> None:
        """Deploys a template, or updates the stack to it."""
        step("deploying infra/template.yaml with sam deploy")
        parameters = self.parameters
        if self._profile == "dev":
            # The tests run with a customer-managed key, so that the gate checks what each role needs of it.
            self.key = self.key or self.client("kms").create_key(Description="Tests")["KeyMetadata"]["Arn"]
            parameters |= {"KmsKeyArn": self.key, "RolePath": "/dynahook/", "RelatedTables": "threads*"}
        known = yaml_parse(template.read_text())["Parameters"]
        self.sam_deploy(STACK, {name: value for name, value in parameters.items() if name in known}, template)
        self._read_outputs()
        requests.post(f"{self.endpoint}/_gate/api", json={"id": self.outputs["ApiId"]}, timeout=5).raise_for_status()
        # The key is for tests that need one of KMS, too.
        tests = {"TestsKeyArn": self.key} if self.key else {}
        (self.folder / "outputs.json").write_text(json.dumps({**self.outputs, **tests}, indent=2))
        self.mend_concurrency()
        if self.key:
            self._mend_encryption(self.key)

    def _prepare_notices(self) -> None:
        """Does what an operator does before the deployment: verifies the sender, and creates the topic."""
        self.client("sesv2").create_email_identity(EmailIdentity=NOTICE_SENDER)
        self.client("sns").create_topic(Name="notices")

    def _create_or_update(self, stack: str, template: Path, parameters: dict[str, str]) -> None:
        """Deploys a template without code."""
        cloudformation = self.client("cloudformation")
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        request = {"StackName": stack, "TemplateBody": template.read_text(), "Parameters": given}
        try:
            cloudformation.create_stack(**request)
            done = "stack_create_complete"
        except ClientError as error:
            if error.response["Error"]["Code"] != "AlreadyExistsException":
                raise
            try:
                cloudformation.update_stack(**request)
            except ClientError as unchanged:
                if "No updates" in str(unchanged):
                    return
                raise
            done = "stack_update_complete"
        try:
            cloudformation.get_waiter(done).wait(StackName=stack, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        except WaiterError as error:
            raise StackError(f"the stack {stack} is not deployed: {error}") from None

    def _read_outputs(self) -> None:
        stacks = self.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}

    def mend_concurrency(self) -> None:
        """Sets each mapping's concurrency once more: MiniStack keeps a template's numeric parameter as a string, and
        its poller then fails to compare it."""
        functions = self.client("lambda")
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            if limit := mapping.get("ScalingConfig", {}).get("MaximumConcurrency"):
                functions.update_event_source_mapping(
                    UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": int(limit)}
                )

    def _mend_encryption(self, key: str) -> None:
        """Encrypts the tables once more: MiniStack forgets the encryption of a template's tables."""
        for table in ("RegistryTable", "EventsTable", "DeliveriesTable"):
            self.client("dynamodb").update_table(
                TableName=self.outputs[table],
                SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key},
            )

    def sam_deploy(self, stack: str, parameters: dict[str, str], template: Path) -> None:
        """Deploys a template with functions under a name."""
        # SAM looks for its settings in the template's folder by default.
        files = ["--template-file", str(template), "--config-file", str(ROOT / "samconfig.toml")]
        command = ["sam", "deploy", *files, "--config-env", "local", "--stack-name", stack]
        command += ["--parameter-overrides", *overrides(parameters)]
        # SAM CLI asks every five seconds whether it is done; the emulator is done at once.
        environment = {**self.environment, "SAM_CLI_POLL_DELAY": "0.2"}
        run(command, f"sam deploy of {stack}", self.folder / f"deploy-{stack}.log", environment)


def source_stack(table: str) -> str:
    """Names the stack that attaches a table. Tables have dots and underscores in their names and may be long; stacks
    not."""
    name = re.sub("[^A-Za-z0-9-]", "-", table)[:64]
    # Two tables never share a stack: that of the second would detach the first.
    return f"{STACK}-source-{name}" + ("" if name == table else f"-{hashlib.sha256(table.encode()).hexdigest()[:8]}")
