// One webhook: how it does, its deliveries, trying it, and its settings.

import { html, useState } from "./vendor/vendor.js";
import { call, get, once, query, useLoad, usePost } from "./api.js";
import { Attempts, Durations, hoursOf, sum } from "./charts.js";
import { DeliveriesTab, DeliveryTable } from "./deliveries.js";
import { count, exact, isPast, milliseconds, percent, span } from "./format.js";
import { stateOf } from "./health.js";
import { Badge, Bones, Button, Card, Code, Confirm, Copy, Dialog, Empty, Failure, Field, Head, Loaded, Note, toast } from "./parts.js";

import { may } from "./session.js";
import { SettingsOf } from "./settings.js";
import { T } from "./texts.js";
import { TryTab } from "./try.js";

// A secret is shown once; the page that creates it hands it over here. It is empty if the response with it was lost,
// because the response to a repeated request has no secret.
export const Secret = ({ secret, onClose, title = T.secret.title }) => html`<${Dialog} title=${title} firm=${true} onClose=${onClose}>
  <${Note} tone="warn"><span>${secret ? T.secret.once : T.secret.lost}</span><//>
  ${secret && html`<${Code} text=${secret} label=${T.secret.label} wrap=${true} />`}
  <div class="dialog-end"><button type="button" class="button primary" onClick=${onClose}>${secret ? T.secret.copied : T.close}</button></div>
<//>`;

const Rotate = ({ webhook, onClose, onDone }) => {
  const [overlap, setOverlap] = useState("86400");
  const post = usePost();
  const rotate = async () => {
    const rotated = await post(`/webhooks/${webhook.id}/secret/rotate`, { overlap_seconds: Number(overlap) });
    onDone(rotated.secret ?? "");
  };
  return html`<${Dialog} title=${T.secret.rotate} onClose=${onClose}>
    <p class="soft">${T.secret.rotateHelp}</p>
    <${Field} label=${T.secret.overlap} hint=${T.secret.overlapHint}>
      ${(control) => html`<select ...${control} value=${overlap} onChange=${(event) => setOverlap(event.target.value)}>
        ${[0, 3_600, 86_400, 259_200, 604_800].map((seconds) => html`<option value=${String(seconds)}>${seconds ? span(seconds) : T.secret.atOnce}</option>`)}
      </select>`}
    <//>
    <div class="dialog-end">
      <button type="button" class="button" onClick=${onClose}>${T.cancel}</button>
      <${Button} kind="primary" onClick=${rotate}>${T.secret.rotate}<//>
    </div>
  <//>`;
};

// What is wrong with a webhook, and the button that fixes it.
const Advice = ({ webhook, act }) => {
  const { advice } = T.webhook;
  const resume = may.value.write && html`<span><${Button} kind="small-button" onClick=${() => act("resume")}>${T.webhook.resume}<//></span>`;
  const { state, since, next_probe_at: probe, parked } = webhook.health ?? {};
  const waits = parked > 0 && html`<span>${advice.parked(parked >= 1_000 ? `${count(1_000)}+` : count(parked))}</span>`;
  if (webhook.is_deleted) {
    return html`<${Note} title=${advice.deleted(exact(webhook.deleted_at))}>
      ${may.value.write && html`<span><${Button} kind="small-button" onClick=${() => act("restore")}>${T.webhook.restore}<//></span>`}
    <//>`;
  }
  if (webhook.pause_reason === "failures") {
    return html`<${Note} tone="bad" title=${advice.failed(webhook.consecutive_failures)}>
      <span>${webhook.last_error}</span>${waits}<span class="soft">${advice.failedHelp}</span>${resume}
    <//>`;
  }
  if (webhook.paused_at) return html`<${Note} tone="warn" title=${advice.paused}>${waits}<span class="soft">${advice.pausedHelp}</span>${resume}<//>`;
  if (!webhook.enabled && webhook.url) {
    return html`<${Note} title=${advice.disabled}>
      <span class="soft">${advice.disabledHelp}</span>
      ${may.value.write && html`<span><${Button} kind="small-button" onClick=${() => act("enable")}>${T.webhook.enable}<//></span>`}
    <//>`;
  }
  if (!webhook.url) return html`<${Note} tone="warn" title=${advice.draft}><span class="soft">${advice.draftHelp}</span><//>`;
  if (state === "open" || state === "probing") {
    return html`<${Note} tone="bad" title=${advice.open(exact(since))}>
      <span>${webhook.last_error}</span>${waits}
      <span class="soft">${state === "probing" ? advice.probing : probe && (isPast(probe) ? advice.probeDue : advice.probe(exact(probe)))}</span>${resume}
    <//>`;
  }
  if (state === "draining") return html`<${Note} tone="warn" title=${advice.draining}>${waits}<span class="soft">${advice.drainingHelp}</span><//>`;
  if (webhook.consecutive_failures > 0) {
    return html`<${Note} tone=${state === "failing" ? "bad" : "warn"} title=${advice.failing(webhook.consecutive_failures)}>
      <span>${T.verdicts[webhook.last_delivery_status]?.title}${webhook.last_error ? ` · ${webhook.last_error}` : ""}</span>
      <span class="soft">${T.verdicts[webhook.last_delivery_status]?.help}</span>
      <span><a href=${`#/webhooks/${webhook.id}/deliveries?state=retrying,exhausted,parked`}>${advice.seeFailed}</a></span>
    <//>`;
  }
  return null;
};

const Tile = ({ label, value, tone = "" }) => html`<div class="card tile"><div class="label">${label}</div><div class=${`value ${tone}`}>${value}</div></div>`;

const OverviewTab = ({ webhook }) => {
  const state = useLoad(() => get(`/webhooks/${webhook.id}/statistics`), [webhook.id], 10_000);
  const latest = useLoad(() => get(query(`/webhooks/${webhook.id}/deliveries`, { limit: 6 })), [webhook.id], 3_000);
  return html`<${Loaded} state=${state} lines=${5}>
      ${(statistics) => {
        const hours = hoursOf(statistics);
        const all = sum(hours);
        const timed = hours.filter((hour) => hour.mean_duration_ms !== null);
        const spent = timed.reduce((total, hour) => total + hour.mean_duration_ms * hour.calls, 0);
        return html`<div class="grid">
            <${Tile} label=${T.webhook.tiles.rate} value=${percent(all.calls - all.errors, all.calls)} />
            <${Tile} label=${T.webhook.tiles.calls} value=${count(all.calls)} />
            <${Tile} label=${T.webhook.tiles.errors} value=${count(all.errors)} tone=${all.errors ? "bad" : ""} />
            <${Tile} label=${T.webhook.tiles.duration} value=${all.calls ? milliseconds(spent / all.calls) : "–"} />
          </div>
          ${all.calls > 0 &&
          html`<div class="halves">
            <${Card} title=${T.webhook.attempts} hint=${T.webhook.byHour}><${Attempts} hours=${hours} /><//>
            <${Card} title=${T.webhook.durations} hint=${T.webhook.byHour}><${Durations} hours=${hours} /><//>
          </div>`}`;
      }}
    <//>
    ${webhook.direction !== "inbound" && html`<${Card}
      title=${T.webhook.latest}
      bare=${true}
      end=${html`<a class="button small-button" href=${`#/webhooks/${webhook.id}/deliveries`}>${T.webhook.seeAll}</a>`}
    >
      ${latest.error && !latest.data && html`<div class="card-body"><${Failure} error=${latest.error} /></div>`}
      ${!latest.data && !latest.error && html`<${Bones} lines=${4} />`}
      ${latest.data &&
      (latest.data.data.length
        ? html`<${DeliveryTable} items=${latest.data.data} />`
        : html`<${Empty} title=${T.deliveries.emptyTitle}>
            <p>${T.deliveries.empty}</p>
            ${may.value.write && html`<a class="button primary" href=${`#/webhooks/${webhook.id}/try`}>${T.webhook.sendTest}</a>`}
          <//>`)}
    <//>`}`;
};

// A deleted webhook is found in the list only.
const findWebhook = async (id) => {
  try {
    return await get(`/webhooks/${id}`);
  } catch (error) {
    if (error.status !== 404) throw error;
    const { data } = await get(query("/webhooks", { webhook_id: id, include_deleted: true }));
    if (!data.length) throw error;
    return data[0];
  }
};

const TABS = ["", "deliveries", "try", "settings"];

export const WebhookPage = ({ id, tab = "", parameters, fresh }) => {
  const [secret, setSecret] = useState(fresh?.id === id ? (fresh.secret ?? null) : null);
  const [asks, setAsks] = useState(null);
  const [warnings] = useState(fresh?.id === id ? (fresh.warnings ?? []) : []);
  const state = useLoad(() => findWebhook(id), [id], 5_000);
  const act = async (action) => {
    const answer = await call("POST", `/webhooks/${id}/${action}`, undefined, once());
    if (answer.secret) setSecret(answer.secret);
    toast(T.webhook.done[action]);
    state.reload();
  };
  const remove = async () => {
    await call("DELETE", `/webhooks/${id}`);
    toast(T.webhook.done.delete);
    location.hash = "#/webhooks";
  };
  return html`<${Loaded} state=${state} lines=${7}>
    ${(webhook) => {
      const { tone, word } = stateOf(webhook);
      const acts = may.value.write && !webhook.is_deleted;
      const inbound = webhook.direction === "inbound";
      return html`<${Head}
          title=${webhook.name}
          crumbs=${[[T.webhooks.title, "#/webhooks"]]}
          badge=${html`<${Badge} tone=${tone}>${word}<//>`}
          sub=${html`<span class="row"><${Copy} text=${webhook.url || T.webhooks.noUrl} /><${Copy} text=${webhook.id} /></span>`}
        >
          ${acts && !inbound && webhook.url && html`<a class="button" href=${`#/webhooks/${id}/try`}>${T.webhook.sendTest}</a>`}
          ${acts && !inbound && webhook.enabled && !webhook.paused_at && html`<${Button} onClick=${() => act("pause")}>${T.webhook.pause}<//>`}
          ${acts && html`<a class="button primary" href=${`#/webhooks/${id}/edit`}>${T.edit}</a>`}
        <//>
        <${Advice} webhook=${webhook} act=${act} />
        ${warnings.length > 0 &&
        html`<${Note} tone="warn" title=${T.webhook.warnings}>
          ${warnings.map(({ pointer, detail }) => html`<span><code>${pointer.replace("#/", "")}</code> ${detail}</span>`)}
        <//>`}
        <nav class="tabs" aria-label=${webhook.name}>
          ${TABS.filter((name) => (inbound ? name === "" || name === "settings" : name !== "try" || may.value.write)).map(
            (name) => html`<a href=${`#/webhooks/${id}${name && `/${name}`}`} aria-current=${name === tab ? "page" : undefined}>${T.webhook.tabs[name || "overview"]}</a>`,
          )}
        </nav>
        ${tab === "" && html`<${OverviewTab} webhook=${webhook} />`}
        ${tab === "deliveries" && html`<${DeliveriesTab} webhook=${webhook} parameters=${parameters} />`}
        ${tab === "try" && html`<${TryTab} webhook=${webhook} />`}
        ${tab === "settings" && html`<${SettingsOf} webhook=${webhook} acts=${acts} ask=${setAsks} act=${act} />`}
        ${asks === "rotate" &&
        html`<${Rotate}
          webhook=${webhook}
          onClose=${() => setAsks(null)}
          onDone=${(text) => {
            setAsks(null);
            setSecret(text);
            state.reload();
          }}
        />`}
        ${asks === "delete" &&
        html`<${Confirm}
          title=${T.webhook.deleteTitle(webhook.name)}
          text=${T.webhook.deleteHelp}
          action=${T.webhook.delete}
          danger=${true}
          onClose=${() => setAsks(null)}
          onConfirm=${remove}
        />`}
        ${secret !== null && html`<${Secret} secret=${secret} onClose=${() => setSecret(null)} />`}`;
    }}
  <//>`;
};
