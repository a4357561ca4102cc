// The section with the last half minute: whose lines, and how much they are smoothed.

import { change, settings } from "./settings.js";
import { Timeline } from "./timeline.js";
import { t } from "./words.js";

const $ = (id) => document.getElementById(id);

export class LiveTime {
  /** @param {() => void} smoothed called when the smoothing has changed. */
  constructor(smoothed) {
    this.timeline = null; // until there is a model
    this.first = null; // id of the largest face
    const tell = () =>
      ($("half-life").textContent = settings.smoothing ? t("seconds", { n: settings.smoothing }) : t("off"));
    $("smoothing").value = settings.smoothing;
    tell();
    $("smoothing").oninput = ({ target }) => {
      change("smoothing", Number(target.value));
      tell();
      smoothed();
    };
    $("person").onchange = () => this.draw();
  }

  begin(labels) {
    this.timeline = new Timeline($("timeline"), labels);
    this.clear();
  }

  clear() {
    this.timeline?.clear();
    $("person").replaceChildren($("person").options[0]);
  }

  add(faces, time) {
    this.first = faces[0]?.id;
    this.timeline.add(faces, time);
  }

  draw() {
    if (!this.timeline || $("time").hidden) return;
    this.list();
    const chosen = Number($("person").value) || this.first;
    this.timeline.draw(chosen ?? this.timeline.people.keys().next().value);
  }

  /** The people whose lines can be chosen. */
  list() {
    const select = $("person");
    const ids = [...this.timeline.people.keys()].map(String);
    const listed = [...select.options].map((option) => option.value).filter(Boolean);
    if (ids.join() === listed.join()) return;
    const chosen = select.value;
    select.replaceChildren(select.options[0], ...ids.map((id) => new Option(t("faceN", { n: id }), id)));
    select.value = ids.includes(chosen) ? chosen : "";
  }
}
