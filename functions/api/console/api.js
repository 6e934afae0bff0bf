// Calls of the public API.

import { useEffect, useRef, useState } from "./vendor/vendor.js";
import { parseJson, writeJson } from "./exact.js";
import { base, may, portal, setPortal, signOut, token, viewing } from "./session.js";
import { T } from "./texts.js";

export class Problem extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail ?? problem.message ?? problem.title ?? T.problem.status(status));
    this.status = status;
    this.title = problem.title;
    this.errors = problem.errors ?? [];
    this.retryAfter = retryAfter;
  }
}

// What belongs to no tenant.
const OF_OPERATORS = /^\/(sources|failing-webhooks|running-jobs)/;

// Calls the API; `path` is below /api/v1/integration. Returns the body, and the entity tag as `tag`.
export const call = async (method, path, body, headers = {}) => {
  const used = token.value;
  const tenant = OF_OPERATORS.test(path) ? null : viewing.value;
  let response, text;
  try {
    response = await fetch(new URL(`api/v1/integration${path}`, base), {
      method,
      headers: {
        authorization: `Bearer ${used}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(tenant ? { "dynahook-tenant": tenant } : {}),
        ...headers,
      },
      body: body === undefined ? undefined : writeJson(body),
    });
    text = await response.text();
  } catch {
    throw new Problem(0, { title: T.problem.offline, detail: T.problem.offlineHelp });
  }
  let data = null;
  try {
    data = text ? parseJson(text) : null;
  } catch {
    data = { detail: T.problem.status(response.status) };
  }
  if (response.ok) return data;
  const problem = new Problem(response.status, data ?? {}, response.headers.get("retry-after"));
  if (response.status === 401 && used === token.value) signOut(problem.message);
  throw problem;
};

export const get = (path) => call("GET", path);
export const query = (path, parameters) => {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
};

// Returns all items of a list, up to about `most`.
export const all = async (path, most) => {
  const items = [];
  let cursor = null;
  do {
    const page = await get(query(path, { limit: 100, cursor }));
    items.push(...page.data);
    cursor = page.next_cursor;
  } while (cursor && items.length < most);
  return items;
};

// A key that makes a request run once, however often it is sent.
export const once = () => ({ "idempotency-key": crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` });

// Asks what the token may do.
export const explore = async () => {
  const [asked, looked] = [token.value, viewing.value];
  const allowed = (path) =>
    get(path).then(
      (answer) => ({ ok: true, answer }),
      (problem) => ({ ok: false, problem }),
    );
  // A preview stores nothing, and needs the same rights as a change.
  const preview = call("POST", "/webhooks/preview", { webhook: {} }).then(
    () => true,
    (problem) => problem.status !== 403,
  );
  // A portal link is never an operator's, and says how the page looks.
  const [webhooks, sources, write, link] = await Promise.all([
    allowed("/webhooks?limit=1"),
    portal.value ? { ok: false } : allowed("/sources"),
    preview,
    portal.value && allowed("/portal-links/current"),
  ]);
  if (token.value !== asked || viewing.value !== looked) return;
  if (link?.ok) setPortal({ ...link.answer.theme, ended: false });
  may.value = {
    webhooks: webhooks.ok || webhooks.problem.status !== 403,
    why: webhooks.problem?.message,
    operate: sources.ok,
    write,
    tenant: looked ?? webhooks.answer?.data[0]?.tenant_id,
  };
};

// Loads what a page shows, again when a dependency changes, and from time to time if `every` is set: less often while
// nothing changes, and not while the tab is hidden.
export const useLoad = (load, dependencies, every = 0) => {
  const [state, set] = useState({ data: null, error: null, loading: true, at: null });
  const latest = useRef({});
  latest.current.load = load;
  useEffect(() => {
    const run = { live: true, timer: 0, wait: every, seen: "" };
    latest.current.run = run;
    const ask = async () => {
      clearTimeout(run.timer);
      if (document.hidden && run.seen) return;
      try {
        const data = await latest.current.load();
        if (!run.live) return;
        const text = every ? writeJson(data) : "";
        run.wait = text === run.seen ? Math.min(run.wait * 1.5, 30_000) : every;
        if (!every || text !== run.seen) set({ data, error: null, loading: false, at: Date.now() });
        run.seen = text || "loaded";
      } catch (error) {
        if (!run.live) return;
        run.wait = Math.max(30_000, every);
        set((before) => ({ ...before, error, loading: false }));
      }
      if (every) run.timer = setTimeout(ask, run.wait);
    };
    run.ask = ask;
    const shown = () => every && !document.hidden && ask();
    document.addEventListener("visibilitychange", shown);
    set((before) => ({ ...before, loading: true }));
    ask();
    return () => {
      run.live = false;
      clearTimeout(run.timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }, dependencies);
  return { ...state, reload: () => latest.current.run.ask() };
};

// Loads a list page by page; `more` adds the next page. Pages may be empty and still not be the last.
export const usePages = (path, parameters, every = 0) => {
  const [extra, setExtra] = useState({ key: "", items: [], cursor: undefined, loading: false });
  const key = query(path, parameters);
  const first = useLoad(
    async () => {
      let page = await get(key);
      for (let tries = 0; !page.data.length && page.next_cursor && tries < 5; tries += 1) {
        page = await get(query(path, { ...parameters, cursor: page.next_cursor }));
      }
      return { ...page, key };
    },
    [key],
    every,
  );
  const current = first.data?.key === key ? first.data : null;
  const own = extra.key === key ? extra : { items: [], cursor: undefined, loading: false };
  const cursor = own.cursor === undefined ? current?.next_cursor : own.cursor;
  const more = async () => {
    setExtra({ ...own, key, loading: true });
    try {
      const page = await get(query(path, { ...parameters, cursor }));
      setExtra({ key, items: [...own.items, ...page.data], cursor: page.next_cursor ?? null, loading: false });
    } catch (error) {
      setExtra({ ...own, key, loading: false, error });
    }
  };
  const known = new Set(current?.data.map((item) => item.id ?? item.delivery?.id));
  const older = own.items.filter((item) => !known.has(item.id ?? item.delivery?.id) || item.id === undefined);
  return {
    items: current ? [...current.data, ...older] : null,
    error: own.error ?? first.error,
    loading: first.loading,
    more: cursor ? more : null,
    loadingMore: own.loading,
    reload: first.reload,
  };
};
