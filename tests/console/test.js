// The console in Chromium against the deployed stack: what people do, what they must not be able to do to each other,
// and how every page looks. Run by `make test` with the settings as JSON on the standard input.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { axe, fits, inEachView, launch, picture, settled, VIEWS } from "./browser.js";
import { PAYLOADS } from "./payloads.js";

const settings = JSON.parse(await text(process.stdin));
const { url, admin, operator, withoutRole, pictures } = settings;
const { browser, faults, open, signedIn, visit } = await launch(settings);

// A receiver whose answers the tests change; it remembers what arrived.
const receiver = { status: 204, body: "", arrived: [] };
const server = createServer(async (request, response) => {
  const body = await text(request);
  receiver.arrived.push({ path: request.url, headers: request.headers, body });
  const [status, answer] = receiver[request.url] ?? [receiver.status, receiver.body];
  response.writeHead(status).end(answer);
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const hook = `http://127.0.0.1:${server.address().port}`;

const api = async (method, path, body, token = admin) => {
  const response = await fetch(`${url}/api/v1/integration${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = await response.text();
  assert.ok(response.ok, `${method} ${path} answered ${response.status}: ${answer}`);
  return answer ? JSON.parse(answer) : null;
};

const raw = async (path) =>
  (await fetch(`${url}/api/v1/integration${path}`, { headers: { authorization: `Bearer ${admin}` } })).text();

const until = async (what, condition) => {
  for (const end = Date.now() + 60_000; Date.now() < end; ) {
    const found = await condition();
    if (found) return found;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`not within a minute: ${what}`);
};

const shows = (page, words) => page.getByText(words, { exact: false }).first().waitFor();
const button = (page, name) => page.getByRole("button", { name, exact: true });
const link = (page, name) => page.getByRole("link", { name, exact: true });

// A product that shows the console in a frame, on the origin that the deployment allows and on one that it does not
// know.
const LOGO =
  '<svg xmlns="http://www.w3.org/2000/svg" width="28" height="28"><rect width="28" height="28" rx="8" fill="#0a7d5a"/><path d="M8 20l6-12 6 12M10 16h8" fill="none" stroke="#fff" stroke-width="2.4"/></svg>';
const product = () =>
  createServer((request, response) => {
    const asked = new URL(request.url, settings.portal);
    if (asked.pathname === "/logo.svg") return response.writeHead(200, { "content-type": "image/svg+xml" }).end(LOGO);
    const frame = `<iframe title="Webhooks" src="${asked.searchParams.get("frame") ?? ""}" width="1200" height="800" allow="clipboard-write"></iframe>`;
    return response.writeHead(200, { "content-type": "text/html" }).end(`<!doctype html><html lang="en"><title>Acme</title><h1>Acme</h1>${frame}`);
  });
const [known, unknown] = [product(), product()];
await new Promise((done) => known.listen({ fd: settings.portalSocket }, done));
await new Promise((done) => unknown.listen(0, "127.0.0.1", done));

const theme = (more) => ({ name: "Acme Shop", logo_url: `${settings.portal}/logo.svg`, accent_color: "#0a7d5a", ...more });
const portalLink = (body, token) => api("POST", "/portal-links", body, token);
const frameOf = async (page, origin, address) => {
  await page.goto(`${origin}/?frame=${encodeURIComponent(address)}`);
  return page.frameLocator("iframe");
};
const tokenOf = ({ url: address }) => address.split("#token=")[1];
// It ends before the last tests need that.
const shortLink = await portalLink({ theme: theme({ logo_url: null }), expires_in: 60 });

// Lists that a test serves instead of the stack: the rows, whose ids are numbers, and the cursors. Dead letters are not
// in the order of their ids.
const digits = (number) => String(number).padStart(26, "0");
const LISTS = {
  events: {
    row: (number) => ({ id: `evt_${digits(number)}`, event_type: "row.made", source: "published", at: new Date().toISOString(), entity: { path: `rows/${number}` } }),
    cursor: (number) => `evt_${digits(number)}`,
    numberOf: (id) => Number(id.slice(4)),
  },
  "dead-letters": {
    row: (number) => ({
      delivery: { id: `dlv_${digits(10_000 - number)}`, webhook_id: "whk_1", event_type: "row.made", entity: `rows/${number}`, attempts: [] },
      exhausted_at: new Date(1.7e12 + number).toISOString(),
      last_error: null,
    }),
    cursor: (number) => `${1.7e12 + number}-dlv_${digits(10_000 - number)}`,
    numberOf: (id) => 10_000 - Number(id.slice(4)),
  },
};
const range = (from, to) => Array.from({ length: from - to + 1 }, (_, index) => from - index);
// `answer` gets the number of the cursor, or infinity for the first page. It returns the numbers of the page's rows, and
// that of the next cursor.
const serve = (page, name, answer) =>
  page.route(
    (asked) => asked.pathname.endsWith(`/integration/${name}`),
    async (route) => {
      const { row, cursor, numberOf } = LISTS[name];
      const given = new URL(route.request().url()).searchParams.get("cursor");
      const { numbers, next } = answer(given ? numberOf(given.slice(given.indexOf("-") + 1)) : Infinity);
      await route.fulfill({ json: { data: numbers.map(row), next_cursor: next === null ? null : cursor(next) } });
    },
  );

// What the sweep does within a minute is checked after the other tests.
const later = [];

const tests = {
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

  async "from nothing to a verified delivery"() {
    await api("PUT", "/event-types/order.created", { description: "A customer placed an order", example: { total: 12.5 } });
    await api("PUT", "/event-types/order.updated", { description: "An order changed" });
    const page = await signedIn(admin);
    await link(page, "New webhook").click();
    await page.getByLabel("URL", { exact: true }).fill("ftp://example.com");
    await shows(page, "must use http");
    await page.getByLabel("URL", { exact: true }).fill(`${hook}/first`);
    await page.getByLabel("Name", { exact: true }).fill("Order sync");
    await page.getByLabel("order.created").check();
    await page.getByLabel("order.updated").check();
    await shows(page, "Receives order.created, order.updated");
    await shows(page, "webhook-signature");
    await page.getByRole("heading", { name: "What it sends" }).click();
    await button(page, "Add a header").click();
    await page.getByLabel("Name of header 1").fill("X-Team");
    await page.getByLabel("Value of header 1").fill("orders");
    await button(page, "Create the webhook").click();
    const secret = await page.getByLabel("Signing secret", { exact: true }).textContent();
    assert.match(secret, /^whsec_/);
    await page.getByRole("button", { name: "Copy: Signing secret" }).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret);
    await button(page, "I have copied it").click();
    await page.getByText(secret).waitFor({ state: "detached" });
    await link(page, "Send a test").first().click();
    await button(page, "Send a test").click();
    await shows(page, "The receiver accepted it");
    const [test] = receiver.arrived.filter(({ path }) => path === "/first");
    assert.equal(test.headers["x-team"], "orders");
    assert.equal(test.headers["webhook-test"], "true");
    assert.equal(JSON.parse(test.body).data.value.properties.total, 12.5);
    await page.getByRole("link", { name: "Open this delivery" }).click();
    await shows(page, "The receiver answered 204");
    await page.context().close();
  },

  async "a failure is found, explained and sent again in four clicks"() {
    receiver["/first"] = [500, '{"error":"no column total"}'];
    await api("PATCH", `/webhooks/${await idOf("Order sync")}`, { retry_policy: { maxAttempts: 1 } });
    await api("POST", "/events", { event_type: "order.created", entity_id: "42", data: { total: 7 } });
    await until("the delivery is given up", async () => (await api("GET", "/dead-letters")).data.length);
    const page = await signedIn(admin);
    await link(page, "Webhooks").first().click();
    await link(page, "Order sync").first().click();
    await shows(page, "The last attempt failed");
    await link(page, "order.created").first().click();
    await shows(page, "The receiver answered 500: receiver failed");
    await shows(page, "no column total");
    await shows(page, "Look at its log for this time");
    await shows(page, "orders/42");
    assert.equal(await button(page, "Show it as it would be now").count(), 0);
    receiver["/first"] = [204, ""];
    await button(page, "Send again").click();
    await page.locator("h1 + .badge", { hasText: "Delivered" }).waitFor();
    await shows(page, "Attempt 1, cycle 2");
    await page.context().close();
  },

  async "a webhook is paused, resumed, changed, rotated, disabled, deleted and restored"() {
    const page = await signedIn(admin);
    const id = await idOf("Order sync");
    await visit(page, `webhooks/${id}`);
    await button(page, "Pause").click();
    await shows(page, "Paused by hand");
    await button(page, "Resume").click();
    await page.getByText("Paused by hand").waitFor({ state: "detached" });
    await link(page, "Edit").click();
    await page.getByLabel("Name", { exact: true }).fill("Orders over 100");
    await page.getByLabel("Attempts", { exact: true }).fill("99");
    await page.getByLabel("Remove header 1").click();
    await page.getByLabel("Content filter").fill("{");
    await shows(page, "This is not JSON");
    await page.getByLabel("Content filter").fill('{"value": {"total": [{"numeric": [">", 100]}]}}');
    await button(page, "Save the changes").click();
    await page.locator('[aria-invalid="true"]').waitFor();
    await page.getByLabel("Attempts", { exact: true }).fill("3");
    await button(page, "Try it on the last 100 events").click();
    await shows(page, "0 of the last");
    await page.getByText("More conditions").click();
    await button(page, "Add a transition").click();
    await page.getByLabel("Field of transition 1").fill("total");
    await page.getByLabel("New value of transition 1").fill("12345678901234567890");
    await button(page, "Save the changes").click();
    await page.getByRole("heading", { level: 1, name: "Orders over 100" }).waitFor();
    const changed = await api("GET", `/webhooks/${id}`);
    assert.deepEqual([changed.headers, changed.retry_policy.maxAttempts], [{}, 3]);
    assert.match(await raw(`/webhooks/${id}`), /"field":"total","to":12345678901234567890/);
    assert.deepEqual(changed.filter, { value: { total: [{ numeric: [">", 100] }] } });
    await visit(page, `webhooks/${id}/settings`);
    await button(page, "Rotate the secret").first().click();
    await page.getByRole("dialog").getByRole("button", { name: "Rotate the secret" }).click();
    await page.getByLabel("Signing secret", { exact: true }).waitFor();
    await button(page, "I have copied it").click();
    await shows(page, "Previous secret signs until");
    await button(page, "Disable").click();
    await shows(page, "It receives no events");
    await button(page, "Enable").click();
    await button(page, "Delete").click();
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await button(page, "Delete").click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await page.getByRole("heading", { level: 1, name: "Webhooks" }).waitFor();
    await visit(page, `webhooks/${id}`);
    await button(page, "Restore").click();
    await page.locator("h1 + .badge", { hasText: "Deleted" }).waitFor({ state: "detached" });
    await page.context().close();
  },

  async "a receiver fails, is paused, works again and gets what waited"() {
    receiver["/shipping"] = [503, "deploying"];
    const retry_policy = { maxAttempts: 8, backoff: "fixed", scheduleSeconds: [1] };
    const { id } = await api("POST", "/webhooks", {
      name: "Shipping",
      url: `${hook}/shipping`,
      event_types: ["parcel.sent"],
      retry_policy,
      auto_pause: { failures: 2, after_seconds: 0 },
    });
    await api("POST", "/events", { event_type: "parcel.sent", entity_id: "7", data: { weight: 2 } });
    const page = await signedIn(admin);
    await visit(page, "webhooks");
    await page.locator("tr", { hasText: "Shipping" }).getByText("Paused by failures").waitFor({ timeout: 60_000 });
    await link(page, "Shipping").click();
    await shows(page, "failures in a row");
    await page.getByRole("link", { name: "parcel.sent" }).first().click();
    await shows(page, "Parked");
    receiver["/shipping"] = [200, "thanks"];
    await visit(page, `webhooks/${id}/try`);
    await button(page, "Send a test").click();
    await shows(page, "The receiver accepted it");
    await visit(page, `webhooks/${id}`);
    await button(page, "Resume").click({ timeout: 5_000 }).catch(() => null);
    await page.locator("h1 + .badge", { hasText: /Catching up|Healthy/ }).waitFor();
    await page.context().close();
    later.push(async () => {
      const page = await signedIn(admin);
      await visit(page, `webhooks/${id}`);
      await page.locator("h1 + .badge", { hasText: "Healthy" }).waitFor({ timeout: 150_000 });
      const { data } = await api("GET", `/webhooks/${id}/deliveries?state=delivered`);
      assert.equal(data.length, 2, "the test and what waited");
      await page.context().close();
    });
  },

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

  async "an operator sees who fails over all tenants, and looks at one"() {
    receiver["/billing"] = [500, "out of paper"];
    const retry_policy = { maxAttempts: 6, baseMs: 100, capMs: 1000 };
    const { id } = await api("POST", "/webhooks", { name: "Billing", url: `${hook}/billing`, event_types: ["bill.due"], retry_policy });
    await api("POST", "/events", { event_type: "bill.due", data: {} });
    const listed = async () => (await api("GET", "/failing-webhooks", undefined, operator)).data.find((one) => one.webhook_id === id);
    const { tenant_id: tenant } = await until("Billing is listed", listed);
    const page = await signedIn(operator);
    await page.getByRole("heading", { level: 1, name: "All tenants" }).waitFor();
    await button(page, "Billing").click();
    await page.getByRole("heading", { level: 1, name: "Billing" }).waitFor();
    await shows(page, `You are looking at ${tenant}`);
    await shows(page, "bill.due");
    assert.equal(await page.locator(".main").getByText("Edit", { exact: true }).count(), 0);
    await link(page, "Dead letters").first().click();
    await page.getByRole("link", { name: "bill.due" }).first().click();
    await shows(page, "out of paper");
    await page.reload();
    await shows(page, "out of paper");
    await button(page, "Back to all tenants").click();
    await page.getByRole("heading", { level: 1, name: "All tenants" }).waitFor();
    await page.getByLabel("Tenant", { exact: true }).fill(tenant);
    await button(page, "Open").click();
    await shows(page, "Webhooks that need attention");
    await page.context().close();
    const trespasser = await fetch(`${url}/api/v1/integration/webhooks`, { headers: { authorization: `Bearer ${settings.other}`, "dynahook-tenant": tenant } });
    assert.equal(trespasser.status, 403);
  },

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

  async "signatures, an authorization, tags and the automatic pause are set in the form, and no secret is shown again"() {
    const page = await signedIn(admin);
    await visit(page, "webhooks/new");
    await page.getByLabel("URL", { exact: true }).fill(`${hook}/signed`);
    await page.getByLabel("Name", { exact: true }).fill("Signed twice");
    await page.getByLabel("Tags", { exact: true }).fill("erp, team sales");
    await page.getByRole("heading", { name: "How it signs" }).click();
    assert.equal(await page.getByLabel("Header of the signature").count(), 0);
    await page.getByLabel("Signature scheme", { exact: true }).selectOption("hmac-sha256");
    await page.getByLabel("Header of the signature").fill("X-Acme Hmac");
    await page.locator(".field", { has: page.getByLabel("Header of the signature") }).locator(".fault").waitFor();
    await page.getByLabel("Header of the signature").fill("X-Acme-Hmac");
    await page.locator(".fault").waitFor({ state: "detached" });
    await page.getByLabel("Encoding of the signature").selectOption("base64");
    await button(page, "Add a signature").click();
    await page.getByLabel("Scheme of signature 1").selectOption("hmac-sha256");
    await page.getByLabel("Header of signature 1").fill("no header");
    await page.locator(".fault").first().waitFor();
    await page.getByLabel("Header of signature 1").fill("X-Acme-Signature");
    await page.locator(".fault").waitFor({ state: "detached" });
    await page.getByLabel("Encoding of signature 1").selectOption("base64");
    await shows(page, "X-Acme-Signature");
    await page.getByLabel("Authorization", { exact: true }).selectOption("oauth2");
    await page.getByLabel("Token URL", { exact: true }).fill("ftp://login.example.com");
    await page.getByLabel("Client id").fill("dynahook");
    await page.getByLabel("Client secret", { exact: true }).fill("client secret 1");
    await page.locator(".field", { has: page.getByLabel("Token URL", { exact: true }) }).locator(".fault").waitFor();
    await page.getByLabel("Token URL", { exact: true }).fill("https://login.example.com/token");
    await page.locator(".field", { has: page.getByLabel("Token URL", { exact: true }) }).locator(".fault").waitFor({ state: "detached" });
    await page.getByLabel("The client secret is sent").selectOption("body");
    await page.getByRole("heading", { name: "How it delivers" }).click();
    await page.getByLabel("Pause after failures in a row").fill("0");
    await shows(page, "must be 1 to 10000");
    await page.getByLabel("Pause after failures in a row").fill("20");
    await page.getByLabel("Over at least, in hours").fill("");
    await page.getByLabel("Over at least, in hours").pressSequentially("1.5");
    await button(page, "Create the webhook").click();
    await button(page, "I have copied it").click();
    const id = await idOf("Signed twice");
    const created = await api("GET", `/webhooks/${id}`);
    assert.deepEqual(created.tags, ["erp", "team sales"]);
    assert.deepEqual(created.auto_pause, { failures: 20, after_seconds: 5400 });
    assert.deepEqual([created.signature_scheme, created.signature_header, created.signature_encoding], ["hmac-sha256", "X-Acme-Hmac", "base64"]);
    assert.deepEqual(created.further_signatures, [{ scheme: "hmac-sha256", header: "X-Acme-Signature", encoding: "base64" }]);
    const shown = await api("GET", `/webhooks/${id}/authorization`);
    assert.deepEqual([shown.type, shown.token_url, shown.client_id, shown.client_authentication], ["oauth2", "https://login.example.com/token", "dynahook", "body"]);

    // A change of something else keeps them, and neither page shows the secret.
    await visit(page, `webhooks/${id}/edit`);
    await page.getByLabel("Tags", { exact: true }).fill('{"team": "sales"}');
    assert.equal(await page.getByLabel("Client secret", { exact: true }).count(), 0);
    assert.ok(!(await page.content()).includes("client secret 1"));
    await button(page, "Save the changes").click();
    await page.getByRole("heading", { level: 1, name: "Signed twice", exact: true }).waitFor();
    await visit(page, `webhooks/${id}/settings`);
    await shows(page, "OAuth 2 client credentials");
    assert.ok(!(await page.content()).includes("client secret 1"));
    const kept = await api("GET", `/webhooks/${id}`);
    assert.deepEqual([kept.tags, kept.further_signatures, kept.authorization?.fingerprint], [{ team: "sales" }, created.further_signatures, created.authorization?.fingerprint]);

    await visit(page, `webhooks/${id}/edit`);
    await page.getByLabel("Authorization", { exact: true }).selectOption("none");
    await button(page, "Remove signature 1").click();
    await page.getByLabel("Signature scheme", { exact: true }).selectOption("github");
    await page.getByLabel("Tags", { exact: true }).fill("");
    await page.getByLabel("Pause after failures in a row").fill("");
    await button(page, "Save the changes").click();
    await page.getByRole("heading", { level: 1, name: "Signed twice", exact: true }).waitFor();
    const removed = await api("GET", `/webhooks/${id}`);
    assert.deepEqual([removed.tags, removed.further_signatures, removed.authorization], [[], [], null]);
    assert.deepEqual([removed.signature_scheme, removed.signature_header, removed.signature_encoding], ["github", null, "hex"]);
    assert.deepEqual(removed.auto_pause, { failures: 50, after_seconds: 5400 });
    await page.context().close();
  },

  async "operators see the sources"() {
    const page = await signedIn(operator);
    await link(page, "Sources").click();
    await page.getByRole("heading", { level: 1, name: "Sources" }).waitFor();
    await link(page, settings.table).click();
    await shows(page, "How its items become events");
    await shows(page, "Changes that became no event");
    await shows(page, '"item_id":"console"');
    // An item in DynamoDB's JSON is a new one, a plain one and the one before it are a change, and one of no tenant fails.
    await page.getByLabel("Item", { exact: true }).fill("{");
    await button(page, "Try it").click();
    await shows(page, "This is not JSON");
    await page.getByLabel("Item", { exact: true }).fill('{"tenant_id": {"S": "acme"}, "item_id": {"S": "i1"}, "total": {"N": "12345678901234567890"}}');
    await button(page, "Try it").click();
    const becomes = (title) => page.locator(".note", { has: page.getByText(title, { exact: true }) });
    await becomes("When it is created").getByText("item.created").waitFor();
    await becomes("When it is created").getByText('"total": 12345678901234567890').waitFor();
    await becomes("When it is removed").getByText("item.deleted").waitFor();
    assert.equal(await becomes("When it changes").count(), 0);
    await page.getByLabel("Item", { exact: true }).fill('{"tenant_id": "acme", "item_id": "i1", "total": 2}');
    await page.getByLabel("Before the change").fill('{"tenant_id": "acme", "item_id": "i1", "total": 1}');
    await button(page, "Try it").click();
    await becomes("When it changes").getByText("item.updated").waitFor();
    await becomes("When it changes").locator(".tag", { hasText: "total" }).waitFor();
    await page.getByLabel("Item", { exact: true }).fill('{"tenant_id": "no tenant", "item_id": "i1"}');
    await page.getByLabel("Before the change").fill("");
    await button(page, "Try it").click();
    await becomes("When it is created").getByText("The change fails").waitFor();
    await button(page, "Send again").click();
    await shows(page, "sent again. Those that fail again come back");
    // It fails a second time and is listed again, until it is dismissed.
    const again = page.locator("tr", { hasText: '"item_id":"console"' }).filter({ has: page.locator("td.end", { hasText: /^2$/ }) });
    await again.getByRole("button", { name: "Dismiss", exact: true }).click();
    await page.getByRole("dialog").getByText("It leaves the list and cannot be sent again.").waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Dismiss", exact: true }).click();
    await shows(page, "changes are dismissed");
    await again.waitFor({ state: "detached" });
    await page.context().close();
  },

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

  async "rows of an extended list stay when new ones push them off the first page"() {
    for (const [name, { numberOf }] of Object.entries(LISTS)) {
      const page = await signedIn(admin);
      let numbers = range(60, 1);
      await serve(page, name, (below) => {
        const rest = numbers.filter((number) => number < below);
        return { numbers: rest.slice(0, 25), next: rest.length > 25 ? rest[24] : null };
      });
      const list = async (expected) => {
        // A tab that becomes visible asks at once.
        await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
        let shown;
        const find = async () => {
          const links = await page.locator("tbody .row-link").evaluateAll((links) => links.map((link) => link.hash.split("/").at(-1)));
          shown = links.map(numberOf);
          return shown.join() === expected.join();
        };
        await until(`${name}: ${expected.length} rows`, find).catch((error) => {
          throw new Error(`${error.message}, but ${shown}`);
        });
      };
      const more = () => button(page, "Load more").click();
      await visit(page, name);
      await list(range(60, 36));
      // Before that, the list is its first page.
      numbers = range(61, 1);
      await list(range(61, 37));
      await more();
      await list(range(61, 12));
      numbers = range(64, 1);
      await list(range(64, 12));
      // One on the first page is gone, and one below it: only the first page is loaded again.
      numbers = numbers.filter((number) => number !== 62 && number !== 20);
      const seen = range(64, 12).filter((number) => number !== 62);
      await list(seen);
      await more();
      await list([...seen, ...range(11, 1)]);
      assert.equal(await button(page, "Load more").count(), 0);
      // More new ones than a page has, and more than are loaded at once. Then it starts again, with no row missing.
      numbers = range(124, 1);
      await list(range(124, 1));
      numbers = range(400, 1);
      await list(range(400, 251));
      await more();
      await list(range(400, 226));
      await page.context().close();
    }
  },

  async "a list whose first pages are empty can be loaded further"() {
    for (const name of Object.keys(LISTS)) {
      const page = await signedIn(admin);
      await serve(page, name, (below) => {
        const last = Math.min(below, 100) - 1;
        return last > 91 ? { numbers: [], next: last } : { numbers: [1], next: null };
      });
      await visit(page, name);
      // Six pages are loaded by themselves.
      await page.locator(".empty h2").waitFor();
      for (const _ of range(3, 1)) await button(page, "Load more").click();
      await link(page, "row.made").waitFor();
      assert.equal(await button(page, "Load more").count(), 0, name);
      await page.context().close();
    }
  },

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

  async "an inbound webhook cannot be paused"() {
    const { id } = await api("POST", "/webhooks", { name: "From GitHub", direction: "inbound", signature_scheme: "github", event_types: ["push"] });
    const page = await signedIn(admin);
    await visit(page, `webhooks/${id}`);
    await link(page, "Edit").waitFor();
    assert.equal(await button(page, "Pause").count(), 0);
    await visit(page, `webhooks/${id}/settings`);
    await button(page, "Disable").waitFor();
    await page.context().close();
    await api("DELETE", `/webhooks/${id}`);
  },

  async "what is sent again after its response was lost runs once"() {
    const page = await signedIn(admin);
    // The stack gets each request, and the page gets the responses but the first one.
    const keysOf = async (path) => {
      const keys = [];
      const isAsked = (asked) => asked.pathname.endsWith(`/integration/${path}`);
      await page.route(isAsked, async (route) => {
        if (route.request().method() !== "POST") return route.fallback();
        keys.push(route.request().headers()["idempotency-key"]);
        if (keys.length > 1) return route.continue();
        await route.fetch();
        return route.fulfill({ status: 503, json: { title: "Unavailable", detail: "The response was lost" } });
      });
      return keys;
    };
    const created = await keysOf("webhooks");
    await visit(page, "webhooks/new");
    await page.getByLabel("URL", { exact: true }).fill(`${hook}/twice`);
    await page.getByLabel("Name", { exact: true }).fill("Sent twice");
    await button(page, "Create the webhook").click();
    await page.locator("[role=alert]", { hasText: "The response was lost" }).waitFor();
    await button(page, "Create the webhook").click();
    await page.getByRole("dialog").getByText("Rotate the secret to get a new one").waitFor();
    await button(page, "Close").click();
    const { data } = await api("GET", "/webhooks?limit=100");
    const [{ id }, ...others] = data.filter(({ name }) => name === "Sent twice");
    assert.deepEqual(others, []);
    assert.ok(created[0], "creating a webhook has a key");
    assert.deepEqual(created, [created[0], created[0]]);

    // In a dialog too. A change of the input, and opening it again, make another key.
    const rotated = await keysOf(`webhooks/${id}/secret/rotate`);
    const dialog = page.getByRole("dialog");
    const rotate = () => dialog.getByRole("button", { name: "Rotate the secret" }).click();
    const version = async () => (await api("GET", `/webhooks/${id}`)).version;
    const before = await version();
    await visit(page, `webhooks/${id}/settings`);
    await button(page, "Rotate the secret").click();
    await rotate();
    await shows(page, "The response was lost");
    await rotate();
    await button(page, "Close").click();
    assert.equal(await version(), before + 1);
    await button(page, "Rotate the secret").click();
    await rotate();
    await button(page, "I have copied it").click();
    assert.deepEqual([rotated.length, new Set(rotated).size, rotated[1]], [3, 2, rotated[0]]);
    const sent = await keysOf(`webhooks/${id}/replay`);
    await visit(page, `webhooks/${id}/deliveries`);
    await button(page, "Send many again").click();
    await dialog.getByLabel("What").selectOption("replay");
    await dialog.getByRole("button", { name: "Count only" }).click();
    await dialog.getByText("The response was lost").waitFor();
    await dialog.getByLabel("Deliveries a second").fill("20");
    await dialog.getByRole("button", { name: "Count only" }).click();
    await page.locator("h1", { hasText: "Replay events" }).waitFor();
    assert.equal(new Set(sent).size, 2);
    await page.context().close();
    await api("DELETE", `/webhooks/${id}`);
  },

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

  async "text of tenants, events and receivers is text"() {
    const page = await signedIn(admin);
    for (const [index, payload] of PAYLOADS.entries()) {
      receiver[`/xss${index}`] = [500, payload];
    }
    const name = PAYLOADS.join(" ").slice(0, 390);
    // One for each answer of the receiver; the first one shows everything else too.
    const created = [];
    for (const [index, payload] of PAYLOADS.entries()) {
      created.push(
        await api("POST", "/webhooks", {
          name,
          url: `${hook}/xss${index}`,
          event_types: ["xss.tried"],
          headers: { "X-Note": payload },
          properties: { note: payload },
          tags: [payload],
          retry_policy: { maxAttempts: 1 },
        }),
      );
    }
    const [webhook] = created;
    const note = PAYLOADS.join(" ");
    await api("PUT", "/event-types/xss.tried", { description: note, example: { note } });
    await api("POST", "/events", { event_type: "xss.tried", entity_id: "x", data: { [PAYLOADS[0]]: note }, old_data: { [PAYLOADS[0]]: "" } });
    const deliveries = await until("their deliveries", async () => {
      const { data } = await api("GET", "/deliveries?limit=100");
      const own = created.map(({ id }) => data.find((one) => one.webhook_id === id && one.state === "exhausted"));
      return own.every(Boolean) ? own : null;
    });
    const [delivery] = deliveries;
    const pages = ["overview", "webhooks", `webhooks/${webhook.id}`, `webhooks/${webhook.id}/deliveries`, `webhooks/${webhook.id}/try`, `webhooks/${webhook.id}/settings`];
    pages.push(`webhooks/${webhook.id}/edit`, `webhooks/${webhook.id}/deliveries/${delivery.id}`, "dead-letters", "events", `events/${delivery.event_id}`, "event-types", "event-types/xss.tried");
    pages.push(...PAYLOADS.map((payload) => `webhooks/${encodeURIComponent(payload)}`));
    for (const path of pages) {
      await visit(page, path);
      // None of them made an element, and none ran.
      const made = await page.evaluate(() => document.querySelectorAll("main script, main iframe, main img, main object, main embed, main base, main math, main form[action]").length);
      assert.equal(made, 0, path);
      assert.equal(await page.evaluate(() => window.attacked), undefined, path);
    }
    for (const [index, { id, webhook_id: of }] of deliveries.entries()) {
      await visit(page, `webhooks/${of}/deliveries/${id}`);
      await page.locator("pre, code", { hasText: PAYLOADS[index] }).first().waitFor();
      assert.equal(await page.evaluate(() => window.attacked), undefined, PAYLOADS[index]);
    }
    await page.context().close();
  },

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

  async "what waited arrived, and what was sent again"() {
    for (const check of later) await check();
  },

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

const idOf = async (name) => (await api("GET", "/webhooks?limit=100")).data.find((webhook) => webhook.name === name).id;

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
