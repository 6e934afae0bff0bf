// The fields of the form that say how requests are signed and authorized.

import { html } from "./vendor/vendor.js";
import { Field, Icon } from "./parts.js";
import { T } from "./texts.js";

const SCHEMES = ["standard-webhooks", "standard-webhooks-ed25519", "hmac-sha256", "github", "stripe", "superoffice", "shopify"];

// The most further signatures that a webhook may have.
const MOST_FURTHER = 3;

// The fields of each kind of authorization; those that may be left empty are left out of the request then.
const KINDS = {
  bearer: { needed: ["token"], optional: [] },
  basic: { needed: ["username", "password"], optional: [] },
  oauth2: { needed: ["token_url", "client_id", "client_secret"], optional: ["scope", "audience", "client_authentication"] },
};

export const DEFAULTS_OF_SIGNING = {
  signature_scheme: "standard-webhooks",
  signature_header: "",
  signature_encoding: "hex",
  further_signatures: [],
  authorization: "keep",
  token: "",
  username: "",
  password: "",
  token_url: "",
  client_id: "",
  client_secret: "",
  scope: "",
  audience: "",
  client_authentication: "basic",
};

// Returns the authorization that a request sets: undefined to keep it, null to remove it.
export const authorizationOf = (form) => {
  if (form.authorization === "keep") return undefined;
  const kind = KINDS[form.authorization];
  if (!kind) return null;
  const given = kind.optional.filter((name) => form[name].trim());
  return { type: form.authorization, ...Object.fromEntries([...kind.needed, ...given].map((name) => [name, form[name]])) };
};

// A header and an encoding belong to one scheme only.
const signature = ({ scheme, header, encoding }) =>
  scheme === "hmac-sha256" ? { scheme, header: header.trim() || null, encoding } : { scheme, header: null, encoding: "hex" };

export const furtherOf = (form) => form.further_signatures.map(signature);

export const firstOf = (form) => {
  const { scheme, header, encoding } = signature({ scheme: form.signature_scheme, header: form.signature_header, encoding: form.signature_encoding });
  return { signature_scheme: scheme, signature_header: header, signature_encoding: encoding };
};

// The fields of a signature. `labels` and `faults` have texts for its scheme, header and encoding.
const SignatureFields = ({ value: { scheme, header, encoding }, change, labels, faults, end }) => html`<div class="scheme">
    <${Field} label=${labels.scheme} fault=${faults.scheme}>
      ${(control) => html`<select ...${control} value=${scheme} onChange=${(event) => change({ scheme: event.target.value })}>
        ${SCHEMES.map((name) => html`<option value=${name}>${T.form.options.signature_scheme[name]}</option>`)}
      </select>`}
    <//>
    ${end}
  </div>
  ${scheme === "hmac-sha256" &&
  html`<div class="fields">
    <${Field} label=${labels.header} fault=${faults.header}>
      ${(control) => html`<input ...${control} class="mono" placeholder="X-Signature-256" value=${header} onInput=${(event) => change({ header: event.target.value })} />`}
    <//>
    <${Field} label=${labels.encoding} fault=${faults.encoding}>
      ${(control) => html`<select ...${control} value=${encoding} onChange=${(event) => change({ encoding: event.target.value })}>
        ${["hex", "base64"].map((name) => html`<option value=${name}>${T.form.options.encoding[name]}</option>`)}
      </select>`}
    <//>
  </div>`}`;

const PARTS = ["scheme", "header", "encoding"];

export const FirstSignature = ({ form, set, faults }) => {
  const by = (texts) => Object.fromEntries(PARTS.map((part) => [part, texts(`signature_${part}`)]));
  return html`<div class="stack tight">
    <${SignatureFields}
      value=${by((name) => form[name])}
      change=${(changes) => set(Object.fromEntries(Object.entries(changes).map(([part, value]) => [`signature_${part}`, value])))}
      labels=${by((name) => T.form.fields[name])}
      faults=${by((name) => faults[`#/${name}`])}
    />
  </div>`;
};

export const FurtherField = ({ items, change, faults }) => {
  const set = (index, changes) => change(items.map((item, at) => (at === index ? { ...item, ...changes } : item)));
  const fault = (index, name) => faults[`#/further_signatures/${index}/${name}`] ?? (name === "scheme" ? faults[`#/further_signatures/${index}`] : undefined);
  return html`<fieldset class="stack tight" aria-describedby="further-help">
    <legend>${T.form.fields.further_signatures}</legend>
    ${items.map(
      (item, index) => html`<div class="stack tight">
        <${SignatureFields}
          value=${item}
          change=${(changes) => set(index, changes)}
          labels=${{ scheme: T.form.schemeOf(index + 1), header: T.form.headerOf(index + 1), encoding: T.form.encodingOf(index + 1) }}
          faults=${Object.fromEntries(PARTS.map((part) => [part, fault(index, part)]))}
          end=${html`<button type="button" class="button quiet" aria-label=${T.form.removeSignature(index + 1)} onClick=${() => change(items.filter((_, at) => at !== index))}><${Icon} name="close" size=${16} /></button>`}
        />
      </div>`,
    )}
    ${items.length < MOST_FURTHER &&
    html`<div><button type="button" class="button small-button" onClick=${() => change([...items, { scheme: "github", header: "", encoding: "hex" }])}><${Icon} name="plus" size=${14} />${T.form.addSignature}</button></div>`}
    ${faults["#/further_signatures"] && html`<div class="fault" role="alert">${faults["#/further_signatures"]}</div>`}
    <div class="hint" id="further-help">${T.form.hints.further_signatures}</div>
  </fieldset>`;
};

// Secrets can be set and replaced here, and are never shown.
export const Authorization = ({ form, set, webhook, faults }) => {
  const kind = form.authorization;
  const input = (name, type = "text") => (control) =>
    html`<input ...${control} type=${type} autocomplete=${type === "password" ? "new-password" : "off"} value=${form[name]} onInput=${(event) => set({ [name]: event.target.value })} />`;
  const field = (name, type) =>
    html`<${Field} label=${T.form.fields[name]} hint=${T.form.hints[name]} fault=${faults[`#/authorization/${name}`]}>${input(name, type)}<//>`;
  return html`<div class="stack">
    <${Field} label=${T.form.fields.authorization} hint=${T.form.hints.authorization} fault=${faults["#/authorization"] ?? faults["#/authorization/type"]}>
      ${(control) => html`<select ...${control} value=${kind} onChange=${(event) => set({ authorization: event.target.value })}>
        <option value="keep">${webhook?.authorization ? T.form.keepAuthorization(T.form.authorizations[webhook.authorization.type]) : T.form.authorizations.none}</option>
        ${webhook?.authorization && html`<option value="none">${T.form.removeAuthorization}</option>`}
        ${Object.keys(KINDS).map((name) => html`<option value=${name}>${T.form.authorizations[name]}</option>`)}
      </select>`}
    <//>
    ${kind === "bearer" && field("token", "password")}
    ${kind === "basic" && html`<div class="fields">${field("username")}${field("password", "password")}</div>`}
    ${kind === "oauth2" &&
    html`${field("token_url", "url")}
      <div class="fields">${field("client_id")}${field("client_secret", "password")}${field("scope")}${field("audience")}</div>
      <${Field} label=${T.form.fields.client_authentication} fault=${faults["#/authorization/client_authentication"]}>
        ${(control) => html`<select ...${control} value=${form.client_authentication} onChange=${(event) => set({ client_authentication: event.target.value })}>
          ${["basic", "body"].map((name) => html`<option value=${name}>${T.form.options.client_authentication[name]}</option>`)}
        </select>`}
      <//>`}
  </div>`;
};
