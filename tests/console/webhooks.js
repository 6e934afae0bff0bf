// Webhooks: creating, testing, changing, deleting and restoring one, the fields of the form, and inbound webhooks.

import assert from "node:assert/strict";
import { admin, api, button, hook, idOf, link, receiver, shows, signedIn, url, visit } from "./setup.js";

const raw = async (path) =>
  (await fetch(`${url}/api/v1/integration${path}`, { headers: { authorization: `Bearer ${admin}` } })).text();

export const newWebhook = {
  async "from nothing to a verified delivery"() {
    await api("PUT", "/event-types/order.created", { description: "A customer placed an order", example: { total: 12.5 } });
    await api("PUT", "/event-types/order.updated", { description: "An order changed" });
    const page = await signedIn(admin);
    await link(page, "New webhook").click();
    await page.getByLabel("URL", { exact: true }).fill("ftp://example.com");
    await shows(page, "must use http");
    await page.getByLabel("URL", { exact: true }).fill(`${hook}/first`);
    await page.getByLabel("Name", { exact: true }).fill("Order sync");
    await page.getByLabel("order.created").check();
    await page.getByLabel("order.updated").check();
    await shows(page, "Receives order.created, order.updated");
    await shows(page, "webhook-signature");
    await page.getByRole("heading", { name: "What it sends" }).click();
    await button(page, "Add a header").click();
    await page.getByLabel("Name of header 1").fill("X-Team");
    await page.getByLabel("Value of header 1").fill("orders");
    await button(page, "Create the webhook").click();
    const secret = await page.getByLabel("Signing secret", { exact: true }).textContent();
    assert.match(secret, /^whsec_/);
    await page.getByRole("button", { name: "Copy: Signing secret" }).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret);
    await button(page, "I have copied it").click();
    await page.getByText(secret).waitFor({ state: "detached" });
    await link(page, "Send a test").first().click();
    await button(page, "Send a test").click();
    await shows(page, "The receiver accepted it");
    const [test] = receiver.arrived.filter(({ path }) => path === "/first");
    assert.equal(test.headers["x-team"], "orders");
    assert.equal(test.headers["webhook-test"], "true");
    assert.equal(JSON.parse(test.body).data.value.properties.total, 12.5);
    await page.getByRole("link", { name: "Open this delivery" }).click();
    await shows(page, "The receiver answered 204");
    await page.context().close();
  },
};

export const changedWebhook = {
  async "a webhook is paused, resumed, changed, rotated, disabled, deleted and restored"() {
    const page = await signedIn(admin);
    const id = await idOf("Order sync");
    await visit(page, `webhooks/${id}`);
    await button(page, "Pause").click();
    await shows(page, "Paused by hand");
    await button(page, "Resume").click();
    await page.getByText("Paused by hand").waitFor({ state: "detached" });
    await link(page, "Edit").click();
    await page.getByLabel("Name", { exact: true }).fill("Orders over 100");
    await page.getByLabel("Attempts", { exact: true }).fill("99");
    await page.getByLabel("Remove header 1").click();
    await page.getByLabel("Content filter").fill("{");
    await shows(page, "This is not JSON");
    await page.getByLabel("Content filter").fill('{"value": {"total": [{"numeric": [">", 100]}]}}');
    await button(page, "Save the changes").click();
    await page.locator('[aria-invalid="true"]').waitFor();
    await page.getByLabel("Attempts", { exact: true }).fill("3");
    await button(page, "Try it on the last 100 events").click();
    await shows(page, "0 of the last");
    await page.getByText("More conditions").click();
    await button(page, "Add a transition").click();
    await page.getByLabel("Field of transition 1").fill("total");
    await page.getByLabel("New value of transition 1").fill("12345678901234567890");
    await button(page, "Save the changes").click();
    await page.getByRole("heading", { level: 1, name: "Orders over 100" }).waitFor();
    const changed = await api("GET", `/webhooks/${id}`);
    assert.deepEqual([changed.headers, changed.retry_policy.maxAttempts], [{}, 3]);
    assert.match(await raw(`/webhooks/${id}`), /"field":"total","to":12345678901234567890/);
    assert.deepEqual(changed.filter, { value: { total: [{ numeric: [">", 100] }] } });
    await visit(page, `webhooks/${id}/settings`);
    await button(page, "Rotate the secret").first().click();
    await page.getByRole("dialog").getByRole("button", { name: "Rotate the secret" }).click();
    await page.getByLabel("Signing secret", { exact: true }).waitFor();
    await button(page, "I have copied it").click();
    await shows(page, "Previous secret signs until");
    await button(page, "Disable").click();
    await shows(page, "It receives no events");
    await button(page, "Enable").click();
    await button(page, "Delete").click();
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await button(page, "Delete").click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await page.getByRole("heading", { level: 1, name: "Webhooks" }).waitFor();
    await visit(page, `webhooks/${id}`);
    await button(page, "Restore").click();
    await page.locator("h1 + .badge", { hasText: "Deleted" }).waitFor({ state: "detached" });
    await page.context().close();
  },
};

export const webhookForm = {
  async "signatures, an authorization, tags and the automatic pause are set in the form, and no secret is shown again"() {
    const page = await signedIn(admin);
    await visit(page, "webhooks/new");
    await page.getByLabel("URL", { exact: true }).fill(`${hook}/signed`);
    await page.getByLabel("Name", { exact: true }).fill("Signed twice");
    await page.getByLabel("Tags", { exact: true }).fill("erp, team sales");
    await page.getByRole("heading", { name: "How it signs" }).click();
    assert.equal(await page.getByLabel("Header of the signature").count(), 0);
    await page.getByLabel("Signature scheme", { exact: true }).selectOption("hmac-sha256");
    await page.getByLabel("Header of the signature").fill("X-Acme Hmac");
    await page.locator(".field", { has: page.getByLabel("Header of the signature") }).locator(".fault").waitFor();
    await page.getByLabel("Header of the signature").fill("X-Acme-Hmac");
    await page.locator(".fault").waitFor({ state: "detached" });
    await page.getByLabel("Encoding of the signature").selectOption("base64");
    await button(page, "Add a signature").click();
    await page.getByLabel("Scheme of signature 1").selectOption("hmac-sha256");
    await page.getByLabel("Header of signature 1").fill("no header");
    await page.locator(".fault").first().waitFor();
    await page.getByLabel("Header of signature 1").fill("X-Acme-Signature");
    await page.locator(".fault").waitFor({ state: "detached" });
    await page.getByLabel("Encoding of signature 1").selectOption("base64");
    await shows(page, "X-Acme-Signature");
    await page.getByLabel("Authorization", { exact: true }).selectOption("oauth2");
    await page.getByLabel("Token URL", { exact: true }).fill("ftp://login.example.com");
    await page.getByLabel("Client id").fill("dynahook");
    await page.getByLabel("Client secret", { exact: true }).fill("client secret 1");
    await page.locator(".field", { has: page.getByLabel("Token URL", { exact: true }) }).locator(".fault").waitFor();
    await page.getByLabel("Token URL", { exact: true }).fill("https://login.example.com/token");
    await page.locator(".field", { has: page.getByLabel("Token URL", { exact: true }) }).locator(".fault").waitFor({ state: "detached" });
    await page.getByLabel("The client secret is sent").selectOption("body");
    await page.getByRole("heading", { name: "How it delivers" }).click();
    await page.getByLabel("Pause after failures in a row").fill("0");
    await shows(page, "must be 1 to 10000");
    await page.getByLabel("Pause after failures in a row").fill("20");
    await page.getByLabel("Over at least, in hours").fill("");
    await page.getByLabel("Over at least, in hours").pressSequentially("1.5");
    await button(page, "Create the webhook").click();
    await button(page, "I have copied it").click();
    const id = await idOf("Signed twice");
    const created = await api("GET", `/webhooks/${id}`);
    assert.deepEqual(created.tags, ["erp", "team sales"]);
    assert.deepEqual(created.auto_pause, { failures: 20, after_seconds: 5400 });
    assert.deepEqual([created.signature_scheme, created.signature_header, created.signature_encoding], ["hmac-sha256", "X-Acme-Hmac", "base64"]);
    assert.deepEqual(created.further_signatures, [{ scheme: "hmac-sha256", header: "X-Acme-Signature", encoding: "base64" }]);
    const shown = await api("GET", `/webhooks/${id}/authorization`);
    assert.deepEqual([shown.type, shown.token_url, shown.client_id, shown.client_authentication], ["oauth2", "https://login.example.com/token", "dynahook", "body"]);

    // A change of something else keeps them, and neither page shows the secret.
    await visit(page, `webhooks/${id}/edit`);
    await page.getByLabel("Tags", { exact: true }).fill('{"team": "sales"}');
    assert.equal(await page.getByLabel("Client secret", { exact: true }).count(), 0);
    assert.ok(!(await page.content()).includes("client secret 1"));
    await button(page, "Save the changes").click();
    await page.getByRole("heading", { level: 1, name: "Signed twice", exact: true }).waitFor();
    await visit(page, `webhooks/${id}/settings`);
    await shows(page, "OAuth 2 client credentials");
    assert.ok(!(await page.content()).includes("client secret 1"));
    const kept = await api("GET", `/webhooks/${id}`);
    assert.deepEqual([kept.tags, kept.further_signatures, kept.authorization?.fingerprint], [{ team: "sales" }, created.further_signatures, created.authorization?.fingerprint]);

    await visit(page, `webhooks/${id}/edit`);
    await page.getByLabel("Authorization", { exact: true }).selectOption("none");
    await button(page, "Remove signature 1").click();
    await page.getByLabel("Signature scheme", { exact: true }).selectOption("github");
    await page.getByLabel("Tags", { exact: true }).fill("");
    await page.getByLabel("Pause after failures in a row").fill("");
    await button(page, "Save the changes").click();
    await page.getByRole("heading", { level: 1, name: "Signed twice", exact: true }).waitFor();
    const removed = await api("GET", `/webhooks/${id}`);
    assert.deepEqual([removed.tags, removed.further_signatures, removed.authorization], [[], [], null]);
    assert.deepEqual([removed.signature_scheme, removed.signature_header, removed.signature_encoding], ["github", null, "hex"]);
    assert.deepEqual(removed.auto_pause, { failures: 50, after_seconds: 5400 });
    await page.context().close();
  },
};

export const inboundWebhook = {
  async "an inbound webhook cannot be paused"() {
    const { id } = await api("POST", "/webhooks", { name: "From GitHub", direction: "inbound", signature_scheme: "github", event_types: ["push"] });
    const page = await signedIn(admin);
    await visit(page, `webhooks/${id}`);
    await link(page, "Edit").waitFor();
    assert.equal(await button(page, "Pause").count(), 0);
    await visit(page, `webhooks/${id}/settings`);
    await button(page, "Disable").waitFor();
    await page.context().close();
    await api("DELETE", `/webhooks/${id}`);
  },
};
