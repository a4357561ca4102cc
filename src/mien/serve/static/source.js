// Where pictures come from: a camera, a video file or a picture.
//
// A source is {kind: "camera" | "video" | "picture", name, element, mirrored, size(), time(), grab(), stop()}: `element`
// shows it and is new, so that opening one source does not disturb another; size is [width, height] in pixels, time in
// seconds; `grab` gives an ImageBitmap of the present frame, which may be smaller than that. A file has `file` too.
// What goes wrong is an Error whose message is meant for a person.

import { complaint } from "./formats.js";
import { t, told } from "./words.js";

export const LARGEST = { camera: 1920, video: 1920, picture: 4096 }; // longest side in pixels; more costs time and memory

/**
 * Start a camera.
 *
 * @param {string} device id of the camera, or "" for the one that looks at the person.
 * @param {() => boolean} wanted whether it still is, once the person has answered the browser's question.
 * @param {() => void} ended called when it stops by itself.
 */
export async function openCamera(device, wanted, ended) {
  if (!navigator.mediaDevices?.getUserMedia) throw withAdvice("cameraNeedsHttps");
  const size = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
  const which = device ? { deviceId: { exact: device } } : { facingMode: "user" };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { ...size, ...which } });
  } catch (error) {
    throw cameraError(error);
  }
  const [track] = stream.getVideoTracks();
  const video = newVideo("labelCamera");
  const stop = () => {
    track.stop();
    video.srcObject = null;
  };
  if (!wanted()) return { stop };
  track.addEventListener("ended", ended);
  video.srcObject = stream;
  try {
    await started(video);
  } catch (error) {
    stop();
    throw withAdvice("cameraNoPicture", { text: error.message });
  }
  const { deviceId = "", facingMode } = track.getSettings();
  const start = performance.now();
  const time = () => (performance.now() - start) / 1000;
  const source = playing("camera", track.label || t("camera"), video, stop, time);
  return { ...source, device: deviceId, mirrored: facingMode !== "environment" };
}

function cameraError(error) {
  const keys = {
    NotAllowedError: "cameraNotAllowed",
    NotFoundError: "cameraNotFound",
    NotReadableError: "cameraInUse",
    OverconstrainedError: "cameraGone",
    SecurityError: "cameraForbidden",
  };
  return withAdvice(keys[error.name] ?? "cameraFails", { text: error.message || error.name }, { cause: error });
}

const withAdvice = (key, values, options) => new Error(`${t(key, values)} ${t("openInstead")}`, options);

/** Open a picture or a video file, from a drop, a paste or a choice. */
export async function openFile(file) {
  if (!file.size) throw told("emptyFile", { name: file.name });
  const ways = isVideo(file) ? [openVideo] : file.type.startsWith("image/") ? [openPicture] : [openPicture, openVideo];
  for (const way of ways) {
    const source = await way(file);
    if (source) return source;
  }
  throw await complaint(file);
}

export const isVideo = ({ type, name }) =>
  type.startsWith("video/") || (!type && /\.(mp4|m4v|mov|webm|mkv)$/i.test(name));

/** A picture of a file, or null. */
export async function openPicture(file) {
  let size, bitmap;
  try {
    // colours as they are stored, as OpenCV reads them
    const plain = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
    const whole = await createImageBitmap(file, plain);
    size = [whole.width, whole.height];
    bitmap = await shrunk(whole, LARGEST.picture);
  } catch {
    return null;
  }
  const { width, height } = bitmap;
  const element = Object.assign(document.createElement("canvas"), { id: "picture", width, height, role: "img" });
  element.setAttribute("aria-label", t("labelPicture", { name: file.name }));
  element.getContext("2d").drawImage(bitmap, 0, 0);
  const still = { size: () => size, time: () => 0, grab: () => createImageBitmap(bitmap), stop: () => bitmap.close() };
  return { kind: "picture", name: file.name, file, element, mirrored: false, ...still };
}

async function openVideo(file) {
  const url = URL.createObjectURL(file);
  const video = newVideo("labelVideo", file.name);
  const stop = () => {
    video.removeAttribute("src");
    video.load();
    URL.revokeObjectURL(url);
  };
  video.controls = true;
  video.setAttribute("controlslist", "nofullscreen"); // there it would be without boxes: the stage has its own
  video.src = url;
  try {
    await started(video);
  } catch {
    stop();
    return null;
  }
  return { ...playing("video", file.name, video, stop, () => video.currentTime), file };
}

function newVideo(label, name) {
  const video = Object.assign(document.createElement("video"), { id: "video", playsInline: true, muted: true });
  video.setAttribute("aria-label", t(label, { name }));
  return video;
}

function playing(kind, name, element, stop, time) {
  const size = () => [element.videoWidth, element.videoHeight]; // a phone that is turned changes it
  return { kind, name, element, mirrored: false, size, time, grab: () => shrunk(element, LARGEST[kind]), stop };
}

/** Resolves when the first frame is there. */
async function started(video) {
  await new Promise((resolve, reject) => {
    const once = { once: true };
    video.addEventListener("loadeddata", resolve, once);
    video.addEventListener("error", () => reject(new Error(video.error?.message || t("noPicture"))), once);
  });
  if (!video.videoWidth) throw told("noPicture");
  await video.play().catch(() => {}); // where a browser lets nothing play by itself, the controls do
}

/** A bitmap of a picture or video, its longest side at most `largest` pixels. */
export async function shrunk(image, largest) {
  const [width, height] = [image.videoWidth ?? image.width, image.videoHeight ?? image.height];
  const scale = largest / Math.max(width, height);
  if (scale >= 1) return image instanceof ImageBitmap ? image : createImageBitmap(image);
  const size = { resizeWidth: Math.round(width * scale), resizeHeight: Math.round(height * scale) };
  return createImageBitmap(image, { ...size, resizeQuality: "medium" });
}

/** Call back with each frame that a video shows, until the function that is returned is called. */
export function eachFrame(video, callback) {
  let going = true;
  let last = -1;
  const byFrame = "requestVideoFrameCallback" in video;
  const ask = () => (byFrame ? video.requestVideoFrameCallback(step) : requestAnimationFrame(step));
  function step() {
    if (!going) return;
    if (byFrame || video.currentTime !== last) callback();
    last = video.currentTime;
    ask();
  }
  ask();
  return () => (going = false);
}

/** How often something happens, a second; over the last ten times or so. */
export class Rate {
  tick() {
    const now = performance.now();
    const passed = now - (this.before ?? now);
    this.before = now;
    if (passed) this.mean = this.mean ? 0.9 * this.mean + 0.1 * passed : passed;
  }

  toString() {
    return this.mean ? (1000 / this.mean).toFixed(this.mean > 100 ? 1 : 0) : "0";
  }
}
