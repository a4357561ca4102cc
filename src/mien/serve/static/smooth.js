// Smoothing of a whole track: the future counts as much as the past, so labels change when the face does, not later.

const [MARGIN, HOLD] = [0.15, 1]; // lead, or seconds, after which another label counts; as in track.js

/**
 * @param {{time: number, faces: object[]}[]} frames with faces that have id and unsmoothed probabilities.
 * @param {{uncertainBelow: number, halfLife: number}} settings halfLife in seconds; 0 does not smooth.
 * @returns the same frames; faces have smoothed probabilities, `label` (an index) and `uncertain`.
 */
export function smoothed(frames, { uncertainBelow, halfLife }) {
  const tracks = new Map();
  frames.forEach(({ time, faces }, frame) =>
    faces.forEach(({ id, probabilities }, place) => {
      if (!tracks.has(id)) tracks.set(id, []);
      tracks.get(id).push({ frame, place, time, probabilities });
    }),
  );
  const result = frames.map(({ time, faces }) => ({ time, faces: faces.map((face) => ({ ...face })) }));
  for (const track of tracks.values()) {
    const times = track.map(({ time }) => time);
    const means = bothWays(track, halfLife);
    const tops = means.map((mean) => mean.indexOf(Math.max(...mean)));
    const labels = settled(times, tops, (k, held) => means[k][tops[k]] - means[k][held]);
    const short = means.map((mean, k) => uncertainBelow - mean[tops[k]]);
    const doubts = settled(times, short.map((each) => each > 0), (k) => 2 * Math.abs(short[k]));
    track.forEach(({ frame, place }, k) =>
      Object.assign(result[frame].faces[place], { probabilities: means[k], label: labels[k], uncertain: doubts[k] }),
    );
  }
  return result;
}

/** The mean of an exponential window into the past and one into the future. */
function bothWays(track, halfLife) {
  if (!halfLife) return track.map(({ probabilities }) => probabilities);
  const past = oneWay(track, halfLife);
  const future = oneWay([...track].reverse(), halfLife).reverse();
  return past.map((mean, k) => mean.map((value, n) => (value + future[k][n]) / 2));
}

/** As in track.js: the signal runs straight from frame to frame. */
function oneWay(track, halfLife) {
  let [mean, last] = [null, null];
  return track.map(({ time, probabilities }) => {
    if (!mean) mean = [...probabilities];
    else {
      const age = (Math.abs(time - last.time) / halfLife) * Math.LN2;
      const kept = Math.exp(-age);
      const share = age ? -Math.expm1(-age) / age : 1;
      mean = mean.map((m, n) => kept * m + (1 - share) * probabilities[n] + (share - kept) * last.probabilities[n]);
    }
    last = { time, probabilities };
    return mean;
  });
}

/**
 * Values that do not flicker: a run of another value counts, from its first frame, when it leads clearly somewhere or
 * lasts; else what was there before goes on.
 */
function settled(times, values, lead) {
  const shown = [];
  for (let from = 0; from < values.length; ) {
    let to = from + 1;
    while (to < values.length && values[to] === values[from]) to++;
    const held = shown[from - 1];
    const lasts = times[Math.min(to, times.length - 1)] - times[from] >= HOLD;
    let counts = from === 0 || lasts || values[from] === held;
    for (let k = from; k < to && !counts; k++) counts = lead(k, held) >= MARGIN;
    for (; from < to; from++) shown.push(counts ? values[from] : held);
  }
  return shown;
}
