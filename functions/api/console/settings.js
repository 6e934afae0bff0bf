// A webhook's settings, to read.

import { html } from "./vendor/vendor.js";
import { writeJson } from "./exact.js";
import { span } from "./format.js";
import { Button, Card, Code, Copy, Facts, FullTime, Headers, Tags } from "./parts.js";
import { RetryTimeline } from "./retries.js";
import { T } from "./texts.js";

const isEmpty = (value) => !value || (Array.isArray(value) ? !value.length : !Object.keys(value).length);
const listed = (items) => !isEmpty(items) && html`<${Tags} items=${items} most=${50} />`;

export const SettingsOf = ({ webhook, acts, ask, act }) => {
  const { fields, options } = T.form;
  const wants = [
    [fields.event_types, listed(webhook.event_types) || T.webhooks.everything],
    [fields.operations, listed(webhook.operations)],
    [fields.sources, listed(webhook.sources)],
    [fields.collections, listed(webhook.collections)],
    [fields.applications, listed(webhook.applications)],
    [fields.changed, listed(webhook.changed)],
    [fields.transitions, listed(webhook.transitions.map((one) => `${one.field}: ${one.from === undefined ? "*" : writeJson(one.from)} → ${one.to === undefined ? "*" : writeJson(one.to)}`))],
    [fields.filter, webhook.filter && html`<${Code} text=${writeJson(webhook.filter, 2)} label=${fields.filter} />`],
  ];
  const sends = [
    [fields.payload_format, options.payload_format[webhook.payload_format] ?? webhook.payload_format],
    [fields.detail, options.detail[webhook.detail] ?? webhook.detail],
    [fields.include, listed(webhook.include)],
    [fields.exclude, listed(webhook.exclude)],
    [fields.template, webhook.template && html`<${Code} text=${webhook.template} label=${fields.template} />`],
    [fields.headers, !isEmpty(webhook.headers) && html`<${Headers} items=${webhook.headers} />`],
    [fields.properties, !isEmpty(webhook.properties) && html`<${Code} text=${writeJson(webhook.properties, 2)} label=${fields.properties} />`],
    [fields.content_encoding, webhook.content_encoding === "gzip" && "gzip"],
  ];
  const overlap = webhook.previous_secret_until && Date.parse(webhook.previous_secret_until) > Date.now();
  const signs = [
    [fields.signature_scheme, options.signature_scheme[webhook.signature_scheme] ?? webhook.signature_scheme],
    [fields.further_signatures, listed(webhook.further_signatures.map((one) => one.scheme))],
    [T.secret.fingerprint, html`<${Copy} text=${webhook.secret_fingerprint} />`],
    [T.secret.vault, html`<${Copy} text=${webhook.vault_path} />`],
    [T.secret.keys, webhook.signing_keys_url && html`<${Copy} text=${webhook.signing_keys_url} />`],
    [T.secret.previous, overlap && html`<${FullTime} at=${webhook.previous_secret_until} />`],
    [fields.authorization, webhook.authorization && T.form.authorizations[webhook.authorization.type]],
  ];
  const delivers = [
    [fields.timeout, span(webhook.retry_policy.timeoutMs / 1000)],
    [fields.success_statuses, listed(webhook.success_statuses) || "2xx"],
    [fields.rate_limit, webhook.rate_limit && T.form.perSecond(webhook.rate_limit)],
    [fields.max_concurrency, webhook.max_concurrency],
    [fields.ordering, options.ordering[webhook.ordering] ?? webhook.ordering],
    [fields.auto_pause, T.form.autoPause(webhook.auto_pause.failures, span(webhook.auto_pause.after_seconds))],
  ];
  const inbound = webhook.direction === "inbound";
  const about = [
    [fields.app_id, webhook.app_id],
    [fields.tags, listed(Array.isArray(webhook.tags) ? webhook.tags : Object.entries(webhook.tags ?? {}).map(([name, value]) => `${name}: ${writeJson(value)}`))],
    [fields.connector_id, webhook.connector_id],
    [fields.integration_provider, webhook.integration_provider],
    [fields.source, webhook.source],
    [T.webhook.created, html`<${FullTime} at=${webhook.created_at} /> ${T.webhook.by(webhook.created_by)}`],
    [T.webhook.updated, webhook.updatedCount > 0 && html`<${FullTime} at=${webhook.updated_at} /> ${T.webhook.by(webhook.updated_by)}`],
    [T.webhook.version, webhook.version],
  ];
  return html`<div class="stack">
    <${Card} title=${T.form.sections.wants}><${Facts} items=${wants} /><//>
    ${!inbound && html`<${Card} title=${T.form.sections.sends}><${Facts} items=${sends} /><//>`}
    <${Card}
      title=${T.form.sections.signs}
      end=${acts && html`<${Button} kind="small-button" onClick=${() => ask("rotate")}>${T.secret.rotate}<//>`}
    ><${Facts} items=${signs} /><//>
    ${!inbound &&
    html`<${Card} title=${T.form.sections.delivers}>
      <div class="stack"><${RetryTimeline} policy=${webhook.retry_policy} /><${Facts} items=${delivers} /></div>
    <//>`}
    <${Card} title=${T.form.sections.about}><${Facts} items=${about} /><//>
    ${acts &&
    html`<${Card} title=${T.webhook.danger}>
      <div class="row between">
        <span class="soft">${T.webhook.deleteHelp}</span>
        <span class="row tight">
          ${webhook.enabled && html`<${Button} onClick=${() => act("disable")}>${T.webhook.disable}<//>`}
          <button type="button" class="button danger" onClick=${() => ask("delete")}>${T.webhook.delete}</button>
        </span>
      </div>
    <//>`}
  </div>`;
};
