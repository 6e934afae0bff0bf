// For operators: what fails and what runs over all tenants, and the way into one of them.

import { html, useState } from "./vendor/vendor.js";
import { get, useLoad } from "./api.js";
import { count } from "./format.js";
import { stateOf } from "./health.js";
import { JobState } from "./jobs.js";
import { Badge, Card, Empty, Field, Head, Loaded, Time } from "./parts.js";
import { view } from "./session.js";
import { T } from "./texts.js";

// A link into a tenant. It is a button, because the address alone does not name the tenant.
const Into = ({ tenant, hash, children }) => html`<button type="button" class="row-link link" onClick=${() => view(tenant, hash)}>${children}</button>`;

const Failing = ({ list }) => {
  if (!list.data.length) return html`<${Empty} title=${T.tenants.fine}><p>${T.tenants.fineHelp}</p><//>`;
  return html`<div class="table-wrap"><table class="cards">
      <thead><tr><th scope="col">${T.webhooks.name}</th><th scope="col">${T.tenants.tenant}</th><th scope="col">${T.webhooks.state}</th><th scope="col">${T.overview.lastError}</th><th scope="col" class="end">${T.overview.inARow}</th><th scope="col" class="end">${T.tenants.parked}</th><th scope="col">${T.webhooks.last}</th></tr></thead>
      <tbody>
        ${list.data.map((webhook) => {
          const { tone, word } = stateOf({ ...webhook, enabled: true });
          return html`<tr class="to" key=${webhook.webhook_id}>
            <td class="col-name"><${Into} tenant=${webhook.tenant_id} hash=${`#/webhooks/${webhook.webhook_id}`}><span class="clamp">${webhook.name}</span><//></td>
            <td data-name=${T.tenants.tenant}><span class="break">${webhook.tenant_id}</span></td>
            <td data-name=${T.webhooks.state}><${Badge} tone=${tone}>${word}<//></td>
            <td data-name=${T.overview.lastError}><span class="soft break">${T.verdicts[webhook.last_delivery_status]?.title ?? webhook.last_error ?? "–"}</span></td>
            <td data-name=${T.overview.inARow} class="end">${count(webhook.consecutive_failures)}</td>
            <td data-name=${T.tenants.parked} class="end">${webhook.health?.parked == null ? "–" : count(webhook.health.parked)}</td>
            <td data-name=${T.webhooks.last}><${Time} at=${webhook.last_delivery_at} /></td>
          </tr>`;
        })}
      </tbody>
    </table></div>
    ${list.more && html`<div class="card-body soft small">${T.tenants.more}</div>`}`;
};

const Running = ({ jobs }) => {
  if (!jobs.length) return html`<${Empty} title=${T.tenants.noJobs} />`;
  return html`<div class="table-wrap"><table class="cards">
    <thead><tr><th scope="col">${T.jobs.kind}</th><th scope="col">${T.tenants.tenant}</th><th scope="col">${T.jobs.state}</th><th scope="col" class="end">${T.jobs.lookedAt}</th><th scope="col" class="end">${T.jobs.sent}</th><th scope="col">${T.jobs.started}</th></tr></thead>
    <tbody>
      ${jobs.map(
        (job) => html`<tr class="to" key=${job.id}>
          <td><${Into} tenant=${job.tenant_id} hash=${`#/jobs/${job.id}`}>${T.jobs.kinds[job.kind] ?? job.kind}<//></td>
          <td data-name=${T.tenants.tenant}><span class="break">${job.tenant_id}</span></td>
          <td data-name=${T.jobs.state}><${JobState} job=${job} /></td>
          <td data-name=${T.jobs.lookedAt} class="end">${count(job.counts.looked_at)}</td>
          <td data-name=${T.jobs.sent} class="end">${count(job.counts.sent)}</td>
          <td data-name=${T.jobs.started}><${Time} at=${job.created_at} /></td>
        </tr>`,
      )}
    </tbody>
  </table></div>`;
};

const Look = () => {
  const [tenant, set] = useState("");
  const go = (event) => {
    event.preventDefault();
    if (tenant.trim()) view(tenant.trim(), "#/overview");
  };
  const input = (control) => html`<input ...${control} value=${tenant} onInput=${(event) => set(event.target.value)} autocomplete="off" spellcheck="false" />`;
  return html`<form class="stack tight" onSubmit=${go}>
    <${Field} label=${T.tenants.tenant}>${input}<//>
    <div><button class="button" type="submit">${T.tenants.open}</button></div>
  </form>`;
};

export const TenantsPage = () => {
  const failing = useLoad(() => get("/failing-webhooks"), [], 10_000);
  const jobs = useLoad(() => get("/running-jobs"), [], 10_000);
  return html`<${Head} title=${T.tenants.title} sub=${T.tenants.sub} />
    <${Card} title=${T.tenants.failing} bare=${true}><${Loaded} state=${failing} lines=${4}>${(list) => html`<${Failing} list=${list} />`}<//><//>
    <${Card} title=${T.tenants.jobs} bare=${true}><${Loaded} state=${jobs} lines=${2}>${(list) => html`<${Running} jobs=${list.data} />`}<//><//>
    <${Card} title=${T.tenants.look} hint=${T.tenants.lookHelp}><${Look} /><//>`;
};
