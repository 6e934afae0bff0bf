// The overview and its charts.

import { admin, api, shows, signedIn, until, visit } from "./setup.js";

export const overview = {
  async "the overview shows how much arrives, and how fast"() {
    await until("counted deliveries", async () => (await api("GET", "/statistics")).total.lateness_ms);
    const page = await signedIn(admin);
    await visit(page, "overview");
    await shows(page, "Median time to arrive");
    for (const label of ["Attempts by hour", "Time from an event to its arrival"]) {
      await page.locator(`[role="img"][aria-label^="${label}"] canvas`).waitFor();
    }
    await page.context().close();
  },
};
