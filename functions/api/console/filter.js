// The content filter: JSON with help, tried on the last events.

import { html, useState } from "./vendor/vendor.js";
import { call, get } from "./api.js";

import { Button, Failure, Field, Note } from "./parts.js";
import { T } from "./texts.js";

const EXAMPLES = [
  { value: { total: [{ numeric: [">", 100] }] } },
  { value: { country: ["FR", "IT"] } },
  { value: { email: [{ suffix: "@example.com" }] } },
  { oldValue: { status: [{ "anything-but": "void" }] } },
  { value: { discount: [{ exists: true }] } },
];

// Which of the last events the webhook of the form would get. `dry-run` asks about a change of a webhook that exists.
const tryOn = async (webhook, request) => {
  const { name, url, authorization, ...settings } = request;
  const run = await call("POST", `/webhooks/${webhook.id}/dry-run`, { webhook: settings, events: 100 });
  return run;
};

export const FilterField = ({ value, change, fault, webhook, request }) => {
  const [result, setResult] = useState(null);
  const run = async () => {
    try {
      setResult({ run: await tryOn(webhook, request) });
    } catch (error) {
      setResult({ error });
    }
  };
  return html`<div class="stack">
    <${Field} label=${T.form.fields.filter} hint=${T.filter.help} fault=${fault}>
      ${(control) => html`<textarea ...${control} class="mono" rows=${value ? 7 : 3} spellcheck=${false} placeholder='{"value": {"total": [{"numeric": [">", 100]}]}}' value=${value} onInput=${(event) => change(event.target.value)}></textarea>`}
    <//>
    <details>
      <summary>${T.filter.examples}</summary>
      <div class="stack tight">
        ${EXAMPLES.map(
          (example, index) => html`<div class="row between">
            <span><span class="soft">${T.filter.meanings[index]}</span><br /><code>${JSON.stringify(example)}</code></span>
            <button type="button" class="button small-button" onClick=${() => change(JSON.stringify(example, null, 2))}>${T.filter.use}</button>
          </div>`,
        )}
        <span class="small soft">${T.filter.fields}</span>
      </div>
    </details>
    ${webhook &&
    html`<div class="stack tight">
      <div><${Button} kind="small-button" onClick=${run}>${T.filter.try}<//></div>
      ${result?.error && html`<${Failure} error=${result.error} />`}
      ${result?.run &&
      html`<${Note} role="status" title=${T.filter.result(result.run.after, result.run.looked_at)}>
        <span class="soft">${T.filter.compared(result.run.before, result.run.added.length, result.run.removed.length)}</span>
        ${[
          ["+", result.run.added],
          ["−", result.run.removed],
        ].flatMap(([sign, events]) => events.slice(0, 5).map((event) => html`<span class="small"><span class="mono">${sign}</span> <a href=${`#/events/${event.id}`}>${event.event_type}</a> <span class="mono muted">${event.id}</span></span>`))}
        ${result.run.errors.slice(0, 3).map((failed) => html`<span class="fault">${failed.id}: ${failed.detail}</span>`)}
      <//>`}
    </div>`}
  </div>`;
};
