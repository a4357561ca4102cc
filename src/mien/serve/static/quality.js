// How well a face can be seen, and which of that is too poor for a sure answer: mien.faces.quality once more.

import { SIZE } from "./crop.js";

/** Names of the values, and columns of tables. */
export const QUALITY = ["size", "sharpness", "brightness", "yaw", "pitch", "roll", "inside"];

const MIN_SIZE = 25; // pixels
const MIN_SHARPNESS = 0.39;
const [DARK, BRIGHT] = [29, 211]; // gray levels
const [MAX_YAW, MAX_PITCH] = [60, 45]; // degrees
const MIN_INSIDE = 0.6; // share of the box

// Places of the landmarks on a head that looks into the camera, in distances of the eyes: right, down, to the camera.
const HEAD = [
  [-0.5, 0, 0],
  [0.5, 0, 0],
  [0, 0.58, 0.45],
  [-0.41, 1, 0.05],
  [0.41, 1, 0.05],
];
const FIT = fitting(HEAD);

/**
 * @param {{box: number[], landmarks: number[][]}} face in pixels of an image. @param {Uint8Array} crop gray, 48 x 48.
 * @param {number} width @param {number} height of the image.
 * @returns {object} a value for each of QUALITY: size in pixels, sharpness from 0, brightness 0..255, yaw, pitch and roll
 *   in degrees or null, inside 0..1.
 */
export function measure({ box, landmarks }, crop, width, height) {
  const [x1, y1, x2, y2] = box;
  const across = Math.max(Math.min(x2, width) - Math.max(x1, 0), 0);
  const down = Math.max(Math.min(y2, height) - Math.max(y1, 0), 0);
  const area = (x2 - x1) * (y2 - y1);
  return {
    size: Math.max(x2 - x1, y2 - y1),
    ...sharpnessAndBrightness(crop),
    ...pose(landmarks),
    inside: area > 0 ? (across * down) / area : 0,
  };
}

/** What makes an answer unreliable: small, blurred, dark, bright, turned, cut off. */
export function weaknesses({ size, sharpness, brightness, yaw, pitch, inside }) {
  const found = {
    small: size < MIN_SIZE,
    blurred: sharpness < MIN_SHARPNESS,
    dark: brightness < DARK,
    bright: brightness > BRIGHT,
    turned: Math.abs(yaw ?? 0) > MAX_YAW || Math.abs(pitch ?? 0) > MAX_PITCH,
    "cut off": inside < MIN_INSIDE,
  };
  return Object.keys(found).filter((name) => found[name]);
}

function sharpnessAndBrightness(crop) {
  const brightness = crop.reduce((sum, value) => sum + value, 0) / crop.length;
  const variance = crop.reduce((sum, value) => sum + (value - brightness) ** 2, 0) / crop.length;
  let sum = 0;
  for (let y = 1; y < SIZE - 1; y++) {
    for (let k = y * SIZE + 1; k < (y + 1) * SIZE - 1; k++) {
      sum += (crop[k - 1] + crop[k + 1] + crop[k - SIZE] + crop[k + SIZE] - 4 * crop[k]) ** 2;
    }
  }
  return { sharpness: Math.sqrt(sum) / (SIZE - 2) / Math.max(Math.sqrt(variance), 1), brightness };
}

/** An average head, fitted to the landmarks under weak perspective. */
function pose(landmarks) {
  if (landmarks.length !== HEAD.length) return { yaw: null, pitch: null, roll: null };
  // how x and y of the image follow from right, down and forward of the head
  const [[a, b, c], [d, e, f]] = [0, 1].map((axis) => FIT.map((row) => total(row, (k) => landmarks[k][axis])));
  const roll = Math.atan2(d - b, a + e);
  const [cosine, sine] = [Math.cos(roll), Math.sin(roll)];
  const scale = Math.max(Math.hypot(a, b, c), Math.hypot(d, e, f)) || 1;
  const angle = (forward) => degrees(Math.asin(Math.min(Math.max(forward / scale, -1), 1)));
  return { yaw: angle(cosine * c + sine * f), pitch: angle(cosine * f - sine * c), roll: degrees(roll) };
}

const degrees = (radians) => (radians * 180) / Math.PI;

function total(row, of) {
  return row.reduce((sum, value, k) => sum + value * of(k), 0);
}

/** The pseudo-inverse of the points less their mean: three rows, which give the least squares of a linear map. */
function fitting(points) {
  const mean = [0, 1, 2].map((n) => points.reduce((sum, point) => sum + point[n], 0) / points.length);
  const centred = points.map((point) => point.map((value, n) => value - mean[n]));
  const square = [0, 1, 2].map((i) => [0, 1, 2].map((j) => centred.reduce((sum, p) => sum + p[i] * p[j], 0)));
  const [a, b, c] = square;
  const cross = (p, q) => [p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]];
  const columns = [cross(b, c), cross(c, a), cross(a, b)]; // of the inverse, times the determinant
  const determinant = total(a, (n) => columns[0][n]);
  return [0, 1, 2].map((i) => centred.map((p) => total(p, (n) => columns[n][i] / determinant)));
}
