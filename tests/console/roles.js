// What a user sees and can change: without a role, as a viewer, and with a token of another tenant.

import assert from "node:assert/strict";
import { admin, idOf, open, settings, shows, signedIn, url, visit, withoutRole } from "./setup.js";

export const noRole = {
  async "a token without a role sees nothing, and another tenant's ids do not exist"() {
    const page = await open();
    await page.goto(`${url}/console#token=${withoutRole}`);
    await shows(page, "This token shows nothing here");
    assert.equal(await page.locator(".nav a").count(), 0);
    const other = await signedIn(settings.other);
    await visit(other, `webhooks/${await idOf("Parts for the warehouse")}`);
    await other.locator("[role=alert]", { hasText: "Not found" }).waitFor();
    await page.context().close();
    await other.context().close();
  },
};

export const viewer = {
  async "a viewer changes nothing"() {
    const id = await idOf("Billing");
    // What changes something, by page. An admin sees all of it.
    const changing = {
      webhooks: ["New webhook"],
      [`webhooks/${id}`]: ["Edit", "Pause", "Send a test"],
      [`webhooks/${id}/settings`]: ["Rotate the secret", "Disable", "Delete"],
      "dead-letters": ["Send all again"],
    };
    const [viewer, changer] = [await signedIn(settings.viewer), await signedIn(admin)];
    for (const [path, names] of Object.entries(changing)) {
      await visit(viewer, path);
      await visit(changer, path);
      for (const name of names) {
        const shown = (page) => page.locator(".main").getByText(name, { exact: true });
        await shown(changer).first().waitFor();
        assert.equal(await shown(viewer).count(), 0, `${path}: ${name}`);
      }
    }
    await viewer.context().close();
    await changer.context().close();
  },
};
