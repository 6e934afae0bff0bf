// Sending many deliveries of a webhook again: its dead letters since a time, or events of a time range.

import { html, useState } from "./vendor/vendor.js";
import { usePost } from "./api.js";
import { Button, Dialog, Failure, Field } from "./parts.js";
import { T } from "./texts.js";

// The fields of time show and take the time zone of the browser.
const asLocal = (time) => new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
const asTime = (text) => (text ? new Date(text).toISOString() : undefined);

export const AgainDialog = ({ webhook, onClose }) => {
  const [kind, setKind] = useState("recover");
  const [from, setFrom] = useState(() => asLocal(new Date(Date.now() - 86_400_000)));
  const [to, setTo] = useState("");
  const [rate, setRate] = useState("10");
  const [error, setError] = useState(null);
  const post = usePost();
  const fault = (name) => error?.errors?.find(({ pointer }) => pointer === `#/${name}`)?.detail;
  const start = async (dry) => {
    const limits = { rate_per_second: Number(rate), dry_run: dry };
    const body = kind === "recover" ? { since: asTime(from), ...limits } : { from: asTime(from), to: asTime(to), ...limits };
    try {
      const job = await post(`/webhooks/${webhook.id}/${kind}`, body);
      location.hash = `#/jobs/${job.id}`;
    } catch (problem) {
      setError(problem);
    }
  };
  const time = (value, set) => (control) => html`<input ...${control} type="datetime-local" value=${value} onInput=${(event) => set(event.target.value)} />`;
  return html`<${Dialog} title=${T.sendMany.title} onClose=${onClose}>
    <${Field} label=${T.sendMany.what} hint=${T.sendMany.help[kind]}>
      ${(control) => html`<select ...${control} value=${kind} onChange=${(event) => setKind(event.target.value)}>
        <option value="recover">${T.sendMany.recover}</option>
        <option value="replay">${T.sendMany.replay}</option>
      </select>`}
    <//>
    <div class="fields">
      <${Field} label=${T.sendMany.from} fault=${fault("since") ?? fault("from")}>${time(from, setFrom)}<//>
      ${kind === "replay" && html`<${Field} label=${T.sendMany.to} hint=${T.sendMany.toHint} fault=${fault("to")}>${time(to, setTo)}<//>`}
      <${Field} label=${T.jobs.rate} hint=${T.jobs.rateHint} fault=${fault("rate_per_second")}>
        ${(control) => html`<input ...${control} type="number" min="1" max="100" value=${rate} onInput=${(event) => setRate(event.target.value)} />`}
      <//>
    </div>
    ${error && !error.errors.length && html`<${Failure} error=${error} />`}
    <div class="dialog-end">
      <button type="button" class="button" onClick=${onClose}>${T.cancel}</button>
      <${Button} onClick=${() => start(true)}>${T.letters.countOnly}<//>
      <${Button} kind="primary" onClick=${() => start(false)}>${T.sendMany.start}<//>
    </div>
  <//>`;
};
