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

// Sends a request with a token; `path` is below /api/v1/integration. Returns the body of the response.
export const send = async (used, method, path, body, headers = {}) => {
  let response, text;
  try {
    response = await fetch(new URL(`api/v1/integration${path}`, base), {
      method,
      headers: {
        authorization: `Bearer ${used}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
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
  throw new Problem(response.status, data ?? {}, response.headers.get("retry-after"));
};

// Calls the API as the signed-in user, and signs out if the API refuses the token.
export const call = async (method, path, body, headers = {}) => {
  const used = token.value;
  const tenant = OF_OPERATORS.test(path) ? null : viewing.value;
  try {
    return await send(used, method, path, body, { ...(tenant ? { "dynahook-tenant": tenant } : {}), ...headers });
  } catch (problem) {
    if (problem.status === 401 && used === token.value) signOut(problem.message);
    throw problem;
  }
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

// A key that makes a request run once, however often it is sent. Buttons that stay on their page have a new key for
// each click, because an old one would answer a later, intended click with the response of an earlier one.
export const once = () => ({ "idempotency-key": crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` });

// Returns a function that sends the POST of a form or dialog. Until one succeeds, the same request has the same key, so
// that a click after a lost response creates nothing twice. A changed request has a key of its own, because the API
// refuses a key that comes with another body.
export const usePost = () => {
  const keys = useRef(new Map());
  return async (path, body) => {
    const request = `${path} ${writeJson(body)}`;
    if (!keys.current.has(request)) keys.current.set(request, once());
    const answer = await call("POST", path, body, keys.current.get(request));
    keys.current.clear();
    return answer;
  };
};

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

// New rows make an extended list no longer than this.
const MOST_ROWS = 500;

const idOf = (row) => row.delivery?.id ?? row.id;

// A row's position as a cursor of its list. Lists are sorted by it, newest first.
const positionOf = (row) => (row.delivery ? `${Date.parse(row.exhausted_at)}-${row.delivery.id}` : row.id);

// Whether rows may be missing between the first page, loaded again, and the list as it was: the page ends above the
// newest row, and above where the first page ended before.
const isApart = ({ next_cursor: end }, { items, reach }) => end > (reach ?? "") && !(items.length && positionOf(items[0]) >= end);

// Returns a list after its first page was loaded again. If "Load more" extended the list, the rows that new ones push
// off the first page stay. A row that the first page should have and lacks was deleted or sent again, or no longer
// matches the filter; it leaves the list. The rows below are not loaded again. They stay as they were, even if they
// match no longer, because a list that loses rows while it is read is worse than one with an old state.
const follow = (list, page) => {
  const { data, next_cursor: end, key } = page;
  // Without an end, or with one below that of the list, the page has every row. If it is apart, the list starts again:
  // "Load more" then finds the missing rows.
  if (!list?.extended || !end || end <= list.cursor || isApart(page, list)) {
    return { key, items: data, cursor: end, reach: end, extended: list?.extended, loading: list?.loading };
  }
  const known = new Set(data.map(idOf));
  const older = list.items.filter((row) => !known.has(idOf(row)) && positionOf(row) < end);
  const rows = [...data, ...older];
  // "Load more" brings back what leaves the end.
  const items = rows.slice(0, Math.max(MOST_ROWS, list.items.length));
  return { ...list, items, reach: end, cursor: items.length < rows.length ? positionOf(items.at(-1)) : list.cursor };
};

// Loads a list page by page; `more` adds the next page.
export const usePages = (path, parameters, every = 0) => {
  const [list, setList] = useState({});
  const key = query(path, parameters);
  const own = list.key === key ? list : null;
  const first = useLoad(
    async () => {
      const page = await get(key);
      // Pages may be empty and still not be the last. Those of an extended list are loaded until they meet its rows.
      const isShort = () => !page.data.length || (own?.extended && isApart(page, own));
      for (let tries = 0; page.next_cursor && isShort() && tries < 5; tries += 1) {
        const next = await get(query(path, { ...parameters, cursor: page.next_cursor }));
        page.data.push(...next.data);
        page.next_cursor = next.next_cursor;
      }
      return { ...page, key };
    },
    [key],
    every,
  );
  useEffect(() => {
    if (first.data?.key === key) setList((now) => follow(now.key === key ? now : null, first.data));
  }, [first.data, key]);
  const more = async () => {
    const change = (changes) => setList((now) => (now.key === key ? { ...now, ...changes(now) } : now));
    change(() => ({ extended: true, loading: true, error: null }));
    try {
      const { cursor } = own;
      const page = await get(query(path, { ...parameters, cursor }));
      // If the end of the list has moved meanwhile, the page does not follow it.
      const added = (now) => (now.cursor === cursor ? { items: [...now.items, ...page.data], cursor: page.next_cursor } : {});
      change((now) => ({ loading: false, ...added(now) }));
    } catch (error) {
      change(() => ({ loading: false, error }));
    }
  };
  return {
    items: own?.items ?? null,
    error: own?.error ?? first.error,
    loading: first.loading,
    more: own?.cursor ? more : null,
    loadingMore: own?.loading,
    reload: first.reload,
  };
};
