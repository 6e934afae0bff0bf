// Takes the pictures of the documentation. Run by `make pictures` with the settings as JSON on the standard input.

import assert from "node:assert/strict";
import { text } from "node:stream/consumers";
import { launch, picture, VIEWS } from "./browser.js";

const settings = JSON.parse(await text(process.stdin));
const { pictures, admin, portal, delivery } = settings;
const { browser, faults, open, signedIn, visit } = await launch(settings);

// What is loaded late has arrived, and charts are drawn: in the list of webhooks one for each row.
const still = async (page) => {
  await page.waitForLoadState("networkidle");
  await page.waitForFunction(() => document.querySelectorAll("td .chart").length === document.querySelectorAll("td .chart .spark").length);
  await page.waitForTimeout(500);
};

const pages = {
  overview: "overview",
  webhooks: "webhooks",
  delivery: `webhooks/${delivery.webhook_id}/deliveries/${delivery.id}`,
};
const page = await signedIn(admin, VIEWS[0]);
for (const [name, path] of Object.entries(pages)) {
  await visit(page, path);
  await still(page);
  await picture(page, pictures, `console-${name}`);
}
const customer = await open(VIEWS[0]);
await customer.goto(portal);
await customer.locator(".frame h1").waitFor();
await visit(customer, "webhooks");
await still(customer);
await picture(customer, pictures, "console-portal");
await browser.close();
assert.deepEqual(faults, []);
