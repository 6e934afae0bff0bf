// Jobs that send many deliveries again, and how far they are.

import { html } from "./vendor/vendor.js";
import { call, get, once, useLoad, usePages } from "./api.js";
import { count, exact } from "./format.js";
import { Badge, Bones, Button, Card, Copy, Empty, Facts, Failure, FullTime, Head, Loaded, More, Note, Tags, Time, toast } from "./parts.js";
import { may } from "./session.js";
import { T } from "./texts.js";

const JOB_TONES = { running: "good", paused: "warn", failed: "bad" };
export const JobState = ({ job }) => html`<${Badge} tone=${JOB_TONES[job.state] ?? ""}>${T.jobs.states[job.state] ?? job.state}<//>`;

export const JobsPage = () => {
  const pages = usePages("/jobs", { limit: 25 }, 5_000);
  return html`<${Head} title=${T.jobs.title} sub=${T.jobs.sub} />
    <section class="card">
      ${pages.error && html`<div class="card-body"><${Failure} error=${pages.error} reload=${pages.reload} /></div>`}
      ${!pages.items && !pages.error && html`<${Bones} lines=${5} />`}
      ${pages.items &&
      (pages.items.length
        ? html`<div class="table-wrap"><table class="cards">
              <thead>
                <tr>
                  <th scope="col">${T.jobs.kind}</th>
                  <th scope="col">${T.jobs.state}</th>
                  <th scope="col" class="end">${T.jobs.lookedAt}</th>
                  <th scope="col" class="end">${T.jobs.sent}</th>
                  <th scope="col" class="end">${T.jobs.skipped}</th>
                  <th scope="col">${T.jobs.started}</th>
                </tr>
              </thead>
              <tbody>
                ${pages.items.map(
                  (job) => html`<tr class="to" key=${job.id}>
                    <td>
                      <div class="two-lines">
                        <a class="row-link" href=${`#/jobs/${job.id}`}>${T.jobs.kinds[job.kind] ?? job.kind}</a>
                        <span class="muted small">${job.dry_run ? T.jobs.dryRun : T.jobs.perSecond(job.rate_per_second)}</span>
                      </div>
                    </td>
                    <td data-name=${T.jobs.state}><${JobState} job=${job} /></td>
                    <td data-name=${T.jobs.lookedAt} class="end">${count(job.counts.looked_at)}</td>
                    <td data-name=${T.jobs.sent} class="end">${count(job.counts.sent)}</td>
                    <td data-name=${T.jobs.skipped} class="end">${count(job.counts.skipped)}</td>
                    <td data-name=${T.jobs.started}><${Time} at=${job.created_at} /></td>
                  </tr>`,
                )}
              </tbody>
            </table></div>
            <${More} pages=${pages} />`
        : html`<${Empty} title=${T.jobs.emptyTitle}><p>${T.jobs.empty}</p><//>`)}
    </section>`;
};

const Figure = ({ label, value }) => html`<div class="card tile"><div class="label">${label}</div><div class="value">${count(value)}</div></div>`;

export const JobPage = ({ id }) => {
  const state = useLoad(() => get(`/jobs/${id}`), [id], 2_000);
  const act = async (action) => {
    await call("POST", `/jobs/${id}/${action}`, undefined, once());
    toast(T.jobs.done[action]);
    state.reload();
  };
  return html`<${Loaded} state=${state} lines=${5}>
    ${(job) => {
      const open = job.state === "running" || job.state === "paused";
      return html`<${Head}
          title=${T.jobs.kinds[job.kind] ?? job.kind}
          crumbs=${[[T.jobs.title, "#/jobs"]]}
          badge=${html`<${JobState} job=${job} />${job.dry_run && html`<span class="tag">${T.jobs.dryRun}</span>`}`}
          sub=${html`<${Copy} text=${job.id} />`}
        >
          ${may.value.write && job.state === "running" && html`<${Button} onClick=${() => act("pause")}>${T.jobs.pause}<//>`}
          ${may.value.write && job.state === "paused" && html`<${Button} kind="primary" onClick=${() => act("resume")}>${T.jobs.resume}<//>`}
          ${may.value.write && open && html`<${Button} kind="danger" onClick=${() => act("cancel")}>${T.jobs.cancel}<//>`}
        <//>
        ${job.reason && html`<${Note} tone="warn" title=${T.jobs.states[job.state]}><span>${job.reason}</span><//>`}
        ${job.state === "running" && html`<${Note} title=${T.jobs.running}><span class="soft">${T.jobs.runningHelp}</span><//>`}
        ${job.state === "done" && job.dry_run && html`<${Note} tone="good" title=${T.jobs.wouldSend(count(job.counts.sent))} />`}
        <div class="grid" role="status">
          <${Figure} label=${T.jobs.lookedAt} value=${job.counts.looked_at} />
          <${Figure} label=${job.dry_run ? T.jobs.wouldBeSent : T.jobs.sent} value=${job.counts.sent} />
          <${Figure} label=${T.jobs.skipped} value=${job.counts.skipped} />
        </div>
        <${Card} title=${T.jobs.what}>
          <${Facts}
            items=${[
              [T.letters.webhook, job.filters.webhook_id && html`<a href=${`#/webhooks/${job.filters.webhook_id}`}>${job.filters.webhook_id}</a>`],
              [T.form.fields.event_types, job.filters.event_types.length ? html`<${Tags} items=${job.filters.event_types} most=${20} />` : T.all],
              [T.jobs.from, job.filters.from && exact(job.filters.from)],
              [T.jobs.to, exact(job.filters.to)],
              [T.jobs.rate, T.jobs.perSecond(job.rate_per_second)],
              [T.webhook.created, html`<${FullTime} at=${job.created_at} /> ${T.webhook.by(job.created_by)}`],
            ]}
          />
        <//>`;
    }}
  <//>`;
};
