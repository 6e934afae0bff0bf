// The retry policy, drawn as a timeline.

import { html } from "./vendor/vendor.js";
import { span } from "./format.js";
import { T } from "./texts.js";

// What `retry_policy` leaves out; docs/use/delivery.md has the same.
const DEFAULTS = {
  exponential: { baseMs: 10_000, factor: 4, capMs: 43_200_000 },
  linear: { baseMs: 10_000, capMs: 43_200_000 },
  fixed: { scheduleSeconds: [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400] },
};

// Returns the longest wait after each attempt but the last, in seconds.
export const waits = (policy) => {
  const settings = { ...DEFAULTS[policy.backoff], ...Object.fromEntries(Object.entries(policy).filter(([, value]) => value !== null && value !== undefined)) };
  const schedule = settings.scheduleSeconds?.length ? settings.scheduleSeconds : DEFAULTS.fixed.scheduleSeconds;
  return Array.from({ length: Math.max(0, policy.maxAttempts - 1) }, (_, index) => {
    if (policy.backoff === "fixed") return schedule[Math.min(index, schedule.length - 1)];
    const wait = policy.backoff === "linear" ? settings.baseMs * (index + 1) : settings.baseMs * settings.factor ** index;
    return Math.min(wait, settings.capMs) / 1000;
  });
};

export const RetryTimeline = ({ policy }) => {
  const gaps = waits(policy);
  const total = gaps.reduce((sum, wait) => sum + wait, 0);
  const times = gaps.reduce((list, wait) => [...list, list.at(-1) + wait], [0]);
  // A logarithmic scale: the first waits take seconds, the last ones days.
  const [left, right, width] = [16, 60, 720];
  const scale = (seconds) => left + (Math.log10(1 + seconds) / Math.log10(1 + Math.max(total, 1))) * (width - left - right);
  const label = T.retries.label(times.length, span(total));
  let last = -100;
  return html`<figure class="stack tight">
    <svg class="waits" viewBox=${`0 0 ${width} 52`} role="img" aria-label=${label}>
      <title>${label}</title>
      <line x1=${left} x2=${scale(total)} y1="16" y2="16" />
      ${times.map((time, index) => {
        const x = scale(time);
        const named = x - last > 54;
        if (named) last = x;
        return html`<circle cx=${x} cy="16" r=${index ? 5 : 6}><title>${T.retries.attempt(index + 1, span(time))}</title></circle>
          ${named && html`<text x=${x} y="42" text-anchor=${index ? "middle" : "start"}>${index ? `+${span(time)}` : T.retries.first}</text>`}`;
      })}
    </svg>
    <figcaption class="small soft">${label}${policy.backoff === "exponential" && gaps.length ? `. ${T.retries.random}` : ""}</figcaption>
  </figure>`;
};
