// One delivery: its attempts on a timeline, the request and the response side by side, and what to do about a failure.

import { html, useState } from "./vendor/vendor.js";
import { call, get, once, useLoad } from "./api.js";
import { differences, pretty, writeJson } from "./exact.js";
import { exact, milliseconds } from "./format.js";
import { deliveryState, isSuccess, outcome } from "./health.js";
import { Badge, Bones, Button, Card, Code, Copy, Facts, Failure, FullTime, Head, Headers, Loaded, Note, Time, toast } from "./parts.js";
import { may } from "./session.js";
import { T } from "./texts.js";

const TIMINGS = ["token_ms", "dns_ms", "connect_ms", "tls_ms", "first_byte_ms"];

const Timing = ({ attempt }) => {
  const parts = TIMINGS.map((name) => [name, attempt.timing[name] ?? 0]);
  const rest = Math.max(0, attempt.duration_ms - parts.reduce((total, [, value]) => total + value, 0));
  const text = parts
    .filter(([, value]) => value > 0)
    .map(([name, value]) => `${T.delivery.timing[name]} ${milliseconds(value)}`)
    .join(" · ");
  return html`<div class="stack tight">
    <div class="parts" role="img" aria-label=${text || milliseconds(attempt.duration_ms)}>
      ${[...parts, ["rest", rest]].map(([, value]) => html`<i style=${{ width: `${(value / Math.max(1, attempt.duration_ms)) * 100}%` }}></i>`)}
    </div>
    <span class="small soft number">${milliseconds(attempt.duration_ms)}${text && ` = ${text}`}</span>
  </div>`;
};

// What happened, why, and what to do.
const Explanation = ({ delivery, attempt }) => {
  if (!attempt) {
    return html`<${Note} title=${T.delivery.waiting[delivery.state] ?? T.delivery.noAttempt}>
      ${T.delivery.waitingHelp[delivery.state] && html`<span class="soft">${T.delivery.waitingHelp[delivery.state]}</span>`}
      ${delivery.deferred_until && html`<span>${T.delivery.deferred(exact(delivery.deferred_until))}</span>`}
    <//>`;
  }
  if (isSuccess(attempt)) {
    return html`<${Note} tone="good" title=${T.verdicts.accepted.title}><span>${T.delivery.acceptedWith(attempt.status, milliseconds(attempt.duration_ms))}</span><//>`;
  }
  const text = T.verdicts[attempt.verdict] ?? { title: attempt.verdict };
  return html`<${Note} tone="bad" title=${attempt.status ? T.delivery.answered(attempt.status, text.title) : text.title}>
    ${attempt.error && !attempt.status && html`<span>${attempt.error}</span>`}
    ${text.help && html`<span class="soft">${text.help}</span>`}
    ${attempt.help && html`<span><a href=${attempt.help.replace(/^\//, "")} target="_blank" rel="noopener">${T.delivery.more}</a></span>`}
    ${attempt.retry_after_s && html`<span class="soft">${T.delivery.retryAfter(attempt.retry_after_s)}</span>`}
  <//>`;
};

// The body that was sent. If it is unknown, the event and the webhook's current settings give one.
const Body = ({ delivery, attempt }) =>
  typeof delivery.request_body === "string" && attempt.cycle === delivery.cycle
    ? html`<${Code} text=${pretty(delivery.request_body)} label=${T.delivery.body} />`
    : html`<${BodyNow} delivery=${delivery} />`;

const BodyNow = ({ delivery }) => {
  const [asked, setAsked] = useState(null);
  const render = async () => {
    try {
      setAsked(await call("POST", `/webhooks/${delivery.webhook_id}/explain`, { event_id: delivery.event_id }));
    } catch (error) {
      setAsked({ problem: error });
    }
  };
  if (!asked) {
    return html`<div class="row between">
      <span class="small soft">${T.delivery.bodyHelp}</span>${may.value.write && html`<${Button} kind="small-button" onClick=${render}>${T.delivery.render}<//>`}
    </div>`;
  }
  if (asked.problem) return html`<${Failure} error=${asked.problem} />`;
  if (!asked.payload) return html`<span class="small soft">${asked.error ?? T.delivery.noPayload}</span>`;
  return html`<${Code} text=${pretty(asked.payload)} label=${T.delivery.body} />`;
};

const Exchange = ({ delivery, attempt }) => html`<div class="halves">
  <${Card} title=${T.delivery.request} hint=${attempt.secret_fingerprint && T.delivery.signedWith(attempt.secret_fingerprint.slice(0, 12))}>
    <div class="stack">
      ${attempt.url && html`<span class="small soft break">POST ${attempt.url}</span>`}
      <${Headers} items=${attempt.request_headers} /><${Body} delivery=${delivery} attempt=${attempt} />
    </div>
  <//>
  <${Card} title=${T.delivery.response} end=${attempt.status && html`<${Badge} tone=${isSuccess(attempt) ? "good" : "bad"}>${attempt.status}<//>`}>
    <div class="stack">
      <${Timing} attempt=${attempt} />
      ${attempt.response_excerpt
        ? html`<${Code} text=${pretty(attempt.response_excerpt)} label=${T.delivery.response} wrap=${true} /><span class="small muted">${T.delivery.excerpt}</span>`
        : html`<span class="soft">${attempt.status ? T.delivery.emptyResponse : T.delivery.noResponse}</span>`}
    </div>
  <//>
</div>`;

// What changed, as the event has it.
export const Changes = ({ event }) => {
  const { value, old_value: old } = event.data;
  if (!value || !old) return html`<${Code} text=${writeJson(value ?? old, 2)} label=${T.event.data} />`;
  const changes = differences(old, value);
  return changes.length
    ? html`<div class="diff" role="table" aria-label=${T.event.changes}>
        ${changes.map(
          ({ path, old, now }) => html`<div role="row"><span role="cell" class="strong">${path}</span></div>
            ${old !== undefined && html`<div class="minus" role="row"><span role="cell">− ${old}</span></div>`}
            ${now !== undefined && html`<div class="plus" role="row"><span role="cell">+ ${now}</span></div>`}`,
        )}
      </div>`
    : html`<span class="soft">${T.event.unchanged}</span>`;
};

const EventCard = ({ id }) => {
  const state = useLoad(() => get(`/events/${id}`), [id]);
  return html`<${Card} title=${T.event.title} end=${html`<a class="button small-button" href=${`#/events/${id}`}>${T.event.open}</a>`}>
    ${state.error && html`<span class="soft">${state.error.status === 404 ? T.event.gone : state.error.message}</span>`}
    ${!state.data && !state.error && html`<${Bones} lines=${3} />`}
    ${state.data &&
    html`<div class="stack">
      <${Facts}
        items=${[
          [T.event.entity, html`<${Copy} text=${state.data.entity.path} />`],
          [T.event.at, html`<${FullTime} at=${state.data.at} />`],
          [T.event.source, state.data.source],
        ]}
      />
      <${Changes} event=${state.data} />
    </div>`}
  <//>`;
};

const Timeline = ({ delivery, picked, pick }) => html`<ol class="timeline">
  ${delivery.attempts.map(
    (attempt, index) => html`<li class=${isSuccess(attempt) ? "good" : "bad"} key=${`${attempt.cycle}.${attempt.number}`}>
      <button type="button" class="pick" aria-pressed=${String(index === picked)} onClick=${() => pick(index)}>
        <div class="row between">
          <strong>${T.delivery.attempt(attempt.number, attempt.cycle)}</strong><span class="small muted number">${milliseconds(attempt.duration_ms)}</span>
        </div>
        <div class="small">${outcome(attempt)}</div>
        <div class="small muted"><time datetime=${attempt.at}>${exact(attempt.at)}</time></div>
      </button>
    </li>`,
  )}
  ${delivery.next_at &&
  html`<li class="next"><div class="card-note"><strong>${delivery.state === "parked" ? T.delivery.nextRelease : T.delivery.nextAttempt}</strong><div class="small soft"><${FullTime} at=${delivery.next_at} /></div></div></li>`}
</ol>`;

export const DeliveryPage = ({ webhook, id }) => {
  const path = `/webhooks/${webhook}/deliveries/${id}`;
  const state = useLoad(() => get(path), [path], 2_000);
  const owner = useLoad(() => get(`/webhooks/${webhook}`), [webhook]);
  const [chosen, pick] = useState(null);
  const send = async () => {
    await call("POST", `${path}/redeliver`, undefined, once());
    toast(T.delivery.sentAgain);
    pick(null);
    state.reload();
  };
  const skip = async () => {
    await call("POST", `${path}/skip`, undefined, once());
    toast(T.delivery.skipped);
    state.reload();
  };
  return html`<${Loaded} state=${state} lines=${8}>
    ${(delivery) => {
      const { tone, word } = deliveryState(delivery.state);
      const picked = chosen ?? delivery.attempts.length - 1;
      const attempt = delivery.attempts[picked];
      const ordered = owner.data?.ordering === "entity";
      return html`<${Head}
          title=${delivery.event_type}
          crumbs=${[
            [T.webhooks.title, "#/webhooks"],
            [owner.data?.name ?? webhook, `#/webhooks/${webhook}`],
            [T.webhook.tabs.deliveries, `#/webhooks/${webhook}/deliveries`],
          ]}
          badge=${html`<${Badge} tone=${tone}>${word}<//>${delivery.test && html`<span class="tag">${T.deliveries.test}</span>`}`}
          sub=${html`<span class="row"><${Copy} text=${delivery.id} /><${Copy} text=${delivery.event_id} /><${Time} at=${delivery.event_time} /></span>`}
        >
          ${may.value.write && ordered && ["exhausted", "retrying"].includes(delivery.state) && html`<${Button} onClick=${skip}>${T.delivery.skip}<//>`}
          ${may.value.write && !delivery.test && html`<${Button} kind="primary" onClick=${send}>${T.delivery.sendAgain}<//>`}
        <//>
        <div class="delivery-grid">
          <${Card} title=${T.delivery.attempts}>
            ${delivery.attempts.length || delivery.next_at
              ? html`<${Timeline} delivery=${delivery} picked=${picked} pick=${pick} />`
              : html`<span class="soft">${T.delivery.noAttempt}</span>`}
          <//>
          <div class="stack">
            <${Explanation} delivery=${delivery} attempt=${attempt} />
            ${attempt && html`<${Exchange} delivery=${delivery} attempt=${attempt} key=${delivery.id} />`}
            <${EventCard} id=${delivery.event_id} />
          </div>
        </div>`;
    }}
  <//>`;
};
