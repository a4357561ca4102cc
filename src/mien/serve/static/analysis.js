// Analyses every frame of a video file, faster or slower than it plays.

import { framesOf } from "./frames.js";
import { judged } from "./labels.js";
import { shownQuality } from "./record.js";
import { settings } from "./settings.js";
import { ShotsAhead, thumbnail } from "./shots.js";
import { smoothed } from "./smooth.js";
import { people } from "./summary.js";
import { Tracker } from "./track.js";

const AHEAD = 2; // frames that are decoded while the worker is busy

/**
 * @param {object} source a video file; see source.js.
 * @param {{engine: object, series: number, model: {labels: string[], uncertainBelow: number}}} given
 * @param {(state: {frames: number, time: number, bitmap: ImageBitmap, faces: object[], size: number[]}) => void} progress
 *   called for each frame, before its bitmap goes, and again with its faces, not yet followed.
 * @param {AbortSignal} signal ends it.
 * @returns {Promise<Analysis | null>} null when it was ended.
 */
export async function analyse(source, { engine, series, model }, progress, signal) {
  const { uncertainBelow } = model;
  const tracker = new Tracker({ uncertainBelow, halfLife: 0 });
  const shots = new ShotsAhead();
  const frames = [];
  const crops = new Map(); // id -> {score, crop}
  const waiting = [];
  let size = [1, 1];
  let count = 0;

  async function take() {
    const { time, answer } = waiting.shift();
    const { faces, width, height, planes } = await answer;
    size = [width, height];
    follow(shots.add(thumbnail(planes, time), { time, faces }));
    const shown = faces.map((face) => judged({ ...face, id: null }, uncertainBelow));
    progress({ frames: ++count, time, faces: shown, size });
  }

  /** Follow the faces of frames whose shots are known; a new shot ends all tracks. */
  function follow(numbered) {
    for (const [{ time, faces }, shot] of numbered) {
      if (frames.length && shot !== frames.at(-1).shot) tracker.endTracks();
      const followed = tracker.update(faces, time);
      for (const { id, crop, box, score } of followed) {
        const worth = score * (box[2] - box[0]);
        if (!(crops.get(id)?.worth >= worth)) crops.set(id, { worth, crop });
      }
      frames.push({ time, shot, faces: followed.map(kept) });
    }
  }

  for await (const { time, bitmap } of framesOf(source, signal)) {
    if (signal.aborted) {
      bitmap.close();
      break;
    }
    progress({ frames: count, time, bitmap, size });
    const answer = engine.look({ series, bitmap, live: true });
    answer.catch(() => {}); // it is told when its turn comes
    waiting.push({ time, answer });
    if (waiting.length >= AHEAD) await take();
  }
  while (waiting.length && !signal.aborted) await take();
  await Promise.allSettled(waiting.map(({ answer }) => answer));
  follow(shots.finish());
  return signal.aborted ? null : new Analysis(source, model, frames, crops, size);
}

/** What is kept of a face. */
const kept = ({ id, box, score, probabilities, quality, weaknesses }) => {
  return { id, box, score, probabilities, quality, weaknesses };
};

/** All faces of a video, smoothed over their whole tracks. */
class Analysis {
  constructor(source, model, frames, crops, size) {
    const { labels } = model;
    Object.assign(this, { model, labels, size, name: source.name, crops, raw: frames });
    const { duration } = source.element; // Infinity in recordings of browsers
    this.duration = Math.max(Number.isFinite(duration) ? duration : 0, frames.at(-1)?.time ?? 0, 0.001);
    this.cuts = frames.filter(({ shot }, k) => k && shot !== frames[k - 1].shot).map(({ time }) => time);
    this.judge(model.uncertainBelow);
  }

  /** Smooth and name what was seen, with a threshold. */
  judge(uncertainBelow) {
    this.frames = smoothed(this.raw, { uncertainBelow, halfLife: settings.smoothing });
    this.people = people(this.frames, this.labels.length);
  }

  /** The faces that are shown at a time, the largest first. */
  at(time) {
    let [low, high] = [0, this.frames.length]; // the last frame that begins before or at the time
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.frames[middle].time <= time + 1e-3) low = middle + 1;
      else high = middle;
    }
    const [width, height] = this.size;
    const faces = (this.frames[low - 1] ?? this.frames[0])?.faces ?? [];
    return { faces: faces.map((face) => ({ ...face, crop: this.crops.get(face.id).crop })), width, height, time };
  }

  /** What is saved as JSON. */
  data(scale) {
    const named = (values, more = {}) =>
      Object.fromEntries([...this.labels.map((label, k) => [label, round(values[k])]), ...Object.entries(more)]);
    const { labels } = this;
    return {
      name: this.name,
      duration: round(this.duration),
      model: this.model.name,
      people: this.people.map(({ id, first, last, seconds, frames, share, mean, changes, longest }) => ({
        id,
        first: round(first),
        last: round(last),
        seconds: round(seconds),
        frames,
        share: named(share, { uncertain: round(share[labels.length]) }),
        mean: named(mean),
        changes,
        longest: longest && { emotion: labels[longest.label], from: round(longest.from), to: round(longest.to) },
      })),
      frames: this.frames.map(({ time, shot, faces }) => ({
        time: round(time),
        shot,
        faces: faces.map(({ id, box, score, label, uncertain, probabilities, quality, weaknesses }) => ({
          id,
          box: box.map((value) => Math.round(value * scale * 10) / 10),
          score: round(score),
          emotion: labels[label],
          uncertain,
          probabilities: named(probabilities),
          quality: shownQuality(quality, scale),
          weaknesses,
        })),
      })),
    };
  }
}

const round = (value) => Math.round(value * 1e4) / 1e4;
