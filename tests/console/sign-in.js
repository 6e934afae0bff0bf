// Signing in: with a pasted token, with a link, with single sign-on, and with a link when a token is already there.

import assert from "node:assert/strict";
import { axe, picture } from "./browser.js";
import { portalLink, theme } from "./product.js";
import { admin, api, button, open, operator, pictures, settings, shows, signedIn, url, visit } from "./setup.js";

const tokenOf = ({ url: address }) => address.split("#token=")[1];

export const signIn = {
  async "a pasted token signs in, and an invalid one says why"() {
    const page = await open();
    await page.goto(`${url}/console`);
    await button(page, "Sign in").click();
    await shows(page, "Paste a token first");
    await page.getByLabel("Token or API key").fill("not a token");
    await button(page, "Sign in").click();
    await shows(page, "A token has no spaces");
    await page.getByLabel("Token or API key").fill("eyJhbGciOiJub25lIn0.e30.AAAA");
    await button(page, "Sign in").click();
    await shows(page, "You are signed out");
    await page.getByLabel("Token or API key").fill(`Bearer ${admin}\n`);
    await button(page, "Sign in").click();
    await shows(page, "Three steps to the first delivery");
    await page.reload();
    await shows(page, "Three steps to the first delivery");
    await button(page, "Sign out").click();
    await page.getByLabel("Token or API key").waitFor();
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
    await page.context().close();
  },

  async "a link signs in, and its token leaves the address"() {
    const page = await open();
    await page.goto(`${url}/console#token=${admin}`);
    await shows(page, "Three steps to the first delivery");
    assert.ok(!page.url().includes(admin.slice(-20)), page.url());
    await page.goBack().catch(() => null);
    assert.ok(!page.url().includes(admin.slice(-20)), page.url());
    await page.context().close();
  },

  async "single sign-on exchanges a code with PKCE"() {
    const page = await open();
    const issuer = "https://issuer.example";
    const seen = {};
    // The deployed stack has no client id; the page's policy would have the issuer if it had one.
    await page.route(/\/console(\?|$)/, async (route) => {
      const response = await route.fetch();
      const policy = response.headers()["content-security-policy"].replace("connect-src 'self'", `connect-src 'self' ${issuer}`);
      await route.fulfill({ response, headers: { ...response.headers(), "content-security-policy": policy } });
    });
    const config = { issuer, client_id: "console", scope: "openid", audience: "dynahook" };
    await page.route("**/console/config.json", (route) => route.fulfill({ json: config }));
    await page.route(`${issuer}/**`, async (route) => {
      const asked = new URL(route.request().url());
      const headers = { "access-control-allow-origin": "*" };
      if (asked.pathname.endsWith("openid-configuration")) {
        await route.fulfill({ headers, json: { authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token` } });
      } else if (asked.pathname === "/authorize") {
        Object.assign(seen, Object.fromEntries(asked.searchParams));
        // No redirect: what follows one is not routed through this test.
        const back = JSON.stringify(`${seen.redirect_uri}?code=c0de&state=${seen.state}`);
        await route.fulfill({ contentType: "text/html", body: `<script>location.replace(${back})</script>` });
      } else {
        const form = new URLSearchParams(route.request().postData());
        const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(form.get("code_verifier")));
        assert.equal(Buffer.from(digest).toString("base64url"), seen.code_challenge);
        assert.equal(form.get("code"), "c0de");
        await route.fulfill({ headers, json: { access_token: admin } });
      }
    });
    await page.goto(`${url}/console`);
    await button(page, "Continue with single sign-on").click();
    await shows(page, "Three steps to the first delivery");
    assert.deepEqual([seen.response_type, seen.client_id, seen.code_challenge_method], ["code", "console", "S256"]);
    assert.ok(!page.url().includes("c0de"), page.url());
    // A code that this tab did not ask for is not exchanged.
    await button(page, "Sign out").click();
    await page.goto(`${url}/console?code=other&state=forged`);
    await shows(page, "was not started in this tab");
    await page.context().close();
  },
};

export const replacedToken = {
  async "a link asks before it replaces another token"() {
    const { tenant, other } = settings;
    const page = await signedIn(admin);
    const dialog = page.getByRole("dialog", { name: "Sign in with this link?" });
    const asks = (now, then) => dialog.getByText(`You are signed in to ${now}. The link contains a token of ${then}.`, { exact: true }).waitFor();
    const follow = (token) => page.evaluate((hash) => (location.hash = hash), `#token=${token}`);
    const keeps = async (token) => {
      await dialog.waitFor({ state: "detached" });
      assert.equal(await page.evaluate(() => sessionStorage.getItem("dynahook.token")), token);
      assert.ok(!page.url().includes("token="), page.url());
    };
    // What was entered stays.
    await visit(page, "webhooks/new");
    await page.getByLabel("Name", { exact: true }).fill("Half done");
    await follow(other);
    await asks(tenant, `${tenant}-other`);
    assert.ok(!page.url().includes("token="), page.url());
    assert.deepEqual(await axe(page), []);
    await picture(page, pictures, "offer");
    await button(page, "Stay signed in").click();
    await keeps(admin);
    assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "Half done");
    // A link that is opened in this tab loads nothing before the answer.
    await page.goto("about:blank");
    await page.goto(`${url}/console#token=${other}`);
    await asks(tenant, `${tenant}-other`);
    assert.equal(await page.locator(".frame").count(), 0);
    await page.keyboard.press("Escape");
    await page.locator(".frame h1").waitFor();
    await keeps(admin);
    await follow("eyJhbGciOiJub25lIn0.e30.AAAA");
    await shows(page, "The token of the link is not valid");
    await keeps(admin);
    // A portal link of the same tenant needs no question.
    const own = await portalLink({ theme: theme() });
    await follow(tokenOf(own));
    await page.locator(".side .brand", { hasText: "Acme Shop" }).waitFor();
    await keeps(tokenOf(own));
    // That of another tenant does, unless the link that opened the page has ended.
    const theirs = await portalLink({ tenant: `${tenant}-other`, theme: theme({ name: "Globex" }) }, operator);
    await follow(tokenOf(theirs));
    await asks(tenant, `${tenant}-other`);
    await button(page, "Stay signed in").click();
    await keeps(tokenOf(own));
    await api("DELETE", `/portal-links/${own.id}`);
    await follow(tokenOf(theirs));
    await page.locator(".side .brand", { hasText: "Globex" }).waitFor();
    await keeps(tokenOf(theirs));
    // Any other token asks, even of the same tenant.
    await follow(other);
    await button(page, "Sign in with the link").click();
    await button(page, "Sign out").waitFor();
    await keeps(other);
    await page.context().close();
  },
};
