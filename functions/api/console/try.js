// Trying a webhook: send a test event and see the answer, see what would be sent, and verify it.

import { html, useState } from "./vendor/vendor.js";
import { call, once, useLoad } from "./api.js";
import { allTypes } from "./catalog.js";
import { parseJson, pretty, writeJson } from "./exact.js";
import { milliseconds } from "./format.js";
import { isSuccess } from "./health.js";
import { Button, Card, Code, Failure, Field, Headers, Note } from "./parts.js";
import { may } from "./session.js";
import { examplesFor, loadExamples } from "./snippets.js";
import { T } from "./texts.js";

const Answer = ({ delivery }) => {
  const attempt = delivery.attempts.at(-1);
  const href = `#/webhooks/${delivery.webhook_id}/deliveries/${delivery.id}`;
  if (!attempt) {
    return html`<${Note} tone="warn" title=${T.try.pending}><a href=${href}>${T.try.open}</a><//>`;
  }
  const good = isSuccess(attempt);
  const text = T.verdicts[attempt.verdict];
  return html`<${Note} tone=${good ? "good" : "bad"} role="status" title=${good ? T.try.took : text?.title}>
    <span>${attempt.status ? T.try.answered(attempt.status, milliseconds(attempt.duration_ms)) : attempt.error}</span>
    ${!good && text?.help && html`<span class="soft">${text.help}</span>`}
    ${attempt.response_excerpt && html`<${Code} text=${pretty(attempt.response_excerpt)} label=${T.delivery.response} wrap=${true} />`}
    <a href=${href}>${T.try.open}</a>
  <//>`;
};

export const TryTab = ({ webhook }) => {
  const exact = webhook.event_types.filter((type) => !type.includes("*"));
  const types = useLoad(allTypes, []);
  const [type, setType] = useState(exact[0] ?? "");
  const [data, setData] = useState("");
  const [fault, setFault] = useState(null);
  const [result, setResult] = useState(null);
  const catalog = types.data ?? [];
  const known = [...new Set([...exact, ...catalog.map((one) => one.event_type)])];
  const example = catalog.find((one) => one.event_type === type)?.example;
  const sample = () => {
    setFault(null);
    let properties;
    try {
      properties = data.trim() ? parseJson(data) : undefined;
    } catch (error) {
      setFault(T.form.notJson(error.message));
      return null;
    }
    return { ...(type ? { event_type: type } : {}), ...(properties ? { properties } : {}) };
  };
  const run = async (action) => {
    const body = sample();
    if (!body) return;
    setResult({ running: true });
    try {
      setResult({ [action]: await call("POST", `/webhooks/${webhook.id}/${action}`, body, action === "test" ? once() : {}) });
    } catch (error) {
      setResult({ error });
    }
  };
  return html`<div class="halves">
      <${Card} title=${T.try.title} hint=${T.try.help}>
        <div class="stack">
          <${Field} label=${T.try.type} hint=${T.try.typeHint}>
            ${(control) => html`<input ...${control} list="known-types" value=${type} placeholder=${T.try.anyType} onInput=${(event) => setType(event.target.value)} />
              <datalist id="known-types">${known.map((name) => html`<option value=${name}></option>`)}</datalist>`}
          <//>
          <${Field} label=${T.try.data} hint=${example ? T.try.dataExample : T.try.dataHint} fault=${fault}>
            ${(control) => html`<textarea
              ...${control}
              class="mono"
              rows="8"
              spellcheck=${false}
              placeholder=${example ? writeJson(example, 2) : '{\n  "title": "Amélie"\n}'}
              value=${data}
              onInput=${(event) => setData(event.target.value)}
            ></textarea>`}
          <//>
          <div class="row tight">
            ${may.value.write && html`<${Button} kind="primary" onClick=${() => run("test")} disabled=${!webhook.url || result?.running}>${T.try.send}<//>`}
            <${Button} onClick=${() => run("preview")}>${T.try.preview}<//>
            ${example && !data && html`<button type="button" class="link" onClick=${() => setData(writeJson(example, 2))}>${T.try.useExample}</button>`}
          </div>
        </div>
      <//>
      <div class="stack">
        ${!result && html`<${Note} title=${T.try.nothing}><span class="soft">${T.try.nothingHelp}</span><//>`}
        ${result?.error && html`<${Failure} error=${result.error} />`}
        ${result?.test && html`<${Answer} delivery=${result.test} />`}
        ${result?.preview && html`<${Preview} request=${result.preview.request} />`}
      </div>
    </div>
    <${Snippets} webhook=${webhook} />`;
};

export const Preview = ({ request }) => html`<${Card} title=${T.try.wouldSend} hint=${`${request.method} ${request.url}`}>
  <div class="stack"><${Headers} items=${request.headers} /><${Code} text=${pretty(request.body)} label=${T.delivery.body} /></div>
<//>`;

const Snippets = ({ webhook }) => {
  const state = useLoad(async () => examplesFor(await loadExamples(), webhook), [webhook.signature_scheme]);
  const [chosen, choose] = useState(0);
  const found = state.data?.[Math.min(chosen, state.data.length - 1)];
  if (!found) return null;
  return html`<${Card}
    title=${T.try.verify}
    hint=${T.try.verifyHelp}
    end=${state.data.length > 1 &&
    html`<select aria-label=${T.try.language} value=${String(chosen)} onChange=${(event) => choose(Number(event.target.value))}>
      ${state.data.map(({ name }, index) => html`<option value=${String(index)}>${name}</option>`)}
    </select>`}
  >
    <div class="stack">
      ${found.install && html`<${Code} text=${found.install} label=${T.try.install} />`}
      <${Code} text=${found.code} label=${found.name} />
    </div>
  <//>`;
};
