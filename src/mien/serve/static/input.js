// Files by choice, drop, paste and example.

import { alarm } from "./notices.js";
import { told } from "./words.js";

const $ = (id) => document.getElementById(id);

/** @param {(files: File[]) => void} openAll opens one or several. */
export function connectInput(openAll) {
  $("open").onclick = () => $("file").click();
  $("file").onchange = ({ target }) => {
    if (target.files.length) openAll([...target.files]);
    target.value = ""; // so that the same file can be chosen again
  };
  for (const button of document.querySelectorAll("#examples button")) {
    button.onclick = async () => {
      const { file } = button.dataset;
      const answer = await fetch(`models/${file}`).catch(() => null);
      if (!answer?.ok) return alarm(told("exampleMissing"));
      const type = file.endsWith("webm") ? "video/webm" : "image/jpeg";
      openAll([new File([await answer.blob()], file, { type })]);
    };
  }
  const stage = $("stage").classList;
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    stage.add("over");
  });
  document.addEventListener("dragleave", () => stage.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    stage.remove("over");
    const { files } = event.dataTransfer;
    if (files.length) openAll([...files]);
    else alarm(told("noFile"));
  });
  document.addEventListener("paste", ({ clipboardData: { files } }) => {
    if (files.length) openAll([...files]);
    else alarm(told("noClipboard"));
  });
}
