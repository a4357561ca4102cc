// The list of faces: a compact row each, which opens to all bars, the reasons and the crop that the network saw; and the
// words for those who listen.

import { SIZE } from "./crop.js";
import { colour, headline, order, percent } from "./labels.js";
import { count, emotion, t } from "./words.js";

const QUIET = 2; // seconds between two announcements
const OPEN = 2; // up to this many faces are shown with all bars
const PAUSE = 100; // milliseconds between two changes of the list while a video runs
const [FOR, AGAINST] = ["230 97 1", "94 60 153"]; // orange and purple, the ends of ColorBrewer's PuOr

/** Shows the faces of the present frame. */
export class People {
  /**
   * @param {{list, nobody, headline, said}} parts elements of the page. @param {string[]} labels the model's.
   * @param {{lit: (place: number) => void, explain: (face: object) => Promise<Float32Array>}} calls `lit` when a face is
   *   pointed at, -1 when none is any more.
   */
  constructor(parts, labels, calls) {
    Object.assign(this, { parts, labels, calls });
    this.clear();
  }

  clear() {
    clearTimeout(this.later);
    clearTimeout(this.speech);
    this.speech = 0;
    this.parts.list.replaceChildren();
    this.rows = new Map(); // id, or place in a picture -> row
    this.faces = [];
    this.told = this.toTell = "";
    this.at = this.shownAt = -Infinity;
    this.parts.nobody.hidden = false;
    this.parts.nobody.textContent = t("noneYet");
    this.parts.headline.textContent = "";
  }

  /**
   * @param {object[]} faces as the tracker gives them, the largest first.
   * @param {Set<number>} alive ids that are kept, dimmed, although they are not in this frame.
   * @param {boolean} still whether nothing follows.
   */
  show(faces, alive, still) {
    this.faces = faces;
    this.alive = alive;
    clearTimeout(this.later);
    const wait = still ? 0 : this.shownAt + PAUSE - performance.now();
    if (wait > 0) this.later = setTimeout(() => this.fill(), wait);
    else this.fill();
    this.announce();
  }

  fill() {
    const { faces, alive, rows } = this;
    this.shownAt = performance.now();
    const keys = new Map(faces.map((face, k) => [face.id ?? -1 - k, face]));
    for (const [key, row] of rows) {
      row.item.classList.toggle("away", !keys.has(key));
      if (keys.has(key) || alive.has(key)) continue;
      row.item.remove();
      rows.delete(key);
    }
    for (const [key, face] of keys) {
      if (!rows.has(key)) rows.set(key, this.row(key, rows.size < OPEN && faces.length <= OPEN));
      this.update(rows.get(key), face);
    }
    this.parts.nobody.hidden = rows.size > 0;
    this.parts.nobody.textContent = t("noFace");
    this.parts.headline.textContent = headline(faces, this.labels);
  }

  row(key, open) {
    const item = this.parts.list.appendChild(make("li", "face"));
    const details = item.appendChild(Object.assign(make("details"), { open }));
    const head = details.appendChild(make("summary"));
    const crop = head.appendChild(Object.assign(make("canvas"), { width: SIZE, height: SIZE }));
    crop.setAttribute("aria-hidden", "true");
    const words = head.appendChild(make("span", "words"));
    const [name, sure] = [words.appendChild(make("strong")), words.appendChild(make("span", "sure"))];
    const mini = head.appendChild(make("span", "mini"));
    mini.setAttribute("aria-hidden", "true");
    const bars = details.appendChild(make("ul", "bars"));
    const row = { item, crop, name, sure, columns: [], fills: [], numbers: [], key };
    for (const k of order(this.labels)) {
      const line = bars.appendChild(make("li"));
      const track = make("span", "track");
      const fill = track.appendChild(make("span", "fill"));
      const column = mini.appendChild(make("span", "fill"));
      for (const each of [fill, column]) each.style.backgroundColor = colour(this.labels[k]);
      const number = make("span", "number");
      line.append(make("span", "name", emotion(this.labels[k])), track, number);
      row.fills.push(fill);
      row.columns.push(column);
      row.numbers.push(number);
    }
    this.reasons(details, row);
    const place = () => this.faces.findIndex((face, k) => (face.id ?? -1 - k) === key);
    for (const name of ["pointerenter", "focusin"]) item.addEventListener(name, () => this.calls.lit(place()));
    for (const name of ["pointerleave", "focusout"]) item.addEventListener(name, () => this.calls.lit(-1));
    return row;
  }

  /** A button that shows which parts of the crop speak for the label. */
  reasons(details, row) {
    const why = details.appendChild(Object.assign(make("button", "why", t("why")), { type: "button" }));
    const figure = details.appendChild(Object.assign(make("figure"), { hidden: true }));
    const map = figure.appendChild(Object.assign(make("canvas"), { width: SIZE, height: SIZE }));
    const caption = figure.appendChild(make("figcaption"));
    map.setAttribute("role", "img");
    why.onclick = async () => {
      const { face } = row;
      why.disabled = true;
      why.textContent = t("whyWait");
      try {
        const values = await this.calls.explain(face);
        const limit = paintReasons(map, face.crop, values);
        const label = emotion(this.labels[face.label]);
        caption.textContent = t("whyCaption", { label, points: Math.round(100 * limit) });
        map.setAttribute("aria-label", t("whyMap", { label }));
        figure.hidden = false;
      } finally {
        why.disabled = false;
        why.textContent = t("why");
      }
    };
  }

  update(row, face) {
    const label = emotion(this.labels[face.label]);
    row.face = face;
    const name = `${face.id ? `#${face.id} ` : ""}${face.uncertain ? t("uncertain") : label}`;
    const sure = `${face.uncertain ? t("perhaps", { label }) : ""}${percent(face.probabilities[face.label])}`;
    const weak = face.uncertain ? (face.weaknesses ?? []).map((name) => t(name)) : [];
    if (row.name.textContent !== name) row.name.textContent = name;
    const words = [sure, ...weak].join(" · ");
    if (row.sure.textContent !== words) row.sure.textContent = words;
    row.item.classList.toggle("doubt", face.uncertain);
    order(this.labels).forEach((k, place) => {
      const p = face.probabilities[k];
      row.numbers[place].textContent = percent(p);
      row.fills[place].style.transform = `scaleX(${p.toFixed(4)})`;
      row.columns[place].style.transform = `scaleY(${p.toFixed(4)})`;
    });
    if (face.crop && face.crop !== row.shown) {
      paintCrop(row.crop, face.crop);
      row.shown = face.crop;
    }
  }

  /** Mark the row of a face that is pointed at in the picture; -1 for none. */
  point(place) {
    const key = place < 0 ? null : (this.faces[place]?.id ?? -1 - place);
    for (const row of this.rows.values()) row.item.classList.toggle("lit", row.key === key);
  }

  /** Open a face's row and bring it into sight. */
  reveal(place) {
    const row = this.rows.get(this.faces[place]?.id ?? -1 - place);
    if (!row) return;
    row.item.firstChild.open = true;
    row.item.querySelector("summary").focus({ preventScroll: true });
    row.item.scrollIntoView({ block: "nearest" });
  }

  /** Tell screen readers what has changed, not more often than they can speak; the latest words are never lost. */
  announce() {
    const words = this.faces.slice(0, 3).map((face, k) => {
      const values = { n: face.id ?? k + 1, label: emotion(this.labels[face.label]) };
      return t(face.uncertain ? "saidUncertain" : "saidLooks", values);
    });
    if (this.faces.length > 3) words.push(count(this.faces.length, "saidFaces"));
    this.toTell = words.join(" ") || t("saidNobody");
    if (this.toTell === this.told || this.speech) return;
    const speak = () => {
      this.speech = 0;
      if (this.toTell === this.told) return;
      [this.told, this.at] = [this.toTell, performance.now()];
      this.parts.said.textContent = this.told;
    };
    const wait = this.at + 1000 * QUIET - performance.now();
    if (wait > 0) this.speech = setTimeout(speak, wait);
    else speak();
  }
}

/** Put a gray crop on a canvas of its size. */
export function paintCrop(canvas, crop) {
  const pixels = new ImageData(SIZE, SIZE);
  crop.forEach((gray, k) => pixels.data.set([gray, gray, gray, 255], 4 * k));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

/** Colour a crop by its occlusion map; returns the value of the full colour. */
function paintReasons(canvas, crop, map) {
  paintCrop(canvas, crop);
  const limit = Math.max(0.01, ...map.map(Math.abs));
  const context = canvas.getContext("2d");
  map.forEach((value, k) => {
    context.fillStyle = `rgb(${value > 0 ? FOR : AGAINST} / ${((75 * Math.abs(value)) / limit).toFixed(1)}%)`;
    context.fillRect(k % SIZE, Math.floor(k / SIZE), 1, 1);
  });
  return limit;
}

export function make(tag, name = "", text = "") {
  return Object.assign(document.createElement(tag), { className: name, textContent: text });
}
