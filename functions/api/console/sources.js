// For operators: the tables that are sources, and how their items become events.

import { html } from "./vendor/vendor.js";
import { get, useLoad } from "./api.js";
import { writeJson } from "./exact.js";
import { Card, Code, Empty, Facts, Head, Loaded, Tags } from "./parts.js";
import { T } from "./texts.js";

export const SourcesPage = () => {
  const state = useLoad(async () => (await get("/sources")).data, []);
  return html`<${Head} title=${T.sources.title} sub=${T.sources.sub} />
    <${Loaded} state=${state} lines=${5}>
      ${(sources) =>
        sources.length
          ? html`<section class="card"><div class="table-wrap"><table class="cards">
              <thead>
                <tr>
                  <th scope="col">${T.sources.table}</th>
                  <th scope="col">${T.sources.entities}</th>
                </tr>
              </thead>
              <tbody>
                ${sources.map(
                  (source) => html`<tr class="to" key=${source.table}>
                    <td><a class="row-link mono" href=${`#/sources/${encodeURIComponent(source.table)}`}>${source.table}</a></td>
                    <td data-name=${T.sources.entities}><${Tags} items=${source.entities.map((entity) => entity.entity)} most=${8} /></td>
                  </tr>`,
                )}
              </tbody>
            </table></div></section>`
          : html`<div class="card"><${Empty} title=${T.sources.emptyTitle}><p>${T.sources.empty}</p><//></div>`}
    <//>`;
};

// What a mapping makes of an item, as a table of the fields of an event.
const Mapping = ({ mapping }) => html`<${Card} title=${mapping.entity}>
  <${Facts}
    items=${[
      [T.sources.when, mapping.when && html`<code>${mapping.when.attribute} ${mapping.when.equals ? `= ${mapping.when.equals}` : `${T.sources.startsWith} ${mapping.when.prefix}`}</code>`],
      [T.sources.types, html`<${Tags} items=${["created", "updated", "deleted"].map((operation) => `${mapping.entity}.${operation}`)} />`],
      [T.sources.tenant, html`<code>${mapping.tenant}</code>`],
      [T.form.fields.app_id, mapping.app && html`<code>${mapping.app}</code>`],
      [T.sources.id, html`<code>${mapping.id}</code>`],
      [T.sources.path, html`<code>${`${mapping.collection}/${mapping.id}`}</code>`],
      [T.sources.softDelete, mapping.soft_delete_attribute && html`<code>${mapping.soft_delete_attribute}</code>`],
      [T.sources.ignore, mapping.ignore?.length > 0 && html`<${Tags} items=${mapping.ignore} most=${30} />`],
      [T.sources.redact, mapping.redact?.length > 0 && html`<${Tags} items=${mapping.redact} most=${30} />`],
      [T.sources.related, Object.keys(mapping.related ?? {}).length > 0 && html`<${Tags} items=${Object.entries(mapping.related).map(([name, from]) => `${name} ← ${from}`)} most=${30} />`],
    ]}
  />
<//>`;

export const SourcePage = ({ table }) => {
  const state = useLoad(() => get(`/sources/${encodeURIComponent(table)}`), [table]);
  return html`<${Loaded} state=${state} lines=${6}>
    ${(source) => html`<${Head} title=${source.table} crumbs=${[[T.sources.title, "#/sources"]]} sub=${T.sources.mapping} />
      ${source.entities.map((mapping) => html`<${Mapping} mapping=${mapping} />`)}
      <${Card} title=${T.sources.json}><${Code} text=${writeJson(source, 2)} label=${T.sources.json} /><//>`}
  <//>`;
};
