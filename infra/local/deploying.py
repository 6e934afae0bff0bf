"""A trial of `make deploy` on the running emulator: the first and the second deployment of an environment with a key, a
domain and roles of its own, and an update to a package and back."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import deploy
from build import BUILD, PACKED, architecture
from common import REGION, ROOT, StackError, run
from deployment import restore
from expand import write_template
from openid import OpenIdIssuer
from stack import Stack
from tokens import AUDIENCE

# A new environment of samconfig.toml.
STAGE = "tried"
BOUNDARY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def check_make_deploy(stack: Stack) -> None:
    """Deploys a second stack as an operator does, and deletes it."""
    issuer = OpenIdIssuer()
    issuer.publish(json.loads(stack.issuer.jwks())["keys"])
    # SAM CLI asks every five seconds whether it is done; the emulator is done at once.
    environment = {**stack.environment, **issuer.trust, "SAM_CLI_POLL_DELAY": "0.2"}
    try:
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, environment):
            shutil.copy(ROOT / "samconfig.toml", folder)
            try_to_deploy(stack, Path(folder), issuer.url)
    finally:
        issuer.close()
        cloudformation = stack.client("cloudformation")
        cloudformation.delete_stack(StackName=f"dynahook-{STAGE}")
        cloudformation.get_waiter("stack_delete_complete").wait(
            StackName=f"dynahook-{STAGE}", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )


def check_encryption(stack: Stack) -> None:
    """Checks that the API creates secrets with the key of the stack, which the template only passes on."""
    token = stack.issuer.token("encrypted", ["ADMIN"])
    body = {"name": "encrypted", "url": "https://example.com/hook", "event_types": ["item.created"]}
    webhook = stack.expect(201, "POST", "/webhooks", token, body)
    path = f"{stack.outputs['SecretsPrefix']}/encrypted/{webhook['id']}"
    secret = stack.client("secretsmanager").describe_secret(SecretId=path)
    expect(secret.get("KmsKeyId"), stack.key, path)
    stack.expect(204, "DELETE", f"/webhooks/{webhook['id']}", token)


def try_to_deploy(stack: Stack, folder: Path, issuer: str) -> None:
    """Answers the questions, deploys, looks at what was deployed, and deploys once more without questions."""
    settings = deploy.read_settings(folder, STAGE)
    deploy.change(settings, given(stack), "team=billing")
    answers = iter([issuer, AUDIENCE, ""])
    deploy.answer(settings, lambda question: next(answers))
    deploy.prepare(settings)
    deploy_built(stack, settings)
    output = deploy.outputs(settings)
    said = deploy.next_steps(settings, output)
    expect(f"https://hooks.{STAGE}.example/console" in said and output["FanoutFunction"] in said, True, said)
    look(stack, settings, output)
    lose_a_queue(stack, settings, output)
    restore_deliveries(stack, settings, output)

    again = deploy.read_settings(folder, STAGE)
    deploy.answer(again, lambda question: fail(f"asked again: {question}"))
    deploy.prepare(again)
    deploy_built(stack, again)
    update_to_package(stack, again, output)
    deploy.change(again, "Stage=other", "")
    try:
        deploy.prepare(again)
    except StackError as refused:
        expect(f"Stage={STAGE}, which cannot become other" in str(refused), True, refused)
    else:
        fail("another Stage is not refused")
    done = (
        "asked, checked, deployed with a key and a domain, lost a queue, restored the ledger, deployed again, moved to "
        "a package and back"
    )
    print(f"dynahook-{STAGE}: {done}")


def given(stack: Stack) -> str:
    """Creates what an enterprise has; returns the parameters that name it."""
    domain = f"hooks.{STAGE}.example"
    key = stack.client("kms").create_key(Description="Trial", Policy=key_policy(stack))["KeyMetadata"]["Arn"]
    policy = stack.client("iam").create_policy(PolicyName="boundary", PolicyDocument=json.dumps(BOUNDARY))["Policy"]
    certificate = stack.client("acm").request_certificate(DomainName=domain)["CertificateArn"]
    zone = stack.client("route53").create_hosted_zone(Name=f"{STAGE}.example", CallerReference=STAGE)["HostedZone"]
    parameters = {
        "Architecture": architecture(),
        "DeletionProtection": "false",
        "KmsKeyArn": key,
        "PermissionsBoundaryArn": policy["Arn"],
        "RolePath": "/tried/",
        "DomainName": domain,
        "CertificateArn": certificate,
        "HostedZoneId": zone["Id"].rpartition("/")[2],
        "BatchingWindowSeconds": "5",
        "DeliverMemorySize": "512",
    }
    return deploy.joined(parameters)


def key_policy(stack: Stack) -> str:
    """Returns the policy of a key that docs/use/deploy.md shows."""
    page = (ROOT / "docs" / "use" / "deploy.md").read_text()
    (policy,) = (text for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL) if '"Sid": "Iam"' in text)
    account = stack.client("sts").get_caller_identity()["Account"]
    return policy.replace("eu-west-1", REGION).replace("123456789012", account)


def deploy_built(stack: Stack, settings: deploy.Settings) -> None:
    """Deploys the functions that are built for this machine."""
    command = [*deploy.sam_deploy(settings), "--no-confirm-changeset", "--template-file", str(BUILD / "template.yaml")]
    run(command, f"sam deploy of {settings.stack}", stack.folder / f"deploy-{settings.stack}.log", dict(os.environ))


def look(stack: Stack, settings: deploy.Settings, output: dict[str, str]) -> None:
    """Looks at what was deployed."""
    key = settings.parameters["KmsKeyArn"]
    # The emulator forgets the encryption of tables and the boundaries of roles: infra/tests/test_parameters.py looks at
    # those of the template.
    attributes = stack.client("sqs").get_queue_attributes(QueueUrl=output["RetriesQueueUrl"], AttributeNames=["All"])
    expect(attributes["Attributes"]["KmsMasterKeyId"], key, attributes)
    secret = stack.client("secretsmanager").describe_secret(SecretId=output["FingerprintKeyArn"])
    expect(secret["KmsKeyId"], key, secret)
    deliver = stack.client("lambda").get_function_configuration(FunctionName=output["DeliverFunction"])
    expect((deliver["MemorySize"], "role/tried/" in deliver["Role"]), (512, True), deliver)
    mapped = stack.client("apigatewayv2").get_api_mappings(DomainName=settings.parameters["DomainName"])["Items"]
    expect([one["ApiId"] for one in mapped], [output["ApiId"]], mapped)
    described = stack.client("cloudformation").describe_stacks(StackName=settings.stack)["Stacks"][0]
    expect({"Key": "team", "Value": "billing"} in described["Tags"], True, described["Tags"])


def lose_a_queue(stack: Stack, settings: deploy.Settings, output: dict[str, str]) -> None:
    """Deletes a queue and creates it again with its name, as in docs/use/runbook.md."""
    sqs = stack.client("sqs")
    found = stack.client("cloudformation").describe_stack_resource(
        StackName=settings.stack, LogicalResourceId="RetriesQueue"
    )
    url = found["StackResourceDetail"]["PhysicalResourceId"]
    of_all = {"QueueUrl": url, "AttributeNames": ["All"]}
    before = sqs.get_queue_attributes(**of_all)["Attributes"]
    sqs.delete_queue(QueueUrl=url)
    redrive = {"deadLetterTargetArn": output["DeadLetterQueueArn"], "maxReceiveCount": 1000}
    attributes = {
        "VisibilityTimeout": "360",
        "MessageRetentionPeriod": "1209600",
        "MaximumMessageSize": "1048576",
        "RedrivePolicy": json.dumps(redrive),
        "KmsMasterKeyId": settings.parameters["KmsKeyArn"],
    }
    sqs.create_queue(QueueName=url.rpartition("/")[2], Attributes=attributes)
    after = sqs.get_queue_attributes(**of_all)["Attributes"]
    for key in ("QueueArn", "VisibilityTimeout", "MessageRetentionPeriod", "MaximumMessageSize", "KmsMasterKeyId"):
        expect(after[key], before[key], key)
    expect(json.loads(after["RedrivePolicy"]), json.loads(before["RedrivePolicy"]), "RedrivePolicy")


def restore_deliveries(stack: Stack, settings: deploy.Settings, output: dict[str, str]) -> None:
    """Restores the ledger, as in docs/use/runbook.md: tally must read the stream of the new table, and no other."""
    dynamodb, table = stack.client("dynamodb"), output["DeliveriesTable"]
    restore(dynamodb, table)
    dynamodb.update_table(TableName=table, StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"})
    stream = dynamodb.describe_table(TableName=table)["Table"]["LatestStreamArn"]
    deploy.change(settings, f"DeliveriesStreamArn={stream}", "")
    deploy.prepare(settings)
    deploy_built(stack, settings)
    mappings = stack.client("lambda").list_event_source_mappings(FunctionName=output["TallyFunction"])
    found = [one["EventSourceArn"] for one in mappings["EventSourceMappings"]]
    expect(found, [stream], "what tally reads after the ledger was restored")
    expect(settings.parameters["DeliveriesStreamArn"], stream, "the parameter is kept")


def update_to_package(stack: Stack, settings: deploy.Settings, output: dict[str, str]) -> None:
    """Updates the stack with the template of `make package`, as without Rust, and back: nothing may be replaced."""
    package, bucket = "dynahook-0.0.0-trial", "code-of-dynahook"
    s3, cloudformation = stack.client("s3"), stack.client("cloudformation")
    s3.create_bucket(Bucket=bucket)
    for packed in sorted(PACKED.glob("*/bootstrap.zip")):
        s3.upload_file(str(packed), bucket, f"releases/{package}/{architecture()}/{packed.parent.name}.zip")
    template = stack.folder / "packaged.yaml"
    write_template(BUILD / "template.yaml", package, template)
    s3.upload_file(str(template), bucket, f"releases/{package}/template.yaml")
    before = physical_ids(stack, settings.stack)
    given = {"CodeBucket": bucket, "CodePrefix": "releases/"}
    kept = cloudformation.describe_stacks(StackName=settings.stack)["Stacks"][0]["Parameters"]
    cloudformation.update_stack(
        StackName=settings.stack,
        TemplateURL=f"{stack.endpoint}/{bucket}/releases/{package}/template.yaml",
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            *({"ParameterKey": one["ParameterKey"], "UsePreviousValue": True} for one in kept),
            *({"ParameterKey": key, "ParameterValue": value} for key, value in given.items()),
        ],
    )
    waiter = cloudformation.get_waiter("stack_update_complete")
    waiter.wait(StackName=settings.stack, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    expect(physical_ids(stack, settings.stack), before, "the resources of the package's template")
    fanout = stack.client("lambda").get_function_configuration(FunctionName=output["FanoutFunction"])
    archive = (PACKED / "fanout" / "bootstrap.zip").read_bytes()
    expect(fanout["CodeSha256"], base64.b64encode(hashlib.sha256(archive).digest()).decode(), "the code of fan-out")
    deploy_built(stack, settings)
    expect(physical_ids(stack, settings.stack), before, "the resources after the return to make deploy")


def physical_ids(stack: Stack, name: str) -> dict[str, str]:
    """Returns the resources of a stack by their logical ids."""
    pages = stack.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
    listed = [one for page in pages for one in page["StackResourceSummaries"]]
    return {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in listed}


def expect(found: object, wanted: object, about: object) -> None:
    """Compares."""
    if found != wanted:
        raise StackError(f"{found!r}, and not {wanted!r}: {about}")


def fail(why: str) -> str:
    """Ends the trial."""
    raise StackError(why)
