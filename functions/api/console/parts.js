// What every page is made of.

import { Component, html, signal, useEffect, useRef, useState } from "./vendor/vendor.js";
import { ago, exact } from "./format.js";
import { productName } from "./portal.js";
import { T } from "./texts.js";

// Icons of 24 by 24, drawn with lines.
const ICONS = {
  overview: "M4 13h6V4H4zM14 20h6V4h-6zM4 20h6v-4H4z",
  webhooks: "M8 4v8a4 4 0 0 0 8 0V9m0 0-3 3m3-3 3 3",
  "dead-letters": "M4 6h16v12H4zM4 7l8 6 8-6",
  jobs: "M4 12a8 8 0 0 1 14-5l2 2m0-5v5h-5M20 12a8 8 0 0 1-14 5l-2-2m0 5v-5h5",
  events: "M13 3 5 14h6l-1 7 9-12h-6z",
  "event-types": "M5 4h11l3 3v13H5zM9 9h6M9 13h6M9 17h4",
  tenants: "M4 20V8l8-4 8 4v12M9 20v-6h6v6M9 10h.01M15 10h.01",
  sources: "M4 6c0-4 16-4 16 0v12c0 4-16 4-16 0zM4 6c0 4 16 4 16 0M4 12c0 4 16 4 16 0",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2m0 16v2M2 12h2m16 0h2M5 5l1.5 1.5M17.5 17.5 19 19M5 19l1.5-1.5M17.5 6.5 19 5",
  moon: "M20 14a8 8 0 1 1-10-10 7 7 0 0 0 10 10",
  out: "M10 4H5v16h5M9 12h11m-4-4 4 4-4 4",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  plus: "M12 5v14M5 12h14",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14M16 16l4 4",
  book: "M5 4h6v16H5zM13 4h6v16h-6z",
  close: "M6 6l12 12M18 6 6 18",
};

export const Icon = ({ name, size = 18 }) => html`<svg
  width=${size}
  height=${size}
  viewBox="0 0 24 24"
  fill="none"
  stroke="currentColor"
  stroke-width="1.8"
  stroke-linecap="round"
  stroke-linejoin="round"
  aria-hidden="true"
>
  <path d=${ICONS[name]} />
</svg>`;

// Messages at the edge of the page, which screen readers read out.
const toasts = signal([]);

export const toast = (text) => {
  const item = { text };
  toasts.value = [...toasts.value, item];
  setTimeout(() => (toasts.value = toasts.value.filter((other) => other !== item)), 6_000);
};

export const Toasts = () =>
  html`<div class="toasts" role="status">${toasts.value.map((item) => html`<div class="toast">${item.text}</div>`)}</div>`;

export const copyText = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    toast(T.copied);
  } catch {
    toast(T.notCopied);
  }
};

// A button that is disabled while what it started runs, and shows the error of it.
export const Button = ({ onClick, kind = "", icon, children, ...rest }) => {
  const [busy, setBusy] = useState(false);
  const click = async () => {
    setBusy(true);
    try {
      await onClick();
    } catch (error) {
      toast(error.message);
    }
    setBusy(false);
  };
  return html`<button type="button" class=${`button ${kind}`} disabled=${busy} onClick=${click} ...${rest}>
    ${icon && html`<${Icon} name=${icon} size=${16} />`}${children}
  </button>`;
};

// An id or another short text that is copied by a click.
export const Copy = ({ text, label }) => html`<button
  type="button"
  class="copy above"
  title=${T.copy}
  aria-label=${`${T.copy}: ${label ?? text}`}
  onClick=${() => copyText(text)}
>
  <span class="break">${text}</span><${Icon} name="copy" size=${13} />
</button>`;

export const Time = ({ at }) =>
  at
    ? html`<time datetime=${at} title=${exact(at)} class="above">${ago(at)}</time>`
    : html`<span class="muted">–</span>`;

// Both forms of a time, where there is room.
export const FullTime = ({ at }) =>
  at ? html`<span><time datetime=${at}>${exact(at)}</time> <span class="muted">(${ago(at)})</span></span>` : "–";

export const Badge = ({ tone = "", children }) => html`<span class=${`badge ${tone}`}>${children}</span>`;

export const Tags = ({ items, most = 3 }) => html`<span class="tags"
  >${items.slice(0, most).map((item) => html`<span class="tag">${item}</span>`)}${items.length > most &&
  html`<span class="tag" title=${items.slice(most).join(", ")}>+${items.length - most}</span>`}</span
>`;

export const Head = ({ title, crumbs = [], badge, children, sub }) => {
  useEffect(() => {
    document.title = `${title} · ${productName()}`;
  }, [title]);
  return html`<div class="stack tight">
    ${crumbs.length > 0 &&
    html`<nav class="crumbs" aria-label=${T.crumbs}>
      ${crumbs.map(([name, href], index) => html`${index > 0 && html`<span aria-hidden="true">/</span>`}<a href=${href}>${name}</a>`)}
    </nav>`}
    <div class="head">
      <div class="head-text">
        <div class="head-title"><h1>${title}</h1>${badge}</div>
        ${sub && html`<div class="soft">${sub}</div>`}
      </div>
      ${children && html`<div class="row tight">${children}</div>`}
    </div>
  </div>`;
};

export const Card = ({ title, hint, end, children, bare }) => html`<section class="card">
  ${title &&
  html`<div class="card-head">
    <div><h2>${title}</h2>${hint && html`<p class="muted small">${hint}</p>`}</div>
    ${end && html`<div class="row tight">${end}</div>`}
  </div>`}
  ${bare ? children : html`<div class="card-body">${children}</div>`}
</section>`;

// A card whose contents are hidden until they are asked for; what was opened stays open.
export const Fold = ({ title, hint, open, children }) => {
  const [kept, keep] = useState(open);
  useEffect(() => {
    if (open) keep(true);
  }, [open]);
  return html`<details class="card" open=${kept || undefined}>
    <summary class="card-head"><span class="grow"><h2>${title}</h2>${hint && html`<span class="muted small">${hint}</span>`}</span></summary>
    <div class="card-body">${children}</div>
  </details>`;
};

export const Bones = ({ lines = 4 }) => html`<div class="bones" role="status" aria-label=${T.loading}>
  ${Array.from({ length: lines }, () => html`<div class="bone"></div>`)}
</div>`;

export const Empty = ({ title, children }) => html`<div class="empty">
  <h2>${title}</h2>
  ${children}
</div>`;

export const Note = ({ tone = "", title, children, ...rest }) => html`<div class=${`note ${tone}`} ...${rest}>
  <div class="note-text">${title && html`<strong>${title}</strong>`}${children}</div>
</div>`;

// What went wrong, and what to do.
export const Failure = ({ error, reload }) => html`<${Note} tone="bad" role="alert" title=${error.title ?? T.problem.title}>
  <span>${error.message}</span>
  ${error.errors?.map((fault) => html`<span class="small"><code>${fault.pointer}</code> ${fault.detail}</span>`)}
  ${reload && html`<span><button type="button" class="link" onClick=${reload}>${T.again}</button></span>`}
<//>`;

// Shows bones, an error or the loaded data.
export const Loaded = ({ state, lines, children }) => {
  if (state.error && !state.data) return html`<${Failure} error=${state.error} reload=${state.reload} />`;
  if (!state.data) return html`<div class="card"><${Bones} lines=${lines} /></div>`;
  return html`${state.error && html`<${Failure} error=${state.error} reload=${state.reload} />`}${children(state.data)}`;
};

export const More = ({ pages }) =>
  pages.more &&
  html`<div class="row card-body">
    <button type="button" class="button" disabled=${pages.loadingMore} onClick=${pages.more}>${T.more}</button>
  </div>`;

export const Code = ({ text, label, wrap = false }) => html`<div class=${`code ${wrap ? "wrap" : ""}`}>
  <pre tabindex="0" role="region" aria-label=${label ?? T.code}>${text}</pre>
  <div class="corner">
    <button type="button" class="button small-button" onClick=${() => copyText(text)} title=${T.copy} aria-label=${`${T.copy}: ${label ?? T.code}`}>
      <${Icon} name="copy" size=${14} />
    </button>
  </div>
</div>`;

export const Headers = ({ items }) => html`<dl class="headers">
  ${Object.entries(items).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}
</dl>`;

// A list of names and values; those without a value are left out.
export const Facts = ({ items }) => html`<dl class="facts">
  ${items
    .filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false)
    .map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}
</dl>`;

export const Switch = ({ label, value, options, onChange }) => html`<div class="switch" role="group" aria-label=${label}>
  ${options.map(
    ([key, name]) =>
      html`<button type="button" aria-pressed=${String(key === value)} onClick=${() => onChange(key)}>${name}</button>`,
  )}
</div>`;

let fields = 0;

// A field of a form, with its label, help and fault.
export const Field = ({ label, hint, fault, children, hidden }) => {
  const [id] = useState(() => `field-${(fields += 1)}`);
  const about = [hint && `${id}-hint`, fault && `${id}-fault`].filter(Boolean).join(" ");
  const control = children({
    id,
    "aria-describedby": about || undefined,
    "aria-invalid": fault ? "true" : undefined,
  });
  return html`<div class="field">
    <label for=${id} class=${hidden ? "unseen" : ""}>${label}</label>
    ${control}
    ${fault && html`<div class="fault" id=${`${id}-fault`}>${fault}</div>`}
    ${hint && html`<div class="hint" id=${`${id}-hint`}>${hint}</div>`}
  </div>`;
};

// A dialog of the browser, which keeps the focus inside and closes with Escape.
export const Dialog = ({ title, onClose, children, firm = false }) => {
  const element = useRef(null);
  useEffect(() => {
    element.current.showModal();
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    if (!firm) onClose();
  };
  return html`<dialog ref=${element} aria-label=${title} onCancel=${cancel}>
    <div class="dialog-body">
      <h2>${title}</h2>
      ${children}
    </div>
  </dialog>`;
};

// Asks before something that cannot be undone.
export const Confirm = ({ title, text, action, danger, onClose, onConfirm }) => {
  const confirm = async () => {
    await onConfirm();
    onClose();
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <p class="soft">${text}</p>
    <div class="dialog-end">
      <button type="button" class="button" onClick=${onClose}>${T.cancel}</button>
      <${Button} kind=${danger ? "danger" : "primary"} onClick=${confirm}>${action}<//>
    </div>
  <//>`;
};

// One page that fails leaves the others.
export class Boundary extends Component {
  componentDidCatch(error) {
    this.setState({ error });
  }

  componentDidUpdate(before) {
    if (before.at !== this.props.at && this.state.error) this.setState({ error: null });
  }

  render({ children }, { error }) {
    return error ? html`<${Failure} error=${{ title: T.problem.page, message: error.message }} />` : children;
  }
}
