// All frames of a video file with their times: decoded without the player, as fast as it goes; by seeking in the player
// where the browser or the file does not allow that.

import { videoTrack } from "./formats.js";
import { LARGEST, shrunk } from "./source.js";

const STEP = 1 / 60; // seconds between two seeks, while the distance of the frames is not known

/**
 * @param {object} source a video file; see source.js.
 * @param {AbortSignal} signal ends it.
 * @yields {{time: number, bitmap: ImageBitmap}} in the order of their times, in seconds.
 */
export async function* framesOf(source, signal) {
  const decoder = await openDecoder(source.file);
  if (decoder) yield* decoded(decoder, signal);
  else yield* sought(source.element, signal);
}

/** The file's track when this browser can decode its frames, or null. */
async function openDecoder(file) {
  if (typeof VideoDecoder !== "function") return null; // only on https and localhost
  try {
    const { library, input, track } = await videoTrack(file);
    return track && (await track.canDecode()) ? { library, input, track } : null;
  } catch {
    return null;
  }
}

async function* decoded({ library, input, track }, signal) {
  const [width, height] = [await track.getDisplayWidth(), await track.getDisplayHeight()];
  const scale = Math.min(1, LARGEST.video / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.round(width * scale), Math.round(height * scale));
  const context = canvas.getContext("2d", { alpha: false });
  try {
    for await (const sample of new library.VideoSampleSink(track).samples()) {
      if (signal.aborted) return sample.close();
      sample.draw(context, 0, 0, canvas.width, canvas.height); // upright, unlike the frame itself
      const time = sample.timestamp;
      sample.close();
      yield { time, bitmap: canvas.transferToImageBitmap() };
    }
  } finally {
    input.dispose?.();
  }
}

async function* sought(video, signal) {
  const shown = { time: null, count: 0 }; // what the browser has shown last; null where it does not tell
  const watch = (_, { mediaTime }) => {
    Object.assign(shown, { time: mediaTime, count: shown.count + 1 });
    if (!signal.aborted) video.requestVideoFrameCallback(watch);
  };
  video.requestVideoFrameCallback?.(watch);
  let [step, last, next] = [STEP, -1, 0];
  // a recording of a browser may not know its duration
  while (next < video.duration && !signal.aborted && (video.duration < Infinity || next - last < 2)) {
    const time = await seek(video, next, shown);
    if (time > last) {
      if (last >= 0) step = Math.min(step, Math.max(time - last, 0.004));
      yield { time, bitmap: await shrunk(video, LARGEST.video) };
      [last, next] = [time, time + step];
    } else {
      next += step / 2;
    }
  }
}

/** Show the frame at a time; gives the frame's own time where the browser tells it. */
async function seek(video, time, shown) {
  const before = shown.count;
  await new Promise((resolve, reject) => {
    const once = { once: true };
    video.addEventListener("seeked", resolve, once);
    video.addEventListener("error", () => reject(new Error(video.error?.message)), once);
    video.currentTime = time;
  });
  // a frame that is shown already may not be told again
  for (let k = 0; k < 15 && shown.count === before; k++) await new Promise((resolve) => setTimeout(resolve, 10));
  return shown.time ?? video.currentTime;
}
