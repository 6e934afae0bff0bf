"""What AWS's services themselves need, to do their part.

With a function's role Lambda polls queues and streams, writes logs and sends on what failed; by a function's own policy
API Gateway and EventBridge invoke it. The emulator does all that inside, past the gate, so it is checked from the
configuration. AWS refuses to create a mapping whose role does not allow the polling.
"""

from __future__ import annotations

from ministack.core.iam_evaluator import EvalContext, evaluate_resource_policy

from gate import callers, cloud, policy
from gate.calls import Need

QUEUE_ACTIONS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
STREAM_ACTIONS = ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator")
LOG_ACTIONS = ("logs:CreateLogStream", "logs:PutLogEvents")
# Needed for network interfaces; it takes no resource.
NETWORK_ACTIONS = (
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)


def faults() -> list[str]:
    """Returns, a line each, what services are not allowed to do."""
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
    """Whether a function's policy lets a service invoke it on behalf of an API or a rule."""
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
    """Returns what Lambda needs of a function's role."""
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
    """Returns what an event source mapping needs of its function's role."""
    source = mapping["EventSourceArn"]
    if ":sqs:" in source:
        needs = [Need(action, source) for action in QUEUE_ACTIONS]
    elif ":dynamodb:" in source:
        needs = [Need(action, source) for action in STREAM_ACTIONS]
        # AWS does not take a resource for this one.
        needs.append(Need("dynamodb:ListStreams", "*"))
        if key := cloud.table_key(source):
            needs.append(Need("kms:Decrypt", key, {"kms:viaservice": f"dynamodb.{cloud.REGION}.amazonaws.com"}))
    else:
        raise ValueError(f"the gate does not know what it needs to poll {source}")
    destination = ((mapping.get("DestinationConfig") or {}).get("OnFailure") or {}).get("Destination", "")
    if ":sqs:" in destination:
        needs.append(Need("sqs:SendMessage", destination))
    elif ":s3:" in destination:
        needs += [Need("s3:PutObject", f"{destination}/any"), Need("s3:ListBucket", destination)]
    elif destination:
        raise ValueError(f"the gate does not know what it needs to send to {destination}")
    return needs
