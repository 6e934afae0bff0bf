// The deliveries of a webhook.

import { html, useState } from "./vendor/vendor.js";
import { AgainDialog } from "./again.js";
import { usePages } from "./api.js";
import { isPast, milliseconds } from "./format.js";
import { deliveryState, outcome } from "./health.js";
import { Badge, Bones, Empty, Failure, More, Time } from "./parts.js";
import { may } from "./session.js";
import { T } from "./texts.js";

export const DeliveryTable = ({ items }) => html`<div class="table-wrap"><table class="cards">
  <thead>
    <tr>
      <th scope="col">${T.deliveries.event}</th>
      <th scope="col">${T.deliveries.state}</th>
      <th scope="col">${T.deliveries.result}</th>
      <th scope="col" class="end">${T.deliveries.attempts}</th>
      <th scope="col" class="end">${T.deliveries.duration}</th>
      <th scope="col">${T.deliveries.at}</th>
    </tr>
  </thead>
  <tbody>
    ${items.map((delivery) => {
      const { tone, word } = deliveryState(delivery.state);
      const last = delivery.attempts.at(-1);
      return html`<tr class="to" key=${delivery.id}>
        <td>
          <div class="two-lines">
            <a class="row-link cut" href=${`#/webhooks/${delivery.webhook_id}/deliveries/${delivery.id}`}>${delivery.event_type}</a>
            <span class="muted small mono cut">${delivery.entity ?? delivery.event_id}</span>
          </div>
        </td>
        <td data-name=${T.deliveries.state}>
          <span class="row tight"><${Badge} tone=${tone}>${word}<//>${delivery.test && html`<span class="tag">${T.deliveries.test}</span>`}</span>
        </td>
        <td data-name=${T.deliveries.result}>
          ${last ? html`<span class="soft">${outcome(last)}</span>` : html`<span class="muted">–</span>`}
          ${delivery.next_at && ["retrying", "parked"].includes(delivery.state) && html`<span class="muted small"> · ${isPast(delivery.next_at) ? T.deliveries.soon : html`${T.deliveries.next} <${Time} at=${delivery.next_at} />`}</span>`}
        </td>
        <td data-name=${T.deliveries.attempts} class="end">${delivery.attempts.length}</td>
        <td data-name=${T.deliveries.duration} class="end">${last ? milliseconds(last.duration_ms) : "–"}</td>
        <td data-name=${T.deliveries.at}><${Time} at=${last?.at ?? delivery.event_time} /></td>
      </tr>`;
    })}
  </tbody>
</table></div>`;

const STATES = ["delivered", "retrying", "exhausted", "parked", "held", "pending", "cancelled", "failed"];

export const DeliveriesTab = ({ webhook, parameters }) => {
  const [state, setState] = useState(parameters.get("state") ?? "");
  const [type, setType] = useState("");
  const [event, setEvent] = useState("");
  const [entity, setEntity] = useState("");
  const [asks, setAsks] = useState(false);
  const filters = { state, event_type: type.trim(), event_id: event.trim(), entity: entity.trim() };
  const pages = usePages(`/webhooks/${webhook.id}/deliveries`, { limit: 25, ...filters }, 2_000);
  const filtered = Boolean(state || type || event || entity);
  return html`<section class="card">
    <div class="card-head filters">
      <select aria-label=${T.deliveries.state} value=${state} onChange=${(change) => setState(change.target.value)}>
        <option value="">${T.deliveries.allStates}</option>
        <option value="retrying,exhausted,parked">${T.deliveries.troubled}</option>
        ${STATES.map((name) => html`<option value=${name}>${deliveryState(name).word}</option>`)}
      </select>
      <input class="search" type="search" aria-label=${T.deliveries.type} placeholder=${T.deliveries.type} value=${type} onChange=${(change) => setType(change.target.value)} />
      <input class="search" type="search" aria-label=${T.deliveries.entity} placeholder=${T.deliveries.entity} value=${entity} onChange=${(change) => setEntity(change.target.value)} />
      <input class="search" type="search" aria-label=${T.deliveries.eventId} placeholder=${T.deliveries.eventId} value=${event} onChange=${(change) => setEvent(change.target.value)} />
      ${may.value.write && !webhook.is_deleted && html`<button type="button" class="button" onClick=${() => setAsks(true)}>${T.deliveries.again}</button>`}
      <span class="live" title=${T.deliveries.liveHelp}>${T.deliveries.live}</span>
    </div>
    ${pages.error && html`<div class="card-body"><${Failure} error=${pages.error} reload=${pages.reload} /></div>`}
    ${!pages.items && !pages.error && html`<${Bones} lines=${8} />`}
    ${pages.items &&
    (pages.items.length
      ? html`<${DeliveryTable} items=${pages.items} /><${More} pages=${pages} />`
      : filtered
        ? html`<${Empty} title=${T.noMatch}><p>${T.deliveries.noMatch}</p><${More} pages=${pages} /><//>`
        : html`<${Empty} title=${T.deliveries.emptyTitle}>
            <p>${T.deliveries.empty}</p>
            ${may.value.write && html`<a class="button primary" href=${`#/webhooks/${webhook.id}/try`}>${T.webhook.sendTest}</a>`}
          <//>`)}
    ${asks && html`<${AgainDialog} webhook=${webhook} onClose=${() => setAsks(false)} />`}
  </section>`;
};
