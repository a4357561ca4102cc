// What one person showed over the last half minute, a line for each expression.

import { colour, order, percent } from "./labels.js";
import { emptied } from "./overlay.js";
import { emotion, t } from "./words.js";

const SPAN = 30; // seconds shown
const PAUSE = 1; // seconds without the face that break a line

/** Remembers the last seconds of each face and draws one of them. */
export class Timeline {
  constructor(canvas, labels) {
    this.canvas = canvas;
    this.labels = labels;
    this.clear();
  }

  clear() {
    this.people = new Map(); // id -> [{time, probabilities, uncertain}], in order
    this.now = 0;
  }

  /** Take in a frame's faces; a step back in time, as after a seek, starts anew. */
  add(faces, time) {
    if (time < this.now - 1) this.clear();
    this.now = time;
    for (const { id, probabilities, uncertain } of faces) {
      if (!this.people.has(id)) this.people.set(id, []);
      this.people.get(id).push({ time, probabilities, uncertain });
    }
    for (const [id, moments] of this.people) {
      while (moments.length && moments[0].time < time - SPAN) moments.shift();
      if (!moments.length) this.people.delete(id);
    }
  }

  draw(id) {
    const { canvas, labels } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const context = emptied(canvas);
    const area = { left: 50, right: width - 92, top: 12, bottom: height - 26 };
    const x = (time) => area.right - ((this.now - time) / SPAN) * (area.right - area.left);
    const y = (probability) => area.bottom - probability * (area.bottom - area.top);
    grid(context, area, y);
    const moments = this.people.get(id) ?? [];
    this.uncertainty(context, moments, area, x);
    const ends = order(labels).map((k) => this.line(context, moments, k, x, y));
    names(context, ends.filter(Boolean), area);
    const last = moments.at(-1);
    const said = order(labels).map((k) => last && `${emotion(labels[k])} ${percent(last.probabilities[k])}`);
    canvas.setAttribute("aria-label", last ? t("timelineLast", { list: said.join(", ") }) : t("timelineEmpty"));
  }

  /** A gray ground behind the moments in which no expression was likely enough. */
  uncertainty(context, moments, { top, bottom }, x) {
    context.fillStyle = "rgb(185 185 185 / 18%)";
    moments.forEach(({ time, uncertain }, k) => {
      const next = moments[k + 1]?.time ?? time;
      if (uncertain && next - time < PAUSE) context.fillRect(x(time), top, x(next) - x(time), bottom - top);
    });
  }

  /** Draws the line of one label; gives {label, y} of its end when the face is still there. */
  line(context, moments, k, x, y) {
    const label = this.labels[k];
    context.strokeStyle = colour(label);
    context.lineWidth = 2;
    context.lineJoin = "round";
    context.beginPath();
    moments.forEach(({ time, probabilities }, n) => {
      const joined = n > 0 && time - moments[n - 1].time < PAUSE;
      context[joined ? "lineTo" : "moveTo"](x(time), y(probabilities[k]));
    });
    context.stroke();
    const last = moments.at(-1);
    return last && this.now - last.time < PAUSE && { label, y: y(last.probabilities[k]) };
  }
}

function grid(context, { left, right, bottom }, y) {
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.fillStyle = "#b4b6bc";
  context.textAlign = "right";
  context.lineWidth = 1;
  context.strokeStyle = "rgb(255 255 255 / 16%)";
  context.beginPath();
  for (const probability of [0, 0.5, 1]) {
    context.fillText(percent(probability), left - 6, y(probability));
    context.moveTo(left, y(probability));
    context.lineTo(right, y(probability));
  }
  context.stroke();
  context.textBaseline = "alphabetic";
  for (const seconds of [30, 20, 10, 0]) {
    const x = right - (seconds / SPAN) * (right - left);
    context.textAlign = seconds === SPAN ? "left" : "center";
    context.fillText(seconds ? `-${seconds} s` : t("now"), x, bottom + 18);
  }
}

/** Writes each name where its line ends, moved apart so that all can be read. */
function names(context, ends, { right, top, bottom }) {
  const height = 15;
  ends.sort((a, b) => a.y - b.y);
  ends.forEach((end, k) => {
    end.y = Math.max(end.y, k ? ends[k - 1].y + height : top);
  });
  for (let k = ends.length - 1, limit = bottom; k >= 0; k--, limit -= height) ends[k].y = Math.min(ends[k].y, limit);
  context.textAlign = "left";
  context.textBaseline = "middle";
  for (const { label, y } of ends) {
    context.fillStyle = colour(label);
    context.fillRect(right + 6, y - 4, 8, 8);
    context.fillStyle = "#e6e6e6";
    context.fillText(emotion(label), right + 18, y);
  }
}
