// The worker: loads the runtime and the networks, then does one task after the other.
//
// In:  {id, task: "load" | "use", model}      -> {id, answer: {manifest, classifier}}; {loaded, total} meanwhile
//      {id, task: "look", series, bitmap, live} -> {id, answer: {faces, width, height, planes}}; see shots.js for planes
//      {id, task: "explain", crop, label}     -> {id, answer: Float32Array}; see explain.js
// or {id, failed: {key, values}}, words of words.js. `model` is a name of models.json, `series` the number of the source,
// `live` says that it moves, so that most of its frames may be searched at a smaller size.
// A face has box, score and landmarks as in detect.js, probabilities in the order of the model's labels, its crop, and
// quality and weaknesses as in quality.js.

import { SIZE, crop } from "./crop.js";
import { occlusionMap } from "./explain.js";
import { measure, weaknesses } from "./quality.js";
import { Search } from "./search.js";
import { mayBeNew, reduced, thumbnail } from "./shots.js";

const RUNTIME = new URL("./vendor/", import.meta.url).href;
const MODELS = new URL("./models/", import.meta.url);
const [SCORE, NMS] = [0.7, 0.3]; // lowest score of a face; boxes that overlap a better one by more are dropped

let ort, find, classify, manifest;
let search = null; // of the present source
let searched = -1; // its number
let last = null; // thumbnail of its last frame
const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext("2d", { willReadFrequently: true });

const TASKS = { load, use, look, explain: ({ crop, label }) => occlusionMap(classify, crop, label) };
let queue = Promise.resolve();
self.onmessage = ({ data }) => {
  queue = queue.then(() => work(data));
};

async function work({ id, task, ...given }) {
  try {
    self.postMessage({ id, answer: await TASKS[task](given) });
  } catch (error) {
    const words = { key: "plain", values: { text: String(error?.message ?? error) } };
    self.postMessage({ id, failed: error.words ?? words });
  }
}

/** An error whose words are meant for a person. */
const told = (key, values) => Object.assign(new Error(key), { words: { key, values } });

async function load({ model }) {
  manifest = await (await get(new URL("models.json", MODELS))).json();
  const chosen = classifier(model);
  const [wasm, detector, bytes] = await readAll([manifest.runtime, manifest.detector, chosen]);
  try {
    ort = await import(`${RUNTIME}ort.wasm.min.mjs`);
  } catch {
    throw told("noRuntime");
  }
  ort.env.logLevel = "error";
  Object.assign(ort.env.wasm, {
    wasmBinary: wasm,
    wasmPaths: RUNTIME,
    numThreads: self.crossOriginIsolated ? Math.min(4, Math.ceil(navigator.hardwareConcurrency / 2)) : 1,
  });
  find = await session(detector, manifest.detector, async (network, pixels, height, width) => {
    const [score, nms] = [SCORE, NMS].map((value) => new ort.Tensor("float32", [value], []));
    const image = new ort.Tensor("uint8", pixels, [height, width, 3]);
    return (await network.run({ image, score, nms })).faces.data;
  });
  await find(new Uint8Array(3 * 64 * 64), 64, 64); // the first run of a network takes longer
  classify = await classifying(bytes, chosen);
  return { manifest, classifier: chosen };
}

/** Change the classifier; the old one stays when the new one cannot be had. */
async function use({ model }) {
  const chosen = classifier(model);
  const [bytes] = await readAll([chosen]);
  const old = classify;
  classify = await classifying(bytes, chosen);
  await old.release();
  return { manifest, classifier: chosen };
}

const classifier = (name) => manifest.classifiers.find((each) => each.name === name) ?? manifest.classifiers[0];

async function classifying(bytes, part) {
  const run = await session(bytes, part, async (network, crops) => {
    const input = new ort.Tensor("uint8", crops, [crops.length / SIZE ** 2, SIZE, SIZE]);
    return (await network.run({ crops: input })).probabilities.data;
  });
  await run(new Uint8Array(SIZE ** 2));
  return run;
}

function readAll(parts) {
  const total = parts.reduce((sum, part) => sum + part.bytes, 0);
  let loaded = 0;
  const progress = (bytes) => self.postMessage({ loaded: (loaded += bytes), total });
  return Promise.all(parts.map((part) => read(part, progress)));
}

async function session(bytes, { file }, run) {
  let network;
  try {
    network = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
  } catch (error) {
    throw told("modelFails", { file, text: error.message });
  }
  return Object.assign((...input) => run(network, ...input), { release: () => network.release() });
}

async function get(url) {
  let answer;
  try {
    answer = await fetch(url);
  } catch {
    throw told("noAnswer", { file: url.pathname });
  }
  if (!answer.ok) throw told("missingFile", { file: url.pathname, status: answer.status });
  return answer;
}

/** The bytes of a file that models.json names, checked against its sha256. */
async function read({ file, bytes, sha256 }, progress) {
  const answer = await get(new URL(file, MODELS));
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const reader = answer.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (at + value.length > bytes) break;
    whole.set(value, at);
    at += value.length;
    progress(value.length);
  }
  // browsers have no hash on pages that are neither https nor localhost
  const hash = self.crypto.subtle && hex(await self.crypto.subtle.digest("SHA-256", whole));
  if (at !== bytes || (hash && hash !== sha256)) {
    throw told("damagedFile", { file });
  }
  return whole;
}

const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");

async function look({ series, bitmap, live }) {
  const { width, height } = bitmap;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  context.fillStyle = "white"; // transparency is laid over white
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const image = context.getImageData(0, 0, width, height);
  const planes = live ? reduced(image) : null;
  const thumb = planes && thumbnail(planes, 0);
  if (series !== searched || (thumb && mayBeNew(last, thumb))) search = new Search(find); // knows no faces yet
  [searched, last] = [series, thumb];
  const faces = await search.faces(image, live);
  const crops = new Uint8Array(faces.length * SIZE ** 2);
  faces.forEach((face, k) => crops.set(crop(image, face, manifest.margin), k * SIZE ** 2));
  const probabilities = faces.length ? await classify(crops) : [];
  const classes = probabilities.length / faces.length;
  faces.forEach((face, k) => {
    face.probabilities = Array.from(probabilities.subarray(k * classes, (k + 1) * classes));
    face.crop = crops.slice(k * SIZE ** 2, (k + 1) * SIZE ** 2);
    face.quality = measure(face, face.crop, width, height);
    face.weaknesses = weaknesses(face.quality);
  });
  return { faces, width, height, planes };
}
