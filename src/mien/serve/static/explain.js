// Occlusion maps, as mien.evaluation.explain makes them: how much of a label's probability is lost where a patch of mean
// gray hides the crop.

import { SIZE, rint } from "./crop.js";

const [PATCH, STRIDE] = [12, 4]; // pixels of the crop
const BATCH = 49; // crops a run, so that a phone's memory suffices
// Patches also reach over the border, so that equally many cover each pixel.
const STARTS = Array.from({ length: (SIZE + PATCH) / STRIDE - 1 }, (_, k) => STRIDE - PATCH + STRIDE * k);

/**
 * @param {(crops: Uint8Array) => Promise<Float32Array>} classify the network.
 * @param {Uint8Array} crop gray, 48 x 48. @param {number} label index of the label to explain.
 * @returns {Promise<Float32Array>} 48 x 48, -1..1: above 0 a pixel speaks for the label, below 0 against it.
 */
export async function occlusionMap(classify, crop, label) {
  const gray = rint(crop.reduce((sum, value) => sum + value, 0) / crop.length);
  const images = [crop, ...STARTS.flatMap((y) => STARTS.map((x) => hidden(crop, x, y, gray)))];
  const answers = [];
  for (let from = 0; from < images.length; from += BATCH) {
    const some = images.slice(from, from + BATCH);
    const crops = new Uint8Array(some.length * SIZE ** 2);
    some.forEach((image, k) => crops.set(image, k * SIZE ** 2));
    const probabilities = await classify(crops);
    const classes = probabilities.length / some.length;
    some.forEach((_, k) => answers.push(probabilities[k * classes + label]));
  }
  return spread(answers.slice(1).map((answer) => answers[0] - answer));
}

function hidden(crop, left, top, gray) {
  const image = crop.slice();
  const [x1, x2] = [Math.max(left, 0), Math.min(left + PATCH, SIZE)];
  for (let y = Math.max(top, 0); y < Math.min(top + PATCH, SIZE); y++) image.fill(gray, y * SIZE + x1, y * SIZE + x2);
  return image;
}

/** The mean over the patches that cover a pixel. */
function spread(drops) {
  const [across, reach] = [STARTS.length, PATCH / STRIDE];
  const map = new Float32Array(SIZE ** 2);
  for (let y = 0; y < SIZE; y++) {
    for (let x = 0; x < SIZE; x++) {
      const [row, column] = [Math.floor(y / STRIDE), Math.floor(x / STRIDE)];
      let sum = 0;
      for (let k = 0; k < reach; k++) {
        for (let n = 0; n < reach; n++) sum += drops[(row + k) * across + column + n];
      }
      map[y * SIZE + x] = sum / reach ** 2;
    }
  }
  return map;
}
