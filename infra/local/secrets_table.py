"""A trial of `SecretStorage=kms` on the running emulator: a second stack whose webhooks' secrets are in Secrets Manager
first, and then in a table under a key of KMS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import boto3
import requests
from access import session
from botocore.exceptions import ClientError
from build import BUILD
from common import REGION, ROOT, StackError
from receiver import Arrival, Receiver
from stack import Stack
from standardwebhooks import Webhook, WebhookVerificationError

NAME = "dynahook-in-table"
STAGE = "in-table"
TENANT = "kept-in-table"


def check_secrets_in_table(stack: Stack) -> None:
    """Deploys the stack twice, and expects that what was signed before the change can be signed after it."""
    trial = Trial(stack)
    try:
        trial.run()
    finally:
        trial.end()


class Trial:
    """A stack of its own, and a receiver."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.receiver = Receiver(0)
        self.outputs: dict[str, str] = {}
        self.token = stack.issuer.token(TENANT, ["ADMIN"])

    def run(self) -> None:
        """Goes through the life of secrets."""
        self.deploy("secrets-manager")
        old, caller = self.create("old"), self.create_inbound()
        self.deliver(old, [old["secret"]])
        self.expect(self.come_in(caller, "before"), 202)

        self.deploy("kms")
        # What was stored before is read where it is.
        self.deliver(old, [old["secret"]])
        self.expect(self.come_in(caller, "after"), 202)
        # It moves when it is rotated. During the overlap, one secret is in each store.
        moved = self.call(200, "POST", f"/webhooks/{old['id']}/secret/rotate", {})
        self.deliver(old, [old["secret"], moved["secret"]])

        new, other = self.create("new"), self.create_inbound()
        self.deliver(new, [new["secret"]])
        self.expect(self.come_in(other, "new"), 202)
        self.expect(self.come_in({**other, "secret": new["secret"]}, "forged"), 401)
        self.expect([self.is_in_manager(one) for one in (old, caller, new, other)], [True, True, False, False])
        rotated = self.call(200, "POST", f"/webhooks/{new['id']}/secret/rotate", {})
        self.deliver(new, [new["secret"], rotated["secret"]])
        alone = self.call(200, "POST", f"/webhooks/{new['id']}/secret/rotate", {"overlap_seconds": 0})
        self.deliver(new, [alone["secret"]])

        authorization = {"type": "bearer", "token": "t0ken-of-the-receiver"}
        self.call(200, "PUT", f"/webhooks/{new['id']}/authorization", authorization)
        self.expect(self.deliver(new, [alone["secret"]]).headers["authorization"], "Bearer t0ken-of-the-receiver")
        paired = self.create("paired", signature_scheme="standard-webhooks-ed25519")
        self.expect(self.deliver(paired, []).headers["webhook-signature"][:4], "v1a,")

        for webhook, secret in ((new, alone["secret"]), (old, None)):
            self.call(204, "DELETE", f"/webhooks/{webhook['id']}")
            restored = self.call(200, "POST", f"/webhooks/{webhook['id']}/restore")
            self.expect("secret" in restored, False)
            self.deliver(webhook, [secret] if secret else [])
        # The rest moves at once, and new processes find all of it in the table.
        self.expect(self.move(), 0)
        self.expect([self.is_in_manager(one) for one in (old, caller)], [False, False])
        self.deploy("kms", LogLevel="debug")
        self.deliver(old, [old["secret"], moved["secret"]])
        self.expect(self.come_in(caller, "moved"), 202)
        self.look_at_rows([new, other, alone], "t0ken-of-the-receiver")
        self.try_what_is_forbidden(new, other)
        print(f"{NAME}: secrets were read in Secrets Manager, moved when rotated, deleted and restored")

    def deploy(self, storage: str, **more: str) -> None:
        """Deploys the functions that are built for this machine."""
        fixed = {"Stage": STAGE, "SecretStorage": storage, "AlarmTopicArn": ""}
        parameters = {**self.stack.parameters, **fixed, **more}
        self.stack.sam_deploy(NAME, parameters, BUILD / "template.yaml")
        self.stack.mend_concurrency()
        described = self.stack.client("cloudformation").describe_stacks(StackName=NAME)["Stacks"][0]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}

    def request(self, method: str, path: str, headers: dict[str, str], body: bytes) -> requests.Response:
        """Calls the second stack's API, which the emulator knows by the name of its host."""
        host = f"{self.outputs['ApiId']}.execute-api.localhost:{self.stack.port}"
        url = f"{self.stack.endpoint}{path}"
        return requests.request(method, url, headers={**headers, "host": host}, data=body, timeout=30)

    def call(self, status: int | tuple[int, ...], method: str, path: str, body: dict | None = None) -> dict:
        """Calls the API as the tenant's admin, and wants that status, or one of several."""
        text = b"" if body is None else json.dumps(body).encode()
        path = f"/api/v1/integration{path}"
        answer = self.request(method, path, {"authorization": f"Bearer {self.token}"}, text)
        if answer.status_code not in (status if isinstance(status, tuple) else (status,)):
            raise StackError(f"{method} {path} answered {answer.status_code}: {answer.text}")
        return answer.json() if answer.content else {}

    def create(self, name: str, **more: str) -> dict:
        """Creates a webhook with a path of its own at the receiver."""
        body = {"name": name, "url": f"{self.receiver.url}/{name}", "event_types": ["a.b"], **more}
        return self.call(201, "POST", "/webhooks", body)

    def create_inbound(self) -> dict:
        """Creates an inbound webhook."""
        body = {"name": "in", "direction": "inbound", "signature_scheme": "standard-webhooks"}
        return self.call(201, "POST", "/webhooks", body)

    def come_in(self, webhook: dict, name: str) -> int:
        """Calls an inbound webhook with its secret; returns the status."""
        body, now = json.dumps({"type": "a.b", "from": name}), datetime.now(UTC)
        signature = Webhook(webhook["secret"]).sign(name, now, body)
        headers = {"webhook-id": name, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
        path = f"/api/v1/inbound/{TENANT}/{webhook['id']}"
        return self.request("POST", path, headers, body.encode()).status_code

    def deliver(self, webhook: dict, secrets: list[str]) -> Arrival:
        """Tests a webhook; returns the request that arrived. Each of the secrets must verify it."""
        path = f"/{webhook['name']}"

        def arrived(arrivals: list[Arrival]) -> list[Arrival]:
            return [arrival for arrival in arrivals if arrival.path == path]

        before = len(arrived(self.receiver.arrivals))
        # 200 if the receiver was quick, otherwise 202.
        test = self.call((200, 202), "POST", f"/webhooks/{webhook['id']}/test")
        if not self.receiver.wait(lambda arrivals: len(arrived(arrivals)) > before, 60):
            raise StackError(f"the test {test} did not arrive")
        arrival = arrived(self.receiver.arrivals)[-1]
        for secret in secrets:
            try:
                Webhook(secret).verify(arrival.body, arrival.headers)
            except WebhookVerificationError as error:
                raise StackError(f"{path} is not signed with {secret[:8]}…: {error}") from None
        return arrival

    def move(self) -> int:
        """Runs infra/move_secrets.py as an operator does; returns its exit code."""
        command = [sys.executable, str(ROOT / "infra" / "move_secrets.py"), "--stack-name", NAME]
        return subprocess.run(command, env={**os.environ, **self.stack.environment}, check=False).returncode

    def is_in_manager(self, webhook: dict) -> bool:
        """Says whether Secrets Manager has the secret of a webhook, and it is not being deleted."""
        try:
            found = self.stack.client("secretsmanager").describe_secret(SecretId=webhook["vault_path"])
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            return False
        return "DeletedDate" not in found

    def look_at_rows(self, webhooks: list[dict], token: str) -> None:
        """Looks for secrets in the table."""
        rows = self.stack.client("dynamodb").scan(TableName=self.outputs["SecretsTable"])["Items"]
        self.expect({row["pk"]["S"] for row in rows} >= {webhooks[0]["vault_path"], webhooks[1]["vault_path"]}, True)
        everything = repr(rows)
        for secret in [*(webhook["secret"] for webhook in webhooks), token]:
            self.expect(secret in everything, False)

    def try_what_is_forbidden(self, outbound: dict, inbound: dict) -> None:
        """Tries with the functions' roles what a function must not do."""
        table, key = self.outputs["SecretsTable"], self.outputs["SecretsKeyArn"]
        for role, webhook in (("Api", outbound), ("Api", inbound), ("Deliver", inbound), ("Inbound", outbound)):
            path = webhook["vault_path"]
            row = {"pk": {"S": path}, "sk": {"S": "SECRET"}}
            stored = self.stack.client("dynamodb").get_item(TableName=table, Key=row)["Item"]
            (ciphertext, *_) = stored["texts"]["M"].values()
            self.refuse(role, "dynamodb", "get_item", TableName=table, Key=row)
            context = {"tenant": TENANT, "path": path}
            self.refuse(*(role, "kms", "decrypt"), KeyId=key, CiphertextBlob=ciphertext["B"], EncryptionContext=context)

    def refuse(self, role: str, service: str, operation: str, **request: object) -> None:
        """Makes a call with a role of the stack, and expects that it is refused."""
        keys = session(self.stack, f"{role}Role", "on-purpose-secrets", NAME)
        client = boto3.client(
            service,
            endpoint_url=self.stack.endpoint,
            region_name=REGION,
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=keys["AWS_SESSION_TOKEN"],
        )
        try:
            getattr(client, operation)(**request)
        except ClientError as error:
            self.expect(error.response["Error"]["Code"], "AccessDeniedException")
        else:
            raise StackError(f"the gate allowed {role} what its role forbids: {service} {operation}")

    def end(self) -> None:
        """Deletes the stack and what it keeps."""
        self.receiver.close()
        cloudformation, dynamodb = self.stack.client("cloudformation"), self.stack.client("dynamodb")
        cloudformation.delete_stack(StackName=NAME)
        wait = cloudformation.get_waiter("stack_delete_complete")
        wait.wait(StackName=NAME, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        for table in ("RegistryTable", "EventsTable", "DeliveriesTable", "SecretsTable"):
            if table in self.outputs:
                dynamodb.delete_table(TableName=self.outputs[table])

    def expect(self, found: object, wanted: object) -> None:
        """Compares."""
        if found != wanted:
            raise StackError(f"{found!r}, and not {wanted!r}")
