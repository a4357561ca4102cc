// What a person takes away: a table of all analysed frames, a picture, a clip.

import { drawFaces } from "./overlay.js";
import { QUALITY } from "./quality.js";
import { told } from "./words.js";

const MOST = 200_000; // rows, some 30 MB of text
const LARGEST = 1280; // longest side of a clip in pixels
const TYPES = ["video/mp4;codecs=avc1.42E01F", "video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"];

/** The table that mien.sinks.Csv writes: a row a face; a frame without a face has one row too. */
export class Table {
  constructor(labels) {
    this.labels = labels;
    this.clear();
  }

  clear() {
    this.rows = [];
    this.frames = 0;
  }

  get full() {
    return this.rows.length >= MOST;
  }

  /**
   * @param {string} name of the source. @param {{time: number, shot: number | "", faces: object[]}} frame its time in
   *   seconds. @param {number} scale from the frame's pixels to the source's.
   */
  add(name, { time, shot, faces }, scale) {
    const common = [cell(name), this.frames++, time.toFixed(3), shot];
    if (this.full) return;
    if (!faces.length) this.rows.push([...common, ...this.empty(11)].join(","));
    faces.forEach((face, k) => {
      const { id, box, score, label, uncertain, probabilities } = face;
      const place = box.map((value) => (value * scale).toFixed(1));
      const shown = [score.toFixed(4), cell(this.labels[label]), probabilities[label].toFixed(6), Number(uncertain)];
      const seen = Object.values(shownQuality(face.quality, scale)).map((value) => value ?? "");
      const all = probabilities.map((p) => p.toFixed(6));
      this.rows.push([...common, k, id ?? "", ...place, ...shown, ...seen, ...all, ""].join(","));
    });
  }

  /** A file that could not be opened. */
  fail(name, reason) {
    this.rows.push([cell(name), this.frames++, "", "", ...this.empty(10), cell(reason)].join(","));
  }

  /** Empty cells of a face, `others` beside its quality and probabilities. */
  empty(others) {
    return Array(this.labels.length + QUALITY.length + others).fill("");
  }

  text() {
    const head = "name,index,time,shot,face,id,x1,y1,x2,y2,score,emotion,confidence,uncertain";
    return `${[[head, ...QUALITY, ...this.labels.map(cell), "error"].join(","), ...this.rows].join("\n")}\n`;
  }
}

/** A face's quality as it is saved: rounded, its size in pixels of the source. */
export function shownQuality(quality, scale) {
  const values = { ...quality, size: quality.size * scale };
  const round = (value) => (value === null ? null : Math.round(value * 1e3) / 1e3);
  return Object.fromEntries(QUALITY.map((name) => [name, round(values[name])]));
}

/** A cell of a table; quoted where it must be, and never taken for a formula by a spreadsheet. */
function cell(text) {
  const plain = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

/**
 * Draw the present picture with its faces into a context.
 *
 * @param {object} shown {source, mirrored, faces, frame, labels, show}: see overlay.js.
 * @param {number} width @param {number} height of the context's canvas.
 */
function compose(context, { source, mirrored, faces, frame, labels, show }, width, height) {
  context.save();
  if (mirrored) context.setTransform(-1, 0, 0, 1, width, 0);
  context.drawImage(source.element, 0, 0, width, height);
  context.restore();
  const unit = Math.max(12, Math.min(width, height) / 36);
  drawFaces(context, faces, labels, { width, height, frame, mirrored, unit, show });
}

/** The present picture with the faces drawn on it, at the picture's own size: a PNG. */
export function snapshot(shown) {
  const { source } = shown;
  const [width, height] = source.kind === "picture" ? [source.element.width, source.element.height] : source.size();
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  compose(canvas.getContext("2d"), shown, width, height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Records what is shown, with boxes and without sound. */
export class Clip {
  /** @param {() => object} shown gives what `compose` takes. */
  constructor(shown) {
    const type = window.MediaRecorder && TYPES.find((each) => MediaRecorder.isTypeSupported(each));
    if (!type) throw told("noRecorder");
    const [width, height] = shown().source.size();
    const scale = Math.min(1, LARGEST / Math.max(width, height));
    const even = (side) => Math.max(2, 2 * Math.round((side * scale) / 2));
    this.shown = shown;
    this.canvas = Object.assign(document.createElement("canvas"), { width: even(width), height: even(height) });
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.add();
    this.recorder = new MediaRecorder(this.canvas.captureStream(), { mimeType: type, videoBitsPerSecond: 4e6 });
    this.parts = [];
    this.recorder.ondataavailable = ({ data }) => this.parts.push(data);
    this.recorder.start(1000);
    this.start = performance.now();
  }

  /** Seconds so far. */
  get time() {
    return (performance.now() - this.start) / 1000;
  }

  add() {
    compose(this.context, this.shown(), this.canvas.width, this.canvas.height);
  }

  /** @returns {Promise<Blob>} the whole clip. */
  stop() {
    return new Promise((resolve) => {
      const type = this.recorder.mimeType.split(";")[0];
      this.recorder.onstop = () => resolve(new Blob(this.parts, { type }));
      this.recorder.stop();
      for (const track of this.recorder.stream.getTracks()) track.stop();
    });
  }
}

/** A name with the present time. */
export const named = (suffix) => `mien-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.${suffix}`;

/** Let the browser save a file; returns its name. */
export function save(blob, suffix) {
  const name = named(suffix);
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return name;
}
