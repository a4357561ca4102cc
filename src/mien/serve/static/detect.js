// YuNet, with the results of mien.detect.YuNet.
// Wu et al., "YuNet: a tiny millisecond-level face detector", 2023.

import { halved, rint } from "./crop.js";

const STRIDES = [8, 16, 32];

/**
 * Find faces.
 *
 * @param {(pixels: Float32Array, height: number, width: number) => Promise<Object<string, Float32Array>>} run the
 *   network: BGR planes (3, H, W) of 0..255, sides multiples of 32 -> its outputs by name.
 * @param {ImageData} image 8-bit RGBA.
 * @param {{maxSide?: number, score?: number, nms?: number}} settings larger pictures are shrunk to `maxSide` pixels;
 *   faces below `score` are dropped; of two boxes that overlap by more than `nms` the weaker one is dropped.
 * @returns {Promise<{box: number[], score: number, landmarks: number[][]}[]>} in pixels, the largest first; box is
 *   (x1, y1, x2, y2), landmarks are the eye on the left of the picture, the one on the right, nose, mouth left, right.
 */
export async function detect(run, image, { maxSide = 640, score = 0.7, nms = 0.3 } = {}) {
  const small = shrunk(image, maxSide);
  const height = padded(small.height);
  const width = padded(small.width);
  const found = decode(await run(planes(small, height, width), height, width), height, width, score);
  const [sx, sy] = small.factors;
  const faces = suppressed(found, nms).map(({ x, y, w, h, score, points }) => ({
    box: [x * sx, y * sy, (x + w) * sx, (y + h) * sy],
    score: Math.min(score, 1),
    landmarks: points.map(([px, py]) => [px * sx, py * sy]),
  }));
  const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
  return faces.sort((a, b) => area(b) - area(a));
}

/** The network halves its input five times. */
const padded = (side) => Math.max(Math.ceil(side / 32) * 32, 64);

/** BGR planes with black to the right and below. */
function planes({ data, width, height }, rows, columns) {
  const out = new Float32Array(3 * rows * columns);
  const plane = rows * columns;
  for (let y = 0, from = 0; y < height; y++) {
    for (let x = 0, to = y * columns; x < width; x++, from += 4, to++) {
      out[to] = data[from + 2];
      out[to + plane] = data[from + 1];
      out[to + 2 * plane] = data[from];
    }
  }
  return out;
}

/** The network's maps -> candidates in pixels of its input. */
function decode(maps, height, width, least) {
  const found = [];
  for (const stride of STRIDES) {
    const [rows, columns] = [height / stride, width / stride];
    const [cls, obj, box, kps] = ["cls", "obj", "bbox", "kps"].map((name) => maps[`${name}_${stride}`]);
    for (let row = 0, k = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, k++) {
        const clamp = (value) => Math.min(Math.max(value, 0), 1);
        const score = Math.sqrt(clamp(cls[k]) * clamp(obj[k]));
        if (score <= least) continue;
        const w = Math.exp(box[4 * k + 2]) * stride;
        const h = Math.exp(box[4 * k + 3]) * stride;
        const x = (column + box[4 * k]) * stride - w / 2;
        const y = (row + box[4 * k + 1]) * stride - h / 2;
        const points = [0, 1, 2, 3, 4].map((n) => [
          (kps[10 * k + 2 * n] + column) * stride,
          (kps[10 * k + 2 * n + 1] + row) * stride,
        ]);
        found.push({ x, y, w, h, score, points });
      }
    }
  }
  return found;
}

/** Non-maximum suppression, on whole pixels as OpenCV does it. */
function suppressed(candidates, threshold) {
  const whole = ({ x, y, w, h }) => [x, y, w, h].map(Math.trunc);
  const kept = [];
  for (const candidate of [...candidates].sort((a, b) => b.score - a.score)) {
    const [x, y, w, h] = whole(candidate);
    const free = kept.every((other) => {
      const [ox, oy, ow, oh] = whole(other);
      const across = Math.max(0, Math.min(x + w, ox + ow) - Math.max(x, ox));
      const common = across * Math.max(0, Math.min(y + h, oy + oh) - Math.max(y, oy));
      return common <= threshold * (w * h + ow * oh - common);
    });
    if (free) kept.push(candidate);
  }
  return kept;
}

/**
 * A picture with its longest side at most `maxSide`, and the (x, y) factors back to it: halved as long as it goes, then
 * each pixel is the mean of the area that it covers (INTER_AREA).
 */
export function shrunk(image, maxSide) {
  const scale = maxSide / Math.max(image.width, image.height);
  if (scale >= 1) return { data: image.data, width: image.width, height: image.height, factors: [1, 1] };
  const width = Math.max(rint(image.width * scale), 1);
  const height = Math.max(rint(image.height * scale), 1);
  let halvings = 0;
  for (; image.height >= 2 * height && image.width >= 2 * width; halvings++) image = halved(image, 4);
  const factors = [(image.width / width) * 2 ** halvings, (image.height / height) * 2 ** halvings];
  const columns = cover(image.width, width);
  const rows = cover(image.height, height);
  const data = new Uint8ClampedArray(width * height * 4);
  const sums = new Float32Array(width * 3);
  for (let y = 0, to = 0; y < height; y++) {
    sums.fill(0);
    for (let k = rows.first[y]; k < rows.first[y + 1]; k++) {
      addRow(sums, image.data, rows.cells[k] * image.width * 4, columns, rows.shares[k]);
    }
    for (let from = 0; from < sums.length; to += 4) {
      data[to] = sums[from++]; // a clamped array rounds halves to the even number, as `rint` does
      data[to + 1] = sums[from++];
      data[to + 2] = sums[from++];
      data[to + 3] = 255;
    }
  }
  return { data, width, height, factors };
}

function addRow(sums, data, start, { first, cells, shares }, weight) {
  for (let x = 0, to = 0, k = 0; to < sums.length; x++) {
    let [red, green, blue] = [0, 0, 0];
    for (const end = first[x + 1]; k < end; k++) {
      const at = start + cells[k] * 4;
      red += data[at] * shares[k];
      green += data[at + 1] * shares[k];
      blue += data[at + 2] * shares[k];
    }
    sums[to++] += red * weight;
    sums[to++] += green * weight;
    sums[to++] += blue * weight;
  }
}

/**
 * For each of `to` cells the source cells that it covers, with their shares: those of cell k are at first[k] to
 * first[k + 1]. In flat arrays, since lists of lists took ten times as long.
 */
function cover(from, to) {
  const scale = from / to;
  const [first, cells, shares] = [[], [], []];
  for (let k = 0; k < to; k++) {
    first.push(cells.length);
    const [start, end] = [k * scale, Math.min((k + 1) * scale, from)];
    for (let cell = Math.floor(start); cell < Math.ceil(end); cell++) {
      const share = Math.min(end, cell + 1) - Math.max(start, cell);
      if (share <= 1e-3) continue;
      cells.push(cell);
      shares.push(share / (end - start));
    }
  }
  first.push(cells.length);
  return { first: Int32Array.from(first), cells: Int32Array.from(cells), shares: Float64Array.from(shares) };
}
