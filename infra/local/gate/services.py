"""Permissions that AWS services need themselves.

Lambda uses a function's role to poll queues and streams, to write logs and to send failures. A function's resource
policy allows API Gateway and EventBridge to invoke it. The emulator does all that internally, without the gate, so this
file checks the configuration. AWS refuses to create a mapping whose role does not allow polling.
"""

from __future__ import annotations

from ministack.core.iam_evaluator import EvalContext, evaluate_resource_policy

from gate import callers, cloud, policy
from gate.calls import Need
from gate.keys import key_needs

QUEUE_ACTIONS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
STREAM_ACTIONS = ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator")
LOG_ACTIONS = ("logs:CreateLogStream", "logs:PutLogEvents")
# Needed for network interfaces; these actions support no resource.
NETWORK_ACTIONS = (
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)


def faults() -> list[str]:
    """Returns missing permissions of services, one line each."""
    refused = [each for each in cloud.invocations() if not invokes(*each)]
    found = [f"{service} may not invoke {name} for {source}" for name, service, source in refused]
    for function in cloud.functions():
        caller = callers.function(function)
        for need in function_needs(function):
            why = policy.denial(caller, need) if caller else "because it has no role"
            if why:
                found.append(f"{callers.name(function['FunctionName'])} {need.action} {need.resource}: {why}")
    return sorted(found)


def invokes(function: str, service: str, source: str) -> bool:
    """Returns whether a function's policy allows a service to invoke it for an API or a rule."""
    context = EvalContext(
        principal_arn=service,
        principal_type="Service",
        principal_account="",
        action="lambda:InvokeFunction",
        resource_arn=f"arn:aws:lambda:{cloud.REGION}:{cloud.ACCOUNT}:function:{function}",
        region=cloud.REGION,
        service_context={"aws:sourcearn": source, "aws:sourceaccount": cloud.ACCOUNT},
    )
    return evaluate_resource_policy(cloud.function_policy(function), context, service=service).decision == "Allow"


def function_needs(function: dict) -> list[Need]:
    """Returns the permissions that Lambda needs from a function's role."""
    group = function.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{function['FunctionName']}"
    stream = f"arn:aws:logs:{cloud.REGION}:{cloud.ACCOUNT}:log-group:{group}:log-stream:any"
    needs = [Need(action, stream) for action in LOG_ACTIONS]
    if function.get("VpcConfig", {}).get("SubnetIds"):
        needs += [Need(action, "*") for action in NETWORK_ACTIONS]
    for mapping in cloud.mappings():
        if mapping["FunctionName"] == function["FunctionName"]:
            needs += mapping_needs(mapping)
    return needs


def mapping_needs(mapping: dict) -> list[Need]:
    """Returns the permissions that an event source mapping needs from its function's role."""
    source = mapping["EventSourceArn"]
    if ":sqs:" in source:
        needs = [Need(action, source) for action in QUEUE_ACTIONS]
    elif ":dynamodb:" in source:
        needs = [Need(action, source) for action in STREAM_ACTIONS]
        # This action supports no resource.
        needs.append(Need("dynamodb:ListStreams", "*"))
    else:
        raise ValueError(f"the gate does not know the permissions for polling {source}")
    polling = Need("sqs:ReceiveMessage" if ":sqs:" in source else "dynamodb:GetRecords", source)
    needs += key_needs(polling)
    destination = ((mapping.get("DestinationConfig") or {}).get("OnFailure") or {}).get("Destination", "")
    if ":sqs:" in destination:
        needs.append(Need("sqs:SendMessage", destination))
    elif ":s3:" in destination:
        needs += [Need("s3:PutObject", f"{destination}/any"), Need("s3:ListBucket", destination)]
    elif destination:
        raise ValueError(f"the gate does not know the permissions for sending to {destination}")
    return needs
