// The page of an event, which explains which webhooks get it.

import { admin, button, shows, signedIn, visit } from "./setup.js";

export const events = {
  async "an event explains why a webhook does not get it"() {
    const page = await signedIn(admin);
    await visit(page, "events");
    await page.getByRole("link", { name: "part.made" }).first().click();
    await page.getByLabel("Webhook", { exact: true }).selectOption({ label: "Shipping" });
    await button(page, "Explain").click();
    await shows(page, "The webhook does not get this event");
    await shows(page, "does not hold");
    await page.getByLabel("Webhook", { exact: true }).selectOption({ label: "Parts for the warehouse" });
    await button(page, "Explain").click();
    await shows(page, "The webhook gets this event");
    await page.locator("section", { hasText: "Deliveries of this event" }).getByRole("link", { name: "Parts for the warehouse" }).click();
    await shows(page, "Attempt 1");
    await page.context().close();
  },
};
