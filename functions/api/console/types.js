// The event types of a webhook: the types of the catalog in groups, with a box for created, updated and deleted.

import { html, useState } from "./vendor/vendor.js";
import { Icon } from "./parts.js";
import { T } from "./texts.js";

const OPERATIONS = ["created", "updated", "deleted"];

// Returns the groups of known types: `order` has `created`, `updated` and perhaps others.
export const groupsOf = (types) => {
  const groups = new Map();
  for (const { event_type: type, description, deprecated } of types) {
    const at = type.lastIndexOf(".");
    const [entity, operation] = at > 0 ? [type.slice(0, at), type.slice(at + 1)] : [type, ""];
    const group = groups.get(entity) ?? { entity, others: [], titles: {} };
    group.titles[operation] = description;
    if (!OPERATIONS.includes(operation)) group.others.push({ type, description });
    group.deprecated = (group.deprecated ?? true) && deprecated;
    groups.set(entity, group);
  }
  return [...groups.values()].sort((one, other) => one.entity.localeCompare(other.entity));
};

// A group whose known types are all of other kinds has no boxes.
const hasBoxes = ({ titles }) => OPERATIONS.some((operation) => titles[operation] !== undefined);
const typesOf = (group) => [
  `${group.entity}.*`,
  ...(hasBoxes(group) ? OPERATIONS.map((operation) => `${group.entity}.${operation}`) : []),
  ...group.others.map(({ type }) => type),
];

export const TypesField = ({ types, value, change, fault }) => {
  const [text, setText] = useState("");
  const groups = groupsOf(types);
  const has = (type) => value.includes(type);
  const toggle = (type) => change(has(type) ? value.filter((other) => other !== type) : [...value, type]);
  // A group pattern and its three boxes replace each other.
  const toggleIn = (entity, operation) => {
    const pattern = `${entity}.*`;
    const type = `${entity}.${operation}`;
    if (!has(pattern)) return toggle(type);
    const others = OPERATIONS.filter((other) => other !== operation).map((other) => `${entity}.${other}`);
    return change([...value.filter((other) => other !== pattern), ...others]);
  };
  const toggleAll = (entity) => {
    const own = [`${entity}.*`, ...OPERATIONS.map((operation) => `${entity}.${operation}`)];
    const rest = value.filter((type) => !own.includes(type));
    change(has(`${entity}.*`) ? rest : [...rest, `${entity}.*`]);
  };
  const add = () => {
    const more = text.split(/[\s,]+/).filter((type) => type && !has(type));
    if (more.length) change([...value, ...more]);
    setText("");
  };
  const shown = new Set(groups.flatMap(typesOf));
  const rest = value.filter((type) => !shown.has(type));
  return html`<fieldset class="stack tight">
    <legend>${T.form.fields.event_types}</legend>
    ${groups.length > 0 &&
    html`<div class="types"><div class="scroll" tabindex="0" role="region" aria-label=${T.form.fields.event_types}>
      <table>
        <thead>
          <tr>
            <th scope="col">${T.types.entity}</th>
            ${OPERATIONS.map((operation) => html`<th scope="col">${T.types[operation]}</th>`)}
            <th scope="col">${T.types.all}</th>
          </tr>
        </thead>
        <tbody>
          ${groups.map(
            ({ entity, others, titles, deprecated }) => html`<tr>
                <td>
                  <div class="two-lines"><span class="strong mono">${entity}</span>${deprecated && html`<span class="small muted">${T.types.deprecated}</span>`}</div>
                </td>
                ${OPERATIONS.map((operation) =>
                  hasBoxes({ titles })
                    ? html`<td>
                        <input type="checkbox" aria-label=${`${entity}.${operation}`} title=${titles[operation] ?? `${entity}.${operation}`} checked=${has(`${entity}.${operation}`) || has(`${entity}.*`)} onChange=${() => toggleIn(entity, operation)} />
                      </td>`
                    : html`<td></td>`,
                )}
                <td><input type="checkbox" aria-label=${`${entity}.*`} checked=${has(`${entity}.*`)} onChange=${() => toggleAll(entity)} /></td>
              </tr>
              ${others.map(
                ({ type, description }) => html`<tr>
                  <td colspan="5">
                    <label class="check"><input type="checkbox" checked=${has(type)} onChange=${() => toggle(type)} /><span class="mono">${type}</span>${description && html`<span class="small muted">${description}</span>`}</label>
                  </td>
                </tr>`,
              )}`,
          )}
        </tbody>
      </table>
    </div></div>`}
    ${rest.length > 0 &&
    html`<div class="tags">
      ${rest.map(
        (type) => html`<span class="tag">${type} <button type="button" class="link" aria-label=${T.types.remove(type)} onClick=${() => toggle(type)}><${Icon} name="close" size=${11} /></button></span>`,
      )}
    </div>`}
    <div class="row tight">
      <input
        class="mono grow"
        aria-label=${T.types.other}
        placeholder="order.created, invoice.*"
        value=${text}
        onInput=${(event) => setText(event.target.value)}
        onKeyDown=${(event) => {
          if (event.key === "Enter") {
            event.preventDefault();
            add();
          }
        }}
        onBlur=${add}
      />
      <button type="button" class="button" onClick=${add}>${T.types.add}</button>
    </div>
    ${fault && html`<div class="fault" role="alert">${fault}</div>`}
    <div class="hint">${value.length ? T.types.chosen(value.join(", ")) : T.types.none}</div>
  </fieldset>`;
};
