// The console in Chromium against the deployed stack: what people do, what they must not be able to do to each other,
// and how every page looks. Run by `make test` with the settings as JSON on the standard input.

import assert from "node:assert/strict";
import { everyPage, keyboard } from "./accessibility.js";
import { picture } from "./browser.js";
import { deadLetters } from "./dead-letters.js";
import { failedDelivery, pausedByFailures } from "./deliveries.js";
import { events } from "./events.js";
import { hostileText } from "./hostile-text.js";
import { idempotency } from "./idempotency.js";
import { lists } from "./lists.js";
import { loading } from "./loading.js";
import { failingWebhooks, sources } from "./operators.js";
import { overview } from "./overview.js";
import { portal } from "./portal.js";
import { known, unknown } from "./product.js";
import { noRole, viewer } from "./roles.js";
import { browser, faults, later, pictures, server } from "./setup.js";
import { replacedToken, signIn } from "./sign-in.js";
import { changedWebhook, inboundWebhook, newWebhook, webhookForm } from "./webhooks.js";

// In the order in which they run. Some use what earlier ones made, so that a file's tests are not always together.
const tests = {
  ...signIn,
  ...newWebhook,
  ...failedDelivery,
  ...changedWebhook,
  ...pausedByFailures,
  ...deadLetters,
  ...noRole,
  ...events,
  ...failingWebhooks,
  ...viewer,
  ...overview,
  ...webhookForm,
  ...sources,
  ...keyboard,
  ...lists,
  ...replacedToken,
  ...inboundWebhook,
  ...idempotency,
  ...everyPage,
  ...hostileText,
  ...portal,
  async "what waited arrived, and what was sent again"() {
    for (const check of later) await check();
  },
  ...loading,
};

let failed = 0;
for (const [name, run] of Object.entries(tests)) {
  const start = Date.now();
  try {
    await run();
    assert.deepEqual(faults.splice(0), [], "the page reports errors");
    console.log(`  ok ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed += 1;
    faults.length = 0;
    console.log(`  FAILED ${name}\n${error.stack}`);
    for (const [index, context] of browser.contexts().entries()) {
      for (const page of context.pages()) await picture(page, pictures, `failed-${failed}-${index}`).catch(() => null);
      await context.close();
    }
  }
}
await browser.close();
for (const each of [server, known, unknown]) {
  each.close();
  each.closeAllConnections();
}
process.exitCode = failed ? 1 : 0;
