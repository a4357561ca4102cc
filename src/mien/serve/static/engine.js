// Starts the worker and speaks with it; see worker.js for what it says.

const TOO_OLD =
  "This browser is too old for the page: it lacks WebAssembly, module workers or OffscreenCanvas. " +
  "Use a current Firefox, Chrome, Edge or Safari.";
const NO_WORKER =
  "The page's worker did not start: a file is missing on the server, or the browser or an extension blocks " +
  "WebAssembly or workers.";
const DIED =
  "The page's worker has stopped; perhaps the browser ran out of memory. It is started again: wait until the page is " +
  "ready, then open the picture or start the camera once more.";
const PATIENCE = 60; // seconds for a picture; the largest takes some on a slow phone

/**
 * @param {(share: number, bytes: number) => void} progress called while files are loaded.
 * @param {(answer: object) => void} answered called with each answer about a picture.
 * @param {(error: Error) => void} died called once when the worker, after it was ready, will answer no more; its message
 *   is meant for a person.
 * @returns {{ready: Promise<object>, look: (picture: object) => void}} `ready` gives what models.json says,
 *   or an Error whose message is meant for a person; `look` takes {number, time, bitmap, live} as worker.js does.
 */
export function startEngine(progress, answered, died) {
  if (typeof WebAssembly !== "object" || typeof OffscreenCanvas !== "function") {
    return { ready: Promise.reject(new Error(TOO_OLD)), look: () => {} };
  }
  const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  let alive = false; // it has been ready and still is
  let waiting = 0;
  const end = () => {
    clearTimeout(waiting);
    worker.terminate();
    if (alive) died(new Error(DIED));
    alive = false;
  };
  const ready = new Promise((resolve, reject) => {
    worker.onerror = worker.onmessageerror = () => {
      reject(new Error(NO_WORKER)); // without effect when it was ready
      end();
    };
    worker.onmessage = ({ data }) => {
      clearTimeout(waiting);
      if (data.ready) {
        alive = true;
        resolve(data.ready);
      } else if (data.total) progress(data.loaded / data.total, data.total);
      else if (data.number === undefined) reject(new Error(data.failed));
      else answered(data);
    };
  });
  const wait = () => {
    const due = performance.now() + 1000 * PATIENCE;
    // later than that only when the device was asleep, and the worker with it
    waiting = setTimeout(() => (performance.now() > due + 5000 ? wait() : end()), 1000 * PATIENCE);
  };
  const look = (picture) => {
    worker.postMessage(picture, [picture.bitmap]);
    clearTimeout(waiting);
    wait();
  };
  worker.postMessage("load");
  return { ready, look };
}
