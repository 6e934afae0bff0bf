// The browser, and what every page is checked for.

import assert from "node:assert/strict";
import { readFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const VIEWS = [
  { name: "light-wide", colorScheme: "light", viewport: { width: 1280, height: 860 } },
  { name: "dark-wide", colorScheme: "dark", viewport: { width: 1280, height: 860 } },
  { name: "light-narrow", colorScheme: "light", viewport: { width: 360, height: 780 } },
  { name: "dark-narrow", colorScheme: "dark", viewport: { width: 360, height: 780 } },
];

// A refused call is an answer that the page shows; the browser reports it too.
const EXPECTED = /Failed to load resource: the server responded with a status of 4\d\d|status of 503/;

export const launch = async ({ chromium: executablePath, url }) => {
  // Chromium's own sandbox does not work for root, as which a container runs.
  const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
  const browser = await chromium.launch({ executablePath, args });
  const faults = [];

  // Opens a tab that remembers every error of the page, refused resource and dialog.
  const open = async (options = {}) => {
    const context = await browser.newContext({ ...VIEWS[0], ...options, permissions: ["clipboard-read", "clipboard-write"] });
    context.setDefaultTimeout(20_000);
    const page = await context.newPage();
    page.on("pageerror", (error) => faults.push(`${page.url()}: ${error.stack}`));
    page.on("console", (message) => {
      if (message.type() === "error" && !EXPECTED.test(message.text())) faults.push(`${page.url()}: ${message.text()}`);
    });
    page.on("dialog", (dialog) => {
      faults.push(`${page.url()}: a dialog says ${dialog.message()}`);
      dialog.dismiss();
    });
    return page;
  };

  const visit = async (page, path) => {
    await page.evaluate((hash) => (location.hash = hash), `#/${path}`);
    await settled(page);
  };

  const signedIn = async (token, options) => {
    const page = await open(options);
    await page.goto(`${url}/console#token=${token}`);
    await page.locator(".frame h1").waitFor();
    return page;
  };

  return { browser, faults, open, signedIn, visit };
};

// Waits until nothing is loading.
export const settled = async (page) => {
  await page.locator("h1, [role=alert]").first().waitFor();
  await page.waitForFunction(() => !document.querySelector(".bones"));
};

// Shows a page in each view, without loading it again.
export const inEachView = async (page, check, views = VIEWS) => {
  for (const { name, colorScheme, viewport } of views) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(viewport);
    await check(name);
  }
};

// What axe-core finds on the page as it is.
export const axe = async (page) => {
  // The debugger evaluates the text, so that the policy of the page does not apply to it.
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(AXE);
  return page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
    return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`);
  });
};

export const picture = async (page, folder, name) => {
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
};

// Nothing may be wider than the window.
export const fits = async (page, name) => {
  const [width, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(width <= window, `${name} is ${width} pixels wide in a window of ${window}`);
};
