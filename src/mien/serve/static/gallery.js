// Many pictures at once: a table with a row a picture, which opens the picture on the stage.

import { headline, judged } from "./labels.js";
import { make } from "./people.js";
import { Table } from "./record.js";
import { openFile } from "./source.js";
import { count, t } from "./words.js";

const THUMB = [64, 48]; // pixels

export class Gallery {
  /** @param {{section, headline, rows}} parts elements of the page. @param {(item: object) => void} open shows one. */
  constructor(parts, open) {
    Object.assign(this, { parts, open });
    this.clear();
  }

  get running() {
    return Boolean(this.stopper) && !this.stopper.signal.aborted;
  }

  clear() {
    this.stopper?.abort();
    this.stopper = null;
    this.items = [];
    this.parts.rows.replaceChildren();
    this.parts.section.hidden = true;
  }

  /** End what runs; what is done stays. */
  cancel() {
    this.stopper?.abort();
  }

  /** Show a row for each of these files. */
  prepare(files) {
    this.clear();
    this.parts.section.hidden = false;
    this.items = files.map((file) => this.row(file));
  }

  /**
   * Look at the files one after the other.
   *
   * @param {{engine: object, model: object, series: () => number}} given
   * @param {(share: number, words: string) => void} progress
   */
  async run({ engine, model, series }, progress) {
    this.model = model;
    this.stopper = new AbortController();
    const { signal } = this.stopper;
    const { items } = this;
    for (const [k, item] of items.entries()) {
      if (signal.aborted) return;
      progress(k / items.length, t("pictureOf", { k: k + 1, n: items.length }));
      try {
        await this.look(item, engine, series());
      } catch (error) {
        item.failed = error.message;
      }
      if (signal.aborted) return;
      this.fill(item);
    }
    this.stopper = null;
  }

  async look(item, engine, series) {
    const source = await openFile(item.file);
    try {
      if (source.kind !== "picture") throw new Error(t("oneVideo", { name: item.file.name }));
      const context = item.thumb.getContext("2d");
      const [width, height] = [source.element.width, source.element.height];
      const scale = Math.max(THUMB[0] / width, THUMB[1] / height);
      const [across, down] = [width * scale, height * scale];
      context.drawImage(source.element, (THUMB[0] - across) / 2, (THUMB[1] - down) / 2, across, down);
      const answer = await engine.look({ series, bitmap: await source.grab(), live: false });
      item.answer = { ...answer, scale: source.size()[0] / answer.width };
    } finally {
      source.stop();
    }
  }

  row(file) {
    const row = this.parts.rows.appendChild(make("tr"));
    const head = row.appendChild(make("th"));
    head.scope = "row";
    const button = head.appendChild(Object.assign(make("button"), { type: "button", disabled: true }));
    const thumb = Object.assign(make("canvas"), { width: THUMB[0], height: THUMB[1] });
    thumb.setAttribute("aria-hidden", "true");
    button.append(thumb, make("span", "", file.name));
    const [faces, words] = [row.appendChild(make("td", "number", "…")), row.appendChild(make("td"))];
    const item = { file, row, button, thumb, faces, words, answer: null, failed: "" };
    button.onclick = () => this.open(item);
    return item;
  }

  fill(item) {
    const { labels, uncertainBelow } = this.model;
    item.button.disabled = Boolean(item.failed);
    item.row.classList.toggle("failed", Boolean(item.failed));
    if (item.failed) {
      item.faces.textContent = "";
      item.words.textContent = item.failed;
    } else {
      item.judged = item.answer.faces.map((face) => judged({ ...face, id: null }, uncertainBelow));
      item.faces.textContent = item.judged.length;
      item.words.textContent = headline(item.judged, labels) || t("noFace");
    }
    const done = this.items.filter(({ judged }) => judged);
    const all = done.flatMap(({ judged }) => judged);
    const failed = this.items.filter(({ failed }) => failed).length;
    this.parts.headline.textContent = [
      count(done.length, "picturesDone"),
      count(all.length, "faces"),
      headline(all, labels),
      failed ? count(failed, "failed") : "",
    ]
      .filter(Boolean)
      .join(" · ");
  }

  /** Mark the picture that the stage shows. */
  mark(item) {
    for (const each of this.items) each.row.classList.toggle("shown", each === item);
  }

  judge(uncertainBelow) {
    if (!this.items.length) return;
    this.model = { ...this.model, uncertainBelow };
    for (const item of this.items) if (item.answer) this.fill(item);
  }

  csv() {
    const table = new Table(this.model.labels);
    for (const { file, judged, answer, failed } of this.items) {
      if (failed) table.fail(file.name, failed);
      else if (judged) table.add(file.name, { time: 0, shot: "", faces: judged }, answer.scale);
    }
    return table.text();
  }
}
