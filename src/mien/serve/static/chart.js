// One person's probabilities over a whole video, as SVG: on the page and to save.

import { PAUSE } from "./summary.js";
import { MUTED, colour, order } from "./labels.js";
import { clock } from "./numbers.js";
import { emotion, t } from "./words.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [50, 12, 10, 22]; // room around the curves
const [GROUND, INK] = ["#17181b", "#c9cbd0"];

/** Where a time lies in a chart: share of the video -> x, and back. */
export const scaleOf = (width, duration) => ({
  x: (time) => LEFT + (time / duration) * (width - LEFT - RIGHT),
  time: (x) => Math.min(Math.max(((x - LEFT) / (width - LEFT - RIGHT)) * duration, 0), duration),
});

/**
 * @param {object} person of summary.js. @param {string[]} labels
 * @param {{width: number, height: number, duration: number, cuts: number[]}} size in pixels and seconds; `cuts` are the
 *   times at which shots begin.
 * @returns {string} the inside of an SVG element.
 */
export function chart(person, labels, { width, height, duration, cuts }) {
  const { x } = scaleOf(width, duration);
  const y = (p) => TOP + (1 - p) * (height - TOP - BOTTOM);
  const number = (value) => value.toFixed(1);
  const parts = [`<rect width="${width}" height="${height}" rx="6" fill="${GROUND}"/>`];
  for (const span of doubtful(person.moments)) {
    const [from, to] = span.map((time) => x(time));
    const place = `x="${number(from)}" y="${TOP}" width="${number(to - from)}" height="${number(y(0) - TOP)}"`;
    parts.push(`<rect ${place} fill="${MUTED}" fill-opacity=".2"/>`);
  }
  for (const p of [0, 0.5, 1]) {
    parts.push(`<path d="M${LEFT} ${number(y(p))}H${width - RIGHT}" stroke="#fff" stroke-opacity=".18"/>`);
    parts.push(words(LEFT - 6, y(p) + 4, `${100 * p} %`, "end"));
  }
  for (const time of cuts) {
    const line = `stroke="${INK}" stroke-dasharray="4 4" class="cut"`;
    parts.push(`<path d="M${number(x(time))} ${TOP}V${number(y(0))}" ${line}/>`);
  }
  const times = ticks(duration, width);
  for (const time of times) {
    const name = times[1] < 1 ? time.toFixed(1) : clock(time);
    parts.push(words(x(time), height - 6, name, time ? "middle" : "start"));
  }
  const points = thinned(person.moments, x);
  for (const k of order(labels)) {
    const path = points.map((point) => `${point.begins ? "M" : "L"}${number(point.x)} ${number(y(point.mean[k]))}`);
    const line = `fill="none" stroke="${colour(labels[k])}" stroke-width="2" stroke-linejoin="round"`;
    parts.push(`<path d="${path.join("")}" ${line}/>`);
  }
  return parts.join("");
}

/** A file with the charts of several people. */
export function chartFile(persons, labels, title, { duration, cuts }) {
  const [width, height, gap] = [1000, 170, 34];
  const total = 64 + persons.length * (height + gap);
  const head = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${total}" viewBox="0 0 ${width} ${total}">`;
  const keys = order(labels).map((k, place) => {
    const x = 12 + 120 * place;
    return `<rect x="${x}" y="36" width="12" height="12" fill="${colour(labels[k])}"/>${words(x + 18, 47, emotion(labels[k]))}`;
  });
  if (cuts.length) {
    const x = 12 + 120 * labels.length;
    keys.push(`<path d="M${x + 6} 34V50" stroke="${INK}" stroke-dasharray="4 4"/>${words(x + 18, 47, t("cut"))}`);
  }
  const rows = persons.map((person, k) => {
    const y = 64 + k * (height + gap);
    const name = words(12, y + 18, t("personN", { n: person.id }));
    return `${name}<g transform="translate(0 ${y + 26})">${chart(person, labels, { width, height, duration, cuts })}</g>`;
  });
  const ground = `<rect width="${width}" height="${total}" fill="#0d0e10"/>`;
  return `${head}${ground}${words(12, 24, title)}${keys.join("")}${rows.join("")}</svg>\n`;
}

function words(x, y, text, anchor = "start") {
  const plain = text.replace(/[<>&]/g, (sign) => `&#${sign.charCodeAt()};`);
  const font = `font-family="system-ui, sans-serif" font-size="12"`;
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" fill="${INK}" ${font}>${plain}</text>`;
}

/** Times for the axis: round ones, far enough apart to be read. */
function ticks(duration, width) {
  const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
  const step = steps.find((each) => (each / duration) * (width - LEFT - RIGHT) >= 70) ?? 7200;
  return Array.from({ length: Math.floor(duration / step) + 1 }, (_, k) => k * step);
}

/** Spans of time in which no expression was likely enough. */
function doubtful(moments) {
  const spans = [];
  for (const { time, end, uncertain } of moments) {
    if (!uncertain) continue;
    if (spans.length && time - spans.at(-1)[1] < 1e-6) spans.at(-1)[1] = end;
    else spans.push([time, end]);
  }
  return spans;
}

/** The means of the moments that fall on one pixel; `begins` where the face was away before. */
function thinned(moments, x) {
  const points = [];
  let [before, sum] = [-Infinity, null];
  for (const { time, probabilities } of moments) {
    const begins = time - before > PAUSE;
    const column = Math.round(x(time));
    if (!sum || begins || column !== sum.column) points.push((sum = { column, begins, n: 0, x: 0, mean: null }));
    sum.n++;
    sum.x += (x(time) - sum.x) / sum.n;
    sum.mean = probabilities.map((p, k) => (sum.mean?.[k] ?? 0) + (p - (sum.mean?.[k] ?? 0)) / sum.n);
    before = time;
  }
  return points;
}
