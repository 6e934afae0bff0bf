// The form that creates and changes webhooks. The server checks it; the page only keeps obvious mistakes from it.

import { html, useEffect, useRef, useState } from "./vendor/vendor.js";
import { call, get, useLoad, usePost } from "./api.js";
import { allTypes } from "./catalog.js";
import { asSide, OperationsField, sideOf, TransitionsField } from "./conditions.js";
import { parseJson, writeJson } from "./exact.js";
import { FilterField } from "./filter.js";
import { Button, Card, Failure, Field, Fold, Head, Icon, Loaded, Note, toast } from "./parts.js";
import { RetryTimeline } from "./retries.js";
import { Authorization, authorizationOf, DEFAULTS_OF_SIGNING, FirstSignature, firstOf, FurtherField, furtherOf } from "./signing.js";
import { T } from "./texts.js";
import { Preview } from "./try.js";
import { TypesField } from "./types.js";

const FORMATS = ["change", "standard", "cloudevents", "superoffice", "slack", "teams", "template"];

const DEFAULTS_OF_FORM = {
  name: "",
  url: "",
  event_types: [],
  filter: "",
  changed: "",
  transitions: [],
  operations: [],
  sources: "",
  collections: "",
  payload_format: "change",
  detail: "full",
  template: "",
  headers: [],
  properties: "",
  secret: "",
  ...DEFAULTS_OF_SIGNING,
  retry_policy: { maxAttempts: 10, backoff: "exponential", timeoutMs: 15_000 },
  success_statuses: "",
  rate_limit: "",
  max_concurrency: "",
  ordering: "none",
  auto_pause: { failures: 50, after_seconds: 432_000 },
  tags: "",
};

const words = (text) => text.split(/[\s,]+/).filter(Boolean);

// Returns a webhook's settings as the form has them.
const asForm = (webhook) => ({
  ...DEFAULTS_OF_FORM,
  ...Object.fromEntries(
    ["name", "url", "event_types", "operations", "payload_format", "detail", "signature_scheme", "signature_header", "signature_encoding", "ordering"].map((name) => [name, webhook[name] ?? DEFAULTS_OF_FORM[name]]),
  ),
  filter: webhook.filter ? writeJson(webhook.filter, 2) : "",
  changed: webhook.changed.join(", "),
  transitions: webhook.transitions.map(({ field, from, to }) => ({ field, from: asSide(from), to: asSide(to) })),
  sources: webhook.sources.join(", "),
  collections: webhook.collections.join(", "),
  template: webhook.template ?? "",
  headers: Object.entries(webhook.headers),
  properties: Object.keys(webhook.properties).length ? writeJson(webhook.properties, 2) : "",
  retry_policy: webhook.retry_policy,
  success_statuses: webhook.success_statuses.join(", "),
  rate_limit: webhook.rate_limit ?? "",
  max_concurrency: webhook.max_concurrency ?? "",
  further_signatures: webhook.further_signatures.map((one) => ({ ...one, header: one.header ?? "" })),
  auto_pause: webhook.auto_pause,
  tags: tagsOf(webhook.tags),
});

// Returns the form as a request, and the faults that the page finds by itself, by their pointers.
const asRequest = (form) => {
  const faults = {};
  const json = (name) => {
    if (!form[name].trim()) return null;
    try {
      return parseJson(form[name]);
    } catch (error) {
      faults[`#/${name}`] = T.form.notJson(error.message);
      return null;
    }
  };
  const number = (name) => (String(form[name]).trim() === "" ? null : Number(form[name]));
  const request = {
    name: form.name.trim() || null,
    url: form.url.trim(),
    event_types: form.event_types,
    filter: json("filter"),
    changed: words(form.changed),
    transitions: form.transitions
      .filter(({ field, from, to }) => field.trim() || from.trim() || to.trim())
      .map(({ field, from, to }) => ({ field: field.trim(), from: sideOf(from), to: sideOf(to) })),
    operations: form.operations,
    sources: words(form.sources),
    collections: words(form.collections),
    payload_format: form.payload_format,
    detail: form.detail,
    template: form.payload_format === "template" ? form.template : null,
    headers: Object.fromEntries(form.headers.filter(([name, value]) => name.trim() || value).map(([name, value]) => [name.trim(), value])),
    properties: json("properties") ?? {},
    ...firstOf(form),
    retry_policy: Object.fromEntries(Object.entries(form.retry_policy).filter(([, value]) => value !== null && value !== "")),
    success_statuses: words(form.success_statuses),
    rate_limit: number("rate_limit"),
    max_concurrency: number("max_concurrency"),
    ordering: form.ordering,
    further_signatures: furtherOf(form),
    auto_pause: Object.fromEntries(Object.entries(form.auto_pause).filter(([, value]) => value !== null)),
    tags: form.tags.trim().startsWith("{") ? json("tags") ?? {} : form.tags.split(",").map((tag) => tag.trim()).filter(Boolean),
  };
  const authorization = authorizationOf(form);
  if (authorization !== undefined) request.authorization = authorization;
  return { request, faults };
};

// Without what a new webhook gets by default anyway, so that the server's defaults hold.
const asNew = (request, secret) => {
  const given = Object.entries(request).filter(([, value]) => value !== null && value !== "" && !(Array.isArray(value) && !value.length));
  return { ...Object.fromEntries(given), ...(secret ? { secret } : {}) };
};

// Only what was changed, so that another person's change of another setting stays. Objects are merged by the server,
// so what was removed is null; a filter is replaced.
const MERGED = ["headers", "properties", "retry_policy", "auto_pause", "tags"];
const merge = (before, after) => {
  const isMap = (value) => value !== null && typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype;
  if (!isMap(before) || !isMap(after)) return after;
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const changed = names.filter((name) => writeJson(before[name]) !== writeJson(after[name]));
  return Object.fromEntries(changed.map((name) => [name, name in after ? merge(before[name], after[name]) : null]));
};
const asPatch = (request, before) =>
  Object.fromEntries(
    Object.entries(request)
      .filter(([name, value]) => name === "authorization" || writeJson(value) !== writeJson(before[name] ?? null))
      .map(([name, value]) => [name, MERGED.includes(name) ? merge(before[name], value) : value]),
  );

const faultsOf = (error) => {
  const faults = {};
  for (const { pointer, detail } of error?.errors ?? []) faults[pointer] = faults[pointer] ? `${faults[pointer]}; ${detail}` : detail;
  return faults;
};

// A fault of `#/retry_policy/baseMs` belongs to the field of that pointer, else to that of its parent.
const within = (faults, pointer) =>
  Object.entries(faults)
    .filter(([at]) => at === pointer || at.startsWith(`${pointer}/`))
    .map(([at, detail]) => (at === pointer ? detail : `${at.slice(pointer.length + 1)}: ${detail}`))
    .join("; ") || null;

// The conditions that are folded unless they are used.
const CONDITIONS = ["transitions", "operations", "sources", "collections"];
const hasConditions = (form, faults) => CONDITIONS.some((name) => form[name].length || within(faults, `#/${name}`)) || undefined;

const HeadersField = ({ items, change, fault }) => {
  const set = (index, part, value) => change(items.map((item, at) => (at === index ? (part ? [item[0], value] : [value, item[1]]) : item)));
  return html`<fieldset class="stack tight" aria-describedby="headers-help">
    <legend>${T.form.fields.headers}</legend>
    ${items.map(
      ([name, value], index) => html`<div class="pair">
        <input class="mono" aria-label=${T.form.headerName(index + 1)} placeholder="X-Team" value=${name} onInput=${(event) => set(index, 0, event.target.value)} />
        <input class="mono" aria-label=${T.form.headerValue(index + 1)} value=${value} onInput=${(event) => set(index, 1, event.target.value)} />
        <button type="button" class="button quiet" aria-label=${T.form.removeHeader(index + 1)} onClick=${() => change(items.filter((_, at) => at !== index))}><${Icon} name="close" size=${16} /></button>
      </div>`,
    )}
    <div><button type="button" class="button small-button" onClick=${() => change([...items, ["", ""]])}><${Icon} name="plus" size=${14} />${T.form.addHeader}</button></div>
    ${fault && html`<div class="fault" role="alert">${fault}</div>`}
    <div class="hint" id="headers-help">${T.form.hints.headers}</div>
  </fieldset>`;
};

// A number that the server has in smaller units: the text stays as it is typed, or "1." would lose its point.
const NumberInput = ({ control, value, factor = 1, change }) => {
  const [typed, setTyped] = useState(null);
  const shown = value === null || value === undefined ? "" : typeof value === "number" ? String(value / factor) : value;
  const read = (text) => (text === "" ? null : Number.isFinite(Number(text)) ? Math.round(Number(text) * factor * 1000) / 1000 : text);
  return html`<input
    ...${control}
    inputmode="decimal"
    value=${typed ?? shown}
    onInput=${(event) => {
      setTyped(event.target.value);
      change(read(event.target.value.trim()));
    }}
    onBlur=${() => setTyped(null)}
  />`;
};

const RetryField = ({ policy, change, faults }) => {
  const set = (name, value) => change({ ...policy, [name]: value });
  const number = (name, factor) => (control) =>
    html`<${NumberInput} control=${control} value=${policy[name]} factor=${factor} change=${(value) => set(name, value)} />`;
  const fault = (name) => faults[`#/retry_policy/${name}`];
  const switchTo = (backoff) => {
    const { maxAttempts, timeoutMs } = policy;
    change({ maxAttempts, timeoutMs, backoff });
  };
  return html`<div class="stack">
    <div class="fields">
      <${Field} label=${T.form.fields.maxAttempts} hint=${T.form.hints.maxAttempts} fault=${fault("maxAttempts")}>${number("maxAttempts")}<//>
      <${Field} label=${T.form.fields.backoff} fault=${fault("backoff")}>
        ${(control) => html`<select ...${control} value=${policy.backoff} onChange=${(event) => switchTo(event.target.value)}>
          ${["exponential", "linear", "fixed"].map((name) => html`<option value=${name}>${T.form.options.backoff[name]}</option>`)}
        </select>`}
      <//>
      ${policy.backoff === "fixed"
        ? html`<${Field} label=${T.form.fields.scheduleSeconds} hint=${T.form.hints.scheduleSeconds} fault=${within(faults, "#/retry_policy/scheduleSeconds")}>
            ${(control) => html`<input
              ...${control}
              placeholder="5, 300, 1800"
              value=${(policy.scheduleSeconds ?? []).join(", ")}
              onChange=${(event) => set("scheduleSeconds", words(event.target.value).map((text) => (Number.isFinite(Number(text)) ? Number(text) : text)))}
            />`}
          <//>`
        : html`<${Field} label=${T.form.fields.baseMs} fault=${fault("baseMs")} hint=${T.form.hints.base}>${number("baseMs", 1000)}<//>`}
      ${policy.backoff === "exponential" && html`<${Field} label=${T.form.fields.factor} fault=${fault("factor")}>${number("factor")}<//>`}
      <${Field} label=${T.form.fields.timeout} hint=${T.form.hints.timeout} fault=${fault("timeoutMs")}>${number("timeoutMs", 1000)}<//>
    </div>
    ${faults["#/retry_policy"] && html`<div class="fault">${faults["#/retry_policy"]}</div>`}
    ${Number.isInteger(policy.maxAttempts) && policy.maxAttempts > 0 && policy.maxAttempts <= 25 && html`<${RetryTimeline} policy=${policy} />`}
  </div>`;
};

// Tags are labels, or names with values as a JSON object.
const tagsOf = (tags) => (Array.isArray(tags) ? tags.join(", ") : Object.keys(tags ?? {}).length ? writeJson(tags) : "");

// When failures pause the webhook. The time is in hours here.
const AutoPauseField = ({ value, change, fault }) => {
  const number = (name, factor) => (control) =>
    html`<${NumberInput} control=${control} value=${value[name]} factor=${factor} change=${(number) => change({ ...value, [name]: number })} />`;
  return html`<div class="fields">
    <${Field} label=${T.form.fields.failures} hint=${T.form.hints.failures} fault=${fault("failures")}>${number("failures", 1)}<//>
    <${Field} label=${T.form.fields.after_seconds} hint=${T.form.hints.after_seconds} fault=${fault("after_seconds")}>${number("after_seconds", 3600)}<//>
  </div>`;
};

// What the server says about the form as it is. Nothing is stored: a preview is made.
const useCheck = (request, secret) => {
  const [state, set] = useState({ preview: null, error: null });
  const body = writeJson(asNew(request, secret));
  useEffect(() => {
    let live = true;
    const timer = setTimeout(async () => {
      try {
        const preview = await call("POST", "/webhooks/preview", { webhook: parseJson(body) });
        if (live) set({ preview, error: null });
      } catch (error) {
        if (live) set((before) => ({ ...before, error }));
      }
    }, 500);
    return () => {
      live = false;
      clearTimeout(timer);
    };
  }, [body]);
  return state;
};

// Pointers of a preview begin with the webhook within it.
const ofPreview = (error) => ({ errors: (error?.errors ?? []).map((fault) => ({ ...fault, pointer: fault.pointer.replace("#/webhook/", "#/") })) });

export const FormPage = ({ webhook, onSaved }) => {
  const [form, setForm] = useState(() => (webhook ? asForm(webhook) : DEFAULTS_OF_FORM));
  const [error, setError] = useState(null);
  const [touched, setTouched] = useState({});
  const top = useRef(null);
  const post = usePost();
  const types = useLoad(allTypes, []);
  const set = (changes) => {
    setForm((before) => ({ ...before, ...changes }));
    setTouched((before) => ({ ...before, ...Object.fromEntries(Object.keys(changes).map((name) => [name, true])) }));
  };
  const { request, faults: own } = asRequest(form);
  const check = useCheck(request, form.secret);
  // Faults that the server found while people typed are shown at fields that they touched.
  const live = Object.entries(faultsOf(ofPreview(check.error))).filter(([pointer]) => touched[pointer.split("/")[1]]);
  const faults = { ...faultsOf(error), ...Object.fromEntries(live), ...own };
  const placed = Object.keys(form).flatMap((name) => Object.keys(faults).filter((at) => at === `#/${name}` || at.startsWith(`#/${name}/`)));
  const elsewhere = error && (!error.errors.length || Object.keys(faultsOf(error)).some((at) => !placed.includes(at)));

  const text = (name, rest = {}) => (control) => html`<input ...${control} ...${rest} value=${form[name]} onInput=${(event) => set({ [name]: event.target.value })} />`;
  const area = (name, rows) => (control) =>
    html`<textarea ...${control} class="mono" rows=${rows} spellcheck=${false} value=${form[name]} onInput=${(event) => set({ [name]: event.target.value })}></textarea>`;
  const choice = (name, options) => (control) => html`<select ...${control} value=${form[name]} onChange=${(event) => set({ [name]: event.target.value })}>
    ${options.map((option) => html`<option value=${option}>${T.form.options[name][option]}</option>`)}
  </select>`;
  const field = (name, control, hint) =>
    html`<${Field} label=${T.form.fields[name]} hint=${hint ?? T.form.hints[name]} fault=${within(faults, `#/${name}`)}>${control}<//>`;

  // New webhooks mostly keep the defaults; a fault is never hidden.
  const opens = (names) => Boolean(webhook) || names.some((name) => within(faults, `#/${name}`)) || undefined;

  const save = async (event) => {
    event?.preventDefault();
    if (Object.keys(own).length) {
      setError({ title: T.form.invalid, message: T.form.invalidHelp, errors: [] });
      return;
    }
    try {
      if (webhook) {
        onSaved(await call("PATCH", `/webhooks/${webhook.id}`, asPatch(request, webhook), { "if-match": `"${webhook.version}"` }));
      } else {
        const created = await post("/webhooks", asNew(request, form.secret));
        // The response to a repeated request has no secret.
        onSaved({ ...created, secret: created.secret ?? form.secret });
      }
    } catch (problem) {
      setError(problem);
      requestAnimationFrame(() => (document.querySelector('main [aria-invalid="true"]') ?? top.current)?.focus());
    }
  };

  return html`<${Head}
      title=${webhook ? T.form.editTitle(webhook.name) : T.form.newTitle}
      crumbs=${webhook ? [[T.webhooks.title, "#/webhooks"], [webhook.name, `#/webhooks/${webhook.id}`]] : [[T.webhooks.title, "#/webhooks"]]}
    />
    <form class="form-grid" onSubmit=${save} novalidate>
      <div class="stack">
        ${elsewhere && html`<div ref=${top} tabindex="-1"><${Failure} error=${error} /></div>`}
        <${Card} title=${T.form.sections.where}>
          <div class="stack">
            ${field("url", text("url", { type: "url", placeholder: "https://example.com/hooks", autocomplete: "off" }))}
            ${field("name", text("name", { placeholder: T.form.namePlaceholder, autocomplete: "off" }))}
            ${field("tags", text("tags", { placeholder: "erp, team-sales", autocomplete: "off" }))}
          </div>
        <//>
        <${Card} title=${T.form.sections.wants} hint=${T.form.wantsHelp}>
          <div class="stack wide">
            <${TypesField} types=${types.data ?? []} value=${form.event_types} change=${(event_types) => set({ event_types })} fault=${within(faults, "#/event_types")} />
            ${field("changed", text("changed", { placeholder: "status, address.city", class: "mono" }))}
            <details open=${hasConditions(form, faults)}>
              <summary>${T.conditions.more}</summary>
              <div class="stack wide">
                <${TransitionsField} items=${form.transitions} change=${(transitions) => set({ transitions })} fault=${within(faults, "#/transitions")} />
                <${OperationsField} value=${form.operations} change=${(operations) => set({ operations })} fault=${within(faults, "#/operations")} />
                <div class="fields">${field("sources", text("sources"), T.conditions.listed)}${field("collections", text("collections"), T.conditions.listed)}</div>
              </div>
            </details>
            <${FilterField} value=${form.filter} change=${(filter) => set({ filter })} fault=${within(faults, "#/filter")} webhook=${webhook} request=${request} />
          </div>
        <//>
        <${Fold} title=${T.form.sections.sends} hint=${T.form.defaults.sends} open=${opens(["payload_format", "detail", "template", "headers", "properties"])}>
          <div class="stack">
            <div class="fields">${field("payload_format", choice("payload_format", FORMATS))}${field("detail", choice("detail", ["full", "diff", "thin"]))}</div>
            ${form.payload_format === "template" && field("template", area("template", 8))}
            <${HeadersField} items=${form.headers} change=${(headers) => set({ headers })} fault=${within(faults, "#/headers")} />
            ${field("properties", area("properties", 3))}
          </div>
        <//>
        <${Fold} title=${T.form.sections.signs} hint=${T.form.defaults.signs} open=${opens(["signature_scheme", "signature_header", "signature_encoding", "further_signatures", "secret", "authorization"])}>
          <div class="stack">
            <${FirstSignature} form=${form} set=${set} faults=${faults} />
            <${FurtherField} items=${form.further_signatures} change=${(further_signatures) => set({ further_signatures })} faults=${faults} />
            ${!webhook && field("secret", text("secret", { type: "password", autocomplete: "new-password" }))}
            <${Authorization} form=${form} set=${set} webhook=${webhook} faults=${faults} />
          </div>
        <//>
        <${Fold} title=${T.form.sections.delivers} hint=${T.form.defaults.delivers} open=${opens(["retry_policy", "success_statuses", "rate_limit", "max_concurrency", "ordering", "auto_pause"])}>
          <div class="stack">
            <${RetryField} policy=${form.retry_policy} change=${(retry_policy) => set({ retry_policy })} faults=${faults} />
            <div class="fields">
              ${field("rate_limit", text("rate_limit", { inputmode: "numeric" }))}
              ${field("max_concurrency", text("max_concurrency", { inputmode: "numeric" }))}
              ${field("success_statuses", text("success_statuses", { placeholder: "2xx" }))}
              ${field("ordering", choice("ordering", ["none", "entity"]))}
            </div>
            <${AutoPauseField} value=${form.auto_pause} change=${(auto_pause) => set({ auto_pause })} fault=${(name) => faults[`#/auto_pause/${name}`]} />
          </div>
        <//>
        <div class="row">
          <${Button} kind="primary" type="submit" onClick=${save}>${webhook ? T.form.saveChanges : T.form.create}<//>
          <a class="button" href=${webhook ? `#/webhooks/${webhook.id}` : "#/webhooks"}>${T.cancel}</a>
        </div>
      </div>
      <div class="form-side stack">
        ${check.preview
          ? html`<${Preview} request=${check.preview.request} />`
          : html`<${Note} title=${T.form.previewTitle}><span class="soft">${check.error && touched.url ? check.error.message : T.form.previewHelp}</span><//>`}
      </div>
    </form>`;
};

export const EditPage = ({ id, onSaved }) => {
  const state = useLoad(() => get(`/webhooks/${id}`), [id]);
  return html`<${Loaded} state=${state} lines=${10}>
    ${(webhook) => html`<${FormPage} webhook=${webhook} key=${webhook.id} onSaved=${(saved) => {
      toast(T.form.saved);
      onSaved(saved);
    }} />`}
  <//>`;
};
