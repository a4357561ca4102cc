// Where the faces of a moving source are: most of its frames need not be searched at full size.

import { detect } from "./detect.js";

const [FULL, HALF] = [640, 320]; // longest side in pixels of what is searched; half takes a quarter of the time
const LARGE = 72; // side in pixels, at full size, of a face that is found at half size too
const AGAIN = 12; // frames after which full size is searched once more, for smaller faces that have come

/** Finds the faces of one source. */
export class Search {
  /** @param run the network; see detect.js. */
  constructor(run) {
    Object.assign(this, { run, left: 0, count: 0, half: false });
  }

  /**
   * At half size where all faces that full size showed were large, as long as none of them is missing.
   *
   * @param {ImageData} image 8-bit RGBA.
   * @param {boolean} live whether half size will do.
   * @returns as `detect`.
   */
  async faces(image, live) {
    let small = null;
    if (live && this.half) {
      small = await detect(this.run, image, HALF);
      if (--this.left > 0 && small.length >= this.count) return small;
    }
    const faces = await detect(this.run, image, FULL);
    const unit = Math.max(image.width, image.height, FULL) / FULL;
    const large = faces.every(({ box }) => Math.max(box[2] - box[0], box[3] - box[1]) >= LARGE * unit);
    Object.assign(this, { count: faces.length, half: faces.length > 0 && large, left: AGAIN });
    // Boxes of the two sizes differ a little: shown in turn they would jump.
    return this.half && small?.length === faces.length ? small : faces;
  }
}
