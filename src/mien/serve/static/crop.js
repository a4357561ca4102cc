// The same crops as mien.image.crop: square, gray, the eyes level, large faces averaged down.

/** Side of a crop in pixels. */
export const SIZE = 48;

/** Nearest whole number, halves to the even one, as Python and OpenCV round. */
export function rint(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest < 0.5 || (rest === 0.5 && floor % 2 === 0) ? floor : floor + 1;
}

/**
 * Cut one face out of a picture.
 *
 * @param {ImageData} image 8-bit RGBA; what lies over its border repeats its edge.
 * @param {{box: number[], landmarks: number[][]}} face in pixels: the box gives the centre and the side (the longer
 *   one), its eyes the angle.
 * @param {number} margin share of the side to add.
 * @returns {Uint8Array} gray, 48 x 48.
 */
export function crop(image, face, margin = 0) {
  const [x1, y1, x2, y2] = face.box;
  let centre = [(x1 + x2) / 2, (y1 + y2) / 2];
  let side = Math.max(x2 - x1, y2 - y1, 1) * (1 + margin);
  const axis = eyeAxis(face, side);
  let gray = grayWindow(image, centre, (side * (Math.abs(axis[0]) + Math.abs(axis[1]))) / 2);
  centre = [centre[0] - gray.x, centre[1] - gray.y];
  // One tap a pixel would alias on a large face, so it is halved, then warped at that resolution and averaged down.
  while (side >= 4 * SIZE && Math.min(gray.width, gray.height) >= 2) {
    [gray, centre, side] = [halved(gray, 1), centre.map((value) => value / 2), side / 2];
  }
  const factor = Math.min(Math.max(Math.ceil(side / SIZE), 1), 4);
  return average(warp(gray, centre, axis, side, SIZE * factor), factor);
}

/**
 * A picture of half the size: means of four pixels, the last row or column of an odd one goes.
 *
 * @param {{data: Uint8Array, width: number, height: number}} picture 8-bit.
 * @param {number} channels values a pixel.
 */
export function halved({ data, width, height }, channels) {
  const [columns, rows] = [width >> 1, height >> 1];
  const out = new Uint8ClampedArray(columns * rows * channels);
  for (let row = 0, to = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      let from = (2 * row * width + 2 * column) * channels;
      for (let channel = 0; channel < channels; channel++, from++) {
        const below = from + width * channels;
        // OpenCV has a path of its own for 2 x 2, which rounds halves up
        out[to++] = (data[from] + data[from + channels] + data[below] + data[below + channels] + 2) >> 2;
      }
    }
  }
  return { data: out, width: columns, height: rows };
}

/** Unit vector from the eye on the left to the eye on the right; (1, 0) when there are none to trust. */
function eyeAxis({ landmarks }, side) {
  if (landmarks.length >= 2) {
    const [left, right] = landmarks;
    const length = Math.hypot(right[0] - left[0], right[1] - left[1]);
    // In profile the eyes fall together and their angle is noise.
    if (length > 0.1 * side) return [(right[0] - left[0]) / length, (right[1] - left[1]) / length];
  }
  return [1, 0];
}

/** The gray part of a picture within `reach` pixels of a point, at least one: {data, width, height, x, y}. */
function grayWindow({ data, width, height }, centre, reach) {
  const low = (c, limit) => Math.min(Math.max(Math.floor(c - reach - 2), 0), limit - 1);
  const high = (c, from, limit) => Math.min(Math.max(Math.ceil(c + reach + 2), from + 1), limit);
  const x = low(centre[0], width);
  const y = low(centre[1], height);
  const columns = high(centre[0], x, width) - x;
  const rows = high(centre[1], y, height) - y;
  const gray = new Uint8Array(columns * rows);
  for (let row = 0, to = 0; row < rows; row++) {
    let from = ((y + row) * width + x) * 4;
    for (let column = 0; column < columns; column++, from += 4) {
      // OpenCV's weights of red, green and blue, in 15 bits
      gray[to++] = (data[from] * 9798 + data[from + 1] * 19235 + data[from + 2] * 3735 + 16384) >> 15;
    }
  }
  return { data: gray, width: columns, height: rows, x, y };
}

/**
 * A square of `pixels` x `pixels` around `centre`, turned so that `axis` is level, read between the window's pixels.
 *
 * In the whole numbers of OpenCV's warpAffine, so that the result is the same: places in 1/1024 of a pixel for a row
 * and a column, their sum in 1/32.
 */
function warp(window, centre, [ax, ay], side, pixels) {
  const { data, width, height } = window;
  const step = side / pixels;
  const half = (pixels - 1) / 2;
  const out = new Uint8Array(pixels * pixels);
  // Pixel centres lie at +0.5, on both sides of the map.
  const startX = centre[0] - 0.5 - (ax - ay) * step * half;
  const startY = centre[1] - 0.5 - (ay + ax) * step * half;
  const columnX = Int32Array.from({ length: pixels }, (_, column) => rint(ax * step * column * 1024));
  const columnY = Int32Array.from({ length: pixels }, (_, column) => rint(ay * step * column * 1024));
  for (let row = 0, to = 0; row < pixels; row++) {
    const rowX = rint((startX - ay * step * row) * 1024) + 16;
    const rowY = rint((startY + ax * step * row) * 1024) + 16;
    for (let column = 0; column < pixels; column++) {
      const x = (rowX + columnX[column]) >> 5;
      const y = (rowY + columnY[column]) >> 5;
      const x0 = Math.min(Math.max(x >> 5, 0), width - 1);
      const x1 = Math.min(Math.max((x >> 5) + 1, 0), width - 1);
      const y0 = Math.min(Math.max(y >> 5, 0), height - 1) * width;
      const y1 = Math.min(Math.max((y >> 5) + 1, 0), height - 1) * width;
      const upper = data[y0 + x0] * (32 - (x & 31)) + data[y0 + x1] * (x & 31);
      const lower = data[y1 + x0] * (32 - (x & 31)) + data[y1 + x1] * (x & 31);
      out[to++] = (upper * (32 - (y & 31)) + lower * (y & 31) + 512) >> 10;
    }
  }
  return out;
}

/** Average blocks of `factor` x `factor` pixels of a square. */
function average(square, factor) {
  if (factor === 1) return square;
  const out = new Uint8Array(SIZE * SIZE);
  const pixels = SIZE * factor;
  for (let row = 0, to = 0; row < SIZE; row++) {
    for (let column = 0; column < SIZE; column++) {
      let sum = 0;
      for (let y = 0; y < factor; y++) {
        const from = (row * factor + y) * pixels + column * factor;
        for (let x = 0; x < factor; x++) sum += square[from + x];
      }
      // OpenCV has a path of its own for 2 x 2, which rounds halves up
      out[to++] = factor === 2 ? (sum + 2) >> 2 : rint(sum / (factor * factor));
    }
  }
  return out;
}
