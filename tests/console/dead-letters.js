// Dead letters, and the job that sends all of them again.

import { admin, api, button, hook, later, link, receiver, shows, signedIn, until, visit } from "./setup.js";

export const deadLetters = {
  async "dead letters are counted and sent again by a job"() {
    const { id } = await api("POST", "/webhooks", { name: "Parts for the warehouse", url: `${hook}/broken`, event_types: ["part.made"], retry_policy: { maxAttempts: 1 } });
    receiver["/broken"] = [422, "no"];
    await api("POST", "/events", [1, 2].map((number) => ({ event_type: "part.made", data: { number } })));
    await until("two dead letters", async () => (await api("GET", `/dead-letters?webhook_id=${id}`)).data.length === 2);
    const page = await signedIn(admin);
    await link(page, "Dead letters").first().click();
    await page.getByLabel("Webhook", { exact: true }).selectOption({ label: "Parts for the warehouse" });
    await page.locator("tbody tr").nth(1).waitFor();
    await button(page, "Send all again").click();
    await button(page, "Count only").click();
    await page.locator("h1", { hasText: "Redrive dead letters" }).waitFor();
    await shows(page, "counts only");
    receiver["/broken"] = [200, ""];
    await visit(page, "dead-letters");
    await button(page, "Send all again").click();
    await page.getByRole("dialog").getByRole("button", { name: "Send all again" }).click();
    await page.locator("h1 + .badge", { hasText: /Running|Done/ }).waitFor();
    const job = new URL(page.url()).hash.slice(2);
    await page.context().close();
    later.push(async () => {
      const page = await signedIn(admin);
      await visit(page, job);
      await page.locator("h1 + .badge", { hasText: "Done" }).waitFor({ timeout: 150_000 });
      await until("both are delivered", async () => (await api("GET", `/webhooks/${id}/deliveries?state=delivered`)).data.length === 2);
      await page.context().close();
    });
  },
};
