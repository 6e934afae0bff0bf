// The catalog of event types.

import { html, useState } from "./vendor/vendor.js";
import { all, get, useLoad } from "./api.js";
import { writeJson } from "./exact.js";
import { Card, Code, Empty, Facts, FullTime, Head, Loaded, Time } from "./parts.js";
import { T } from "./texts.js";

// Returns all event types, described ones and those that tables can make.
export const allTypes = () => all("/event-types", 2_000);

export const CatalogPage = () => {
  const state = useLoad(allTypes, []);
  const [search, setSearch] = useState("");
  return html`<${Head} title=${T.catalog.title} sub=${T.catalog.sub} />
    <${Loaded} state=${state} lines=${8}>
      ${(types) => {
        if (!types.length) return html`<div class="card"><${Empty} title=${T.catalog.emptyTitle}><p>${T.catalog.empty}</p><//></div>`;
        const shown = types.filter((type) => `${type.event_type} ${type.description ?? ""}`.toLowerCase().includes(search.trim().toLowerCase()));
        return html`<section class="card">
          <div class="card-head filters"><input class="search" type="search" aria-label=${T.catalog.search} placeholder=${T.catalog.search} value=${search} onInput=${(event) => setSearch(event.target.value)} /></div>
          ${shown.length
            ? html`<div class="table-wrap"><table class="cards">
                <thead>
                  <tr>
                    <th scope="col">${T.catalog.type}</th>
                    <th scope="col">${T.catalog.description}</th>
                    <th scope="col">${T.catalog.schema}</th>
                    <th scope="col">${T.catalog.firstSeen}</th>
                  </tr>
                </thead>
                <tbody>
                  ${shown.map(
                    (type) => html`<tr class="to" key=${type.event_type}>
                      <td><span class="row tight"><a class="row-link mono" href=${`#/event-types/${encodeURIComponent(type.event_type)}`}>${type.event_type}</a>${type.deprecated && html`<span class="tag">${T.types.deprecated}</span>`}</span></td>
                      <td data-name=${T.catalog.description}><span class="soft">${type.description ?? "–"}</span></td>
                      <td data-name=${T.catalog.schema}><span class="soft">${type.schema ? T.yes : T.no}</span></td>
                      <td data-name=${T.catalog.firstSeen}><${Time} at=${type.first_seen_at} /></td>
                    </tr>`,
                  )}
                </tbody>
              </table></div>`
            : html`<${Empty} title=${T.noMatch} />`}
        </section>`;
      }}
    <//>`;
};

export const TypePage = ({ type }) => {
  const state = useLoad(() => get(`/event-types/${encodeURIComponent(type)}`), [type]);
  return html`<${Loaded} state=${state} lines=${6}>
    ${(found) => html`<${Head} title=${found.event_type} crumbs=${[[T.catalog.title, "#/event-types"]]} sub=${found.description} badge=${found.deprecated && html`<span class="tag">${T.types.deprecated}</span>`}>
        <a class="button" href=${`#/events?type=${encodeURIComponent(type)}`}>${T.catalog.events}</a>
      <//>
      <${Card} title=${T.event.about}>
        <${Facts}
          items=${[
            [T.catalog.firstSeen, found.first_seen_at ? html`<${FullTime} at=${found.first_seen_at} />` : T.catalog.neverSeen],
            [T.catalog.described, found.updated_at && html`<${FullTime} at=${found.updated_at} /> ${T.webhook.by(found.updated_by)}`],
          ]}
        />
      <//>
      <div class="halves">
        <${Card} title=${T.catalog.example}>${found.example ? html`<${Code} text=${writeJson(found.example, 2)} label=${T.catalog.example} />` : html`<span class="soft">${T.catalog.noExample}</span>`}<//>
        <${Card} title=${T.catalog.schema}>${found.schema ? html`<${Code} text=${writeJson(found.schema, 2)} label=${T.catalog.schema} />` : html`<span class="soft">${T.catalog.noSchema}</span>`}<//>
      </div>`}
  <//>`;
};
