// The frame of the console: sign-in, navigation, and which page is shown for which address.

import { computed, effect, html, render, signal, useEffect } from "./vendor/vendor.js";
import { paint } from "./accent.js";
import { explore } from "./api.js";
import { CatalogPage, TypePage } from "./catalog.js";
import { DeliveryPage } from "./delivery.js";
import { EventPage, EventsPage } from "./events.js";
import { EditPage, FormPage } from "./form.js";
import { JobPage, JobsPage } from "./jobs.js";
import { LettersPage } from "./letters.js";
import { Offer } from "./offer.js";
import { OverviewPage } from "./overview.js";
import { Bones, Boundary, Head, Icon, Note, Toasts } from "./parts.js";
import { Brand, LinkEndedPage, productName } from "./portal.js";
import { claims, may, offered, portal, settings, signOut, start, take, token, view, viewing } from "./session.js";
import { SignInPage } from "./signin.js";
import { SourcePage, SourcesPage } from "./sources.js";
import { device } from "./store.js";
import { TenantsPage } from "./tenants.js";
import { T } from "./texts.js";
import { WebhookPage } from "./webhook.js";
import { WebhooksPage } from "./webhooks.js";

// The address is in the fragment, so that one file answers for all pages.
const place = signal("");
addEventListener("hashchange", () => {
  take(place.value);
  place.value = location.hash;
});

const THEME = "dynahook.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const chosen = signal(device.get(THEME) ?? (dark.matches ? "dark" : "light"));
dark.addEventListener("change", (event) => {
  if (!device.get(THEME)) chosen.value = event.matches ? "dark" : "light";
});
// A portal link may say that its page is always light or dark.
const isFixed = computed(() => ["light", "dark"].includes(portal.value?.mode));
const theme = computed(() => (isFixed.value ? portal.value.mode : chosen.value));
effect(() => {
  document.documentElement.setAttribute("data-theme", theme.value);
  paint(portal.value?.accent_color, theme.value === "dark");
});

const switchTheme = () => {
  chosen.value = theme.value === "dark" ? "light" : "dark";
  device.set(THEME, chosen.value);
};

// The webhook that was saved last. Its page shows the secret and the warnings of the answer once.
let saved = null;
const onSaved = (webhook) => {
  saved = webhook;
  location.hash = `#/webhooks/${webhook.id}`;
};
const webhookPage = ({ id, tab }, parameters) => {
  const fresh = saved;
  saved = null;
  return html`<${WebhookPage} id=${id} tab=${tab} parameters=${parameters} fresh=${fresh} key=${id} />`;
};

// The pages: a pattern of the address, the entry of the navigation, and what is shown.
const PAGES = [
  ["overview", "overview", () => html`<${OverviewPage} />`],
  ["webhooks", "webhooks", () => html`<${WebhooksPage} />`],
  ["webhooks/new", "webhooks", () => html`<${FormPage} onSaved=${onSaved} />`],
  ["webhooks/:id", "webhooks", webhookPage],
  ["webhooks/:id/edit", "webhooks", ({ id }) => html`<${EditPage} id=${id} key=${id} onSaved=${onSaved} />`],
  ["webhooks/:id/:tab", "webhooks", webhookPage],
  ["webhooks/:webhook/deliveries/:id", "webhooks", ({ webhook, id }) => html`<${DeliveryPage} webhook=${webhook} id=${id} key=${id} />`],
  ["dead-letters", "dead-letters", () => html`<${LettersPage} />`],
  ["jobs", "jobs", () => html`<${JobsPage} />`],
  ["jobs/:id", "jobs", ({ id }) => html`<${JobPage} id=${id} key=${id} />`],
  ["events", "events", (_, parameters) => html`<${EventsPage} type=${parameters.get("type") ?? ""} />`],
  ["events/:id", "events", ({ id }) => html`<${EventPage} id=${id} key=${id} />`],
  ["event-types", "event-types", () => html`<${CatalogPage} />`],
  ["event-types/:type", "event-types", ({ type }) => html`<${TypePage} type=${type} key=${type} />`],
  ["tenants", "tenants", () => html`<${TenantsPage} />`],
  ["sources", "sources", () => html`<${SourcesPage} />`],
  ["sources/:table", "sources", ({ table }) => html`<${SourcePage} table=${table} key=${table} />`],
];

const find = (hash) => {
  const [path, search] = hash.replace(/^#\/?/, "").split("?");
  const parts = (path || (may.value.webhooks ? "overview" : "tenants")).split("/").map(decodeURIComponent);
  for (const [pattern, entry, show] of PAGES) {
    const names = pattern.split("/");
    if (portal.value && !entries().includes(entry)) continue;
    if (names.length === parts.length && names.every((name, index) => name.startsWith(":") || name === parts[index])) {
      const values = Object.fromEntries(names.map((name, index) => [name.slice(1), parts[index]]).filter(([, value], index) => names[index].startsWith(":") && value));
      return { entry, show: () => show(values, new URLSearchParams(search)) };
    }
  }
  return { entry: "", show: () => html`<${Head} title=${T.notFound} sub=${html`<a href="#/">${T.nav.overview}</a>`} />` };
};

const entries = () => [
  ...(may.value.webhooks ? ["overview", "webhooks", "dead-letters", "jobs", "events", "event-types"] : []),
  ...(may.value.operate ? ["tenants", "sources"] : []),
];

const Side = ({ entry }) => {
  const tenant = !portal.value && (viewing.value ?? claims().tenant_id ?? may.value.tenant);
  return html`<header class="side">
    <a class="brand" href="#/"><${Brand}>${tenant && html`<span class="tenant">${tenant}</span>`}<//></a>
    <nav class="nav" aria-label=${T.navigation}>
      ${entries().map(
        (name) => html`<a href=${`#/${name}`} aria-current=${name === entry ? "page" : undefined}><${Icon} name=${name} />${T.nav[name]}</a>`,
      )}
    </nav>
    <div class="side-end">
      ${!portal.value && html`<a class="button quiet" href="docs" target="_blank" rel="noopener" aria-label=${T.reference}><${Icon} name="book" /><span class="word">${T.reference}</span></a>`}
      ${!isFixed.value &&
      html`<button type="button" class="button quiet" onClick=${switchTheme} aria-label=${T.theme[theme.value]}>
        <${Icon} name=${theme.value === "dark" ? "sun" : "moon"} /><span class="word">${T.theme[theme.value]}</span>
      </button>`}
      ${!portal.value && html`<button type="button" class="button quiet" onClick=${() => signOut()} aria-label=${T.signOut}><${Icon} name="out" /><span class="word">${T.signOut}</span></button>`}
    </div>
  </header>`;
};

const middle = (element) => {
  const { left, width } = element.getBoundingClientRect();
  return left + width / 2;
};

const Waiting = () => html`<div class="gate"><div class="card"><${Bones} lines=${5} /></div></div>`;

const Signed = () => {
  useEffect(() => {
    explore();
  }, [token.value, viewing.value]);
  useEffect(() => {
    scrollTo(0, 0);
    // On a narrow screen the navigation scrolls. `scrollIntoView` would also move where the tab key starts.
    const [nav, current] = [document.querySelector(".nav"), document.querySelector('.nav [aria-current="page"]')];
    if (current) nav.scrollLeft += middle(current) - middle(nav);
  }, [place.value, may.value]);
  if (!may.value) return html`<${Waiting} />`;
  const { entry, show } = find(place.value);
  return html`<a class="skip" href="#content" onClick=${(event) => { event.preventDefault(); document.getElementById("content").focus(); }}>${T.skip}</a>
    <div class="frame">
      <${Side} entry=${entry} />
      <main class="main" id="content" tabindex="-1">
        <div class="content">
          ${viewing.value &&
          html`<${Note} title=${T.tenants.viewing(viewing.value)}>
            <span class="soft">${T.tenants.viewingHelp}</span>
            <div><button type="button" class="button small-button" onClick=${() => view(null, "#/tenants")}>${T.tenants.leave}</button></div>
          <//>`}
          ${!may.value.webhooks && !may.value.operate && html`<${Note} tone="warn" title=${T.nothingAllowed}><span>${may.value.why}</span><//>`}
          <${Boundary} at=${place.value}><div class="stack wide">${(may.value.webhooks || may.value.operate) && show()}</div><//>
        </div>
      </main>
    </div>`;
};

const Gate = () => (portal.value?.ended ? html`<${LinkEndedPage} />` : settings.value && html`<${SignInPage} />`);

// Nothing is loaded with a token that a link may be about to replace.
const Page = () => (offered.value && !may.value ? html`<${Waiting} />` : token.value ? html`<${Signed} />` : html`<${Gate} />`);

const App = () => html`<${Page} /><${Offer} /><${Toasts} />`;

document.documentElement.lang = T.language;
document.title = productName();
addEventListener("storage", () => (chosen.value = device.get(THEME) ?? chosen.value));
await start();
place.value = location.hash;
render(html`<${App} />`, document.getElementById("app"));
