"""Checks that each built function starts, asks for work and answers one event, with a runtime API on loopback and
without AWS.

The environment is the one that infra/template.yaml gives the function, so a variable that is missing there shows
here."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from common import LOCAL, REGION, ROOT, StackError, free_port
from samcli.yamlhelper import yaml_parse
from tokens import AUDIENCE, ISSUER, Issuer

FIXTURES = ROOT / "tests" / "fixtures"

# How long a function may take to start and to answer, in seconds. An emulated processor is many times slower.
PATIENCE = 120

# The C library version of the functions' runtime, Amazon Linux 2023.
GLIBC = (2, 34)
GLIBC_SYMBOL = re.compile(rb"GLIBC_(\d+)\.(\d+)")

NEXT = "/2018-06-01/runtime/invocation/next"


@dataclass
class Trial:
    """An event that needs no AWS, and a check of the answer: `response` or `error`, and its body."""

    event: dict
    makes_sense: Callable[[str, dict], bool]


def trials(issuer: Issuer) -> dict[str, Trial]:
    """Returns a trial for each function. Verifying the token uses the cryptography that is linked into the binary."""
    token = issuer.token("acme", ["ADMIN"], algorithm="ES256")
    no_records = Trial({"Records": []}, lambda kind, body: kind == "response" and body == {"batchItemFailures": []})
    return {
        "AuthorizerFunction": Trial(
            json.loads((FIXTURES / "authorizer-v2.json").read_text().replace("TOKEN", token)),
            lambda kind, body: kind == "response" and body["isAuthorized"] and body["context"]["tenant"] == "acme",
        ),
        "ApiFunction": Trial(
            request("GET", "/openapi.json"),
            lambda kind, body: kind == "response" and body["statusCode"] == 200 and '"openapi"' in body["body"],
        ),
        "InboundFunction": Trial(
            request("POST", "/api/v1/inbound/acme/no-webhook"),
            lambda kind, body: kind == "response" and body["statusCode"] == 404,
        ),
        "FanoutFunction": no_records,
        "RenderFunction": no_records,
        "DeliverFunction": no_records,
        "TallyFunction": no_records,
        # The sweep reads a table first, and no table answers.
        "SweepFunction": Trial({}, lambda kind, body: kind == "error" and "errorMessage" in body),
    }


def request(method: str, path: str) -> dict:
    """Returns a request in the form of API Gateway, from a caller that it did not authorize."""
    event = json.loads((FIXTURES / "api-v2.json").read_text())
    event |= {"routeKey": f"{method} {path}", "rawPath": path}
    event["requestContext"] |= {"authorizer": {}}
    event["requestContext"]["http"] |= {"method": method, "path": path}
    return event


def check_starts(build: Path, emulator: tuple[str, ...] = ()) -> list[str]:
    """Starts each function of a build once, under a processor emulator if one is given; returns failures, one line
    each."""
    issuer = Issuer(LOCAL / "keys")
    functions, known = environments(issuer.jwks()), trials(issuer)
    failures = [f"{name} was not built" for name in functions if not (build / name / "bootstrap").exists()]
    for binary in sorted(build.glob("*/bootstrap")):
        name = binary.parent.name
        try:
            if name not in known:
                raise StackError("no event is known for it; add one to `trials` in infra/local/starts.py")
            seconds = answer(binary, emulator, functions[name], known[name])
            print(f"{name:22}answered after {seconds:.1f} s", flush=True)
        except StackError as error:
            failures.append(f"{name}: {error}")
    return failures


def check_glibc(build: Path) -> list[str]:
    """Returns the functions that need a newer C library than the runtime has: they start here, but not in the
    runtime."""
    failures = []
    for binary in sorted(build.glob("*/bootstrap")):
        newest = max((int(major), int(minor)) for major, minor in GLIBC_SYMBOL.findall(binary.read_bytes()))
        if newest > GLIBC:
            needs, has = (".".join(map(str, version)) for version in (newest, GLIBC))
            failures.append(f"{binary.parent.name} needs glibc {needs}, and the runtime has {has}")
    return failures


def answer(binary: Path, emulator: tuple[str, ...], environment: dict[str, str], trial: Trial) -> float:
    """Starts a function and sends it the event; returns the seconds until it asked for more work."""
    said: queue.Queue[tuple[str, dict]] = queue.Queue()
    runtime = runtime_api(trial.event, said)
    started = time.monotonic()
    with tempfile.TemporaryFile() as log:
        command = [*emulator, str(binary)]
        address = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_port}"}
        process = subprocess.Popen(command, env={**environment, **address}, stdout=log, stderr=subprocess.STDOUT)
        try:
            kind, body = wait(said, process, "answer")
            if kind == "next" or not trial.makes_sense(kind, body):
                raise StackError(f"{kind}: {json.dumps(body)[:300]}")
            if (asked := wait(said, process, "ask for more work"))[0] != "next":
                raise StackError(f"answered twice: {asked}")
        except (StackError, KeyError, TypeError) as error:
            log.seek(0)
            tail = " | ".join(log.read().decode(errors="replace").splitlines()[-5:])
            raise StackError(f"{error}; its log ends: {tail or '(nothing)'}") from None
        finally:
            process.kill()
            process.wait()
            runtime.shutdown()
            runtime.server_close()
    return time.monotonic() - started


def wait(said: queue.Queue, process: subprocess.Popen, what: str) -> tuple[str, dict]:
    """Returns the function's next message."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            return said.get(timeout=0.2)
        except queue.Empty:
            if process.poll() is not None:
                end = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
                raise StackError(f"it ended with {end} and did not {what}") from None
    raise StackError(f"it did not {what} within {PATIENCE} s")


def runtime_api(event: dict, said: queue.Queue) -> ThreadingHTTPServer:
    """Starts a runtime API with one event. The function's answers and its request for more work go to `said`."""
    handed_over = threading.Event()

    class Runtime(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path != NEXT or handed_over.is_set():
                said.put(("next", {}))
                # As on Lambda, the poll gets no answer until there is work.
                time.sleep(PATIENCE)
                return
            handed_over.set()
            self.reply(
                200,
                json.dumps(event).encode(),
                {
                    "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
                    "Lambda-Runtime-Deadline-Ms": str(int((time.time() + PATIENCE) * 1000)),
                    "Lambda-Runtime-Invoked-Function-Arn": f"arn:aws:lambda:{REGION}:123456789012:function:trial",
                    "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
                },
            )

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if not body and self.headers.get("Transfer-Encoding"):
                body = self.chunks()
            said.put((self.path.rsplit("/", 1)[1], json.loads(body or "null")))
            self.reply(202, b"{}", {})

        def chunks(self) -> bytes:
            """Reads a chunked body."""
            body = b""
            while length := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for header, value in {
                "Content-Length": str(len(body)),
                "Content-Type": "application/json",
                **headers,
            }.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Runtime)
    server.daemon_threads = True
    # The thread of an unanswered poll keeps sleeping.
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def environments(jwks: str) -> dict[str, dict[str, str]]:
    """Returns the environment that Lambda gives each function according to the template."""
    template = yaml_parse((ROOT / "infra" / "template.yaml").read_text())
    given = {"JwtIssuer": ISSUER, "JwtAudience": AUDIENCE, "Jwks": jwks}
    shared = template["Globals"]["Function"]["Environment"]["Variables"]
    found = {}
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            own = resource["Properties"].get("Environment", {}).get("Variables", {})
            variables = {key: resolve(value, template, given) for key, value in {**shared, **own}.items()}
            found[name] = {**of_lambda(name), **variables}
    return found


def resolve(value: object, template: dict, given: dict[str, str]) -> str:
    """Resolves a value of the template: parameters to their defaults, resources to names that lead nowhere."""
    if not isinstance(value, dict):
        return str(value)
    ((function, argument),) = value.items()
    if function == "Ref":
        if argument in template["Parameters"]:
            return given.get(argument, str(template["Parameters"][argument].get("Default", "")))
        kind = template["Resources"].get(argument, {}).get("Type")
        return f"http://127.0.0.1:{CLOSED}/123456789012/{argument}" if kind == "AWS::SQS::Queue" else argument
    if function == "Fn::Sub":
        return re.sub(r"\$\{([^}]+)\}", lambda name: resolve({"Ref": name[1]}, template, given), argument)
    if function == "Fn::If":
        # With the default parameters, no condition holds.
        return resolve(argument[2], template, given)
    if function == "Fn::GetAtt":
        name = ".".join(argument) if isinstance(argument, list) else argument
        return f"http://127.0.0.1:{CLOSED}/{name}"
    raise StackError(f"infra/local/starts.py cannot resolve {function}")


def of_lambda(name: str) -> dict[str, str]:
    """Returns the variables that Lambda sets, and an AWS endpoint that refuses every connection."""
    return {
        "PATH": os.environ["PATH"],
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "_HANDLER": "bootstrap",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/28/[$LATEST]0",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_SESSION_TOKEN": "test",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{CLOSED}",
    }


# A port without a listener.
CLOSED = free_port()
