// The report on an analysed video: who was seen how long, what they showed, and a chart a person to click into.

import { chart, chartFile, scaleOf } from "./chart.js";
import { colour, headline, order, percent } from "./labels.js";
import { clock, inSeconds } from "./numbers.js";
import { make, paintCrop } from "./people.js";
import { Table } from "./record.js";
import { count, emotion, t } from "./words.js";

const HEIGHT = 150; // of a chart in pixels
const BRIEF = 0.5; // seconds below which a person has no chart
const STEP = 5; // seconds that an arrow key goes

export class Report {
  /** @param {{section, headline, legend, persons, brief}} parts elements of the page. @param {(time) => void} seek */
  constructor(parts, seek) {
    Object.assign(this, { parts, seek, analysis: null, charts: [] });
    new ResizeObserver(() => this.draw()).observe(parts.persons);
  }

  clear() {
    this.analysis = null;
    this.charts = [];
    this.parts.section.hidden = true;
    this.parts.persons.replaceChildren();
  }

  show(analysis) {
    const { parts } = this;
    this.clear();
    this.analysis = analysis;
    parts.section.hidden = false;
    const { labels } = analysis;
    this.shown = analysis.people.filter(({ seconds }) => seconds >= BRIEF);
    const brief = analysis.people.length - this.shown.length;
    parts.brief.textContent = brief ? count(brief, "brief") : "";
    parts.headline.textContent = [
      count(this.shown.length, "people"),
      headline(
        this.shown.map((person) => mostly(person, labels.length)),
        labels,
      ),
      `${count(analysis.frames.length, "frames")}, ${inSeconds(analysis.duration)}`,
      count(analysis.cuts.length + 1, "shots"),
    ]
      .filter(Boolean)
      .join(" · ");
    parts.legend.replaceChildren(
      ...order(labels).map((k) => key(emotion(labels[k]), colour(labels[k]))),
      key(t("uncertain"), "doubt"),
      ...(analysis.cuts.length ? [key(t("cut"), "cut")] : []),
    );
    parts.persons.replaceChildren(...this.shown.map((person) => this.person(person)));
    this.width = 0;
    this.draw();
  }

  person(person) {
    const { labels, crops } = this.analysis;
    const article = make("article", "person");
    const crop = article.appendChild(Object.assign(make("canvas"), { width: 48, height: 48 }));
    crop.setAttribute("aria-hidden", "true");
    paintCrop(crop, crops.get(person.id).crop);
    const words = article.appendChild(make("div"));
    words.append(make("h3", "", t("personN", { n: person.id })), make("p", "", sentence(person, labels)));
    const bar = article.appendChild(make("div", "share"));
    bar.setAttribute("aria-hidden", "true");
    for (const k of [...order(labels), labels.length]) {
      if (!person.share[k]) continue;
      const part = bar.appendChild(make("span", k === labels.length ? "doubt" : ""));
      part.style.flexGrow = person.share[k];
      if (k < labels.length) part.style.backgroundColor = colour(labels[k]);
    }
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const box = article.appendChild(make("div", "chart"));
    const head = make("span", "head");
    head.hidden = true;
    box.append(svg, head);
    svg.setAttribute("aria-hidden", "true");
    const slider = { role: "slider", "aria-label": t("chartOf", { n: person.id }), "aria-valuemin": 0 };
    for (const [name, value] of Object.entries(slider)) box.setAttribute(name, value);
    box.setAttribute("aria-valuemax", this.analysis.duration.toFixed(1));
    box.tabIndex = 0;
    box.onpointerdown = ({ clientX }) => {
      const left = box.getBoundingClientRect().left;
      this.seek(scaleOf(this.width, this.analysis.duration).time(clientX - left));
    };
    box.onkeydown = (event) => {
      const steps = { ArrowLeft: -STEP, ArrowRight: STEP, Home: -Infinity, End: Infinity };
      if (!(event.key in steps)) return;
      event.preventDefault();
      this.seek(Math.min(Math.max(this.now + steps[event.key], 0), this.analysis.duration));
    };
    this.charts.push({ person, svg, head, box });
    this.tell(box, person, 0);
    return article;
  }

  /** The charts, drawn anew when their width has changed. */
  draw() {
    const width = this.charts[0]?.box.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    const { duration, cuts } = this.analysis;
    const size = { width, height: HEIGHT, duration, cuts };
    for (const { person, svg } of this.charts) {
      svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
      const source = `<svg xmlns="http://www.w3.org/2000/svg">${chart(person, this.analysis.labels, size)}</svg>`;
      const parsed = new DOMParser().parseFromString(source, "image/svg+xml").documentElement;
      svg.replaceChildren(...parsed.childNodes);
    }
    this.at(this.now ?? 0);
  }

  /** Mark the time that the video shows. */
  at(time) {
    this.now = time;
    if (!this.analysis) return;
    const x = scaleOf(this.width, this.analysis.duration).x(time);
    for (const { person, head, box } of this.charts) {
      head.hidden = false;
      head.style.transform = `translateX(${x.toFixed(1)}px)`;
      this.tell(box, person, time);
    }
  }

  tell(box, person, time) {
    const face = this.analysis.at(time).faces.find(({ id }) => id === person.id);
    const label = face && emotion(this.analysis.labels[face.label]);
    const words = face ? (face.uncertain ? t("uncertain") : label) : t("notSeen");
    box.setAttribute("aria-valuenow", time.toFixed(1));
    box.setAttribute("aria-valuetext", `${clock(time)}: ${words}`);
  }

  csv(scale) {
    const table = new Table(this.analysis.labels);
    for (const frame of this.analysis.frames) table.add(this.analysis.name, frame, scale);
    return table.text();
  }

  json(scale) {
    return `${JSON.stringify(this.analysis.data(scale), null, 1)}\n`;
  }

  svg() {
    const { labels, name } = this.analysis;
    return chartFile(this.shown, labels, name, this.analysis);
  }
}

/** What a person showed for the longest time, as a face for the headline. */
function mostly({ share }, classes) {
  const top = share.indexOf(Math.max(...share));
  return { label: top, uncertain: top === classes };
}

/** "seen 4.2 s: happy 80 %, neutral 15 %, uncertain 5 %; longest happy, 2.1 s from 0:03; 3 changes". */
function sentence({ seconds, share, longest, changes }, labels) {
  const names = [...labels.map(emotion), t("uncertain")];
  const ranked = share.map((part, k) => [part, names[k]]).sort((a, b) => b[0] - a[0]);
  const list = ranked.filter(([part]) => part >= 0.005).map(([part, name]) => `${name} ${percent(part)}`);
  const words = [t("seenFor", { time: inSeconds(seconds), list: list.join(", ") })];
  if (longest) {
    const time = inSeconds(longest.to - longest.from);
    words.push(t("longest", { label: emotion(labels[longest.label]), time, from: clock(longest.from) }));
  }
  words.push(count(changes, "changes"));
  return words.join("; ");
}

/** An entry of the legend; `look` is a colour or a class. */
function key(name, look) {
  const item = make("li", "", name);
  const sign = make("span", look.startsWith("#") ? "sign" : `sign ${look}`);
  if (look.startsWith("#")) sign.style.backgroundColor = look;
  item.prepend(sign);
  return item;
}
