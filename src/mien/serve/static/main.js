// The page: buttons, drops and pastes on one side, the worker that looks at pictures on the other.

import { startEngine } from "./engine.js";
import { People } from "./people.js";
import { Table, save, snapshot } from "./record.js";
import { drawFaces, emptied } from "./overlay.js";
import { Rate, eachFrame, openCamera, openFile } from "./source.js";
import { Timeline } from "./timeline.js";
import { Tracker } from "./track.js";

const $ = (id) => document.getElementById(id);
const BLANK = ["video", "picture"].map((id) => $(id).cloneNode()); // as they are before anything is opened
const NOBODY = { faces: [], width: 1, height: 1 };

let engine;
let labels, uncertainBelow, people, timeline, table, tracker; // undefined until the networks are there
let source = null; // what is open now; see source.js
let seen = NOBODY; // what the worker saw last, with the tracker's ids
let turn = 0; // number of the source: an answer for an earlier one comes too late
let busy = false;
let wanted = false; // a frame came while the worker was busy
let unwatch = () => {};
let painting = 0; // of the next frame of the screen; 0 when nothing has changed
let [came, looked] = [new Rate(), new Rate()];

// ---- the networks

function load() {
  engine = startEngine(progress, answered, died);
  engine.ready.then(start, (error) => {
    progress(1);
    say("The page cannot look at pictures.");
    alarm(error);
  });
}

/** The worker is gone: everything is as in the beginning, and it is loaded anew. */
function died(error) {
  close();
  labels = undefined;
  delete document.documentElement.dataset.ready;
  alarm(error);
  load();
}

function progress(share, bytes) {
  Object.assign($("progress"), { value: share, hidden: share >= 1 });
  const size = `${(bytes / 1e6).toFixed(0)} MB`;
  if (bytes) say(share < 1 ? `Loading the networks, ${size}: only the first time.` : "Starting the networks…");
}

function start({ classifier }) {
  ({ labels, uncertain_below: uncertainBelow } = classifier);
  people = new People({ list: $("people"), nobody: $("nobody"), more: $("more"), said: $("said") }, labels);
  timeline = new Timeline($("timeline"), labels);
  table = new Table(labels);
  tracker = newTracker();
  timeline.draw(null);
  $("table").disabled = !source;
  $("model").textContent = `Network: ${classifier.name}, sha256 ${classifier.sha256.slice(0, 16)}…`;
  say("Ready.");
  document.documentElement.dataset.ready = "yes";
}

const newTracker = () => new Tracker({ uncertainBelow, halfLife: Number($("smoothing").value) });

// ---- opening and closing a source

/** Replace what is open by what `opening` gives. */
async function open(opening) {
  close();
  const mine = turn;
  busy = true; // nothing is looked at meanwhile
  try {
    const opened = await opening(() => mine === turn);
    if (mine !== turn) return opened.stop(); // something else was opened meanwhile
    source = opened;
    $("alert").hidden = true;
  } catch (error) {
    if (mine === turn) alarm(error);
    return;
  } finally {
    if (mine === turn) busy = false;
  }
  show();
  await engine.ready.catch(() => {}); // its failure is told already
  if (mine === turn) look();
}

function close() {
  turn++;
  busy = wanted = false;
  cancelAnimationFrame(painting);
  painting = 0;
  unwatch();
  source?.stop();
  source = null;
  // What is still being opened goes on in the old ones, where it cannot disturb what comes next.
  for (const blank of BLANK) $(blank.id).replaceWith(blank.cloneNode());
  Object.assign($("video"), { muted: true, onseeked: look });
  seen = NOBODY;
  [came, looked] = [new Rate(), new Rate()];
  if (labels) {
    for (const each of [people, timeline, table]) each.clear();
    tracker = newTracker();
  }
  $("person").replaceChildren($("person").options[0]);
  show();
  draw();
  if (labels) say("Ready.");
}

/** Bring the page into the state of what is open. */
function show() {
  const kind = source?.kind;
  const video = $("video");
  $("hint").hidden = Boolean(source);
  video.hidden = !source || kind === "picture";
  $("picture").hidden = kind !== "picture";
  video.classList.toggle("mirrored", Boolean(source?.mirrored));
  $("time").hidden = !source || kind === "picture";
  $("start").textContent = kind === "camera" ? "Stop camera" : "Start camera";
  $("snapshot").disabled = !source;
  $("table").disabled = !source || !labels;
  if (kind === "camera") listCameras();
  if (kind && kind !== "picture") unwatch = eachFrame(video, shown);
}

/** Offer the cameras that there are now; one that has gone is no longer the chosen one. */
async function listCameras() {
  const found = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
  const chosen = source?.device ?? $("device").value;
  $("device").replaceChildren(
    ...found.map(({ label, deviceId }, k) => new Option(label || `Camera ${k + 1}`, deviceId)),
  );
  if (found.some(({ deviceId }) => deviceId === chosen)) $("device").value = chosen;
  $("devices").hidden = found.length < 2;
}

function startCamera(device) {
  const ended = () => {
    close();
    alarm(new Error("The camera has stopped: it was unplugged, or the browser took it away. Start it again to go on."));
  };
  open(async (wanted) => {
    try {
      return await openCamera($("video"), device, wanted, ended);
    } catch (error) {
      if (error.cause?.name === "OverconstrainedError") await listCameras();
      throw error;
    }
  });
}

function openFirst(files) {
  open(() => openFile($("video"), $("picture"), files[0]));
  if (files.length > 1) announce(`${files.length} files were given; the first one is shown.`);
}

// ---- looking at frames

/** A video shows a new frame. */
function shown() {
  came.tick();
  look();
}

/** Send the present frame to the worker, at once or when it is free again: so it always gets the latest one. */
async function look() {
  wanted = true;
  if (busy || !labels || !source) return;
  [busy, wanted] = [true, false];
  const [number, time] = [turn, source.time()];
  try {
    const bitmap = await source.grab();
    if (number !== turn) return bitmap.close();
    engine.look({ number, time, bitmap, live: source.kind !== "picture" });
  } catch {
    if (number === turn) busy = false; // no frame yet
  }
}

function answered({ number, failed, faces, time, width, height }) {
  if (number !== turn) return;
  busy = false;
  if (failed) return alarm(new Error(failed));
  looked.tick();
  const still = source.kind === "picture";
  seen = { faces: still ? faces.map(untracked) : tracker.update(faces, time), width, height };
  table.add(source.name, time, seen.faces, source.size()[0] / width);
  if (!still) timeline.add(seen.faces, time);
  if (wanted) look(); // before painting, so that both go on at the same time
  painting ||= requestAnimationFrame(paint);
}

/** Show what was seen. */
function paint() {
  painting = 0;
  people.show(seen.faces, source.kind === "picture" ? new Set() : tracker.alive);
  listPeople();
  draw();
  say(summary());
}

function untracked(face) {
  const top = Math.max(...face.probabilities);
  return { ...face, id: null, label: face.probabilities.indexOf(top), uncertain: top < uncertainBelow };
}

function summary() {
  const count = seen.faces.length;
  const words = [count === 0 ? "No face found" : count === 1 ? "1 face" : `${count} faces`];
  if (source.kind !== "picture") words.push(`${came} frames a second, ${looked} looked at`);
  if (table.full) words.push("the table is full");
  return words.join(" · ");
}

// ---- drawing

function draw() {
  $("stage").style.aspectRatio = source ? source.size().join(" / ") : "";
  const { clientWidth: width, clientHeight: height } = $("overlay");
  const context = emptied($("overlay"));
  if (!labels) return;
  const [frame, unit] = [[seen.width, seen.height], width < 480 ? 12 : 14];
  drawFaces(context, seen.faces, labels, { width, height, frame, unit, mirrored: Boolean(source?.mirrored) });
  const chosen = Number($("person").value) || seen.faces[0]?.id;
  timeline.draw(chosen ?? timeline.people.keys().next().value);
}

/** The people whose timeline can be chosen. */
function listPeople() {
  const select = $("person");
  const ids = [...timeline.people.keys()].map(String);
  const listed = [...select.options].map((option) => option.value).filter(Boolean);
  if (ids.join() === listed.join()) return;
  const chosen = select.value;
  select.replaceChildren(select.options[0], ...ids.map((id) => new Option(`face #${id}`, id)));
  select.value = ids.includes(chosen) ? chosen : "";
}

// ---- words

function say(words) {
  $("status").textContent = words;
}

/** For screen readers too. */
function announce(words) {
  say(words);
  $("said").textContent = words;
}

function alarm(error) {
  $("alert").textContent = error.message;
  $("alert").hidden = false;
}

// ---- what a person does

$("start").onclick = () => (source?.kind === "camera" ? close() : startCamera($("device").value));
$("device").onchange = () => startCamera($("device").value);
$("open").onclick = () => $("file").click();
$("file").onchange = ({ target }) => {
  if (target.files.length) openFirst([...target.files]);
  target.value = ""; // so that the same file can be chosen again
};
$("example").onclick = () =>
  open(async () => {
    const answer = await fetch("models/portrait.jpg").catch(() => null);
    if (!answer?.ok) throw new Error("The example picture is missing on the server. Open one of your own.");
    return openFile($("video"), $("picture"), new File([await answer.blob()], "portrait.jpg", { type: "image/jpeg" }));
  });
$("smoothing").oninput = ({ target }) => {
  $("half-life").textContent = target.value === "0" ? "off" : `${target.value} s`;
  if (tracker) tracker.halfLife = Number(target.value);
};
$("person").onchange = draw;
$("snapshot").onclick = async () => {
  const element = source.kind === "picture" ? $("picture") : $("video");
  const blob = await snapshot(element, source, seen.faces, [seen.width, seen.height], labels ?? []);
  announce(`Saved ${save(blob, "png")}.`);
};
$("table").onclick = () => {
  const name = save(new Blob([table.text()], { type: "text/csv" }), "csv");
  announce(`Saved ${name}, ${table.rows.length} rows.`);
};

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("stage").classList.add("over");
});
document.addEventListener("dragleave", () => $("stage").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("stage").classList.remove("over");
  if (event.dataTransfer.files.length) openFirst([...event.dataTransfer.files]);
  else alarm(new Error("That was no file. Drop a picture or a video from your device."));
});
document.addEventListener("paste", ({ clipboardData: { files } }) => {
  if (files.length) openFirst([...files]);
  else alarm(new Error("The clipboard holds no picture. Copy a picture, not its address, and paste again."));
});
navigator.mediaDevices?.addEventListener("devicechange", listCameras);
new ResizeObserver(draw).observe($("stage"));
if ("serviceWorker" in navigator) navigator.serviceWorker.register("sw.js").catch(() => {}); // no offline reload then
close();
load();
