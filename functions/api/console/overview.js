// Where to look first: what fails, what waits, and how much is used.

import { html } from "./vendor/vendor.js";
import { get, query, useLoad } from "./api.js";
import { Attempts, hoursOf, Latencies } from "./charts.js";
import { bytes, count, milliseconds, percent, short } from "./format.js";
import { stateOf } from "./health.js";
import { LetterTable } from "./letters.js";
import { Badge, Bones, Card, Empty, Head, Icon, Loaded, Time } from "./parts.js";
import { may } from "./session.js";
import { T } from "./texts.js";
import { allWebhooks } from "./webhooks.js";

const LinkTile = ({ label, value, tone = "", href, hint }) => html`<a class="card tile tile-link" href=${href}>
  <div class="label">${label}</div>
  <div class=${`value ${tone}`}>${value}</div>
  <div class="small soft">${hint}</div>
</a>`;

// Days without counts are left out of the answer.
const lastDays = (days) => {
  const known = new Map(days.map((day) => [day.day, day]));
  return Array.from({ length: 8 }, (_, index) => {
    const day = new Date(Date.now() - (7 - index) * 86_400_000).toISOString().slice(0, 10);
    return known.get(day) ?? { day, events: 0, deliveries: 0 };
  });
};

const Days = ({ usage }) => {
  const days = lastDays(usage.days);
  const most = Math.max(1, ...days.map((day) => Math.max(day.events, day.deliveries)));
  return html`<figure class="stack tight">
    <div class="days" role="img" aria-label=${days.map((day) => T.overview.day(day.day, count(day.events), count(day.deliveries))).join("; ")}>
      ${days.map(
        (day) => html`<div class="day" title=${T.overview.day(day.day, count(day.events), count(day.deliveries))}>
          <div class="bars">
            <i class="mark-accent" style=${{ height: `${(day.events / most) * 100}%` }}></i><i class="mark-good" style=${{ height: `${(day.deliveries / most) * 100}%` }}></i>
          </div>
          <span class="small muted number">${day.day.slice(8)}.</span>
        </div>`,
      )}
    </div>
    <figcaption class="legend">
      <span><i class="mark-accent"></i>${T.overview.events}</span><span><i class="mark-good"></i>${T.overview.deliveries}</span>
    </figcaption>
  </figure>`;
};

const Budgets = ({ usage }) => html`<div class="stack">
  ${usage.budgets.map(({ budget, used, limit, resets_at: resets }) => {
    const shown = budget === "stored_bytes" ? bytes : short;
    const share = limit ? Math.min(1, used / limit) : 1;
    return html`<div class="stack tight">
      <div class="row between"><span>${T.overview.budgets[budget] ?? budget}</span><span class="number soft small">${shown(used)} / ${shown(limit)}${resets && html` · ${T.overview.resets} <${Time} at=${resets} />`}</span></div>
      <div class="meter" role="img" aria-label=${`${T.overview.budgets[budget] ?? budget}: ${shown(used)} / ${shown(limit)}`}><i class=${share > 0.8 ? "high" : ""} style=${{ width: `${share * 100}%` }}></i></div>
    </div>`;
  })}
</div>`;

const HintTile = ({ label, value, tone = "", hint }) => html`<div class="card tile">
  <div class="label">${label}</div>
  <div class=${`value ${tone}`}>${value}</div>
  <div class="small soft">${hint}</div>
</div>`;

// What the webhooks did together.
const Last48 = () => {
  const state = useLoad(() => get("/statistics"), [], 15_000);
  return html`<${Loaded} state=${state} lines=${5}>
    ${({ total, groups }) => {
      if (!total.calls) return html`<div class="card"><${Empty} title=${T.overview.noAttempts}><p>${T.overview.noAttemptsHelp}</p><//></div>`;
      const hours = hoursOf({ hours: groups.map((group) => ({ ...group, hour: group.start })) });
      return html`<div class="grid" role="group" aria-label=${T.overview.last}>
          <${HintTile} label=${T.overview.attempts} value=${short(total.calls)} hint=${T.overview.attemptsHint(short(total.errors))} />
          <${HintTile} label=${T.overview.rate} value=${percent(total.delivered, total.calls)} tone=${total.errors / total.calls > 0.05 ? "bad" : ""} hint=${T.overview.rateHint} />
          <${HintTile} label=${T.overview.p50} value=${milliseconds(total.lateness_ms?.p50)} hint=${T.overview.withRetries} />
          <${HintTile} label=${T.overview.p99} value=${milliseconds(total.lateness_ms?.p99)} hint=${T.overview.withRetries} />
        </div>
        <div class="halves">
          <${Card} title=${T.overview.attempts} hint=${T.webhook.byHour}><${Attempts} hours=${hours} /><//>
          <${Card} title=${T.overview.latency} hint=${T.overview.latencyHint}><${Latencies} hours=${hours} /><//>
        </div>`;
    }}
  <//>`;
};

const Troubled = ({ webhooks }) => {
  const troubled = webhooks.filter((webhook) => ["failing", "paused"].includes(stateOf(webhook).key)).sort((one, other) => other.consecutive_failures - one.consecutive_failures);
  if (!troubled.length) return html`<${Empty} title=${T.overview.fine}><p>${T.overview.fineHelp}</p><//>`;
  return html`<div class="table-wrap"><table class="cards">
    <thead><tr><th scope="col">${T.webhooks.name}</th><th scope="col">${T.webhooks.state}</th><th scope="col">${T.overview.lastError}</th><th scope="col" class="end">${T.overview.inARow}</th><th scope="col">${T.webhooks.last}</th></tr></thead>
    <tbody>
      ${troubled.slice(0, 10).map((webhook) => {
        const { tone, word } = stateOf(webhook);
        return html`<tr class="to" key=${webhook.id}>
          <td class="col-name"><a class="row-link" href=${`#/webhooks/${webhook.id}`}><span class="clamp">${webhook.name}</span></a></td>
          <td data-name=${T.webhooks.state}><${Badge} tone=${tone}>${word}<//></td>
          <td data-name=${T.overview.lastError}><span class="soft break">${T.verdicts[webhook.last_delivery_status]?.title ?? webhook.last_error ?? "–"}</span></td>
          <td data-name=${T.overview.inARow} class="end">${webhook.consecutive_failures ? count(webhook.consecutive_failures) : "–"}</td>
          <td data-name=${T.webhooks.last}><${Time} at=${webhook.last_delivery_at} /></td>
        </tr>`;
      })}
    </tbody>
  </table></div>`;
};

export const OverviewPage = () => {
  const webhooks = useLoad(allWebhooks, [], 10_000);
  const letters = useLoad(() => get(query("/dead-letters", { limit: 5 })), [], 10_000);
  const jobs = useLoad(() => get(query("/jobs", { state: "running", limit: 20 })), [], 10_000);
  const usage = useLoad(() => get("/usage"), []);
  return html`<${Head} title=${T.overview.title} sub=${T.overview.sub} />
    <${Loaded} state=${webhooks} lines=${6}>
      ${(list) => {
        if (!list.length) {
          return html`<div class="card"><${Empty} title=${T.overview.welcome}>
            <ol class="steps">${T.overview.steps.map((text, index) => html`<li class="row"><span class="badge">${index + 1}</span><span class="grow">${text}</span></li>`)}</ol>
            ${may.value.write && html`<a class="button primary" href="#/webhooks/new"><${Icon} name="plus" size=${16} />${T.webhooks.create}</a>`}
          <//></div>`;
        }
        const number = (key) => list.filter((webhook) => stateOf(webhook).key === key).length;
        const dead = letters.data ? `${letters.data.data.length}${letters.data.next_cursor ? "+" : ""}` : "…";
        return html`<div class="grid">
            <${LinkTile} label=${T.overview.active} value=${count(number("active"))} hint=${T.overview.ofAll(count(list.length))} href="#/webhooks" />
            <${LinkTile} label=${T.overview.failing} value=${count(number("failing"))} tone=${number("failing") ? "bad" : ""} hint=${T.overview.failingHint} href="#/webhooks" />
            <${LinkTile} label=${T.overview.paused} value=${count(number("paused"))} hint=${T.overview.pausedHint} href="#/webhooks" />
            <${LinkTile} label=${T.letters.title} value=${dead} tone=${letters.data?.data.length ? "bad" : ""} hint=${T.overview.deadHint} href="#/dead-letters" />
            <${LinkTile} label=${T.overview.jobs} value=${jobs.data ? count(jobs.data.data.length) : "…"} hint=${T.overview.jobsHint} href="#/jobs" />
          </div>
          <${Last48} />
          <${Card} title=${T.overview.trouble} bare=${true}><${Troubled} webhooks=${list} /><//>
          ${letters.data?.data.length > 0 &&
          html`<${Card} title=${T.overview.lastDead} bare=${true} end=${html`<a class="button small-button" href="#/dead-letters">${T.webhook.seeAll}</a>`}>
            <${LetterTable} items=${letters.data.data} names=${new Map(list.map((one) => [one.id, one.name]))} />
          <//>`}`;
      }}
    <//>
    <div class="halves">
      <${Card} title=${T.overview.days} hint=${T.overview.daysHint}>${usage.data ? html`<${Days} usage=${usage.data} />` : usage.error ? html`<span class="soft">${usage.error.message}</span>` : html`<${Bones} lines=${4} />`}<//>
      <${Card} title=${T.overview.used}>${usage.data ? html`<${Budgets} usage=${usage.data} />` : usage.error ? html`<span class="soft">${usage.error.message}</span>` : html`<${Bones} lines=${4} />`}<//>
    </div>`;
};
