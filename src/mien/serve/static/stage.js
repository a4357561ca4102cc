// The stage: what is open, the boxes over it, pointing at faces, the full screen.

import { drawFaces, emptied, placed } from "./overlay.js";
import { settings } from "./settings.js";
import { t } from "./words.js";

export class Stage {
  /**
   * @param {{stage, overlay, preview, full, leave}} parts elements of the page.
   * @param {{pointed: (place: number) => void, chosen: (place: number) => void}} calls for the face under the pointer, -1
   *   for none, and the one that was clicked on.
   */
  constructor(parts, calls) {
    Object.assign(this, { parts, calls, shown: null, lit: -1, element: null });
    const { stage, full, leave } = parts;
    stage.addEventListener("pointermove", (event) => this.point(this.under(event)));
    stage.addEventListener("pointerleave", () => this.point(-1));
    stage.addEventListener("click", (event) => {
      const place = this.under(event);
      if (place >= 0) calls.chosen(place);
    });
    full.onclick = () => this.toggleFull();
    leave.onclick = () => this.leaveFull();
    document.addEventListener("fullscreenchange", () => {
      const { fullscreenElement: large } = document;
      if (large && large === this.element) stage.requestFullscreen().catch(() => {}); // the player's own has no boxes
      this.setFull(large === stage);
    });
    document.addEventListener("keydown", ({ key }) => key === "Escape" && this.setFull(false));
    new ResizeObserver(() => this.draw()).observe(stage);
  }

  /** Show a source's element, or none. */
  put(element) {
    this.element?.remove();
    this.element = element;
    if (element) this.parts.stage.prepend(element);
    this.parts.preview.hidden = true;
    this.lit = -1;
    if (!element) this.leaveFull();
  }

  /** Show a frame of a video in place of the player; null ends that. @param {ImageBitmap | null} bitmap */
  preview(bitmap) {
    const canvas = this.parts.preview;
    canvas.hidden = !bitmap;
    if (!bitmap) return;
    const scale = Math.min(1, 960 / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [Math.round(bitmap.width * scale), Math.round(bitmap.height * scale)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, width, height);
  }

  /** @param {object | null} shown {source, mirrored, faces, frame, labels, show}: see overlay.js. */
  draw(shown = this.shown) {
    this.shown = shown;
    const { stage, overlay } = this.parts;
    const full = stage.classList.contains("full");
    stage.style.aspectRatio = shown && !full ? shown.source.size().join(" / ") : "";
    this.element?.classList.toggle("mirrored", Boolean(shown?.mirrored) && shown.source.kind !== "picture");
    const context = emptied(overlay);
    if (!shown?.labels) return;
    drawFaces(context, shown.faces, shown.labels, { ...this.view(), lit: this.lit });
  }

  view() {
    const { clientWidth: width, clientHeight: height } = this.parts.overlay;
    const { frame, mirrored, show } = this.shown;
    return { width, height, frame, mirrored, show, unit: width < 480 ? 12 : 14 };
  }

  /** Light up the box of a face; -1 for none. */
  light(place) {
    if (place === this.lit) return;
    this.lit = place;
    this.draw();
  }

  point(place) {
    if (place === this.lit) return;
    this.light(place);
    this.calls.pointed(place);
  }

  /** The face under the pointer, the smallest where several are; or -1. */
  under({ clientX, clientY }) {
    if (!this.shown?.labels) return -1;
    const { left, top } = this.parts.overlay.getBoundingClientRect();
    const [x, y] = [clientX - left, clientY - top];
    const boxes = placed(this.shown.faces, this.view());
    return boxes.findLastIndex(({ x1, y1, x2, y2 }) => x >= x1 && x <= x2 && y >= y1 && y <= y2);
  }

  toggleFull() {
    const { stage } = this.parts;
    if (stage.classList.contains("full")) return this.leaveFull();
    // phones that give the full screen only to videos get the whole window
    if (stage.requestFullscreen) stage.requestFullscreen().catch(() => this.setFull(true));
    else this.setFull(true);
  }

  leaveFull() {
    if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
    this.setFull(false);
  }

  setFull(on) {
    this.parts.stage.classList.toggle("full", on);
    this.parts.leave.hidden = !on;
    this.parts.full.textContent = t(on ? "leaveFull" : "full");
    this.draw();
  }
}

/** What of the overlay is shown, by the settings. */
export const shownParts = () => ({ boxes: settings.boxes, labels: settings.labels, bars: settings.bars });
