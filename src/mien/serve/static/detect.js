// YuNet, with the results of mien.detect.YuNet.
// Wu et al., "YuNet: a tiny millisecond-level face detector", 2023.

import { halved, rint } from "./crop.js";

const COLUMNS = 15; // of a face: box, score, five landmarks

/**
 * Find faces.
 *
 * @param {(pixels: Uint8Array, height: number, width: number) => Promise<Float32Array>} run the network: BGR (H, W, 3) ->
 *   rows of x1, y1, x2, y2, score and five landmarks (x, y), in pixels.
 * @param {ImageData} image 8-bit RGBA.
 * @param {number} maxSide larger pictures are shrunk to this many pixels.
 * @returns {Promise<{box: number[], score: number, landmarks: number[][]}[]>} in pixels, the largest first; box is
 *   (x1, y1, x2, y2), landmarks are the eye on the left of the picture, the one on the right, nose, mouth left, right.
 */
export async function detect(run, image, maxSide) {
  const { data, width, height, factors } = shrunk(image, maxSide);
  const rows = await run(bgr(data), height, width);
  const faces = [];
  for (let k = 0; k < rows.length; k += COLUMNS) {
    const point = (at) => [rows[k + at] * factors[0], rows[k + at + 1] * factors[1]];
    faces.push({
      box: [...point(0), ...point(2)],
      score: Math.min(rows[k + 4], 1),
      landmarks: [5, 7, 9, 11, 13].map(point),
    });
  }
  const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
  return faces.sort((a, b) => area(b) - area(a));
}

function bgr(data) {
  const out = new Uint8Array((data.length / 4) * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    out[to++] = data[from + 2];
    out[to++] = data[from + 1];
    out[to++] = data[from];
  }
  return out;
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

/** Add the means of a row's pixels, red, green and blue, to `sums`; `start` is where its data begins. */
export function addRow(sums, data, start, { first, cells, shares }, weight) {
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
export function cover(from, to) {
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
