// Text of tenants, events and receivers that tries to run as HTML or as a script.

import assert from "node:assert/strict";
import { PAYLOADS } from "./payloads.js";
import { admin, api, hook, receiver, signedIn, until, visit } from "./setup.js";

export const hostileText = {
  async "text of tenants, events and receivers is text"() {
    const page = await signedIn(admin);
    for (const [index, payload] of PAYLOADS.entries()) {
      receiver[`/xss${index}`] = [500, payload];
    }
    const name = PAYLOADS.join(" ").slice(0, 390);
    // One for each answer of the receiver; the first one shows everything else too.
    const created = [];
    for (const [index, payload] of PAYLOADS.entries()) {
      created.push(
        await api("POST", "/webhooks", {
          name,
          url: `${hook}/xss${index}`,
          event_types: ["xss.tried"],
          headers: { "X-Note": payload },
          properties: { note: payload },
          tags: [payload],
          retry_policy: { maxAttempts: 1 },
        }),
      );
    }
    const [webhook] = created;
    const note = PAYLOADS.join(" ");
    await api("PUT", "/event-types/xss.tried", { description: note, example: { note } });
    await api("POST", "/events", { event_type: "xss.tried", entity_id: "x", data: { [PAYLOADS[0]]: note }, old_data: { [PAYLOADS[0]]: "" } });
    const deliveries = await until("their deliveries", async () => {
      const { data } = await api("GET", "/deliveries?limit=100");
      const own = created.map(({ id }) => data.find((one) => one.webhook_id === id && one.state === "exhausted"));
      return own.every(Boolean) ? own : null;
    });
    const [delivery] = deliveries;
    const pages = ["overview", "webhooks", `webhooks/${webhook.id}`, `webhooks/${webhook.id}/deliveries`, `webhooks/${webhook.id}/try`, `webhooks/${webhook.id}/settings`];
    pages.push(`webhooks/${webhook.id}/edit`, `webhooks/${webhook.id}/deliveries/${delivery.id}`, "dead-letters", "events", `events/${delivery.event_id}`, "event-types", "event-types/xss.tried");
    pages.push(...PAYLOADS.map((payload) => `webhooks/${encodeURIComponent(payload)}`));
    for (const path of pages) {
      await visit(page, path);
      // None of them made an element, and none ran.
      const made = await page.evaluate(() => document.querySelectorAll("main script, main iframe, main img, main object, main embed, main base, main math, main form[action]").length);
      assert.equal(made, 0, path);
      assert.equal(await page.evaluate(() => window.attacked), undefined, path);
    }
    for (const [index, { id, webhook_id: of }] of deliveries.entries()) {
      await visit(page, `webhooks/${of}/deliveries/${id}`);
      await page.locator("pre, code", { hasText: PAYLOADS[index] }).first().waitFor();
      assert.equal(await page.evaluate(() => window.attacked), undefined, PAYLOADS[index]);
    }
    await page.context().close();
  },
};
