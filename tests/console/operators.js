// The pages of operators: the failing webhooks of all tenants, one tenant, and the sources.

import assert from "node:assert/strict";
import { api, button, hook, link, operator, receiver, settings, shows, signedIn, until, url } from "./setup.js";

export const failingWebhooks = {
  async "an operator sees who fails over all tenants, and looks at one"() {
    receiver["/billing"] = [500, "out of paper"];
    const retry_policy = { maxAttempts: 6, baseMs: 100, capMs: 1000 };
    const { id } = await api("POST", "/webhooks", { name: "Billing", url: `${hook}/billing`, event_types: ["bill.due"], retry_policy });
    await api("POST", "/events", { event_type: "bill.due", data: {} });
    const listed = async () => (await api("GET", "/failing-webhooks", undefined, operator)).data.find((one) => one.webhook_id === id);
    const { tenant_id: tenant } = await until("Billing is listed", listed);
    const page = await signedIn(operator);
    await page.getByRole("heading", { level: 1, name: "All tenants" }).waitFor();
    await button(page, "Billing").click();
    await page.getByRole("heading", { level: 1, name: "Billing" }).waitFor();
    await shows(page, `You are looking at ${tenant}`);
    await shows(page, "bill.due");
    assert.equal(await page.locator(".main").getByText("Edit", { exact: true }).count(), 0);
    await link(page, "Dead letters").first().click();
    await page.getByRole("link", { name: "bill.due" }).first().click();
    await shows(page, "out of paper");
    await page.reload();
    await shows(page, "out of paper");
    await button(page, "Back to all tenants").click();
    await page.getByRole("heading", { level: 1, name: "All tenants" }).waitFor();
    await page.getByLabel("Tenant", { exact: true }).fill(tenant);
    await button(page, "Open").click();
    await shows(page, "Webhooks that need attention");
    await page.context().close();
    const trespasser = await fetch(`${url}/api/v1/integration/webhooks`, { headers: { authorization: `Bearer ${settings.other}`, "dynahook-tenant": tenant } });
    assert.equal(trespasser.status, 403);
  },
};

export const sources = {
  async "operators see the sources"() {
    const page = await signedIn(operator);
    await link(page, "Sources").click();
    await page.getByRole("heading", { level: 1, name: "Sources" }).waitFor();
    await link(page, settings.table).click();
    await shows(page, "How its items become events");
    await shows(page, "Changes that became no event");
    await shows(page, '"item_id":"console"');
    // An item in DynamoDB's JSON is a new one, a plain one and the one before it are a change, and one of no tenant fails.
    await page.getByLabel("Item", { exact: true }).fill("{");
    await button(page, "Try it").click();
    await shows(page, "This is not JSON");
    await page.getByLabel("Item", { exact: true }).fill('{"tenant_id": {"S": "acme"}, "item_id": {"S": "i1"}, "total": {"N": "12345678901234567890"}}');
    await button(page, "Try it").click();
    const becomes = (title) => page.locator(".note", { has: page.getByText(title, { exact: true }) });
    await becomes("When it is created").getByText("item.created").waitFor();
    await becomes("When it is created").getByText('"total": 12345678901234567890').waitFor();
    await becomes("When it is removed").getByText("item.deleted").waitFor();
    assert.equal(await becomes("When it changes").count(), 0);
    await page.getByLabel("Item", { exact: true }).fill('{"tenant_id": "acme", "item_id": "i1", "total": 2}');
    await page.getByLabel("Before the change").fill('{"tenant_id": "acme", "item_id": "i1", "total": 1}');
    await button(page, "Try it").click();
    await becomes("When it changes").getByText("item.updated").waitFor();
    await becomes("When it changes").locator(".tag", { hasText: "total" }).waitFor();
    await page.getByLabel("Item", { exact: true }).fill('{"tenant_id": "no tenant", "item_id": "i1"}');
    await page.getByLabel("Before the change").fill("");
    await button(page, "Try it").click();
    await becomes("When it is created").getByText("The change fails").waitFor();
    await button(page, "Send again").click();
    await shows(page, "sent again. Those that fail again come back");
    // It fails a second time and is listed again, until it is dismissed.
    const again = page.locator("tr", { hasText: '"item_id":"console"' }).filter({ has: page.locator("td.end", { hasText: /^2$/ }) });
    await again.getByRole("button", { name: "Dismiss", exact: true }).click();
    await page.getByRole("dialog").getByText("It leaves the list and cannot be sent again.").waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Dismiss", exact: true }).click();
    await shows(page, "changes are dismissed");
    await again.waitFor({ state: "detached" });
    await page.context().close();
  },
};
