// What a person takes away: a table of all frames that were looked at, and a snapshot.

import { drawFaces } from "./overlay.js";

const MOST = 200_000; // rows, some 30 MB of text

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
   * @param {string} name of the source. @param {number} time in seconds.
   * @param {object[]} faces @param {number} scale from the frame's pixels to the source's.
   */
  add(name, time, faces, scale) {
    const common = [cell(name), this.frames++, time.toFixed(3)];
    if (this.full) return;
    if (!faces.length) this.rows.push([...common, ...Array(this.labels.length + 11).fill("")].join(","));
    faces.forEach((face, k) => {
      const { id, box, score, label, uncertain, probabilities } = face;
      const place = box.map((value) => (value * scale).toFixed(1));
      const shown = [score.toFixed(4), cell(this.labels[label]), probabilities[label].toFixed(6), Number(uncertain)];
      const all = probabilities.map((p) => p.toFixed(6));
      this.rows.push([...common, k, id ?? "", ...place, ...shown, ...all, ""].join(","));
    });
  }

  text() {
    const head = "name,index,time,face,id,x1,y1,x2,y2,score,emotion,confidence,uncertain";
    return `${[[head, ...this.labels.map(cell), "error"].join(","), ...this.rows].join("\n")}\n`;
  }
}

/** A cell of a table; quoted where it must be, and never taken for a formula by a spreadsheet. */
function cell(text) {
  const plain = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

/**
 * The present picture with the faces drawn on it, at the picture's own size.
 *
 * @param {HTMLVideoElement | HTMLCanvasElement} element that shows it. @param {{size, mirrored}} source
 * @param {object[]} faces @param {number[]} frame [width, height] to which their boxes belong @param {string[]} labels
 * @returns {Promise<Blob>} PNG.
 */
export function snapshot(element, source, faces, frame, labels) {
  const [width, height] = source.kind === "picture" ? [element.width, element.height] : source.size();
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.save();
  if (source.mirrored) context.setTransform(-1, 0, 0, 1, width, 0);
  context.drawImage(element, 0, 0, width, height);
  context.restore();
  const unit = Math.max(12, Math.min(width, height) / 36);
  drawFaces(context, faces, labels, { width, height, frame, mirrored: source.mirrored, unit });
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Let the browser save a file; returns its name. */
export function save(blob, suffix) {
  const name = `mien-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.${suffix}`;
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return name;
}
