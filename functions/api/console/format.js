// Times and numbers as people read them.

import { signal } from "./vendor/vendor.js";
import { T } from "./texts.js";

// Relative times stay true while a page is open.
export const clock = signal(Date.now());
setInterval(() => (clock.value = Date.now()), 10_000);

const relative = new Intl.RelativeTimeFormat(T.language, { numeric: "auto", style: "short" });
const UNITS = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

export const ago = (time) => {
  const seconds = (new Date(time).getTime() - clock.value) / 1000;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  return unit === "second" && seconds > -10 && seconds < 5 ? T.now : relative.format(Math.trunc(seconds / size), unit);
};

const exactly = new Intl.DateTimeFormat(T.language, { dateStyle: "medium", timeStyle: "medium" });
export const exact = (time) => exactly.format(new Date(time));

const counts = new Intl.NumberFormat(T.language);
export const count = (number) => counts.format(number);

const compact = new Intl.NumberFormat(T.language, { notation: "compact", maximumFractionDigits: 1 });
export const short = (number) => (number < 10_000 ? count(number) : compact.format(number));

// Never rounds a rate with failures up to 100 %.
export const percent = (part, whole) => {
  if (!whole) return "–";
  const rate = Math.floor((part / whole) * 1000) / 10;
  return `${rate === 100 || rate === 0 ? rate : rate.toFixed(1)} %`;
};

export const milliseconds = (number) =>
  number === null || number === undefined ? "–" : number < 1000 ? `${Math.round(number)} ms` : `${(number / 1000).toFixed(1)} s`;

// A span of time, such as 90 s or 2 h.
export const span = (seconds) => {
  for (const [unit, size] of [
    ["d", 86_400],
    ["h", 3_600],
    ["min", 60],
  ]) {
    if (seconds >= size * 1.5 || seconds === size) return `${Math.round((seconds / size) * 10) / 10} ${unit}`;
  }
  return `${Math.round(seconds * 10) / 10} s`;
};

export const bytes = (number) => {
  for (const [unit, size] of [
    ["GB", 1e9],
    ["MB", 1e6],
    ["KB", 1e3],
  ]) {
    if (number >= size) return `${Math.round((number / size) * 10) / 10} ${unit}`;
  }
  return `${number} B`;
};

export const isPast = (at) => new Date(at) <= Date.now();
