// Save, copy and share the picture, and record a clip.

import { Clip, named, save, snapshot } from "./record.js";
import { alarm, announce } from "./notices.js";
import { clock } from "./numbers.js";
import { t } from "./words.js";

const $ = (id) => document.getElementById(id);
const LONGEST = 300; // seconds of a clip

/**
 * Connect the buttons.
 *
 * @param {() => object | null} shown what the stage shows now; see stage.js.
 * @returns {{frame: () => void, stop: () => void}} to call for each new picture, and when the source is closed.
 */
export function takeAway(shown) {
  let clip = null;
  let ticking = 0;

  const picture = () => snapshot({ labels: [], ...shown() });

  async function finish() {
    if (!clip) return;
    const ended = clip;
    clip = null;
    clearInterval(ticking);
    $("rec").hidden = true;
    $("record").textContent = t("record");
    const blob = await ended.stop();
    announce(t("saved", { name: save(blob, blob.type.includes("mp4") ? "mp4" : "webm") }));
  }

  function begin() {
    try {
      clip = new Clip(shown);
    } catch (error) {
      return alarm(error);
    }
    $("record").textContent = t("stopRecording");
    $("rec").hidden = false;
    const tick = () => {
      $("rec").textContent = t("recording", { time: clock(Math.floor(clip.time)) });
      if (clip.time > LONGEST) finish();
    };
    ticking = setInterval(tick, 500);
    tick();
  }

  $("record").onclick = () => (clip ? finish() : begin());
  $("snapshot").onclick = async () => announce(t("saved", { name: save(await picture(), "png") }));
  $("copy").onclick = async () => {
    try {
      // Safari wants the promise itself, within the click
      await navigator.clipboard.write([new ClipboardItem({ "image/png": picture() })]);
      announce(t("copied"));
    } catch (error) {
      alarm(new Error(t("copyFails", { text: error.message })));
    }
  };
  const test = new File([""], "a.png", { type: "image/png" });
  $("share").hidden = !navigator.canShare?.({ files: [test] });
  $("share").onclick = async () => {
    const file = new File([await picture()], named("png"), { type: "image/png" });
    await navigator.share({ files: [file] }).catch(() => {}); // whoever changes their mind
  };
  return { frame: () => clip?.add(), stop: finish };
}
