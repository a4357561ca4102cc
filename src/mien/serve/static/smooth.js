// Smoothing of a whole track, as mien.faces.zero_lag does it: the future counts as much as the past, so labels change when
// the face does, not later.

import { WEAK } from "./track.js";

const [REACH, LONGEST] = [5, 3]; // half-lives and seconds to which the window reaches on either side
const COST = 0.55 * 0.15 * 1; // of a change of label, in lead x seconds
const DOUBT = 1.25; // the cost of a change of `uncertain`, by that of a change of label
const PAUSE = 0.5; // seconds for which a moment stands at most

/**
 * @param {{time: number, faces: object[]}[]} frames with faces that have id, unsmoothed probabilities and weaknesses.
 * @param {{uncertainBelow: number, halfLife: number}} settings halfLife in seconds; 0 does not smooth.
 * @returns the same frames; faces have smoothed probabilities, `label` (an index) and `uncertain`.
 */
export function smoothed(frames, { uncertainBelow, halfLife }) {
  const tracks = new Map();
  frames.forEach(({ time, faces }, frame) =>
    faces.forEach(({ id, probabilities, weaknesses }, place) => {
      if (!tracks.has(id)) tracks.set(id, []);
      tracks.get(id).push({ frame, place, time, probabilities, weak: weaknesses?.length ? WEAK : -1 });
    }),
  );
  const result = frames.map(({ faces, ...frame }) => ({ ...frame, faces: faces.map((face) => ({ ...face })) }));
  for (const track of tracks.values()) {
    const times = track.map(({ time }) => time);
    const rows = track.map(({ probabilities }) => probabilities);
    const means = halfLife && rows.length > 1 ? windowed(times, rows, halfLife) : rows;
    const durations = times.map((time, k) => Math.min((times[k + 1] ?? time) - time, PAUSE));
    const tops = means.map((mean) => mean.indexOf(Math.max(...mean)));
    const labels = bestPath(means, durations, COST);
    // twice, because a label that loses p to another one changes their distance by 2 p
    const doubts = bestPath(
      means.map((mean, k) => [0, 2 * Math.max(uncertainBelow - mean[tops[k]], track[k].weak)]),
      durations,
      DOUBT * COST,
    );
    track.forEach(({ frame, place }, k) => {
      const uncertain = doubts[k] === 1;
      const label = uncertain ? tops[k] : labels[k];
      Object.assign(result[frame].faces[place], { probabilities: means[k], label, uncertain });
    });
  }
  return result;
}

/** The mean of each moment in a window that falls by half in `halfLife` seconds on both sides. */
function windowed(times, rows, halfLife) {
  const reach = Math.min(REACH * halfLife, LONGEST);
  const steps = times.map((time, k) => Math.min((times[k + 1] ?? time) - time, halfLife / 2));
  const lengths = steps.map((step, k) => 1e-9 + (step + (steps[k - 1] ?? 0)) / 2); // of time, for which a moment stands
  let first = 0;
  return times.map((time) => {
    while (time - times[first] > reach) first++;
    const mean = new Array(rows[0].length).fill(0);
    let sum = 0;
    for (let k = first; k < times.length && times[k] - time <= reach; k++) {
      const weight = 2 ** (-Math.abs(times[k] - time) / halfLife) * lengths[k];
      sum += weight;
      rows[k].forEach((p, n) => (mean[n] += weight * p));
    }
    return mean.map((value) => value / sum);
  });
}

/**
 * The columns with the highest sum of value x duration less a cost for each change (Viterbi 1967), one a row: a short or
 * small lead changes nothing, and a lasting one counts from its start.
 */
function bestPath(values, durations, cost) {
  const best = (row) => row.indexOf(Math.max(...row));
  let total = values[0].map(() => 0);
  const came = values.map((row, k) => {
    const top = best(total);
    const stay = total.map((value) => value >= total[top] - cost);
    const lasts = k < values.length - 1 ? durations[k] : durations[k] || 1e-9;
    total = total.map((value, n) => (stay[n] ? value : total[top] - cost) + row[n] * lasts);
    return stay.map((stays, n) => (stays ? n : top));
  });
  let column = best(total);
  const path = [column];
  for (let k = came.length - 1; k > 0; k--) path.push((column = came[k][column]));
  return path.reverse();
}
