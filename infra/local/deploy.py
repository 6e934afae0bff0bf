"""`make deploy STAGE=… PARAMETERS=… TAGS=…`: asks for what is missing, checks it, builds, deploys, and says what to do
next. The answers are saved in samconfig.toml, as `sam deploy --guided` saves them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import encryption
import preflight
from botocore.exceptions import BotoCoreError
from build import sam_build
from common import ROOT, StackError, step
from preflight import Findings
from samcli.cli.types import CfnParameterOverridesType, CfnTags
from samcli.commands.deploy.guided_config import GuidedConfig
from samcli.lib.config.samconfig import SamConfig
from samcli.yamlhelper import yaml_parse

DECLARED: dict[str, dict[str, Any]] = yaml_parse((ROOT / "infra" / "template.yaml").read_text())["Parameters"]
DEPLOY = ["deploy"]

# What is asked if samconfig.toml does not have it.
REQUIRED = {
    "JwtIssuer": "Issuer of your users' tokens (their claim iss), such as https://login.example.com",
    "JwtAudience": "Audience of the tokens (their claim aud; for Amazon Cognito their client_id)",
}
OPTIONAL = {"AlarmTopicArn": "ARN of the SNS topic that alarms notify (leave it empty for none)"}

# A name for a new environment: the stage, and part of the stack's name.
STAGE = re.compile(DECLARED["Stage"]["AllowedPattern"])

Ask = Callable[[str], str]


@dataclass
class Settings:
    """A deployment: one environment of samconfig.toml."""

    file: SamConfig
    environment: str
    stack: str
    region: str | None
    profile: str | None
    # The template's parameters that are set.
    parameters: dict[str, str]
    tags: dict[str, str]
    # The parameters of the deployed stack, whose values an update keeps unless they are set.
    deployed: dict[str, str] = field(default_factory=dict)

    def parameter(self, name: str) -> str:
        """Returns the value that a parameter will have."""
        default = str(DECLARED[name].get("Default", ""))
        return self.parameters.get(name, self.deployed.get(name, default))

    def save(self) -> None:
        """Writes the settings for later deployments, by `make deploy` or `sam deploy`."""
        saved = {"region": self.region, "parameter_overrides": joined(self.parameters), "tags": joined(self.tags)}
        for name, value in saved.items():
            if value:
                self.file.put(DEPLOY, "parameters", name, value, env=self.environment)
        self.file.flush()


def joined(values: dict[str, str]) -> str:
    """Returns values as SAM reads them from samconfig.toml."""
    return " ".join(f"{name}={GuidedConfig.quote_parameter_values(value)}" for name, value in values.items())


def deploy() -> int:
    """Deploys to AWS."""
    settings = read_settings(ROOT, os.environ.get("STAGE") or "default")
    change(settings, os.environ.get("PARAMETERS", ""), os.environ.get("TAGS", ""))
    interactive = sys.stdin.isatty()
    answer(settings, (lambda question: input(f"{question}: ")) if interactive else None)
    prepare(settings)
    sam_build(settings.parameter("Architecture"))
    command = sam_deploy(settings) + ([] if interactive else ["--no-confirm-changeset"])
    step(f"deploying {settings.stack}: {' '.join(command)}")
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise StackError(f"{settings.stack} is not deployed; SAM CLI says why above")
    print(next_steps(settings, outputs(settings)))
    return 0


def read_settings(folder: Path, environment: str) -> Settings:
    """Returns an environment of samconfig.toml. One that it does not have becomes a deployment of its own."""
    file = SamConfig(str(folder), "samconfig.toml")
    if environment not in file.document:
        if not STAGE.fullmatch(environment):
            raise StackError(f"STAGE={environment} must match {STAGE.pattern}")
        for command in ("build", "deploy"):
            settings = file.get_all([command], "parameters", "default")
            if command == "deploy":
                # Not the answers of the other deployment.
                settings = {name: settings[name] for name in ("resolve_s3", "capabilities")}
                settings |= {"stack_name": f"dynahook-{environment}", "parameter_overrides": f"Stage={environment}"}
                settings |= {"confirm_changeset": True, "fail_on_empty_changeset": False}
            for name, value in settings.items():
                file.put([command], "parameters", name, value, env=environment)
    saved = file.get_all(DEPLOY, "parameters", environment)
    return Settings(
        file,
        environment,
        saved["stack_name"],
        saved.get("region"),
        saved.get("profile"),
        CfnParameterOverridesType().convert(saved.get("parameter_overrides", ""), None, None),
        CfnTags().convert(saved.get("tags", ("",)), None, None),
    )


def change(settings: Settings, parameters: str, tags: str) -> None:
    """Applies `PARAMETERS` and `TAGS`, which have the form `Name=value Other="a value"`."""
    changed = CfnParameterOverridesType().convert(parameters, None, None)
    # The key set is that of the issuer before. Emptied and not left out: SAM has CloudFormation keep what is left out.
    if changed.get("JwtIssuer") not in (None, settings.parameters.get("JwtIssuer")):
        settings.parameters |= {"JwksUrl": "", "Jwks": ""}
    # The authorizer prefers Jwks, so the other must not be left behind.
    for name, other in (("JwksUrl", "Jwks"), ("Jwks", "JwksUrl")):
        if changed.get(name):
            settings.parameters[other] = ""
    settings.parameters.update(changed)
    settings.tags.update(CfnTags().convert(tags or ("",), None, None))


def answer(settings: Settings, ask: Ask | None) -> None:
    """Asks a person for what the template needs and samconfig.toml does not have."""
    missing = [name for name in REQUIRED if not settings.parameters.get(name)]
    if not ask:
        if missing:
            example = " ".join(f"{name}=…" for name in missing)
            raise StackError(f'there is no terminal to ask for {" and ".join(missing)}: add PARAMETERS="{example}"')
        return
    for name in missing:
        value = ""
        while not value:
            value = ask(REQUIRED[name]).strip()
        settings.parameters[name] = value
    for name, question in OPTIONAL.items():
        if name not in settings.parameters:
            settings.parameters[name] = ask(question).strip()


def prepare(settings: Settings) -> None:
    """Checks the deployment, completes its settings and saves them. Raises an error with every fault."""
    step(f"checking the deployment of {settings.stack}")
    found = check(settings)
    for warning in found.warnings:
        print(f"  warning: {warning}")
    if found.faults:
        faults = "\n".join(f"  - {fault}" for fault in found.faults)
        raise StackError(f"nothing was built, deployed or saved:\n{faults}")
    settings.save()


def session_of(settings: Settings) -> boto3.Session:
    """Returns a session with the profile and the region of the deployment."""
    try:
        return boto3.Session(profile_name=settings.profile, region_name=settings.region)
    except BotoCoreError as error:
        raise StackError(f"{error}. Correct AWS_PROFILE, or profile in samconfig.toml") from None


def check(settings: Settings) -> Findings:
    """Runs every check, and finds the region and the URL of the key set."""
    found = Findings()
    session = session_of(settings)
    elsewhere = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if settings.region and elsewhere and settings.region != elsewhere:
        found.warnings.append(f"AWS_REGION={elsewhere} is ignored: samconfig.toml has the region {settings.region}.")
    settings.region = session.region_name
    preflight.check_parameters(settings.parameters, DECLARED, found)
    check_tokens(settings, found)
    account = preflight.check_account(session, found)
    if account and settings.region:
        print(f"  account {account}, region {settings.region}, stack {settings.stack}")
        if existing := preflight.find_stack(session, settings.stack, found):
            settings.deployed = existing.parameters
            stage, storage = settings.parameter("Stage"), settings.parameter("SecretStorage")
            preflight.check_stack(settings.stack, existing, stage, storage, found)
            former = existing.parameters.get("KmsKeyArn", "")
            encryption.check_change(settings.stack, former, settings.parameter("KmsKeyArn"), found)
        preflight.check_concurrency(session, settings.parameter, settings.deployed, found)
        encryption.check_topic(session, account, settings.stack, settings.parameter("AlarmTopicArn"), found)
        if key := settings.parameter("KmsKeyArn"):
            encryption.check_key(session, account, settings.stack, key, found)
        if domain := settings.parameter("DomainName"):
            preflight.check_certificate(session, domain, settings.parameter("CertificateArn"), found)
    preflight.check_toolchain(settings.parameter("Architecture"), found)
    return found


def check_tokens(settings: Settings, found: Findings) -> None:
    """Checks the issuer and its key set; finds the key set if its URL is not set."""
    parameters = settings.parameters
    if parameters.get("Jwks"):
        preflight.check_inline_keys(parameters["Jwks"], found)
        return
    if url := parameters.get("JwksUrl"):
        # The issuer need not have a document if the key set is named.
        named = preflight.check_issuer(parameters["JwtIssuer"], Findings())
        if named not in (None, url):
            found.warnings.append(f"JwksUrl is {url}, but the issuer's own document names {named}.")
    else:
        url = preflight.check_issuer(parameters["JwtIssuer"], found)
    if url:
        keys = Findings()
        preflight.check_keys(url, keys)
        # The authorizer fetches the keys from the VPC, which may reach what this machine does not.
        private = [f"{fault} The authorizer fetches it from the VPC, which was not tried." for fault in keys.faults]
        found.faults += [] if settings.parameter("VpcSubnetIds") else keys.faults
        found.warnings += keys.warnings + (private if settings.parameter("VpcSubnetIds") else [])
        parameters["JwksUrl"] = url


def sam_deploy(settings: Settings) -> list[str]:
    """Returns the command that deploys, with everything from samconfig.toml."""
    return ["sam", "deploy", "--config-file", str(settings.file.path()), "--config-env", settings.environment]


def outputs(settings: Settings) -> dict[str, str]:
    """Returns the outputs of the deployed stack."""
    cloudformation = session_of(settings).client("cloudformation")
    stack = cloudformation.describe_stacks(StackName=settings.stack)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def next_steps(settings: Settings, output: dict[str, str]) -> str:
    """Returns what an operator does after a deployment."""
    url = settings.parameter("PublicUrl") or output["ApiUrl"]
    issuer, audience = settings.parameter("JwtIssuer"), settings.parameter("JwtAudience")
    cognito = " (in a token of Amazon Cognito: client_id)" if "cognito-idp" in issuer else ""
    record = ""
    if (target := output.get("DomainTarget")) and not settings.parameter("HostedZoneId"):
        host = url.partition("//")[2]
        record = f"\n0. Create a DNS record, without which the domain does not answer:\n\n  {host} CNAME {target}\n"
    tenant, roles = settings.parameter("TenantClaim"), settings.parameter("RolesClaim")
    return f"""
{settings.stack} is deployed in {settings.region}.

  API       {url}/api/v1/integration
  contract  {url}/docs
  console   {url}/console
{record}
1. See that it answers; this prints 200:

  curl -so /dev/null -w '%{{http_code}}\\n' {url}/openapi.json

2. Get a token for yourself, the operator, from {issuer}.
   It is an access token (RS256 or ES256) with these claims; docs/use/api.md#jwts has the rules:

  iss     {issuer}
  aud     {audience}{cognito}
  {roles:7} ["OPERATOR"]

   This prints an empty list of sources, and says what is wrong with a token that is refused:

  OPERATOR=…
  curl -s {url}/api/v1/integration/sources -H "Authorization: Bearer $OPERATOR"

   A tenant's admin has the role ADMIN instead, and the tenant in the claim {tenant}.

3. Attach the first table, here `orders`. docs/use/sources.md#on-aws explains the mapping and what to check:

  curl -s {url}/api/v1/integration/sources -H "Authorization: Bearer $OPERATOR" -d '{{"table": "orders",
    "entities": [{{"entity": "order", "tenant": "{{tenant_id}}", "id": "{{order_id}}", "collection": "orders"}}]}}'
  aws dynamodb update-table --region {settings.region} --table-name orders \\
    --stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES
  aws cloudformation deploy --region {settings.region} --template-file infra/source.yaml \\
    --stack-name {settings.stack}-source-orders --parameter-overrides FanoutFunction={output["FanoutFunction"]} \\
    StreamFailuresBucketArn={output["StreamFailuresBucketArn"]} TableStreamArn="$(aws dynamodb describe-table \\
    --region {settings.region} --table-name orders --query Table.LatestStreamArn --output text)"

4. Sign in to the console with an admin's token, create a webhook and send a test.
   docs/use/runbook.md lists the alarms and what to check every week."""
