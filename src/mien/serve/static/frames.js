// All frames of a video file with their times: decoded without the player, as fast as it goes; by seeking in the player
// where the browser or the file does not allow that.

import { videoTrack } from "./formats.js";
import { LARGEST, shrunk } from "./source.js";

const STEP = 1 / 60; // seconds between two seeks, while nothing is known of the frames' times

/**
 * @param {object} source a video file; see source.js.
 * @param {AbortSignal} signal ends it.
 * @yields {{time: number, bitmap: ImageBitmap}} in the order of their times, in seconds.
 */
export async function* framesOf(source, signal) {
  const opened = await videoTrack(source.file).catch(() => null);
  if (!opened?.track) return yield* sought(source.element, signal);
  try {
    // a decoder is there only on https and localhost
    if (typeof VideoDecoder === "function" && (await opened.track.canDecode())) yield* decoded(opened, signal);
    else yield* soughtAt(source.element, await timesOf(opened), signal);
  } finally {
    opened.input.dispose?.();
  }
}

/** The times of a track's frames, in order. */
async function timesOf({ library, track }) {
  const times = [];
  const packets = new library.EncodedPacketSink(track).packets(undefined, undefined, { metadataOnly: true });
  for await (const { timestamp } of packets) if (timestamp >= 0) times.push(timestamp);
  return times.sort((a, b) => a - b);
}

async function* decoded({ library, track }, signal) {
  const [width, height] = [await track.getDisplayWidth(), await track.getDisplayHeight()];
  const scale = Math.min(1, LARGEST.video / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.round(width * scale), Math.round(height * scale));
  const context = canvas.getContext("2d", { alpha: false });
  for await (const sample of new library.VideoSampleSink(track).samples()) {
    if (signal.aborted) return sample.close();
    sample.draw(context, 0, 0, canvas.width, canvas.height); // upright, unlike the frame itself
    const time = sample.timestamp;
    sample.close();
    yield { time, bitmap: canvas.transferToImageBitmap() };
  }
}

/** The frames at known times: browsers do not agree on which time a frame has that they have sought. */
async function* soughtAt(video, times, signal) {
  for (const [k, time] of times.entries()) {
    if (signal.aborted) return;
    const next = times[k + 1] ?? (k ? 2 * time - times[k - 1] : time);
    await seek(video, (time + next) / 2); // the middle, so that no rounding gives a neighbour
    yield { time, bitmap: await shrunk(video, LARGEST.video) };
  }
}

/** The frames of a file whose container cannot be read, found by small steps. */
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
    const before = shown.count;
    await seek(video, next);
    // a frame that is shown already may not be told again
    for (let k = 0; k < 15 && shown.count === before; k++) await new Promise((resolve) => setTimeout(resolve, 10));
    const time = shown.time ?? video.currentTime;
    if (time > last) {
      if (last >= 0) step = Math.min(step, Math.max(time - last, 0.004));
      yield { time, bitmap: await shrunk(video, LARGEST.video) };
      [last, next] = [time, time + step];
    } else {
      next += step / 2;
    }
  }
}

/** Show the frame at a time. */
function seek(video, time) {
  return new Promise((resolve, reject) => {
    const once = { once: true };
    video.addEventListener("seeked", resolve, once);
    video.addEventListener("error", () => reject(new Error(video.error?.message)), once);
    video.currentTime = time;
  });
}
