"""What `make deploy` checks before it builds. Each check returns every fault that it finds, with the fix.
encryption.py checks keys and the topic of the alarms."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import jwt
import requests
from botocore.exceptions import BotoCoreError, ClientError

DISCOVERY = "/.well-known/openid-configuration"

# What the authorizer allows when it fetches the key set (shared/outbound/src/fetch.rs): seconds and bytes.
FETCH_SECONDS = 3
FETCH_BYTES = 256 * 1024

TABLE = "AWS::DynamoDB::Table"

# The Rust targets of the functions' processors.
TARGETS = {"arm64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}

# How many executions AWS keeps unreserved. A smaller account can reserve none.
UNRESERVED = 100

DELIVER_RESERVED = "DeliverReservedConcurrency"
API_RESERVED = ("ApiReservedConcurrency", "AuthorizerReservedConcurrency")
RESERVED = (*API_RESERVED, DELIVER_RESERVED)
DELIVERING = ("DeliverConcurrency", "RetriesConcurrency", "SlowConcurrency", "OrderedConcurrency")
MAPPED = (*DELIVERING, "RenderingsConcurrency")

QUOTA = "Service Quotas, AWS Lambda, Concurrent executions"


@dataclass
class Findings:
    """What the checks have found: faults, which stop the deployment, and warnings, which do not."""

    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class Existing:
    """The deployed stack."""

    status: str
    parameters: dict[str, str]


def check_parameters(parameters: dict[str, str], declared: dict[str, dict[str, Any]], found: Findings) -> None:
    """Checks values as CloudFormation does, which would refuse them after the build."""
    for name, value in parameters.items():
        if name not in declared:
            found.faults.append(f"The template has no parameter {name}. Remove it from samconfig.toml.")
            continue
        rules = declared[name]
        if (pattern := rules.get("AllowedPattern")) and not re.fullmatch(pattern, value):
            reason = rules.get("ConstraintDescription", f"must match {pattern}")
            found.faults.append(f"{name}={value} {reason}.")
        if (allowed := [str(one) for one in rules.get("AllowedValues", [])]) and value not in allowed:
            found.faults.append(f"{name}={value} must be one of {', '.join(allowed)}.")
        if rules["Type"] == "Number":
            least, most = rules.get("MinValue", 0), rules.get("MaxValue")
            if not value.isdecimal() or int(value) < least or (most is not None and int(value) > most):
                range_of_it = f"at least {least}" if most is None else f"of {least} to {most}"
                found.faults.append(f"{name}={value} must be a whole number {range_of_it}.")


def check_account(session: boto3.Session, found: Findings) -> str | None:
    """Checks credentials and region; returns the account's number."""
    if not session.region_name:
        found.faults.append("No region is set. Set AWS_REGION, such as AWS_REGION=eu-west-1.")
    try:
        # Every region answers this call, so a missing region does not hide missing credentials.
        sts = session.client("sts", region_name=session.region_name or "us-east-1")
        return sts.get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        found.faults.append(f"AWS does not accept the credentials: {error}. Sign in, or set AWS_PROFILE.")
        return None


def check_toolchain(architecture: str, found: Findings) -> None:
    """Checks that Rust can build for the functions' processor. `check_parameters` reports an unknown one."""
    if not (target := TARGETS.get(architecture)):
        return
    command = ["rustc", "--print", "target-libdir", "--target", target]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode != 0 or not Path(asked.stdout.strip()).is_dir():
        found.faults.append(
            f"Rust cannot build for {target}, the functions' processor. Run `rustup target add {target}`."
        )


def check_issuer(issuer: str, found: Findings) -> str | None:
    """Reads the issuer's discovery document; returns the URL of its key set."""
    if not issuer.startswith("https://"):
        found.faults.append(
            f"JwtIssuer is {issuer}. It must be the claim `iss` of the tokens, which starts with https://."
        )
        return None
    url = issuer.rstrip("/") + DISCOVERY
    by_hand = "or set JwksUrl if the issuer has no such document"
    try:
        document = fetch(url)
    except ValueError as error:
        found.faults.append(f"The issuer's document {url} {error}. Correct JwtIssuer, {by_hand}.")
        return None
    named, keys = document.get("issuer"), document.get("jwks_uri")
    # A slash at the end is part of the claim, which is compared as it is.
    if named != issuer:
        found.faults.append(f"{url} says that the issuer is {named}, not {issuer}. Set JwtIssuer={named}.")
    if not isinstance(keys, str):
        found.faults.append(f"{url} names no key set (jwks_uri). Set JwksUrl.")
        return None
    return keys


def check_keys(url: str, found: Findings) -> None:
    """Checks that the authorizer can fetch the key set, and can use one of its keys."""
    if not url.startswith("https://"):
        found.faults.append(f"JwksUrl is {url}. It must start with https://, so that the keys cannot be forged.")
        return
    try:
        document = fetch(url)
    except ValueError as error:
        found.faults.append(f"The key set {url} {error}. Correct JwksUrl.")
        return
    check_key_set(document, url, found)


def check_inline_keys(text: str, found: Findings) -> None:
    """Checks the key set of the parameter Jwks."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        found.faults.append(f"Jwks is not JSON: {error}.")
        return
    check_key_set(document, "Jwks", found)


def check_key_set(document: object, name: str, found: Findings) -> None:
    """Checks that the authorizer can use one of the keys."""
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        found.faults.append(f"{name} is not a key set: it must be a JSON object with a list of keys in `keys`.")
        return
    unusable = [unusable_because(key) for key in keys]
    if all(unusable):
        reasons = "; ".join(f"key {place}: {why}" for place, why in enumerate(unusable, start=1)) or "it has no key"
        found.faults.append(
            f"{name} has no key for RS256 or ES256 ({reasons}). Let the issuer sign access tokens with RS256 or ES256."
        )


def unusable_because(key: object) -> str | None:
    """Returns why the authorizer skips a key (functions/authorizer/src/key_set.rs)."""
    if not isinstance(key, dict):
        return "it is not a JSON object"
    if not isinstance(key.get("kid"), str | None):
        return "`kid` is not a string"
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(key.get("kty")))
    if algorithm is None:
        return "`kty` is neither RSA nor EC"
    if algorithm == "ES256" and key.get("crv") != "P-256":
        return "`crv` is not P-256"
    if key.get("use", "sig") != "sig" or "verify" not in (key.get("key_ops") or ["verify"]):
        return "`use` or `key_ops` does not allow verifying signatures"
    if key.get("alg", algorithm) != algorithm:
        return f"`alg` is not {algorithm}"
    try:
        jwt.PyJWK(key, algorithm)
    except (jwt.PyJWKError, jwt.InvalidKeyError, ValueError):
        return "a member is missing or invalid"
    return None


def fetch(url: str) -> dict:
    """Fetches a JSON document as the authorizer would. Errors continue a sentence that begins with the URL."""
    try:
        response = requests.get(url, timeout=FETCH_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        # The cause, without the pools and retries around it.
        cause = getattr(error.args[0], "reason", error) if error.args else error
        raise ValueError(f"cannot be fetched: {str(cause).rpartition(': ')[2]}") from None
    if response.status_code != 200:
        raise ValueError(f"was answered with status {response.status_code}")
    if len(response.content) > FETCH_BYTES:
        raise ValueError(f"is larger than {FETCH_BYTES} bytes")
    try:
        document = response.json()
    except requests.JSONDecodeError:
        raise ValueError("is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("is not a JSON object")
    return document


def find_stack(session: boto3.Session, name: str, found: Findings) -> Existing | None:
    """Returns the stack, or nothing if it has never been deployed. A deleted one has kept its data, which a new stack
    would not have."""
    cloudformation = session.client("cloudformation")
    try:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" not in str(error):
            found.faults.append(f"CloudFormation does not describe the stack {name}: {error}.")
            return None
        stack = {"StackStatus": "REVIEW_IN_PROGRESS"}
    # Only a change set exists, which was never executed.
    if stack["StackStatus"] == "REVIEW_IN_PROGRESS":
        if was_deleted(cloudformation, name) and not os.environ.get("FRESH"):
            found.faults.append(
                f"A stack {name} was deleted, and has kept its tables. Run `make recover` to have them again, or "
                f"FRESH=1 make deploy to start with empty ones."
            )
        return None
    parameters = {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", [])}
    return Existing(stack["StackStatus"], parameters)


def was_deleted(cloudformation: Any, name: str) -> bool:
    """Says whether a stack of that name was deleted within the 90 days that CloudFormation remembers. One whose first
    deployment was rolled back has kept nothing."""
    pages = cloudformation.get_paginator("list_stacks").paginate(StackStatusFilter=["DELETE_COMPLETE"])
    deleted = [stack["StackId"] for page in pages for stack in page["StackSummaries"] if stack["StackName"] == name]
    for stack in deleted:
        events = cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack)
        kept = (event for page in events for event in page["StackEvents"])
        if any(one["ResourceStatus"] == "DELETE_SKIPPED" and one["ResourceType"] == TABLE for one in kept):
            return True
    return False


def check_stack(name: str, existing: Existing, stage: str, storage: str, found: Findings) -> None:
    """Checks that CloudFormation can update the stack, and would keep its stage and the secrets of its webhooks."""
    status = existing.status
    if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"):
        found.faults.append(
            f"The stack {name} is {status} and cannot be updated. Delete it: "
            f"`aws cloudformation delete-stack --stack-name {name}`. Tables of an earlier deployment stay; "
            f"`make recover` makes a stack of them again."
        )
        return
    if status == "UPDATE_ROLLBACK_FAILED":
        found.faults.append(
            f"The stack {name} is {status}. Run `aws cloudformation continue-update-rollback --stack-name {name}`."
        )
    elif status.endswith("_IN_PROGRESS"):
        found.faults.append(f"The stack {name} is {status}. Wait until that has ended.")
    if (old := existing.parameters.get("Stage")) not in (None, stage):
        found.faults.append(
            f"The stack {name} has Stage={old}, which cannot become {stage}. Set Stage={old} in samconfig.toml, or "
            f"choose another stack_name for a new deployment."
        )
    if (old := existing.parameters.get("SecretStorage")) == "kms" != storage:
        found.faults.append(
            f"The stack {name} has SecretStorage={old}, which cannot become {storage}: the secrets of its webhooks "
            f"would not be found. Set SecretStorage={old} in samconfig.toml."
        )


def check_concurrency(
    session: boto3.Session, parameter: Callable[[str], str], deployed: dict[str, str], found: Findings
) -> None:
    """Compares what the parameters reserve and let run at once with what the account has."""
    if not all(parameter(name).isdecimal() for name in (*RESERVED, *MAPPED)):
        return
    if len({int(parameter(name)) > 0 for name in API_RESERVED}) > 1:
        values = " and ".join(f"{name}={parameter(name)}" for name in API_RESERVED)
        found.faults.append(f"{values}: set both or neither, because a request with a new token needs both functions.")
    try:
        account = session.client("lambda").get_account_settings()["AccountLimit"]
    except ClientError as error:
        found.warnings.append(f"The account's concurrency is not checked: {error}.")
        return
    limit = account["ConcurrentExecutions"]
    old = sum(int(deployed.get(name, 0)) for name in RESERVED)
    free = account["UnreservedConcurrentExecutions"] + old
    wanted = sum(int(parameter(name)) for name in RESERVED)
    kept = min(UNRESERVED, limit)
    if wanted and free - wanted < kept:
        found.faults.append(
            f"{', '.join(RESERVED)} reserve {wanted} executions, and AWS keeps {kept} of the account's {limit} "
            f"unreserved, of which {free} are free. Reserve at most {max(free - kept, 0)}, or request more ({QUOTA})."
        )
    at_once = sum(int(parameter(name)) for name in DELIVERING)
    reserved = int(parameter(DELIVER_RESERVED))
    if reserved and at_once > reserved:
        found.faults.append(
            f"Queues may invoke deliver {at_once} times at once ({' + '.join(DELIVERING)}), and {DELIVER_RESERVED} "
            f"allows {reserved}: Lambda would throttle the others. Set it to {at_once} or more, or to 0."
        )
    mapped = DELIVERING if not reserved else ()
    at_once = sum(int(parameter(name)) for name in (*mapped, "RenderingsConcurrency"))
    left = free - wanted
    if at_once > left:
        found.warnings.append(
            f"Queues may invoke functions {at_once} times at once (the parameters …Concurrency), and the account has "
            f"{left} unreserved executions for all functions. Under load Lambda throttles deliveries and the API. "
            f"Request more ({QUOTA}), or lower these parameters."
        )


def check_certificate(session: boto3.Session, domain: str, arn: str, found: Findings) -> None:
    """Checks that API Gateway can use the certificate for the domain."""
    if arn.count(":") < 5 or arn.split(":")[3] != session.region_name:
        found.faults.append(
            f"DomainName needs CertificateArn, the ARN of a certificate in the stack's region, {session.region_name}."
        )
        return
    try:
        certificate = session.client("acm").describe_certificate(CertificateArn=arn)["Certificate"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            found.faults.append(f"There is no certificate {arn}. Request it, or correct CertificateArn.")
        else:
            found.warnings.append(f"The certificate {arn} is not checked: {error}.")
        return
    if certificate["Status"] != "ISSUED":
        found.faults.append(
            f"The certificate {arn} is {certificate['Status']}. Validate it, and wait until it is ISSUED."
        )
    names = [certificate["DomainName"], *certificate.get("SubjectAlternativeNames", [])]
    if not {domain, f"*.{domain.partition('.')[2]}"} & set(names):
        found.faults.append(f"The certificate {arn} is for {', '.join(sorted(set(names)))}, not for {domain}.")
