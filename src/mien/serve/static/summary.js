// What each person of a video showed, in numbers: the figures of mien.sinks.timeline, and the longest stretch.

export const PAUSE = 1; // seconds that a frame stands for at most: in a longer gap nobody was seen

/**
 * @param {{time: number, faces: object[]}[]} frames in the order of their times; faces have id, probabilities, label and
 *   uncertain. @param {number} classes
 * @returns {object[]} a person each, the one seen longest first: id, first, last and seconds seen, frames; `share` of the
 *   time of each label and, at the end, of doubt; `mean` probabilities; `changes` from one label to another; `longest`,
 *   {label, from, to}, the longest time with one label, or null; `moments`, {time, end, probabilities, label, uncertain}.
 */
export function people(frames, classes) {
  const found = new Map();
  frames.forEach(({ time, faces }, k) => {
    // the last frame lasts as long as the one before
    const following = frames[k + 1]?.time ?? time + (k ? time - frames[k - 1].time : 0);
    const end = Math.min(following, time + PAUSE);
    for (const { id, probabilities, label, uncertain } of faces) {
      if (!found.has(id)) found.set(id, []);
      found.get(id).push({ time, end, probabilities, label, uncertain });
    }
  });
  const all = [...found].map(([id, moments]) => person(id, moments, classes));
  return all.sort((a, b) => b.seconds - a.seconds || a.id - b.id);
}

function person(id, moments, classes) {
  const [share, mean] = [new Array(classes + 1).fill(0), new Array(classes).fill(0)];
  let [seconds, changes, shown] = [0, 0, -1];
  let [longest, stretch] = [null, null];
  for (const { time, end, probabilities, label, uncertain } of moments) {
    const lasted = end - time;
    seconds += lasted;
    share[uncertain ? classes : label] += lasted;
    probabilities.forEach((p, k) => (mean[k] += p * lasted));
    if (!uncertain) {
      if (shown >= 0 && label !== shown) changes++;
      shown = label;
    }
    if (stretch && stretch.label === label && !uncertain && time - stretch.to < 1e-6) stretch.to = end;
    else stretch = uncertain ? null : { label, from: time, to: end };
    if (stretch && (!longest || stretch.to - stretch.from > longest.to - longest.from)) longest = stretch;
  }
  const part = (value) => (seconds ? value / seconds : 0);
  return {
    id,
    moments,
    first: moments[0].time,
    last: moments.at(-1).end,
    frames: moments.length,
    seconds,
    share: share.map(part),
    mean: mean.map(part),
    changes,
    longest: longest && { ...longest },
  };
}
