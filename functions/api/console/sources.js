// For operators: the tables that are sources, and how their items become events.

import { html, useEffect, useState } from "./vendor/vendor.js";
import { call, get, once, query, useLoad, usePages } from "./api.js";
import { parseJson, writeJson } from "./exact.js";
import { count } from "./format.js";
import { Badge, Button, Card, Code, Confirm, Empty, Facts, Failure, Field, Head, Loaded, More, Note, Tags, Time, toast } from "./parts.js";
import { T } from "./texts.js";

const path = (table) => `/sources/${encodeURIComponent(table)}`;

// For how many sources the list asks for failures, one after another: the page must not use up the rate of requests.
const MOST = 30;

// Whether changes of a table became no event. The answer has the number of them.
const Failed = ({ failures }) => {
  if (!failures?.data.length) return html`<span class="muted">–</span>`;
  return html`<${Badge} tone="bad">${T.sources.failed(count(failures.total?.failed ?? failures.data.length))}<//>`;
};

export const SourcesPage = () => {
  const state = useLoad(async () => (await get("/sources")).data, []);
  const [failures, setFailures] = useState({});
  useEffect(() => {
    const run = { live: true };
    const ask = async () => {
      for (const { table } of (state.data ?? []).slice(0, MOST)) {
        const found = await get(query(`${path(table)}/failures`, { limit: 1 })).catch(() => null);
        if (!run.live) return;
        setFailures((before) => ({ ...before, [table]: found }));
      }
    };
    ask();
    return () => (run.live = false);
  }, [state.data]);
  return html`<${Head} title=${T.sources.title} sub=${T.sources.sub} />
    <${Loaded} state=${state} lines=${5}>
      ${(sources) =>
        sources.length
          ? html`<section class="card"><div class="table-wrap"><table class="cards">
              <thead>
                <tr>
                  <th scope="col">${T.sources.table}</th>
                  <th scope="col">${T.sources.entities}</th>
                  <th scope="col">${T.sources.failures}</th>
                </tr>
              </thead>
              <tbody>
                ${sources.map(
                  (source) => html`<tr class="to" key=${source.table}>
                    <td><a class="row-link mono" href=${`#/sources/${encodeURIComponent(source.table)}`}>${source.table}</a></td>
                    <td data-name=${T.sources.entities}><${Tags} items=${source.entities.map((entity) => entity.entity)} most=${8} /></td>
                    <td data-name=${T.sources.failures}><${Failed} failures=${failures[source.table]} /></td>
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
      [T.sources.related, Object.keys(mapping.related ?? {}).length > 0 && html`<${Tags} items=${Object.entries(mapping.related).map(([name, from]) => `${name} ← ${typeof from === "string" ? from : writeJson(from)}`)} most=${30} />`],
    ]}
  />
<//>`;

// Changes that became no event, and sending them again once the mapping or the item is mended.
const Failures = ({ table }) => {
  const pages = usePages(`${path(table)}/failures`, { limit: 25 }, 10_000);
  const [asked, setAsked] = useState(null);
  const dismiss = async () => {
    const { dismissed, more } = await call("DELETE", `${path(table)}/failures${asked.id ? `/${asked.id}` : ""}`);
    toast(more ? T.sources.dismissedMore(count(dismissed)) : T.sources.dismissed(count(dismissed)));
    pages.reload();
  };
  const redrive = async () => {
    const { redriven, more } = await call("POST", `${path(table)}/failures/redrive`, undefined, once());
    toast(more ? T.sources.redrivenMore(count(redriven)) : T.sources.redriven(count(redriven)));
    setTimeout(pages.reload, 3_000);
  };
  if (pages.error) return html`<${Failure} error=${pages.error} reload=${pages.reload} />`;
  if (!pages.items?.length) return null;
  return html`<${Card} title=${T.sources.failures} hint=${T.sources.failuresHint} bare=${true} end=${html`<div class="row">
    <button type="button" class="button small-button" onClick=${() => setAsked({})}>${T.sources.dismissAll}</button>
    <${Button} kind="small-button" onClick=${redrive}>${T.sources.redrive}<//>
  </div>`}>
    ${asked && html`<${Confirm}
      title=${asked.id ? T.sources.dismissTitle : T.sources.dismissAllTitle}
      text=${asked.id ? T.sources.dismissText : T.sources.dismissAllText}
      action=${asked.id ? T.sources.dismiss : T.sources.dismissAll}
      danger=${true}
      onClose=${() => setAsked(null)}
      onConfirm=${dismiss}
    />`}
    <div class="table-wrap"><table class="cards">
      <thead>
        <tr>
          <th scope="col">${T.sources.reason}</th>
          <th scope="col">${T.sources.item}</th>
          <th scope="col">${T.sources.change}</th>
          <th scope="col" class="end">${T.sources.times}</th>
          <th scope="col">${T.sources.failedAt}</th>
          <th scope="col" class="end">${T.sources.act}</th>
        </tr>
      </thead>
      <tbody>
        ${pages.items.map(
          (failure) => html`<tr key=${failure.id}>
            <td><span class="break">${failure.reason}</span></td>
            <td data-name=${T.sources.item}><code class="break">${writeJson(failure.keys)}</code></td>
            <td data-name=${T.sources.change}>${failure.change ?? "–"}</td>
            <td data-name=${T.sources.times} class="end">${count(failure.failures)}</td>
            <td data-name=${T.sources.failedAt}><${Time} at=${failure.failed_at} /></td>
            <td class="end"><button type="button" class="button small-button" onClick=${() => setAsked(failure)}>${T.sources.dismiss}</button></td>
          </tr>`,
        )}
      </tbody>
    </table></div>
    <${More} pages=${pages} />
  <//>`;
};

// What a change of the sample item becomes.
const Becomes = ({ title, outcome }) => html`<${Note} tone=${outcome.events.length ? "good" : outcome.fails ? "bad" : ""} title=${title}>
  ${outcome.reason && html`<span>${outcome.fails ? T.sources.try.fails(outcome.reason) : T.sources.try.none(outcome.reason)}</span>`}
  ${outcome.events.map(
    (event) => html`<div class="stack tight">
      <${Facts}
        items=${[
          [T.sources.try.type, html`<code>${event.event_type}</code>`],
          [T.sources.tenant, html`<code>${event.tenant}</code>`],
          [T.form.fields.app_id, event.app && html`<code>${event.app}</code>`],
          [T.sources.path, html`<code>${event.entity_path}</code>`],
          [T.sources.try.changed, event.update_mask && html`<${Tags} items=${event.update_mask} most=${30} />`],
        ]}
      />
      ${event.related_queries.map(
        (asked) => html`<span class="soft">${T.sources.try.queried(asked.name, [asked.partition, asked.sort].filter(Boolean).map(({ attribute, value }) => `${attribute} = ${value}${asked.sort?.attribute === attribute ? "…" : ""}`).join(", "))}</span>`,
      )}
      <${Code} text=${writeJson(event.properties, 2)} label=${T.sources.try.properties} />
    </div>`,
  )}
<//>`;

// An item on which the mapping is tried. Nothing is stored or sent.
const TryItem = ({ table }) => {
  const [texts, setTexts] = useState({ item: "", previous: "" });
  const [faults, setFaults] = useState({});
  const [result, setResult] = useState(null);
  const area = (name, rows) => (control) => html`<textarea
    ...${control}
    class="mono"
    rows=${rows}
    spellcheck=${false}
    placeholder=${name === "item" ? '{"tenant_id": {"S": "acme"}, "order_id": {"S": "o1"}}' : ""}
    value=${texts[name]}
    onInput=${(event) => setTexts({ ...texts, [name]: event.target.value })}
  ></textarea>`;
  const run = async () => {
    const [sample, found] = [{}, {}];
    for (const name of ["item", "previous"]) {
      if (name === "previous" && !texts.previous.trim()) continue;
      try {
        sample[name] = parseJson(texts[name]);
      } catch (error) {
        found[name] = T.form.notJson(error.message);
      }
    }
    setFaults(found);
    setResult(null);
    if (Object.keys(found).length) return;
    try {
      setResult((await call("POST", `${path(table)}/preview`, { items: [sample] })).data[0]);
    } catch (error) {
      if (!error.errors?.length) throw error;
      setFaults(Object.fromEntries(error.errors.map(({ pointer, detail }) => [pointer.endsWith("/previous") ? "previous" : "item", detail])));
    }
  };
  return html`<${Card} title=${T.sources.try.title} hint=${T.sources.try.hint}>
    <div class="halves">
      <div class="stack">
        <${Field} label=${T.sources.try.item} hint=${T.sources.try.itemHint} fault=${faults.item}>${area("item", 8)}<//>
        <${Field} label=${T.sources.try.previous} hint=${T.sources.try.previousHint} fault=${faults.previous}>${area("previous", 4)}<//>
        <div><${Button} kind="primary" onClick=${run}>${T.sources.try.run}<//></div>
      </div>
      <div class="stack" aria-live="polite">
        ${result
          ? html`<${Becomes} title=${T.sources.try.created} outcome=${result.created} />
              ${result.updated && html`<${Becomes} title=${T.sources.try.updated} outcome=${result.updated} />`}
              <${Becomes} title=${T.sources.try.deleted} outcome=${result.deleted} />`
          : html`<${Note} title=${T.sources.try.nothing}><span class="soft">${T.sources.try.nothingHelp}</span><//>`}
      </div>
    </div>
  <//>`;
};

export const SourcePage = ({ table }) => {
  const state = useLoad(() => get(path(table)), [table]);
  return html`<${Loaded} state=${state} lines=${6}>
    ${(source) => html`<${Head} title=${source.table} crumbs=${[[T.sources.title, "#/sources"]]} sub=${T.sources.mapping} />
      <${Failures} table=${table} />
      <${TryItem} table=${table} />
      ${source.entities.map((mapping) => html`<${Mapping} mapping=${mapping} />`)}
      <${Card} title=${T.sources.json}><${Code} text=${writeJson(source, 2)} label=${T.sources.json} /><//>`}
  <//>`;
};
