// Starts the worker and speaks with it; see worker.js for its tasks.

import { told } from "./words.js";

const PATIENCE = 60; // seconds for a task; the largest pictures take some on a slow phone

/**
 * @param {string} model name of the classifier, or null for the default.
 * @param {(share: number, bytes: number) => void} progress called while files are loaded.
 * @param {(error: Error) => void} died called once when the worker, after it was ready, will answer no more; its message
 *   is meant for a person.
 * @returns `ready`, a promise of {manifest, classifier}, and the tasks: look({series, bitmap, live}), explain({crop,
 *   label}) and use(model). All promises fail with an Error whose message is meant for a person.
 */
export function startEngine(model, progress, died) {
  if (typeof WebAssembly !== "object" || typeof OffscreenCanvas !== "function") {
    return { ready: Promise.reject(told("tooOld")) };
  }
  const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  const waiting = new Map(); // id -> the two ends of its promise
  let alive = false; // it has been ready and still is
  let timer = 0;
  let last = 0;

  function end(error) {
    clearTimeout(timer);
    worker.terminate();
    worker.onmessage = null;
    const was = alive;
    alive = false;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
    if (was) died(error);
  }

  function wait() {
    clearTimeout(timer);
    if (!alive || !waiting.size) return;
    const due = performance.now() + 1000 * PATIENCE;
    // later than that only when the device was asleep, and the worker with it
    timer = setTimeout(() => (performance.now() > due + 5000 ? wait() : end(told("workerDied"))), 1000 * PATIENCE);
  }

  function ask(task, given, transfer = []) {
    const id = ++last;
    const answer = new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
    worker.postMessage({ id, task, ...given }, transfer);
    wait();
    return answer;
  }

  worker.onerror = worker.onmessageerror = () => end(told(alive ? "workerDied" : "noWorker"));
  worker.onmessage = ({ data: { id, answer, failed, loaded, total } }) => {
    if (total) {
      wait();
      return progress(loaded / total, total);
    }
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    wait();
    if (failed) reject(told(failed.key, failed.values));
    else resolve(answer);
  };

  const ready = ask("load", { model }).then(
    (answer) => {
      alive = true;
      return answer;
    },
    (error) => {
      end(error); // nothing that still loads reports its progress
      throw error;
    },
  );
  return {
    ready,
    look: (picture) => ask("look", picture, [picture.bitmap]),
    explain: (face) => ask("explain", face),
    use: (name) => ask("use", { model: name }),
  };
}
