// Lists of several pages: new rows while more than the first page is loaded, and pages without rows.

import assert from "node:assert/strict";
import { admin, button, link, signedIn, until, visit } from "./setup.js";

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

export const lists = {
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
};
