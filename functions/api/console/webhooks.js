// The list of webhooks.

import { html, signal, useEffect, useRef, useState } from "./vendor/vendor.js";
import { all, get, useLoad } from "./api.js";
import { hoursOf, Spark, sum } from "./charts.js";
import { percent } from "./format.js";
import { stateOf } from "./health.js";
import { Badge, Empty, Head, Icon, Loaded, Tags, Time } from "./parts.js";
import { may } from "./session.js";
import { T } from "./texts.js";

// Returns all webhooks of the tenant.
export const allWebhooks = () => all("/webhooks", 5_000);

// The statistics of each webhook, asked for when its row is seen: four at once, because a tenant's rate is limited.
const known = new Map();
const waiting = [];
let asking = 0;

const statisticsOf = (webhook) => {
  const key = `${webhook.total_calls} ${webhook.last_delivery_at}`;
  const entry = known.get(webhook.id) ?? { value: signal(null), key: null };
  known.set(webhook.id, entry);
  return { entry, stale: entry.key !== key, key };
};

const askNext = async () => {
  if (asking >= 4 || !waiting.length) return;
  asking += 1;
  const { webhook, entry, key } = waiting.shift();
  try {
    entry.value.value = await get(`/webhooks/${webhook.id}/statistics`);
    entry.key = key;
  } catch {
    // The row shows no chart; the next refresh asks again.
  }
  asking -= 1;
  askNext();
};

const Chart = ({ webhook }) => {
  const place = useRef(null);
  const { entry, stale, key } = statisticsOf(webhook);
  useEffect(() => {
    if (!stale) return undefined;
    const seen = new IntersectionObserver(([{ isIntersecting }]) => {
      if (!isIntersecting) return;
      seen.disconnect();
      waiting.push({ webhook, entry, key });
      askNext();
    });
    seen.observe(place.current);
    return () => seen.disconnect();
  }, [key]);
  const statistics = entry.value.value;
  const all = statistics && sum(hoursOf(statistics));
  return html`<span class="chart above" ref=${place}>
    ${statistics ? html`<${Spark} statistics=${statistics} />` : html`<svg width="120" height="28" aria-hidden="true"></svg>`}
    <span class="small number soft">${all?.calls ? percent(all.calls - all.errors, all.calls) : ""}</span>
  </span>`;
};

const Row = ({ webhook }) => {
  const state = stateOf(webhook);
  return html`<tr class="to">
    <td class="col-name">
      <div class="two-lines">
        <a class="row-link cut" href=${`#/webhooks/${webhook.id}`}>${webhook.name}</a>
        <span class="muted small cut">${webhook.url || T.webhooks.noUrl}</span>
      </div>
    </td>
    <td data-name=${T.webhooks.state}><${Badge} tone=${state.tone}>${state.word}<//></td>
    <td data-name=${T.webhooks.events}>
      ${webhook.event_types.length ? html`<${Tags} items=${webhook.event_types} most=${2} />` : html`<span class="soft small">${T.webhooks.everything}</span>`}
    </td>
    <td data-name=${T.webhooks.rate}>${webhook.direction === "inbound" ? html`<span class="muted small">${T.webhook.inbound}</span>` : html`<${Chart} webhook=${webhook} />`}</td>
    <td data-name=${T.webhooks.last}><${Time} at=${webhook.last_delivery_at} /></td>
  </tr>`;
};

const NewButton = ({ kind = "primary" }) =>
  may.value.write &&
  html`<a class=${`button ${kind}`} href="#/webhooks/new"><${Icon} name="plus" size=${16} />${T.webhooks.create}</a>`;

export const WebhooksPage = () => {
  const state = useLoad(allWebhooks, [], 10_000);
  const [search, setSearch] = useState("");
  const [filter, setFilter] = useState("");
  const matches = (webhook) =>
    (!filter || stateOf(webhook).key === filter) &&
    [webhook.name, webhook.url, webhook.id, webhook.app_id, ...webhook.event_types]
      .join(" ")
      .toLowerCase()
      .includes(search.trim().toLowerCase());
  return html`<${Head} title=${T.webhooks.title} sub=${T.webhooks.sub}><${NewButton} /><//>
    <${Loaded} state=${state} lines=${8}>
      ${(webhooks) => {
        if (!webhooks.length) {
          return html`<div class="card"><${Empty} title=${T.webhooks.emptyTitle}>
            <p>${T.webhooks.empty}</p>
            <${NewButton} />
          <//></div>`;
        }
        const shown = webhooks.filter(matches);
        return html`<div class="card">
          <div class="card-head filters">
            <input
              class="search"
              type="search"
              placeholder=${T.webhooks.search}
              aria-label=${T.webhooks.search}
              value=${search}
              onInput=${(event) => setSearch(event.target.value)}
            />
            <select aria-label=${T.webhooks.state} value=${filter} onChange=${(event) => setFilter(event.target.value)}>
              <option value="">${T.webhooks.all(webhooks.length)}</option>
              ${["active", "failing", "paused", "disabled"].map((key) => html`<option value=${key}>
                ${T.webhooks.filters[key](webhooks.filter((webhook) => stateOf(webhook).key === key).length)}
              </option>`)}
            </select>
          </div>
          ${shown.length
            ? html`<div class="table-wrap"><table class="cards">
                <thead>
                  <tr>
                    <th scope="col">${T.webhooks.name}</th>
                    <th scope="col">${T.webhooks.state}</th>
                    <th scope="col">${T.webhooks.events}</th>
                    <th scope="col">${T.webhooks.rate}</th>
                    <th scope="col">${T.webhooks.last}</th>
                  </tr>
                </thead>
                <tbody>${shown.map((webhook) => html`<${Row} key=${webhook.id} webhook=${webhook} />`)}</tbody>
              </table></div>`
            : html`<${Empty} title=${T.noMatch}><button type="button" class="button" onClick=${() => { setSearch(""); setFilter(""); }}>${T.clear}</button><//>`}
        </div>`;
      }}
    <//>`;
};
