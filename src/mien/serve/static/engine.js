// Starts the worker and speaks with it; see worker.js for what it says.

const TOO_OLD =
  "This browser is too old for the page: it lacks WebAssembly, module workers or OffscreenCanvas. " +
  "Use a current Firefox, Chrome, Edge or Safari.";
const NO_WORKER =
  "The page's worker did not start: a file is missing on the server, or the browser or an extension blocks " +
  "WebAssembly or workers.";

/**
 * @param {(share: number, bytes: number) => void} progress called while files are loaded.
 * @param {(answer: object) => void} answered called with each answer about a picture.
 * @returns {{ready: Promise<object>, look: (picture: object) => void}} `ready` gives what models.json says,
 *   or an Error whose message is meant for a person; `look` takes {number, time, bitmap, live} as worker.js does.
 */
export function startEngine(progress, answered) {
  if (typeof WebAssembly !== "object" || typeof OffscreenCanvas !== "function") {
    return { ready: Promise.reject(new Error(TOO_OLD)), look: () => {} };
  }
  const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  const ready = new Promise((resolve, reject) => {
    worker.onerror = () => reject(new Error(NO_WORKER));
    worker.onmessage = ({ data }) => {
      if (data.ready) resolve(data.ready);
      else if (data.total) progress(data.loaded / data.total, data.total);
      else if (data.number === undefined) reject(new Error(data.failed));
      else answered(data);
    };
  });
  worker.postMessage("load");
  return { ready, look: (picture) => worker.postMessage(picture, [picture.bitmap]) };
}
