// Stored events, and what changed.

import { html, useState } from "./vendor/vendor.js";
import { call, get, query, useLoad, usePages } from "./api.js";
import { Changes } from "./delivery.js";
import { writeJson } from "./exact.js";
import { deliveryState, outcome } from "./health.js";
import { Badge, Bones, Button, Card, Code, Copy, Empty, Facts, Failure, FullTime, Head, Loaded, More, Note, Tags, Time } from "./parts.js";
import { may } from "./session.js";
import { T } from "./texts.js";
import { allWebhooks } from "./webhooks.js";

export const EventsPage = ({ type: asked }) => {
  const [type, setType] = useState(asked);
  const [entity, setEntity] = useState("");
  const pages = usePages("/events", { limit: 25, event_type: type.trim(), entity_id: entity.trim() }, 3_000);
  return html`<${Head} title=${T.events.title} sub=${T.events.sub} />
    <section class="card">
      <div class="card-head filters">
        <input class="search" type="search" aria-label=${T.deliveries.type} placeholder=${T.deliveries.type} value=${type} onChange=${(event) => setType(event.target.value)} />
        <input class="search" type="search" aria-label=${T.events.entityId} placeholder=${T.events.entityId} value=${entity} onChange=${(event) => setEntity(event.target.value)} />
        <span class="live" title=${T.deliveries.liveHelp}>${T.deliveries.live}</span>
      </div>
      ${pages.error && html`<div class="card-body"><${Failure} error=${pages.error} reload=${pages.reload} /></div>`}
      ${!pages.items && !pages.error && html`<${Bones} lines=${6} />`}
      ${pages.items &&
      (pages.items.length
        ? html`<div class="table-wrap"><table class="cards">
              <thead>
                <tr>
                  <th scope="col">${T.deliveries.event}</th>
                  <th scope="col">${T.event.entity}</th>
                  <th scope="col">${T.event.changes}</th>
                  <th scope="col">${T.event.source}</th>
                  <th scope="col">${T.event.at}</th>
                </tr>
              </thead>
              <tbody>
                ${pages.items.map(
                  (event) => html`<tr class="to" key=${event.id}>
                    <td>
                      <div class="two-lines">
                        <a class="row-link cut" href=${`#/events/${event.id}`}>${event.event_type}</a>
                        <span class="muted small mono cut">${event.id}</span>
                      </div>
                    </td>
                    <td data-name=${T.event.entity}><span class="mono break">${event.entity.path}</span></td>
                    <td data-name=${T.event.changes}>${event.update_mask?.length ? html`<${Tags} items=${event.update_mask} most=${3} />` : html`<span class="muted">–</span>`}</td>
                    <td data-name=${T.event.source}><span class="soft">${event.source}</span></td>
                    <td data-name=${T.event.at}><${Time} at=${event.at} /></td>
                  </tr>`,
                )}
              </tbody>
            </table></div>
            <${More} pages=${pages} />`
        : html`<${Empty} title=${type || entity ? T.noMatch : T.events.emptyTitle}><p>${T.events.empty}</p><${More} pages=${pages} /><//>`)}
    </section>`;
};

// Why a webhook gets the event, or why not.
const Explain = ({ event }) => {
  const webhooks = useLoad(allWebhooks, []);
  const [id, setId] = useState("");
  const [answer, setAnswer] = useState(null);
  const ask = async () => {
    try {
      setAnswer({ found: await call("POST", `/webhooks/${id}/explain`, { event_id: event.id }) });
    } catch (error) {
      setAnswer({ error });
    }
  };
  const outbound = (webhooks.data ?? []).filter((webhook) => webhook.direction !== "inbound");
  if (!may.value.write || !outbound.length) return null;
  return html`<${Card} title=${T.explain.title} hint=${T.explain.help}>
    <div class="stack">
      <div class="row tight">
        <select class="choose" aria-label=${T.letters.webhook} value=${id} onChange=${(change) => { setId(change.target.value); setAnswer(null); }}>
          <option value="">${T.explain.choose}</option>
          ${outbound.map((webhook) => html`<option value=${webhook.id}>${webhook.name}</option>`)}
        </select>
        ${id && html`<${Button} onClick=${ask}>${T.explain.ask}<//>`}
      </div>
      ${answer?.error && html`<${Failure} error=${answer.error} />`}
      ${answer?.found &&
      html`<${Note} role="status" tone=${answer.found.wants ? "good" : "warn"} title=${answer.found.wants ? T.explain.wants : T.explain.not}>
        ${answer.found.error && html`<span class="fault">${answer.found.error}</span>`}
        ${answer.found.conditions.map(
          ({ condition, holds, detail }) => html`<span><${Badge} tone=${holds ? "good" : "bad"}>${holds ? T.explain.holds : T.explain.fails}<//> <code>${condition}</code> <span class="soft">${detail}</span></span>`,
        )}
        ${!answer.found.conditions.length && html`<span class="soft">${T.explain.unconditional}</span>`}
      <//>`}
    </div>
  <//>`;
};

// Where the event went.
const Deliveries = ({ event }) => {
  const state = useLoad(() => get(query("/deliveries", { event_id: event.id, limit: 50 })), [event.id], 5_000);
  const webhooks = useLoad(allWebhooks, []);
  const names = new Map((webhooks.data ?? []).map((webhook) => [webhook.id, webhook.name]));
  return html`<${Card} title=${T.sent.title} bare=${true}>
    <${Loaded} state=${state} lines=${2}>
      ${({ data }) =>
        data.length
          ? html`<div class="table-wrap"><table class="cards">
              <thead><tr><th scope="col">${T.letters.webhook}</th><th scope="col">${T.deliveries.state}</th><th scope="col">${T.deliveries.result}</th><th scope="col" class="end">${T.deliveries.attempts}</th></tr></thead>
              <tbody>
                ${data.map((delivery) => {
                  const { tone, word } = deliveryState(delivery.state);
                  const last = delivery.attempts.at(-1);
                  return html`<tr class="to" key=${delivery.id}>
                    <td class="col-name"><a class="row-link clamp" href=${`#/webhooks/${delivery.webhook_id}/deliveries/${delivery.id}`}>${names.get(delivery.webhook_id) ?? delivery.webhook_id}</a></td>
                    <td data-name=${T.deliveries.state}><${Badge} tone=${tone}>${word}<//></td>
                    <td data-name=${T.deliveries.result}><span class="soft break">${last ? outcome(last) : "–"}</span></td>
                    <td data-name=${T.deliveries.attempts} class="end">${delivery.attempts.length}</td>
                  </tr>`;
                })}
              </tbody>
            </table></div>`
          : html`<${Empty} title=${T.sent.none} />`}
    <//>
  <//>`;
};

export const EventPage = ({ id }) => {
  const state = useLoad(() => get(`/events/${id}`), [id]);
  return html`<${Loaded} state=${state} lines=${6}>
    ${(event) => html`<${Head} title=${event.event_type} crumbs=${[[T.events.title, "#/events"]]} sub=${html`<${Copy} text=${event.id} />`} />
      <div class="halves">
        <${Card} title=${T.event.about}>
          <${Facts}
            items=${[
              [T.event.entity, html`<${Copy} text=${event.entity.path} />`],
              [T.event.at, html`<${FullTime} at=${event.at} />`],
              [T.event.source, event.source],
              [T.form.fields.app_id, event.app_id],
              [T.event.sequence, html`<${Copy} text=${event.sequence} />`],
              [T.event.removal, event.removal && T.event.removals[event.removal]],
              [T.event.hops, event.hops || null],
            ]}
          />
        <//>
        <${Card} title=${T.event.changes}><${Changes} event=${event} /><//>
      </div>
      <${Deliveries} event=${event} />
      <${Explain} event=${event} />
      ${event.data.value && event.data.old_value && html`<${Card} title=${T.event.value}><${Code} text=${writeJson(event.data.value, 2)} label=${T.event.value} /><//>`}`}
  <//>`;
};
