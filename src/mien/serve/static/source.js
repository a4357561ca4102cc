// Where pictures come from: a camera, a video file or a picture.
//
// A source is {kind: "camera" | "video" | "picture", name, mirrored, size(), time(), grab(), stop()}: size is [width,
// height] in pixels, time in seconds; `grab` gives an ImageBitmap of the present frame, which may be smaller than that.
// What goes wrong is an Error whose message is meant for a person.

const LARGEST = { camera: 1920, video: 1920, picture: 4096 }; // longest side in pixels; more costs time and memory
const KINDS = "Use a JPEG, PNG, WebP or GIF picture, or an MP4 or WebM video.";
const INSTEAD = "You can open a picture or a video instead.";

/**
 * Start a camera.
 *
 * @param {HTMLVideoElement} video shows it.
 * @param {string} device id of the camera, or "" for the one that looks at the person.
 * @param {() => boolean} wanted whether it still is, once the person has answered the browser's question.
 * @param {() => void} ended called when it stops by itself.
 */
export async function openCamera(video, device, wanted, ended) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error(
      `Browsers give a camera only to pages from https or from this very computer (localhost). ${INSTEAD}`,
    );
  }
  const size = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
  const which = device ? { deviceId: { exact: device } } : { facingMode: "user" };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { ...size, ...which } });
  } catch (error) {
    throw new Error(cameraWords(error), { cause: error });
  }
  const [track] = stream.getVideoTracks();
  const stop = () => {
    track.stop();
    if (video.srcObject === stream) video.srcObject = null;
  };
  if (!wanted()) return { stop };
  track.addEventListener("ended", ended);
  video.controls = false;
  video.srcObject = stream;
  try {
    await started(video);
  } catch (error) {
    stop();
    throw new Error(`The camera gives no picture (${error.message}). ${INSTEAD}`);
  }
  const { deviceId = "", facingMode } = track.getSettings();
  const start = performance.now();
  const source = playing("camera", track.label || "camera", video, stop, () => (performance.now() - start) / 1000);
  return { ...source, device: deviceId, mirrored: facingMode !== "environment" };
}

function cameraWords({ name, message }) {
  const words = {
    NotAllowedError: `The camera was not allowed. Allow it for this page in the browser's settings (often a sign in the address bar), then press “Start camera” again.`,
    NotFoundError: `No camera was found. Connect one and press “Start camera” again.`,
    NotReadableError: `The camera is in use by another program, or it does not answer. Close the other program and try again.`,
    OverconstrainedError: `That camera is no longer there. Press “Start camera” again to use another one.`,
    SecurityError: `The browser's settings keep this page from using a camera.`,
  };
  return `${words[name] ?? `The camera could not be started (${message || name}).`} ${INSTEAD}`;
}

/**
 * Open a picture or a video file.
 *
 * @param {HTMLVideoElement} video shows a video.
 * @param {HTMLCanvasElement} canvas shows a picture.
 * @param {File} file from a drop, a paste or a choice.
 */
export async function openFile(video, canvas, file) {
  if (!file.size) throw new Error(`${file.name} is empty. ${KINDS}`);
  const ways = file.type.startsWith("video/")
    ? [openVideo]
    : file.type.startsWith("image/")
      ? [openPicture]
      : [openPicture, openVideo];
  for (const way of ways) {
    const source = await way(file, video, canvas);
    if (source) return source;
  }
  throw new Error(`${file.name} is neither a picture nor a video that this browser can open. ${KINDS}`);
}

async function openPicture(file, _, canvas) {
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
  Object.assign(canvas, { width: bitmap.width, height: bitmap.height }).getContext("2d").drawImage(bitmap, 0, 0);
  const still = { size: () => size, time: () => 0, grab: () => createImageBitmap(bitmap), stop: () => bitmap.close() };
  return { kind: "picture", name: file.name, mirrored: false, ...still };
}

async function openVideo(file, video) {
  const url = URL.createObjectURL(file);
  const stop = () => {
    if (video.src === url) {
      video.removeAttribute("src");
      video.load();
    }
    URL.revokeObjectURL(url);
  };
  video.controls = true;
  video.src = url;
  try {
    await started(video);
  } catch {
    stop();
    return null;
  }
  return playing("video", file.name, video, stop, () => video.currentTime);
}

function playing(kind, name, video, stop, time) {
  const size = () => [video.videoWidth, video.videoHeight]; // a phone that is turned changes it
  return { kind, name, mirrored: false, size, time, grab: () => shrunk(video, LARGEST[kind]), stop };
}

/** Resolves when the first frame is there. */
async function started(video) {
  await new Promise((resolve, reject) => {
    const once = { once: true };
    video.addEventListener("loadeddata", resolve, once);
    video.addEventListener("error", () => reject(new Error(video.error?.message || "no picture")), once);
  });
  if (!video.videoWidth) throw new Error("it has no picture");
  await video.play().catch(() => {}); // where a browser lets nothing play by itself, the controls do
}

async function shrunk(image, largest) {
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
