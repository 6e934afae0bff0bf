// What the pages load: the API reference, and the size of the console's first load.

import assert from "node:assert/strict";
import { open, shows, url } from "./setup.js";

export const loading = {
  async "the reference shows the contract, and loads nothing from elsewhere"() {
    const page = await open();
    const hosts = new Set();
    page.on("request", (request) => hosts.add(new URL(request.url()).host));
    await page.goto(`${url}/docs`);
    await page.locator('[data-path="/webhooks/{id}/test"]').click();
    await shows(page, "Idempotency-Key");
    assert.deepEqual([...hosts].filter(Boolean), [new URL(url).host]);
    await page.context().close();
  },

  async "the first load is small"() {
    const page = await open();
    const sizes = [];
    page.on("response", async (response) => {
      const { responseBodySize } = await response.request().sizes();
      sizes.push([new URL(response.url()).pathname, responseBodySize]);
    });
    const start = performance.now();
    await page.goto(`${url}/console`, { waitUntil: "networkidle" });
    const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
    const total = sizes.reduce((sum, [, size]) => sum + size, 0);
    console.log(`  first load: ${sizes.length} files, ${Math.round(total / 1000)} KB; first paint after ${Math.round(paint)} ms of ${Math.round(performance.now() - start)} ms`);
    assert.ok(total > 30_000 && total < 150_000 && sizes.length >= 3 && sizes.length <= 6, JSON.stringify(sizes));
    await page.context().close();
  },
};
