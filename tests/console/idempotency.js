// Idempotency keys: a request that is sent again after its response was lost.

import assert from "node:assert/strict";
import { admin, api, button, hook, shows, signedIn, visit } from "./setup.js";

export const idempotency = {
  async "what is sent again after its response was lost runs once"() {
    const page = await signedIn(admin);
    // The stack gets each request, and the page gets the responses but the first one.
    const keysOf = async (path) => {
      const keys = [];
      const isAsked = (asked) => asked.pathname.endsWith(`/integration/${path}`);
      await page.route(isAsked, async (route) => {
        if (route.request().method() !== "POST") return route.fallback();
        keys.push(route.request().headers()["idempotency-key"]);
        if (keys.length > 1) return route.continue();
        await route.fetch();
        return route.fulfill({ status: 503, json: { title: "Unavailable", detail: "The response was lost" } });
      });
      return keys;
    };
    const created = await keysOf("webhooks");
    await visit(page, "webhooks/new");
    await page.getByLabel("URL", { exact: true }).fill(`${hook}/twice`);
    await page.getByLabel("Name", { exact: true }).fill("Sent twice");
    await button(page, "Create the webhook").click();
    await page.locator("[role=alert]", { hasText: "The response was lost" }).waitFor();
    await button(page, "Create the webhook").click();
    await page.getByRole("dialog").getByText("Rotate the secret to get a new one").waitFor();
    await button(page, "Close").click();
    const { data } = await api("GET", "/webhooks?limit=100");
    const [{ id }, ...others] = data.filter(({ name }) => name === "Sent twice");
    assert.deepEqual(others, []);
    assert.ok(created[0], "creating a webhook has a key");
    assert.deepEqual(created, [created[0], created[0]]);

    // In a dialog too. A change of the input, and opening it again, make another key.
    const rotated = await keysOf(`webhooks/${id}/secret/rotate`);
    const dialog = page.getByRole("dialog");
    const rotate = () => dialog.getByRole("button", { name: "Rotate the secret" }).click();
    const version = async () => (await api("GET", `/webhooks/${id}`)).version;
    const before = await version();
    await visit(page, `webhooks/${id}/settings`);
    await button(page, "Rotate the secret").click();
    await rotate();
    await shows(page, "The response was lost");
    await rotate();
    await button(page, "Close").click();
    assert.equal(await version(), before + 1);
    await button(page, "Rotate the secret").click();
    await rotate();
    await button(page, "I have copied it").click();
    assert.deepEqual([rotated.length, new Set(rotated).size, rotated[1]], [3, 2, rotated[0]]);
    const sent = await keysOf(`webhooks/${id}/replay`);
    await visit(page, `webhooks/${id}/deliveries`);
    await button(page, "Send many again").click();
    await dialog.getByLabel("What").selectOption("replay");
    await dialog.getByRole("button", { name: "Count only" }).click();
    await dialog.getByText("The response was lost").waitFor();
    await dialog.getByLabel("Deliveries a second").fill("20");
    await dialog.getByRole("button", { name: "Count only" }).click();
    await page.locator("h1", { hasText: "Replay events" }).waitFor();
    assert.equal(new Set(sent).size, 2);
    await page.context().close();
    await api("DELETE", `/webhooks/${id}`);
  },
};
