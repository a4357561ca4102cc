// Stable ids, probabilities smoothed over time, labels that do not flicker: mien.track.Tracker once more, which says why.

const JITTER = 0.05; // standard deviation of a detector's centre and size, as a share of the face's side
const SPEED = 1.5; // of a face just found, standard deviation, in sides a second
const AGILITY = 2.0; // how fast that speed may change: sides a second, after one second
const REACH = 1.0; // how far from its expected place a face may be, in sides
const RATIO = 1.8; // a face this many times larger or smaller is another one
const INTERVALS = 5; // a track outlives LOOKS times the median of the last INTERVALS between updates
const LOOKS = 2;
const APART = 3.0; // cost of leaving a face and a track apart

export const WEAK = 0.05; // how far a face of poor quality counts as below the threshold, in probability

/** Follows the faces of one camera or video. Ids count from 1 and are never used again. */
export class Tracker {
  /**
   * @param {{uncertainBelow: number, halfLife?: number, maxAge?: number, margin?: number, hold?: number}} settings
   *   uncertainBelow: the model's threshold, 0..1; halfLife: seconds after which a frame counts half as much, 0 does
   *   not smooth; maxAge: seconds that a track outlives its last face; margin: lead with which another label takes
   *   over at once; hold: seconds after which a smaller lead does too.
   */
  constructor({ uncertainBelow, halfLife = 0.25, maxAge = 1, margin = 0.15, hold = 1 }) {
    Object.assign(this, { uncertainBelow, halfLife, maxAge, margin, hold });
    this.tracks = [];
    this.time = null;
    this.intervals = [];
    this.next = 1;
  }

  /** Ids of the tracks that have not ended, seen in the last frame or not. */
  get alive() {
    return new Set(this.tracks.map((track) => track.id));
  }

  /** End all tracks, as at a cut: the next faces get new ids. */
  endTracks() {
    this.tracks = [];
  }

  /** Seconds that a track outlives its last face at the present rate of updates. */
  get patience() {
    const sorted = this.intervals.toSorted((a, b) => a - b);
    return sorted.length ? Math.max(this.maxAge, LOOKS * sorted[(sorted.length - 1) >> 1]) : this.maxAge;
  }

  /**
   * Take in one frame.
   *
   * @param {{box: number[], probabilities: number[], weaknesses?: string[]}[]} faces in any order.
   * @param {number} time of the frame in seconds, on any clock.
   * @returns the same faces with `id`, smoothed `probabilities`, `label` (an index) and `uncertain`.
   */
  update(faces, time) {
    let passed = this.time === null ? 0 : time - this.time;
    if (this.time !== null && passed >= 0) this.intervals = [...this.intervals, passed].slice(-INTERVALS);
    if (passed < -this.maxAge) this.tracks = [];
    passed = Math.max(passed, 0);
    this.time = time;
    for (const track of this.tracks) track.wait(passed);
    const patience = this.patience;
    this.tracks = this.tracks.filter((track) => track.unseen <= patience);
    const places = faces.map(place);
    const owners = this.owners(places);
    return faces.map((face, k) => {
      let track = owners[k];
      if (track) {
        track.move(places[k]);
      } else {
        track = new Track(this.next++, places[k]);
        this.tracks.push(track);
      }
      track.look(face, this);
      const { id, mean, label, unsure } = track;
      const shown = unsure.value ? mean.indexOf(Math.max(...mean)) : label.value;
      return { ...face, id, probabilities: [...mean], label: shown, uncertain: unsure.value };
    });
  }

  /** The track of each place, or undefined for a new face. */
  owners(places) {
    if (!places.length || !this.tracks.length) return [];
    const scale = this.maxAge ? Math.max(this.patience / this.maxAge, 1) : 1;
    const costs = places.map((each) => this.tracks.map((track) => cost(each, track.position, track.unseen / scale)));
    return assign(costs).map((column, row) =>
      column >= 0 && costs[row][column] < APART ? this.tracks[column] : undefined,
    );
  }
}

/**
 * Pair rows with columns so that the sum of costs is least (the Hungarian method with shortest augmenting paths).
 *
 * @param {number[][]} costs at least one row and one column.
 * @returns {number[]} the column of each row, or -1 for the rows left over.
 */
export function assign(costs) {
  const [rows, columns] = [costs.length, costs[0].length];
  if (rows > columns) {
    const back = assign(costs[0].map((_, column) => costs.map((row) => row[column])));
    return costs.map((_, row) => back.indexOf(row));
  }
  const rowPotential = new Array(rows).fill(0);
  const potential = new Array(columns + 1).fill(0);
  const owner = new Array(columns + 1).fill(-1); // the row of each column; the last stands for the row being placed
  for (let row = 0; row < rows; row++) {
    owner[columns] = row;
    let at = columns;
    const least = new Array(columns).fill(Infinity);
    const came = new Array(columns).fill(columns);
    const done = new Array(columns + 1).fill(false);
    while (owner[at] >= 0) {
      done[at] = true;
      let following = -1;
      for (let c = 0; c < columns; c++) {
        if (done[c]) continue;
        const reduced = costs[owner[at]][c] - rowPotential[owner[at]] - potential[c];
        if (reduced < least[c]) [least[c], came[c]] = [reduced, at];
        if (following < 0 || least[c] < least[following]) following = c;
      }
      const step = least[following];
      for (let c = 0; c <= columns; c++) {
        if (done[c]) {
          rowPotential[owner[c]] += step;
          potential[c] -= step;
        } else if (c < columns) {
          least[c] -= step;
        }
      }
      at = following;
    }
    for (; at !== columns; at = came[at]) owner[at] = owner[came[at]]; // turn the path around
  }
  return costs.map((_, row) => owner.slice(0, columns).indexOf(row));
}

/** A value that gives way only to a clear or a lasting rival. */
class Choice {
  constructor(value) {
    this.value = this.rival = value;
    this.since = 0;
  }

  hear(rival, lead, passed, { margin, hold }) {
    this.since = rival === this.rival ? this.since + passed : 0;
    this.rival = rival;
    if (lead >= margin || this.since >= hold) this.value = rival;
  }
}

/** One face over time. Where it is: a Kalman filter with constant velocity, whose unit of length is the face's side. */
class Track {
  constructor(id, place) {
    this.id = id;
    this.unseen = 0; // seconds since the last face
    this.position = [...place];
    this.speed = [0, 0, 0, 0];
    this.spread = [JITTER ** 2, 0, SPEED ** 2]; // covariance: of a value, of value and change, of its change
    this.unread = 0; // seconds since the last probabilities
    this.last = null;
  }

  wait(passed) {
    this.unseen += passed;
    this.unread += passed;
    const [a, b, c] = this.spread;
    const noise = AGILITY ** 2;
    this.position = this.position.map((value, k) => value + this.speed[k] * passed);
    this.spread = [
      a + 2 * b * passed + c * passed ** 2 + (noise * passed ** 3) / 3,
      b + c * passed + (noise * passed ** 2) / 2,
      c + noise * passed,
    ];
  }

  move(place) {
    this.unseen = 0;
    const [a, b, c] = this.spread;
    const gain = [a / (a + JITTER ** 2), b / (a + JITTER ** 2)];
    const off = place.map((value, k) => value - this.position[k]);
    this.position = this.position.map((value, k) => value + gain[0] * off[k]);
    // sizes change slowly: their speed would be mostly noise
    this.speed = this.speed.map((value, k) => (k < 2 ? value + gain[1] * off[k] : 0));
    this.spread = [a - gain[0] * a, b - gain[0] * b, c - gain[1] * b];
  }

  /** The mean of a signal that runs straight from frame to frame, seen through an exponential window. */
  look({ probabilities, weaknesses }, settings) {
    const fresh = this.last === null;
    const passed = this.unread;
    this.unread = 0;
    if (fresh || !settings.halfLife) {
      this.mean = [...probabilities];
    } else {
      const age = (passed / settings.halfLife) * Math.LN2;
      const kept = Math.exp(-age);
      const share = age ? -Math.expm1(-age) / age : 1;
      this.mean = this.mean.map(
        (mean, k) => kept * mean + (1 - share) * probabilities[k] + (share - kept) * this.last[k],
      );
    }
    this.last = probabilities;
    const top = this.mean.indexOf(Math.max(...this.mean));
    // a poor face is not uncertain at once, or one at a limit would flicker
    const short = Math.max(settings.uncertainBelow - this.mean[top], weaknesses?.length ? WEAK : -Infinity);
    if (fresh) [this.label, this.unsure] = [new Choice(top), new Choice(short > 0)];
    this.label.hear(top, this.mean[top] - this.mean[this.label.value], passed, settings);
    // twice, because a label that loses p to another one changes their distance by 2 p
    this.unsure.hear(short > 0, 2 * Math.abs(short), passed, settings);
  }
}

/** Centre (px) and logarithms of width and height (px). */
function place({ box: [x1, y1, x2, y2] }) {
  return [(x1 + x2) / 2, (y1 + y2) / 2, Math.log(Math.max(x2 - x1, 1)), Math.log(Math.max(y2 - y1, 1))];
}

/** How badly a face fits a track: overlap, distance, size; APART where not at all. */
function cost(a, b, unseen) {
  const sides = [a, b].map((each) => [Math.exp(each[2]), Math.exp(each[3])]);
  const areas = sides.map(([w, h]) => w * h);
  const off = [Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1])];
  const common = [0, 1]
    .map((k) => Math.max(Math.min((sides[0][k] + sides[1][k]) / 2 - off[k], sides[0][k], sides[1][k]), 0))
    .reduce((product, side) => product * side);
  const overlap = common / (areas[0] + areas[1] - common);
  const distance = Math.hypot(...off) / Math.sqrt(Math.sqrt(areas[0] * areas[1]));
  const growth = (Math.abs(a[2] - b[2]) + Math.abs(a[3] - b[3])) / 2;
  const fits = distance < REACH && growth < Math.log(RATIO);
  return fits ? Math.min(1 - overlap + distance + growth + unseen, APART) : APART; // in doubt for the track seen last
}
