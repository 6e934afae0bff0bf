// Dead letters: deliveries that were given up, and sending many of them again.

import { html, useState } from "./vendor/vendor.js";
import { useLoad, usePages, usePost } from "./api.js";

import { outcome } from "./health.js";
import { Bones, Button, Dialog, Empty, Failure, Field, Head, More, Time } from "./parts.js";
import { may } from "./session.js";
import { T } from "./texts.js";
import { allWebhooks } from "./webhooks.js";

export const LetterTable = ({ items, names }) => html`<div class="table-wrap"><table class="cards">
  <thead>
    <tr>
      <th scope="col">${T.deliveries.event}</th>
      <th scope="col">${T.letters.webhook}</th>
      <th scope="col">${T.letters.why}</th>
      <th scope="col" class="end">${T.deliveries.attempts}</th>
      <th scope="col">${T.letters.at}</th>
    </tr>
  </thead>
  <tbody>
    ${items.map(({ delivery, exhausted_at: at, last_error: error }) => {
      const last = delivery.attempts.at(-1);
      return html`<tr class="to" key=${delivery.id}>
        <td>
          <div class="two-lines">
            <a class="row-link cut" href=${`#/webhooks/${delivery.webhook_id}/deliveries/${delivery.id}`}>${delivery.event_type}</a>
            <span class="muted small mono cut">${delivery.entity ?? delivery.event_id}</span>
          </div>
        </td>
        <td data-name=${T.letters.webhook} class="col-name"><a class="above clamp" href=${`#/webhooks/${delivery.webhook_id}`}>${names?.get(delivery.webhook_id) ?? delivery.webhook_id}</a></td>
        <td data-name=${T.letters.why}><span class="soft break">${last ? outcome(last) : (error ?? "–")}</span></td>
        <td data-name=${T.deliveries.attempts} class="end">${delivery.attempts.length}</td>
        <td data-name=${T.letters.at}><${Time} at=${at} /></td>
      </tr>`;
    })}
  </tbody>
</table></div>`;

// Counts first, in a job that sends nothing, or sends at a rate that the receiver can take.
const Redrive = ({ filters, onClose }) => {
  const [rate, setRate] = useState("10");
  const post = usePost();
  const start = async (dry) => {
    const body = Object.fromEntries(Object.entries({ ...filters, rate_per_second: Number(rate), dry_run: dry }).filter(([, value]) => value !== ""));
    const job = await post("/dead-letters/redrive", body);
    location.hash = `#/jobs/${job.id}`;
  };
  return html`<${Dialog} title=${T.letters.redrive} onClose=${onClose}>
    <p class="soft">${filters.webhook_id || filters.event_type ? T.letters.redriveSome : T.letters.redriveAll}</p>
    <${Field} label=${T.jobs.rate} hint=${T.jobs.rateHint}>
      ${(control) => html`<input ...${control} type="number" min="1" max="100" value=${rate} onInput=${(event) => setRate(event.target.value)} />`}
    <//>
    <div class="dialog-end">
      <button type="button" class="button" onClick=${onClose}>${T.cancel}</button>
      <${Button} onClick=${() => start(true)}>${T.letters.countOnly}<//>
      <${Button} kind="primary" onClick=${() => start(false)}>${T.letters.redrive}<//>
    </div>
  <//>`;
};

export const LettersPage = () => {
  const webhooks = useLoad(allWebhooks, []);
  const [webhook, setWebhook] = useState("");
  const [type, setType] = useState("");
  const [asks, setAsks] = useState(false);
  const filters = { webhook_id: webhook, event_type: type.trim() };
  const pages = usePages("/dead-letters", { limit: 25, ...filters }, 5_000);
  const names = webhooks.data && new Map(webhooks.data.map((one) => [one.id, one.name]));
  return html`<${Head} title=${T.letters.title} sub=${T.letters.sub}>
      ${may.value.write && pages.items?.length > 0 && html`<button type="button" class="button primary" onClick=${() => setAsks(true)}>${T.letters.redrive}</button>`}
    <//>
    <section class="card">
      <div class="card-head filters">
        <select aria-label=${T.letters.webhook} value=${webhook} onChange=${(event) => setWebhook(event.target.value)}>
          <option value="">${T.letters.everyWebhook}</option>
          ${(webhooks.data ?? []).map((one) => html`<option value=${one.id}>${one.name}</option>`)}
        </select>
        <input class="search" type="search" aria-label=${T.deliveries.type} placeholder=${T.deliveries.type} value=${type} onChange=${(event) => setType(event.target.value)} />
      </div>
      ${pages.error && html`<div class="card-body"><${Failure} error=${pages.error} reload=${pages.reload} /></div>`}
      ${!pages.items && !pages.error && html`<${Bones} lines=${6} />`}
      ${pages.items &&
      (pages.items.length
        ? html`<${LetterTable} items=${pages.items} names=${names} /><${More} pages=${pages} />`
        : html`<${Empty} title=${webhook || type ? T.noMatch : T.letters.emptyTitle}><p>${T.letters.empty}</p><${More} pages=${pages} /><//>`)}
    </section>
    ${asks && html`<${Redrive} filters=${filters} onClose=${() => setAsks(false)} />`}`;
};
