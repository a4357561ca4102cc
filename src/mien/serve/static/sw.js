// Keeps the page, the runtime and the networks, so that the page works offline. The network comes first: what the
// server has is never hidden by what was kept.

const CACHE = "mien";
const PAGE = [
  "./",
  "analysis.js",
  "app.webmanifest",
  "chart.js",
  "crop.js",
  "detect.js",
  "engine.js",
  "explain.js",
  "formats.js",
  "frames.js",
  "gallery.js",
  "icon.svg",
  "input.js",
  "labels.js",
  "livetime.js",
  "main.js",
  "notices.js",
  "numbers.js",
  "overlay.js",
  "people.js",
  "quality.js",
  "record.js",
  "report.js",
  "search.js",
  "session.js",
  "settings.js",
  "shots.js",
  "smooth.js",
  "source.js",
  "stage.js",
  "style.css",
  "summary.js",
  "takeaway.js",
  "timeline.js",
  "track.js",
  "videorun.js",
  "view.js",
  "words-de.js",
  "words-en.js",
  "words.js",
  "worker.js",
];
const BUILT = [
  "models/crowd-small.jpg",
  "models/crowd.jpg",
  "models/drawings-small.jpg",
  "models/drawings.jpg",
  "models/models.json",
  "models/portrait-small.jpg",
  "models/portrait.jpg",
  "models/video-small.jpg",
  "models/video.webm",
  "vendor/mediabunny.min.mjs",
  "vendor/ort-wasm-simd-threaded.mjs",
  "vendor/ort.wasm.min.mjs",
];
const here = (file) => new URL(file, self.registration.scope).href;

self.addEventListener("install", (event) => event.waitUntil(fill().then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const url = event.request.url.replace(/[?#].*$/, "").replace(/\/index\.html$/, "/");
  // a server may have other addresses beside the page's: they are none of ours
  const ours =
    PAGE.some((file) => here(file) === url) || ["models/", "vendor/"].some((folder) => url.startsWith(here(folder)));
  if (event.request.method === "GET" && ours) event.respondWith(answer(event, url));
});

async function fill() {
  const manifest = await (await fetch(here("models/models.json"))).json();
  const parts = [manifest.runtime, manifest.detector, manifest.classifiers[0]].map(({ file }) => `models/${file}`);
  const cache = await caches.open(CACHE);
  await cache.addAll([...PAGE, ...BUILT, ...parts].map(here));
}

async function answer(event, url) {
  let fresh;
  try {
    fresh = await fetch(event.request);
  } catch {
    const kept = await (await caches.open(CACHE)).match(url);
    return kept ? isolated(kept) : Response.error();
  }
  // beside the answer: the page neither waits for the disk nor fails when it is full
  if (fresh.ok && fresh.type === "basic") event.waitUntil(keep(url, fresh.clone()).catch(() => {}));
  return isolated(fresh);
}

async function keep(url, response) {
  await (await caches.open(CACHE)).put(url, response);
}

/** The two headers that let the runtime use several threads, for servers that cannot send them. */
function isolated(response) {
  if (response.type === "opaqueredirect") return response; // the browser follows it; there is nothing in it to copy
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
