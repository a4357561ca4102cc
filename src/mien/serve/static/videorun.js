// Analyse video: the run over all frames with its progress, then the report and the boxes while the video plays.

import { analyse } from "./analysis.js";
import { clock, inSeconds } from "./numbers.js";
import { alarm, announce, say } from "./notices.js";
import { save } from "./record.js";
import { Report } from "./report.js";
import { count, t, told } from "./words.js";

const $ = (id) => document.getElementById(id);
const PAUSE = 120; // milliseconds between two pictures of the progress

export class VideoRun {
  /**
   * @param {{stage, show, changed}} page `show` shows {faces, width, height}, `changed` is called
   *   when a run begins or ends.
   */
  constructor(page) {
    Object.assign(this, { page, session: null, stopper: null, analysis: null });
    const ids = {
      section: "report",
      headline: "report-headline",
      legend: "legend",
      persons: "persons",
      brief: "brief",
    };
    const parts = Object.fromEntries(Object.entries(ids).map(([name, id]) => [name, $(id)]));
    this.report = new Report(parts, (time) => (this.session.source.element.currentTime = time));
    const kinds = { csv: "text/csv", json: "application/json", svg: "image/svg+xml" };
    for (const [suffix, type] of Object.entries(kinds)) {
      $(`save-${suffix}`).onclick = () => {
        const text = suffix === "svg" ? this.report.svg() : this.report[suffix](this.scale);
        announce(t("saved", { name: save(new Blob([text], { type }), suffix) }));
      };
    }
  }

  get running() {
    return Boolean(this.stopper);
  }

  get done() {
    return Boolean(this.analysis);
  }

  /** From the pixels of the analysed frames to the video's. */
  get scale() {
    return this.session.source.size()[0] / this.analysis.size[0];
  }

  open(session, given) {
    Object.assign(this, { session, given });
  }

  /** Forget the report; the boxes follow the playing video again. */
  clear() {
    this.cancel();
    if (this.running) this.tidy();
    this.stopper = this.analysis = null;
    this.report.clear();
    if (this.session) Object.assign(this.session, { held: false, replay: null });
  }

  cancel() {
    this.stopper?.abort();
  }

  tidy() {
    this.page.stage.preview(null);
    $("progress").hidden = $("cancel").hidden = true;
  }

  async start() {
    const { page, session } = this;
    const stopper = new AbortController();
    const start = performance.now();
    const video = session.source.element;
    this.stopper = stopper;
    session.held = true;
    video.pause();
    page.changed();
    $("cancel").hidden = false;
    let analysis = null;
    try {
      analysis = await analyse(session.source, this.given(), this.progress(start, video.duration), stopper.signal);
      if (analysis && !analysis.frames.length) throw told("noFrames", { name: session.source.name });
    } catch (error) {
      if (!stopper.signal.aborted) alarm(error);
      analysis = null;
    }
    if (this.stopper !== stopper) return; // something else was opened meanwhile
    this.stopper = null;
    this.tidy();
    session.held = false;
    if (analysis) this.finish(analysis, (performance.now() - start) / 1000);
    else {
      announce(t("stopped"));
      session.look();
    }
    page.changed();
  }

  finish(analysis, seconds) {
    const { page, session } = this;
    this.analysis = analysis;
    this.report.show(analysis);
    session.replay = (time) => {
      this.report.at(time);
      page.show(analysis.at(time));
    };
    session.look();
    announce(t("analysed", { frames: count(analysis.frames.length, "frames"), time: inSeconds(seconds) }));
  }

  /** Shows how far it is, and now and then a frame with its faces. */
  progress(start, duration) {
    let [drawn, at] = [-Infinity, -1];
    return ({ frames, time, bitmap, faces, size }) => {
      const now = performance.now();
      if (bitmap) {
        if (now - drawn < PAUSE) return;
        [drawn, at] = [now, time];
        return this.page.stage.preview(bitmap);
      }
      const passed = (now - start) / 1000;
      const speed = time / passed;
      Object.assign($("progress"), { value: time / duration, hidden: false });
      const left = speed > 0 && duration < Infinity ? inSeconds((duration - time) / speed) : "…";
      const words = {
        at: clock(time),
        length: duration < Infinity ? clock(duration) : "…",
        speed: speed.toFixed(1),
        left,
      };
      say(t("analysing", { frames, ...words }));
      if (time === at) this.page.show({ faces, width: size[0], height: size[1], time });
    };
  }

  judge(uncertainBelow) {
    if (!this.analysis) return;
    this.analysis.judge(uncertainBelow);
    this.report.show(this.analysis);
    this.session.look();
  }

  csv() {
    return this.report.csv(this.scale);
  }
}
