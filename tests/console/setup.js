// What the tests share: the settings, the browser, a receiver, calls of the API, and ways to find things on a page.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { launch } from "./browser.js";

export const settings = JSON.parse(await text(process.stdin));
export const { url, admin, operator, withoutRole, pictures } = settings;
export const { browser, faults, open, signedIn, visit } = await launch(settings);

// A receiver whose answers the tests change; it remembers what arrived.
export const receiver = { status: 204, body: "", arrived: [] };
export const server = createServer(async (request, response) => {
  const body = await text(request);
  receiver.arrived.push({ path: request.url, headers: request.headers, body });
  const [status, answer] = receiver[request.url] ?? [receiver.status, receiver.body];
  response.writeHead(status).end(answer);
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
export const hook = `http://127.0.0.1:${server.address().port}`;

export const api = async (method, path, body, token = admin) => {
  const response = await fetch(`${url}/api/v1/integration${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = await response.text();
  assert.ok(response.ok, `${method} ${path} answered ${response.status}: ${answer}`);
  return answer ? JSON.parse(answer) : null;
};

export const idOf = async (name) => (await api("GET", "/webhooks?limit=100")).data.find((webhook) => webhook.name === name).id;

export const until = async (what, condition) => {
  for (const end = Date.now() + 60_000; Date.now() < end; ) {
    const found = await condition();
    if (found) return found;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`not within a minute: ${what}`);
};

export const shows = (page, words) => page.getByText(words, { exact: false }).first().waitFor();
export const button = (page, name) => page.getByRole("button", { name, exact: true });
export const link = (page, name) => page.getByRole("link", { name, exact: true });

// What the sweep does within a minute is checked after the other tests.
export const later = [];
