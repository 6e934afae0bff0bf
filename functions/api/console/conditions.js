// The less frequent conditions of a webhook: operations, tables, collections and transitions.

import { html } from "./vendor/vendor.js";
import { parseJson, writeJson } from "./exact.js";
import { Icon } from "./parts.js";
import { T } from "./texts.js";

// A side of a transition is any JSON scalar; a word without quotes is a text, and an empty side matches any value.
export const sideOf = (text) => {
  const trimmed = text.trim();
  if (trimmed === "") return undefined;
  try {
    const value = parseJson(trimmed);
    // Objects and lists are no scalars; a number with more digits than JavaScript holds is.
    return value !== null && typeof value === "object" && !("source" in value) ? trimmed : value;
  } catch {
    return trimmed;
  }
};

export const asSide = (value) => {
  if (value === undefined) return "";
  const plain = typeof value === "string" && sideOf(value) === value;
  return plain ? value : writeJson(value);
};

export const TransitionsField = ({ items, change, fault }) => {
  const set = (index, part, text) => change(items.map((item, at) => (at === index ? { ...item, [part]: text } : item)));
  const input = (index, part, label, placeholder) => html`<input
    class="mono"
    aria-label=${label(index + 1)}
    placeholder=${placeholder}
    value=${items[index][part]}
    onInput=${(event) => set(index, part, event.target.value)}
  />`;
  return html`<fieldset class="stack tight" aria-describedby="transitions-help">
    <legend>${T.form.fields.transitions}</legend>
    ${items.map(
      (_, index) => html`<div class="triple">
        ${input(index, "field", T.conditions.field, "status")} ${input(index, "from", T.conditions.from, T.conditions.any)}
        ${input(index, "to", T.conditions.to, T.conditions.any)}
        <button type="button" class="button quiet" aria-label=${T.conditions.remove(index + 1)} onClick=${() => change(items.filter((_, at) => at !== index))}>
          <${Icon} name="close" size=${16} />
        </button>
      </div>`,
    )}
    <div>
      <button type="button" class="button small-button" onClick=${() => change([...items, { field: "", from: "", to: "" }])}>
        <${Icon} name="plus" size=${14} />${T.conditions.add}
      </button>
    </div>
    ${fault && html`<div class="fault" role="alert">${fault}</div>`}
    <div class="hint" id="transitions-help">${T.conditions.help}</div>
  </fieldset>`;
};

export const OperationsField = ({ value, change, fault }) => html`<fieldset class="stack tight">
  <legend>${T.form.fields.operations}</legend>
  <div class="row">
    ${["created", "updated", "deleted"].map(
      (operation) => html`<label class="check">
        <input
          type="checkbox"
          checked=${value.includes(operation)}
          onChange=${() => change(value.includes(operation) ? value.filter((other) => other !== operation) : [...value, operation])}
        />${T.types[operation]}
      </label>`,
    )}
  </div>
  ${fault && html`<div class="fault" role="alert">${fault}</div>`}
  <div class="hint">${T.conditions.operations}</div>
</fieldset>`;
