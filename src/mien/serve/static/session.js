// Analyses the frames of one source and follows its faces.

import { judged } from "./labels.js";
import { Table } from "./record.js";
import { settings } from "./settings.js";
import { ShotDetector, thumbnail } from "./shots.js";
import { Rate, eachFrame } from "./source.js";
import { Tracker } from "./track.js";

let last = 0; // number of the source that was opened last, and of its model

export class Session {
  /**
   * @param {object} source see source.js. @param {(session: Session) => void} seen called after each answer.
   * @param {(error: Error) => void} failed called when a frame could not be analysed.
   */
  constructor(source, seen, failed) {
    Object.assign(this, { source, onSeen: seen, onFailed: failed });
    this.moving = source.kind !== "picture";
    this.seen = { faces: [], width: 1, height: 1, time: 0 };
    this.busy = false;
    this.wanted = false; // a frame came while the worker was busy
    this.held = false; // nothing is analysed meanwhile
    this.replay = null; // shows what is known of a time already
    this.ended = false;
    [this.came, this.analysed] = [new Rate(), new Rate()];
    this.unwatch = () => {};
    if (!this.moving) return;
    source.element.onseeked = () => this.look();
    this.unwatch = eachFrame(source.element, () => {
      this.came.tick();
      this.look();
    });
  }

  /** Begin to analyse with an engine and a model, {labels, uncertainBelow}; what was seen before is forgotten. */
  attach(engine, model) {
    const { uncertainBelow } = model;
    Object.assign(this, { engine, model, series: ++last, raw: null });
    this.tracker = new Tracker({ uncertainBelow, halfLife: settings.smoothing });
    this.shots = new ShotDetector();
    this.table = new Table(model.labels);
    this.look();
  }

  /** Use another threshold from now on; for a picture also for what was seen. */
  judge(uncertainBelow) {
    this.model = { ...this.model, uncertainBelow };
    if (this.tracker) this.tracker.uncertainBelow = uncertainBelow;
    if (this.raw) this.take(this.raw, 0);
    else this.look();
  }

  stop() {
    this.ended = true;
    this.unwatch();
    this.source.stop();
  }

  get alive() {
    return this.moving && this.tracker ? this.tracker.alive : new Set();
  }

  /** Send the present frame to the worker, at once or when it is free again: so it always gets the latest one. */
  async look() {
    if (this.replay) return this.replay(this.source.time());
    this.wanted = true;
    if (this.busy || this.held || this.ended || !this.engine) return;
    [this.busy, this.wanted] = [true, false];
    const { engine, series, source } = this;
    const time = source.time();
    try {
      const bitmap = await source.grab().catch(() => null); // null: no frame yet
      if (!bitmap) return;
      if (this.ended) return bitmap.close();
      const answer = await engine.look({ series, bitmap, live: this.moving });
      if (this.ended || this.held || series !== this.series) return;
      this.analysed.tick();
      this.take(answer, time);
    } catch (error) {
      if (!this.ended) this.onFailed(error);
    } finally {
      this.busy = false;
      if (this.wanted) this.look();
    }
  }

  take({ faces, width, height, planes }, time) {
    const { model, source } = this;
    let shot = "";
    if (this.moving) {
      const before = this.shots.shot;
      // a camera has no cuts, only people who move fast
      shot = source.kind === "camera" ? before : this.shots.update(thumbnail(planes, time));
      if (shot !== before) this.tracker.endTracks();
      faces = this.tracker.update(faces, time);
    } else {
      this.raw = { faces, width, height };
      faces = faces.map((face) => judged({ ...face, id: null }, model.uncertainBelow));
      this.table.clear();
    }
    this.seen = { faces, width, height, time };
    this.table.add(source.name, { time, shot, faces }, source.size()[0] / width);
    this.onSeen(this);
  }
}
