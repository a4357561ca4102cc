// The list of faces, with five bars and the crop that the network saw; and the words for those who listen.

import { SIZE } from "./crop.js";
import { colour, order, percent } from "./labels.js";

const MOST = 6; // faces in the list
const QUIET = 2; // seconds between two announcements

/** Shows the faces of the present frame. */
export class People {
  /** @param {{list, nobody, more, said}} parts elements of the page. @param {string[]} labels the model's. */
  constructor(parts, labels) {
    Object.assign(this, parts, { labels });
    this.cards = new Map(); // id, or place in a picture -> element
    this.told = "";
    this.at = -Infinity;
  }

  /**
   * @param {object[]} faces as the tracker gives them, the largest first.
   * @param {Set<number>} alive ids that are kept, dimmed, although they are not in this frame.
   */
  show(faces, alive) {
    const keys = new Map(faces.slice(0, MOST).map((face, k) => [face.id ?? -1 - k, face]));
    for (const [key, card] of this.cards) {
      card.classList.toggle("away", !keys.has(key));
      if (keys.has(key) || (alive.has(key) && this.cards.size <= MOST)) continue;
      card.remove();
      this.cards.delete(key);
    }
    for (const [key, face] of keys) {
      if (!this.cards.has(key)) this.cards.set(key, this.list.appendChild(this.card()));
      this.fill(this.cards.get(key), face);
    }
    this.nobody.hidden = this.cards.size > 0;
    this.nobody.textContent = "No face found.";
    this.more.hidden = faces.length <= MOST;
    this.more.textContent = `and ${faces.length - MOST} more`;
    this.announce(faces);
  }

  clear() {
    this.list.replaceChildren();
    this.cards.clear();
    this.nobody.hidden = false;
    this.nobody.textContent = "None yet.";
    this.more.hidden = true;
    this.told = "";
  }

  card() {
    const card = make("li", "face");
    const crop = card.appendChild(Object.assign(make("canvas"), { width: SIZE, height: SIZE }));
    crop.setAttribute("aria-hidden", "true");
    const words = card.appendChild(make("div"));
    words.append(make("h3"), make("p"));
    const bars = card.appendChild(make("ul", "bars"));
    for (const k of order(this.labels)) {
      const row = bars.appendChild(make("li"));
      const track = make("span", "track");
      track.appendChild(make("span", "fill")).style.backgroundColor = colour(this.labels[k]);
      row.append(make("span", "name", this.labels[k]), track, make("span", "number"));
    }
    return card;
  }

  fill(card, face) {
    const label = this.labels[face.label];
    card.querySelector("h3").textContent = `${face.id ? `#${face.id} ` : ""}${face.uncertain ? "uncertain" : label}`;
    const perhaps = face.uncertain ? `perhaps ${label}, ` : "";
    card.querySelector("p").textContent = `${perhaps}${percent(face.probabilities[face.label])}`;
    const rows = card.querySelectorAll(".bars li");
    order(this.labels).forEach((k, place) => {
      rows[place].querySelector(".number").textContent = percent(face.probabilities[k]);
      rows[place].querySelector(".fill").style.transform = `scaleX(${face.probabilities[k].toFixed(4)})`;
    });
    const pixels = new ImageData(SIZE, SIZE);
    face.crop.forEach((gray, k) => pixels.data.set([gray, gray, gray, 255], 4 * k));
    card.querySelector("canvas").getContext("2d").putImageData(pixels, 0, 0);
  }

  /** Tell screen readers what has changed, not more often than they can speak. */
  announce(faces) {
    const words = faces.slice(0, 3).map((face, k) => {
      const looks = face.uncertain ? "is uncertain" : `looks ${this.labels[face.label]}`;
      return `Face ${face.id ?? k + 1} ${looks}.`;
    });
    const text = words.join(" ") || "No face.";
    const now = performance.now() / 1000;
    if (text === this.told || now - this.at < QUIET) return;
    [this.told, this.at] = [text, now];
    this.said.textContent = text;
  }
}

function make(tag, name = "", text = "") {
  return Object.assign(document.createElement(tag), { className: name, textContent: text });
}
