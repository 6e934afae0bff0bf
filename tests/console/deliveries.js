// Deliveries that fail: why they failed, sending one again, and the automatic pause of a webhook.

import assert from "node:assert/strict";
import { admin, api, button, hook, idOf, later, link, receiver, shows, signedIn, until, visit } from "./setup.js";

export const failedDelivery = {
  async "a failure is found, explained and sent again in four clicks"() {
    receiver["/first"] = [500, '{"error":"no column total"}'];
    await api("PATCH", `/webhooks/${await idOf("Order sync")}`, { retry_policy: { maxAttempts: 1 } });
    await api("POST", "/events", { event_type: "order.created", entity_id: "42", data: { total: 7 } });
    await until("the delivery is given up", async () => (await api("GET", "/dead-letters")).data.length);
    const page = await signedIn(admin);
    await link(page, "Webhooks").first().click();
    await link(page, "Order sync").first().click();
    await shows(page, "The last attempt failed");
    await link(page, "order.created").first().click();
    await shows(page, "The receiver answered 500: receiver failed");
    await shows(page, "no column total");
    await shows(page, "Look at its log for this time");
    await shows(page, "orders/42");
    assert.equal(await button(page, "Show it as it would be now").count(), 0);
    receiver["/first"] = [204, ""];
    await button(page, "Send again").click();
    await page.locator("h1 + .badge", { hasText: "Delivered" }).waitFor();
    await shows(page, "Attempt 1, cycle 2");
    await page.context().close();
  },
};

export const pausedByFailures = {
  async "a receiver fails, is paused, works again and gets what waited"() {
    receiver["/shipping"] = [503, "deploying"];
    const retry_policy = { maxAttempts: 8, backoff: "fixed", scheduleSeconds: [1] };
    const { id } = await api("POST", "/webhooks", {
      name: "Shipping",
      url: `${hook}/shipping`,
      event_types: ["parcel.sent"],
      retry_policy,
      auto_pause: { failures: 2, after_seconds: 0 },
    });
    await api("POST", "/events", { event_type: "parcel.sent", entity_id: "7", data: { weight: 2 } });
    const page = await signedIn(admin);
    await visit(page, "webhooks");
    await page.locator("tr", { hasText: "Shipping" }).getByText("Paused by failures").waitFor({ timeout: 60_000 });
    await link(page, "Shipping").click();
    await shows(page, "failures in a row");
    await page.getByRole("link", { name: "parcel.sent" }).first().click();
    await shows(page, "Parked");
    receiver["/shipping"] = [200, "thanks"];
    await visit(page, `webhooks/${id}/try`);
    await button(page, "Send a test").click();
    await shows(page, "The receiver accepted it");
    await visit(page, `webhooks/${id}`);
    await button(page, "Resume").click({ timeout: 5_000 }).catch(() => null);
    await page.locator("h1 + .badge", { hasText: /Catching up|Healthy/ }).waitFor();
    await page.context().close();
    later.push(async () => {
      const page = await signedIn(admin);
      await visit(page, `webhooks/${id}`);
      await page.locator("h1 + .badge", { hasText: "Healthy" }).waitFor({ timeout: 150_000 });
      const { data } = await api("GET", `/webhooks/${id}/deliveries?state=delivered`);
      assert.equal(data.length, 2, "the test and what waited");
      await page.context().close();
    });
  },
};
