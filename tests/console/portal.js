// Portal links: their theme, what they show, how they end, and the console in a frame of the product.

import assert from "node:assert/strict";
import { axe, fits, inEachView, picture, VIEWS } from "./browser.js";
import { portalLink, theme, unknown } from "./product.js";
import { api, button, faults, idOf, link, open, operator, pictures, settings, shows, until, url, visit } from "./setup.js";

const frameOf = async (page, origin, address) => {
  await page.goto(`${origin}/?frame=${encodeURIComponent(address)}`);
  return page.frameLocator("iframe");
};

// Made when this file is loaded, which is before the first test. It ends before the last tests need that.
const shortLink = await portalLink({ theme: theme({ logo_url: null }), expires_in: 60 });

export const portal = {
  async "a portal link signs in, with the theme of the product"() {
    const page = await open();
    const { url: address, id } = await portalLink({ theme: theme({ mode: "dark" }) });
    await page.goto(address);
    await page.locator(".frame h1").waitFor();
    assert.ok(!page.url().includes("token") && !page.url().includes(id.slice(4)), page.url());
    const looks = () =>
      page.evaluate(() => {
        const style = getComputedStyle(document.documentElement);
        const logo = document.querySelector(".brand .logo");
        return { theme: document.documentElement.dataset.theme, accent: style.getPropertyValue("--accent"), logo: logo.complete && logo.naturalWidth > 0, brand: document.querySelector(".side .brand").textContent.trim(), title: document.title };
      });
    await page.waitForFunction(() => document.querySelector(".brand .logo")?.naturalWidth > 0);
    const seen = await looks();
    assert.deepEqual([seen.theme, seen.logo, seen.brand, seen.title], ["dark", true, "Acme Shop", "Overview · Acme Shop"]);
    assert.notEqual(seen.accent, "#9dabff");
    for (const name of ["Sign out", "Light theme", "Dark theme"]) assert.equal(await button(page, name).count(), 0, name);
    assert.equal(await link(page, "API reference").count(), 0);
    await visit(page, "sources");
    await shows(page, "This page does not exist");
    await visit(page, "webhooks");
    await link(page, "New webhook").waitFor();
    await page.reload();
    await page.getByRole("heading", { level: 1, name: "Webhooks" }).waitFor();
    assert.deepEqual({ ...(await looks()), title: "", logo: true }, { ...seen, title: "", logo: true });
    await page.context().close();
    // Without a theme, the page is the console; a logo that is gone leaves the name.
    const plain = await open();
    await plain.goto((await portalLink({})).url);
    await plain.locator(".side .brand", { hasText: "Dynahook" }).waitFor();
    await button(plain, "Dark theme").click();
    assert.equal(await plain.evaluate(() => document.documentElement.dataset.theme), "dark");
    await plain.context().close();
    const broken = await open();
    await broken.route("**/logo.svg", (route) => route.fulfill({ status: 404 }));
    await broken.goto((await portalLink({ theme: theme() })).url);
    await broken.locator(".side .brand", { hasText: "Acme Shop" }).waitFor();
    await broken.waitForFunction(() => !document.querySelector(".brand .logo"));
    await broken.context().close();
  },

  async "a portal link shows what it allows, and nothing of another tenant"() {
    const webhook = await idOf("Parts for the warehouse");
    const reader = await open();
    await reader.goto((await portalLink({ read_only: true })).url);
    await visit(reader, "webhooks");
    await link(reader, "Parts for the warehouse").waitFor();
    assert.equal(await link(reader, "New webhook").count(), 0);
    await reader.context().close();
    const app = await open();
    await app.goto((await portalLink({ app_id: "crm" })).url);
    await shows(app, "Three steps to the first delivery");
    await visit(app, `webhooks/${webhook}`);
    await app.locator("[role=alert]", { hasText: "Not found" }).waitFor();
    await app.context().close();
    const other = await open();
    await other.goto((await portalLink({ tenant: `${settings.tenant}-other` }, operator)).url);
    await shows(other, "Three steps to the first delivery");
    await visit(other, `webhooks/${webhook}`);
    await other.locator("[role=alert]", { hasText: "Not found" }).waitFor();
    await other.context().close();
  },

  async "a portal link that was revoked or has ended says so, and asks for no token"() {
    const { url: address, id } = await portalLink({ theme: theme() });
    const page = await open();
    await page.goto(address);
    await page.locator(".frame h1").waitFor();
    await api("DELETE", `/portal-links/${id}`);
    await page.reload();
    const says = async (name) => {
      await page.getByRole("heading", { level: 1, name: "This link has ended" }).waitFor();
      await shows(page, `Ask ${name} for a new link`);
      assert.equal(await page.getByLabel("Token or API key").count(), 0);
    };
    await says("Acme Shop");
    await page.reload();
    await says("Acme Shop");
    assert.equal(await page.evaluate(() => sessionStorage.getItem("dynahook.token")), null);
    assert.deepEqual(await axe(page), []);
    await picture(page, pictures, "portal-ended");
    // Opened again, it is refused before its theme is known.
    await page.goto("about:blank");
    await page.goto(address);
    await says("the people who gave you this one");
    await page.goto("about:blank");
    await until("the end of the link", async () => Date.now() > Date.parse(shortLink.expires_at) + 1_000);
    await page.goto(shortLink.url);
    await says("the people who gave you this one");
    // A new link opens the page again.
    await page.goto("about:blank");
    await page.goto((await portalLink({ theme: theme() })).url);
    await page.locator(".side .brand", { hasText: "Acme Shop" }).waitFor();
    await page.context().close();
  },

  async "a frame on an allowed origin shows the page, also without storage, and no other does"() {
    const { url: address } = await portalLink({ theme: theme() });
    const page = await open();
    let frame = await frameOf(page, settings.portal, address);
    await frame.locator(".side .brand", { hasText: "Acme Shop" }).waitFor();
    await frame.getByRole("link", { name: "Webhooks", exact: true }).click();
    await frame.getByRole("heading", { level: 1, name: "Webhooks" }).waitFor();
    await frame.getByRole("link", { name: "Parts for the warehouse" }).waitFor();
    await picture(page, pictures, "portal-frame");
    // A page that sets the frame's address again changes its fragment only.
    const { url: next } = await portalLink({ theme: theme({ name: "Acme Two" }) });
    await page.evaluate((src) => (document.querySelector("iframe").src = src), next);
    await frame.locator(".side .brand", { hasText: "Acme Two" }).waitFor();
    await page.context().close();

    const blocked = await open();
    await blocked.addInitScript(() => {
      const get = () => {
        throw new DOMException("storage is blocked", "SecurityError");
      };
      for (const name of ["sessionStorage", "localStorage"]) Object.defineProperty(window, name, { get });
    });
    frame = await frameOf(blocked, settings.portal, address);
    await frame.locator(".side .brand", { hasText: "Acme Shop" }).waitFor();
    await frame.getByRole("button", { name: "Dark theme" }).click();
    await frame.locator(':root[data-theme="dark"]').waitFor();
    await blocked.context().close();

    const forbidden = await open();
    await frameOf(forbidden, `http://127.0.0.1:${unknown.address().port}`, address);
    await until("the browser's refusal", async () => faults.some((fault) => fault.includes("frame-ancestors")));
    assert.ok(forbidden.frames().every((one) => !one.url().startsWith(url)), forbidden.frames().map((one) => one.url()).join(" "));
    for (const fault of faults.splice(0)) assert.match(fault, /frame-ancestors/);
    await forbidden.context().close();
  },

  async "a themed page is accessible in any color, light and dark, wide and narrow"() {
    const webhook = await idOf("Parts for the warehouse");
    const colors = { dark: "#101418", green: "#0a7d5a", grey: "#808080", yellow: "#ffe500", white: "#ffffff" };
    const found = [];
    for (const [color, accent_color] of Object.entries(colors)) {
      const page = await open();
      await page.goto((await portalLink({ theme: theme({ accent_color }) })).url);
      // A color does not depend on the width.
      const isWhole = color === "green";
      const views = VIEWS.filter(({ name }) => isWhole || name.endsWith("wide"));
      for (const path of isWhole ? ["overview", "webhooks", `webhooks/${webhook}`, "webhooks/new"] : ["overview", "webhooks/new"]) {
        await visit(page, path);
        const look = async (view) => {
          found.push(...(await axe(page)).map((fault) => `${view} ${color} ${path}: ${fault}`));
          await fits(page, `${view} ${color} ${path}`);
          if (path === "overview" && ["green", "yellow"].includes(color)) await picture(page, pictures, `portal-${color}-${view}`);
        };
        await inEachView(page, look, views);
      }
      await page.context().close();
    }
    assert.deepEqual(found, []);
  },
};
