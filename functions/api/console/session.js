// Who is signed in. The token is kept for as long as the tab is open, and in no address.

import { batch, signal } from "./vendor/vendor.js";
import { tab } from "./store.js";

const KEY = "dynahook.token";
const FLOW = "dynahook.sign-in";
const VIEWING = "dynahook.viewing";
const PORTAL = "dynahook.portal";

// The form of a portal link's key, which differs from that of every other token.
export const LINK = /^key_[0-9A-Z]{26}_link_[\w-]{43}$/;

export const token = signal(tab.get(KEY));
// The portal link that opened the page: its theme as far as it is known, and whether it has ended. Null for every other
// way to sign in.
export const portal = signal(JSON.parse(tab.get(PORTAL)));
// What the token may do, which the API says: null until it is known.
export const may = signal(null);
// Why the last token ended.
export const ended = signal(null);

// The token of a link that was opened while another token is signed in; offer.js decides about it.
export const offered = signal(null);

// The tenant that an operator looks at.
export const viewing = signal(tab.get(VIEWING));

export const settings = signal(null);

export const base = new URL("./", document.baseURI);

const keepViewing = (tenant) => {
  if (tenant) tab.set(VIEWING, tenant);
  else tab.remove(VIEWING);
  may.value = null;
  viewing.value = tenant;
};

// Shows a tenant to an operator, or the operator's own pages again.
export const view = (tenant, hash) => {
  batch(() => keepViewing(tenant));
  location.hash = hash;
};

export const setPortal = (value) => {
  if (value) tab.set(PORTAL, JSON.stringify(value));
  else tab.remove(PORTAL);
  portal.value = value;
};

export const signIn = (text) =>
  batch(() => {
    tab.set(KEY, text);
    setPortal(LINK.test(text) ? { ended: false } : null);
    offered.value = null;
    ended.value = null;
    keepViewing(null);
    token.value = text;
  });

// A page that a portal link opened stays that page, and says that the link has ended.
export const signOut = (why = null) =>
  batch(() => {
    tab.remove(KEY);
    if (portal.value) setPortal({ ...portal.value, ended: true });
    ended.value = why;
    keepViewing(null);
    token.value = null;
  });

// Returns the claims of a token without verifying them: they only name the tenant on the page.
export const claims = (text = token.value) => {
  try {
    const part = text.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (char) => char.charCodeAt(0))));
  } catch {
    return {};
  }
};

// Takes a token from the fragment of a link. A page that has the console in a frame may change the fragment only.
// Anyone can make such a link, with a token of their own tenant, so it does not replace another token by itself: then
// the page at the fragment `before` stays.
export const take = (before = "#/") => {
  const text = new URLSearchParams(location.hash.slice(1)).get("token")?.trim();
  if (!location.hash.startsWith("#token=") || !text) return;
  const isOther = token.value !== null && token.value !== text;
  history.replaceState(null, "", `${location.pathname}${location.search}${isOther ? before : "#/"}`);
  if (isOther) offered.value = text;
  else signIn(text);
};

// Takes a token from the address, or the code that the issuer sends people back with.
export const start = async () => {
  take();
  const query = new URLSearchParams(location.search);
  const answered = query.has("state") && (query.has("code") || query.has("error"));
  if (answered) history.replaceState(null, "", `${location.pathname}#/`);
  const loading = load(answered ? query : null);
  // Those who are signed in need not wait for how to sign in.
  if (answered || !token.value) await loading;
};

const load = async (query) => {
  try {
    settings.value = await (await fetch(new URL("console/config.json", base))).json();
    if (query) await finish(query);
  } catch (error) {
    ended.value = error.message;
  }
  settings.value ??= {};
};

// Starts the authorization code flow with PKCE (RFC 7636).
export const redirect = async () => {
  const { issuer, client_id, scope, audience } = settings.value;
  const { authorization_endpoint } = await discover(issuer);
  const [state, verifier] = [random(), random()];
  tab.set(FLOW, JSON.stringify({ state, verifier }));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  const url = new URL(authorization_endpoint);
  const parameters = {
    response_type: "code",
    client_id,
    scope,
    audience,
    state,
    redirect_uri: back(),
    code_challenge: base64(new Uint8Array(digest)),
    code_challenge_method: "S256",
  };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  location.assign(url);
};

const finish = async (query) => {
  const flow = JSON.parse(tab.get(FLOW) ?? "{}");
  tab.remove(FLOW);
  if (query.get("error")) throw new Error(query.get("error_description") ?? query.get("error"));
  if (!flow.state || flow.state !== query.get("state")) throw new Error("the sign-in was not started in this tab");
  const { issuer, client_id } = settings.value;
  const { token_endpoint } = await discover(issuer);
  const parameters = {
    grant_type: "authorization_code",
    client_id,
    code: query.get("code"),
    code_verifier: flow.verifier,
    redirect_uri: back(),
  };
  const response = await fetch(token_endpoint, { method: "POST", body: new URLSearchParams(parameters) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error_description ?? answer.error ?? `HTTP ${response.status}`);
  // Some issuers give access tokens that only they can read; then the id token names the caller.
  signIn(answer.access_token?.split(".").length === 3 ? answer.access_token : answer.id_token);
};

const discover = async (issuer) => {
  const response = await fetch(`${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`);
  if (!response.ok) throw new Error(`the issuer answers ${response.status}`);
  return response.json();
};

const back = () => location.origin + location.pathname;
const base64 = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const random = () => base64(crypto.getRandomValues(new Uint8Array(32)));
