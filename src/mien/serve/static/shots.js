// Shots of a video, numbered as mien.media.shots numbers them, which says why: hard cuts, dissolves and fades.

import { addRow, cover } from "./detect.js";

export const [WIDTH, HEIGHT] = [32, 18]; // of a thumbnail, in pixels
const AHEAD = 0.3; // seconds that are known of what follows a frame
const CHANGE = 0.06; // least dissimilarity of the two frames at a cut
const [NEAR, NEAR_PEAK] = [3, 3]; // it exceeds that of so many frames before and after by this factor,
const [AROUND, PEAK] = [0.4, 1.2]; // and that of so many seconds before by this one
const [LEVELS, SHARE] = [10, 0.25]; // this share of the image changes by so many gray levels: more than a caption
const MATCH = 0.9; // similarity to the shifted last frame from which the camera moved
const RETURN = 0.35; // share of the change that may be left after a flash
const DARKER = 0.02; // share of the image that is darker in a flash at most
const BLANK = 5; // standard deviation, gray levels: less is a black or white frame
const SAME = 0.8; // similarity of the frames before and after blank ones, or of the ends of a fade, in one scene
const GAP = 1; // seconds of blank frames after which the same scene counts as another shot
const FADE = 2.4; // seconds of the longest fade
const STEP = 0.08; // seconds between the frames in which fades are looked for
const STRAIGHT = 1.18; // length of a fade's path through the space of images, by the distance of its ends
const EVEN = 0.7; // most of that distance in one step
const CONTINUED = 0.6; // speed along the line, in its mean speed, at which a dissolve goes on
const CHROMA = 2; // weight of colour beside brightness
const CELLS = WIDTH * HEIGHT;

/**
 * Reduce a frame to brightness, Cr and Cb, in the range in which videos store them: the limits above were chosen so.
 *
 * @param {ImageData} image 8-bit RGBA. @returns {Uint8Array} the three planes of 32 x 18, one after the other.
 */
export function reduced({ data, width, height }) {
  const step = Math.max(Math.floor(height / (2 * HEIGHT)), 1); // every so many rows suffice
  const [columns, rows] = [cover(width, WIDTH), cover(Math.ceil(height / step), HEIGHT)];
  const planes = new Uint8Array(3 * CELLS);
  const sums = new Float32Array(3 * WIDTH);
  for (let y = 0, to = 0; y < HEIGHT; y++) {
    sums.fill(0);
    for (let k = rows.first[y]; k < rows.first[y + 1]; k++) {
      addRow(sums, data, 4 * rows.cells[k] * step * width, columns, rows.shares[k]);
    }
    for (let from = 0; from < sums.length; from += 3, to++) {
      const luma = 0.299 * sums[from] + 0.587 * sums[from + 1] + 0.114 * sums[from + 2];
      planes[to] = Math.round(16 + (luma * 219) / 255);
      planes[to + CELLS] = Math.round(128 + ((sums[from] - luma) * 0.713 * 224) / 255);
      planes[to + 2 * CELLS] = Math.round(128 + ((sums[from + 2] - luma) * 0.564 * 224) / 255);
    }
  }
  return planes;
}

/**
 * A frame as shots compare it.
 *
 * @param {Uint8Array} planes of `reduced`. @param {number} time in seconds.
 * @returns `image`, the brightness; `values`, brightness without its mean, and colour; `norm`, their length; `blank`.
 */
export function thumbnail(planes, time) {
  const image = planes.subarray(0, CELLS);
  const mean = image.reduce((sum, value) => sum + value, 0) / CELLS;
  const values = Float32Array.from(planes, (value, k) => (k < CELLS ? value - mean : CHROMA * (value - 128)));
  const spread = Math.sqrt(dot(values.subarray(0, CELLS), values.subarray(0, CELLS)) / CELLS);
  return { time, image, values, norm: Math.sqrt(dot(values, values)), blank: spread < BLANK };
}

/** Numbers the shots of one stream from 1. */
export class ShotDetector {
  constructor() {
    this.shot = 1;
    this.last = null;
    this.changes = []; // {time, change}: dissimilarity to the frame before
    this.path = []; // a frame every STEP seconds
    this.end = null; // time at which a dissolve ends
    this.before = null; // the last frame before blank ones, or before what may be a flash
    this.change = 0; // of what may be a flash
  }

  /** The shot of the next frame; `ahead` are the frames after it, or null in a live stream. */
  update(now, ahead = null) {
    const { last } = this;
    this.last = now;
    if (!last || now.time < last.time - 1) {
      this.restart(now, 0, last !== null);
    } else if (now.blank) {
      this.before ??= last.blank ? null : last;
      this.path = [];
    } else if (last.blank) {
      const { before } = this;
      this.restart(now, 0, before !== null && (now.time - before.time > GAP || similarity(before, now) < SAME));
    } else if (this.change) {
      this.awaitReturn(now);
    } else {
      const change = this.cut(last, now, ahead);
      if (change) return this.restart(now, change, true);
      this.walk(now, ahead?.at(-1) ?? now);
      if (this.end !== null && now.time >= this.end) this.restart(now, 0, true);
    }
    return this.shot;
  }

  restart(now, change, fresh) {
    this.shot += Number(fresh);
    [this.before, this.change, this.end] = [null, 0, null];
    this.changes = [{ time: now.time, change }];
    this.path = [now];
    return this.shot;
  }

  /** The dissimilarity of two frames if a shot ends between them, else 0. */
  cut(last, now, ahead) {
    const change = 1 - similarity(last, now);
    this.changes = this.changes.filter(({ time }) => time >= now.time - AROUND);
    const peak = change > CHANGE && this.isPeak(change) && changedShare(last, now) > SHARE;
    if (peak && this.isCut(last, now, change, ahead)) return change;
    this.changes.push({ time: now.time, change });
    return 0;
  }

  isPeak(change) {
    const values = this.changes.map((each) => each.change);
    return change > Math.max(NEAR_PEAK * Math.max(0, ...values.slice(-NEAR)), PEAK * Math.max(0, ...values));
  }

  isCut(last, now, change, ahead) {
    if (ahead === null) {
      if (shiftedSimilarity(last, now) > MATCH) return false;
      const darker = now.image.reduce((sum, value, k) => sum + (value < last.image[k] - LEVELS), 0);
      if (darker / CELLS > DARKER) return true;
      [this.before, this.change] = [last, change];
      return false;
    }
    const chain = [now, ...ahead.slice(0, NEAR)];
    const following = chain.slice(1).map((b, k) => (b.blank ? 0 : 1 - similarity(chain[k], b)));
    return change > NEAR_PEAK * Math.max(0, ...following) && !ahead.some((each) => returns(last, each, change));
  }

  /** Wait in a live stream for the end of what may be a flash. */
  awaitReturn(now) {
    if (returns(this.before, now, this.change)) this.restart(now, 0, false);
    else if (now.time - this.before.time > AHEAD) this.restart(now, this.change, true);
  }

  /** Add the furthest known frame to the path of images, and find the end of a dissolve. */
  walk(now, furthest) {
    const { path } = this;
    if (this.end !== null || furthest.blank || (path.length && furthest.time - path.at(-1).time < STEP)) return;
    path.push(furthest);
    while (path[0].time < furthest.time - FADE) path.shift();
    const end = path.length >= 5 ? dissolveEnd(path) : null;
    if (end !== null) this.end = Math.max(end, now.time);
  }
}

/** Numbers the frames of a file, each once enough is known of what follows it. */
export class ShotsAhead {
  constructor() {
    this.detector = new ShotDetector();
    this.waiting = []; // {thumb, item}
  }

  /** Take in the next frame; gives the [item, shot] of those that can be numbered now. */
  add(thumb, item) {
    this.waiting.push({ thumb, item });
    return this.numbered(false);
  }

  /** The [item, shot] of all that still wait: nothing follows. */
  finish() {
    return this.numbered(true);
  }

  numbered(ended) {
    const { waiting } = this;
    const found = [];
    const known = () => waiting.length > NEAR && waiting.at(-1).thumb.time - waiting[0].thumb.time > AHEAD;
    while (waiting.length && (ended || known())) {
      const { thumb, item } = waiting.shift();
      const ahead = waiting.map((each) => each.thumb);
      found.push([item, this.detector.update(thumb, ahead)]);
    }
    return found;
  }
}

/** Whether a frame may show another scene than the last one; a fast pan does too. */
export const mayBeNew = (last, now) => !last || similarity(last, now) < SAME;

function dot(a, b) {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
  return sum;
}

function distance(a, b) {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += (a[k] - b[k]) ** 2;
  return Math.sqrt(sum);
}

/** Correlation of two frames, -1..1, which brightness and contrast do not change. */
const similarity = (a, b) => (a.blank || b.blank ? 0 : dot(a.values, b.values) / (a.norm * b.norm));

const returns = (before, now, change) => !now.blank && 1 - similarity(before, now) < RETURN * change;

/** Share of the image, 0..1, that differs in brightness or colour. */
function changedShare(a, b) {
  const differs = (k) => Math.abs(b.values[k] - a.values[k]) > LEVELS;
  const cells = b.image.reduce((sum, value, k) => {
    return sum + (Math.abs(value - a.image[k]) > LEVELS || differs(k + CELLS) || differs(k + 2 * CELLS));
  }, 0);
  return cells / CELLS;
}

/** Highest correlation of two frames where they overlap after a move of the camera. */
function shiftedSimilarity(a, b) {
  const [width, height] = [Math.floor((WIDTH * 2) / 3), Math.floor((HEIGHT * 2) / 3)];
  let best = similarity(a, b);
  for (const top of [0, (HEIGHT - height) / 2, HEIGHT - height].map(Math.floor)) {
    for (const left of [0, (WIDTH - width) / 2, WIDTH - width].map(Math.floor)) {
      let place = { value: -Infinity, x: 0, y: 0 };
      for (let y = 0; y <= HEIGHT - height; y++) {
        for (let x = 0; x <= WIDTH - width; x++) {
          const value = correlation(a.image, x, y, b.image, left, top, width, height);
          if (value > place.value) place = { value, x, y };
        }
      }
      best = Math.max(best, overlapping(a.image, b.image, place.x - left, place.y - top));
    }
  }
  return best;
}

/** Correlation where b, moved by (dx, dy), lies over a. */
function overlapping(a, b, dx, dy) {
  const [width, height] = [WIDTH - Math.abs(dx), HEIGHT - Math.abs(dy)];
  return correlation(a, Math.max(dx, 0), Math.max(dy, 0), b, Math.max(-dx, 0), Math.max(-dy, 0), width, height);
}

/** Correlation of two parts of images, as OpenCV's TM_CCOEFF_NORMED has it. */
function correlation(a, ax, ay, b, bx, by, width, height) {
  let [sumA, sumB, squareA, squareB, product] = [0, 0, 0, 0, 0];
  for (let y = 0; y < height; y++) {
    let [i, j] = [(ay + y) * WIDTH + ax, (by + y) * WIDTH + bx];
    for (let x = 0; x < width; x++, i++, j++) {
      sumA += a[i];
      sumB += b[j];
      squareA += a[i] * a[i];
      squareB += b[j] * b[j];
      product += a[i] * b[j];
    }
  }
  const count = width * height;
  const [varianceA, varianceB] = [squareA - sumA ** 2 / count, squareB - sumB ** 2 / count];
  if (varianceB < 1e-9) return 1;
  const [common, scale] = [product - (sumA * sumB) / count, Math.sqrt(Math.max(varianceA, 0) * varianceB)];
  if (Math.abs(common) < scale) return common / scale;
  return Math.abs(common) < scale * 1.125 ? Math.sign(common) : 0;
}

/**
 * The time of the last frame but one if a dissolve ends there, else null.
 *
 * The frames of a dissolve lie on a line of images; the frame after it does not continue that line.
 */
function dissolveEnd(path) {
  const end = path.at(-2);
  const step = path.at(-1).values.map((value, k) => value - end.values[k]);
  let [length, longest] = [0, 0];
  for (let k = path.length - 3; k >= 0; k--) {
    const size = distance(path[k + 1].values, path[k].values);
    [length, longest] = [length + size, Math.max(longest, size)];
    const count = path.length - 2 - k;
    const line = end.values.map((value, n) => value - path[k].values[n]);
    const total = Math.sqrt(dot(line, line));
    if (count < 3 || !total || longest > EVEN * total || length > STRAIGHT * total) continue;
    if (dot(step, line) / total > (CONTINUED * total) / count) continue;
    if (similarity(path[k], end) < SAME && shiftedSimilarity(path[k], end) < MATCH) return end.time;
  }
  return null;
}
