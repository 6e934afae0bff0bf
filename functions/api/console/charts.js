// Charts: small ones as SVG, large ones with uPlot, which is loaded when the first is shown.

import { html, useEffect, useRef } from "./vendor/vendor.js";
import { count, milliseconds, percent } from "./format.js";
import { T } from "./texts.js";

// Statistics leave out hours without attempts; a chart has all of them, oldest first.
export const hoursOf = (statistics, length = 48) => {
  const known = new Map(statistics.hours.map((hour) => [Date.parse(hour.hour), hour]));
  const now = Math.floor(Date.now() / 3_600_000) * 3_600_000;
  return Array.from({ length }, (_, index) => {
    const at = now - (length - 1 - index) * 3_600_000;
    return known.get(at) ?? { hour: new Date(at).toISOString(), calls: 0, errors: 0, delivered: 0, mean_duration_ms: null };
  });
};

export const sum = (hours) => ({
  calls: hours.reduce((total, hour) => total + hour.calls, 0),
  errors: hours.reduce((total, hour) => total + hour.errors, 0),
});

// A bar for two hours each: the failed attempts in red below the successful ones.
export const Spark = ({ statistics }) => {
  const hours = hoursOf(statistics);
  const bars = Array.from({ length: 24 }, (_, index) => sum(hours.slice(index * 2, index * 2 + 2)));
  const most = Math.max(1, ...bars.map((bar) => bar.calls));
  const all = sum(hours);
  const label = all.calls ? T.chart.spark(percent(all.calls - all.errors, all.calls), count(all.calls)) : T.chart.none;
  return html`<svg class="spark" width="120" height="28" viewBox="0 0 120 28" role="img" aria-label=${label}>
    <title>${label}</title>
    ${bars.map((bar, index) => {
      const x = index * 5;
      if (!bar.calls) return html`<rect class="none" x=${x} y="26" width="3.4" height="2" rx="1" />`;
      const height = Math.max(3, (bar.calls / most) * 28);
      const bad = bar.errors ? Math.max(2, (bar.errors / bar.calls) * height) : 0;
      return html`<rect class="ok" x=${x} y=${28 - height} width="3.4" height=${height - bad} rx="1" />
        <rect class="ko" x=${x} y=${28 - bad} width="3.4" height=${bad} rx="1" />`;
    })}
  </svg>`;
};

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// The distances of horizontal lines: whole numbers.
const INCREMENTS = Array.from({ length: 10 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();

const clockTime = new Intl.DateTimeFormat(T.language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const calendarDay = new Intl.DateTimeFormat(T.language, { day: "numeric", month: "short" });
const moment = (seconds) => {
  const time = new Date(seconds * 1000);
  return time.getHours() ? clockTime.format(time) : calendarDay.format(time);
};

// Draws with uPlot, and again when the size or the theme changes.
const Plot = ({ series, data, label, format }) => {
  const place = useRef(null);
  const content = JSON.stringify(data);
  useEffect(() => {
    let plot, live = true;
    const draw = async () => {
      const { default: UPlot } = await import("./vendor/uplot.js");
      if (!live || !place.current) return;
      plot?.destroy();
      const axis = { stroke: colour("--ink-3"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
      const options = {
        width: place.current.clientWidth,
        height: 220,
        cursor: { y: false, points: { show: false } },
        legend: { show: false },
        scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] } },
        axes: [
          { ...axis, grid: { show: false }, size: 32, values: (_, ticks) => ticks.map(moment) },
          { ...axis, size: 56, incrs: INCREMENTS, values: (_, ticks) => ticks.map(format) },
        ],
        series: [
          {},
          ...series.map(({ name, mark, bars }) => ({
            label: name,
            stroke: colour(mark),
            fill: bars ? colour(mark) : undefined,
            width: bars ? 0 : 2,
            spanGaps: true,
            paths: bars ? UPlot.paths.bars({ size: [0.7, 24], radius: 0.15 }) : undefined,
            points: { show: !bars, size: 5, fill: colour(mark) },
          })),
        ],
      };
      plot = new UPlot(options, data, place.current);
    };
    draw();
    const size = new ResizeObserver(() => place.current && plot?.setSize({ width: place.current.clientWidth, height: 220 }));
    size.observe(place.current);
    const theme = new MutationObserver(draw);
    theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    return () => {
      live = false;
      size.disconnect();
      theme.disconnect();
      plot?.destroy();
    };
  }, [content]);
  return html`<figure class="stack tight">
    <div class="plot" ref=${place} role="img" aria-label=${label}></div>
    <figcaption class="legend">
      ${series.map(({ name, mark }) => html`<span><i class=${mark.replace("--", "mark-").replace("-mark", "")}></i>${name}</span>`)}
    </figcaption>
  </figure>`;
};

// Attempts by hour: all of them, with the failed ones in front.
export const Attempts = ({ hours }) => {
  const all = sum(hours);
  const data = [hours.map((hour) => Date.parse(hour.hour) / 1000), hours.map((hour) => hour.calls), hours.map((hour) => hour.errors)];
  const series = [
    { name: T.chart.successful, mark: "--good-mark", bars: true },
    { name: T.chart.failed, mark: "--bad-mark", bars: true },
  ];
  return html`<${Plot} series=${series} data=${data} format=${count} label=${T.chart.attempts(count(all.calls), count(all.errors))} />`;
};

// How long deliveries took to arrive, with retries.
export const Latencies = ({ hours }) => {
  const lateness = (name) => hours.map((hour) => hour.lateness_ms?.[name] ?? null);
  const data = [hours.map((hour) => Date.parse(hour.hour) / 1000), lateness("p50"), lateness("p99")];
  const series = [
    { name: T.chart.p50, mark: "--accent", bars: false },
    { name: T.chart.p99, mark: "--warn-mark", bars: false },
  ];
  return html`<${Plot} series=${series} data=${data} format=${milliseconds} label=${T.chart.latencies} />`;
};

export const Durations = ({ hours }) => {
  const data = [hours.map((hour) => Date.parse(hour.hour) / 1000), hours.map((hour) => hour.mean_duration_ms)];
  const series = [{ name: T.chart.duration, mark: "--accent", bars: false }];
  return html`<${Plot} series=${series} data=${data} format=${milliseconds} label=${T.chart.durations} />`;
};
