// Every page with the keyboard, with axe-core, and in each width and colour scheme. Takes the pictures of the pages.

import assert from "node:assert/strict";
import { axe, fits, inEachView, picture } from "./browser.js";
import { admin, api, idOf, open, pictures, settings, signedIn, url, visit } from "./setup.js";

export const keyboard = {
  async "pages work with the keyboard"() {
    const page = await signedIn(admin);
    await visit(page, "webhooks");
    await page.locator(".skip").waitFor({ state: "attached" });
    await page.keyboard.press("Tab");
    await page.waitForFunction(() => document.activeElement.className === "skip");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.activeElement.id === "content");
    await page.getByRole("searchbox").focus();
    await page.keyboard.type("Parts for the warehouse");
    await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
    await page.getByRole("link", { name: "Parts for the warehouse" }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: "Parts for the warehouse" }).waitFor();
    await page.context().close();
  },
};

export const everyPage = {
  async "every page is accessible and fits, light and dark, wide and narrow"() {
    const webhook = await idOf("Parts for the warehouse");
    const [delivery] = (await api("GET", `/webhooks/${webhook}/deliveries`)).data;
    const [job] = (await api("GET", "/jobs")).data;
    const pages = {
      overview: "overview",
      webhooks: "webhooks",
      webhook: `webhooks/${webhook}`,
      deliveries: `webhooks/${webhook}/deliveries`,
      try: `webhooks/${webhook}/try`,
      settings: `webhooks/${webhook}/settings`,
      new: "webhooks/new",
      edit: `webhooks/${webhook}/edit`,
      delivery: `webhooks/${webhook}/deliveries/${delivery.id}`,
      "dead-letters": "dead-letters",
      jobs: "jobs",
      job: `jobs/${job.id}`,
      events: "events",
      event: `events/${delivery.event_id}`,
      "event-types": "event-types",
      "event-type": "event-types/order.created",
      tenants: "tenants",
      sources: "sources",
      source: `sources/${settings.table}`,
      missing: "nothing/of/this/name",
    };
    const found = [];
    const look = (page, name) =>
      inEachView(page, async (view) => {
        found.push(...(await axe(page)).map((fault) => `${view} ${name}: ${fault}`));
        await fits(page, `${view} ${name}`);
        await picture(page, pictures, `${name}-${view}`);
      });
    const page = await open();
    await page.goto(`${url}/console`);
    await page.getByLabel("Token or API key").waitFor();
    await look(page, "sign-in");
    await page.context().close();
    const signed = await signedIn(settings.both);
    for (const [name, path] of Object.entries(pages)) {
      await visit(signed, path);
      await look(signed, name);
    }
    await signed.context().close();
    assert.deepEqual(found, []);
  },
};
