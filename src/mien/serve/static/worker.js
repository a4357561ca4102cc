// The worker: loads the runtime and the two networks, then answers one picture at a time.
//
// In:  "load"                       -> {loaded, total} while loading, then {ready: models.json} or {failed: words}
//      {number, time, bitmap, live} -> {number, time, faces, width, height} or {number, failed: words}
// `number` is the source's; `live` says that it moves, so that most of its frames may be searched at a smaller size.
// A face has box, score and landmarks as in detect.js, probabilities in the order of the model's labels, and its crop.

import { SIZE, crop } from "./crop.js";
import { Search } from "./search.js";

const RUNTIME = new URL("./vendor/", import.meta.url).href;
const MODELS = new URL("./models/", import.meta.url);

let ort, find, classify, margin;
let search = null; // of the present source
let searched = -1; // its number
const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext("2d", { willReadFrequently: true });

self.onmessage = async ({ data }) => {
  try {
    if (data === "load") self.postMessage({ ready: await load() });
    else await look(data);
  } catch (error) {
    self.postMessage({ number: data.number, failed: error.words ?? String(error?.message ?? error) });
  }
};

/** An error whose words are meant for a person. */
const told = (words) => Object.assign(new Error(words), { words });

async function load() {
  const manifest = await (await get(new URL("models.json", MODELS))).json();
  margin = manifest.margin;
  const parts = [manifest.runtime, manifest.detector, manifest.classifier];
  const total = parts.reduce((sum, part) => sum + part.bytes, 0);
  let loaded = 0;
  const [wasm, detector, classifier] = await Promise.all(
    parts.map((part) =>
      read(part, (bytes) => {
        loaded += bytes;
        self.postMessage({ loaded, total });
      }),
    ),
  );
  try {
    ort = await import(`${RUNTIME}ort.wasm.min.mjs`);
  } catch {
    throw told(
      "The runtime (vendor/ort.wasm.min.mjs) is missing on the server. Whoever runs it should run “make web”.",
    );
  }
  ort.env.logLevel = "error";
  Object.assign(ort.env.wasm, {
    wasmBinary: wasm,
    wasmPaths: RUNTIME,
    numThreads: self.crossOriginIsolated ? Math.min(4, Math.ceil(navigator.hardwareConcurrency / 2)) : 1,
  });
  find = await session(detector, manifest.detector, async (network, pixels, height, width) => {
    const input = new ort.Tensor("float32", pixels, [1, 3, height, width]);
    const maps = await network.run({ [network.inputNames[0]]: input });
    return Object.fromEntries(Object.entries(maps).map(([name, tensor]) => [name, tensor.data]));
  });
  classify = await session(classifier, manifest.classifier, async (network, crops) => {
    const input = new ort.Tensor("uint8", crops, [crops.length / SIZE ** 2, SIZE, SIZE]);
    return (await network.run({ crops: input })).probabilities.data;
  });
  await find(new Float32Array(3 * 64 * 64), 64, 64); // the first run of a network takes longer
  await classify(new Uint8Array(SIZE ** 2));
  return manifest;
}

async function session(bytes, { file }, run) {
  let network;
  try {
    network = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
  } catch (error) {
    throw told(
      `The model ${file} does not run in this browser (${error.message}). Try a current Firefox, Chrome, Edge or Safari.`,
    );
  }
  return (...input) => run(network, ...input);
}

async function get(url) {
  let answer;
  try {
    answer = await fetch(url);
  } catch {
    throw told(
      `${url.pathname} could not be loaded: the server does not answer. Check the connection and reload the page.`,
    );
  }
  if (!answer.ok) {
    throw told(`${url.pathname} is missing on the server (${answer.status}). Whoever runs it should run “make web”.`);
  }
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
    throw told(
      `${file} arrived damaged, or it is not the file that models.json names. Reload the page; if that does not help, whoever runs the server should run “make web”.`,
    );
  }
  return whole;
}

const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");

async function look({ number, time, bitmap, live }) {
  const { width, height } = bitmap;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  context.fillStyle = "white"; // transparency is laid over white
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const image = context.getImageData(0, 0, width, height);
  if (number !== searched) [search, searched] = [new Search(find), number];
  const faces = await search.faces(image, live);
  const crops = new Uint8Array(faces.length * SIZE ** 2);
  faces.forEach((face, k) => crops.set(crop(image, face, margin), k * SIZE ** 2));
  const probabilities = faces.length ? await classify(crops) : [];
  const classes = probabilities.length / faces.length;
  faces.forEach((face, k) => {
    face.probabilities = Array.from(probabilities.subarray(k * classes, (k + 1) * classes));
    face.crop = crops.slice(k * SIZE ** 2, (k + 1) * SIZE ** 2);
  });
  self.postMessage({ number, time, faces, width, height });
}
