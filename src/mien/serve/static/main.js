// The page: buttons, drops and pastes on one side, the worker that analyses pictures on the other.

import { startEngine } from "./engine.js";
import { isWholeJpeg } from "./formats.js";
import { Gallery } from "./gallery.js";
import { connectInput } from "./input.js";
import { LiveTime } from "./livetime.js";
import { alarm, announce, hideAlert, note, say } from "./notices.js";
import { People } from "./people.js";
import { save } from "./record.js";
import { Session } from "./session.js";
import { settings } from "./settings.js";
import { isVideo, openCamera, openFile } from "./source.js";
import { Stage, shownParts } from "./stage.js";
import { takeAway } from "./takeaway.js";
import { VideoRun } from "./videorun.js";
import { connectView, showModels, showThreshold } from "./view.js";
import { count, t, told } from "./words.js";

const $ = (id) => document.getElementById(id);
const parts = (...ids) => Object.fromEntries(ids.map((id) => [id, $(id)]));

let engine;
let manifest, model; // models.json and {name, labels, uncertainBelow}; undefined until the networks are there
let people;
let session = null; // of what is open now
let asked = 0; // number of the last wish to open or close something
let painting = 0; // of the next frame of the screen; 0 when nothing has changed
let series = 1e6; // numbers for the worker, apart from those of sessions

const stage = new Stage(parts("stage", "overlay", "preview", "full", "leave"), {
  pointed: (place) => people?.point(place),
  chosen: (place) => people?.reveal(place),
});
const gallery = new Gallery({ section: $("gallery"), headline: $("gallery-headline"), rows: $("pictures") }, (item) =>
  open(() => openFile(item.file), { item }),
);
const time = new LiveTime(() => session?.tracker && (session.tracker.halfLife = settings.smoothing));
const run = new VideoRun({ stage, show: showFaces, changed: show });

// ---- the networks

function load() {
  $("retry").hidden = true;
  engine = startEngine(settings.model, progress, died);
  engine.ready.then(ready, (error) => {
    progress(1);
    say(t("noNetworks"));
    alarm(error, true);
  });
}

/** The worker is gone: everything is as in the beginning, and it is loaded anew. */
function died(error) {
  close();
  model = undefined;
  delete document.documentElement.dataset.ready;
  alarm(error);
  load();
}

function progress(share, bytes) {
  Object.assign($("progress"), { value: share, hidden: share >= 1 });
  const mb = (bytes / 1e6).toFixed(0);
  if (bytes) say(share < 1 ? t(model ? "loadingModel" : "loading", { mb }) : t("starting"));
}

function ready(answer) {
  use(answer);
  document.documentElement.dataset.ready = "yes";
}

/** Begin with a model; what was seen with another one is forgotten. */
function use({ manifest: all, classifier }) {
  const { name, labels, uncertain_below: own, sha256 } = classifier;
  manifest = all;
  model = { name, labels, own, hash: sha256.slice(0, 16), uncertainBelow: settings.threshold ?? own };
  listFaces();
  time.begin(labels);
  run.clear();
  showModels(manifest.classifiers, model, model.uncertainBelow);
  $("network").textContent = t("network", model);
  say(t("ready"));
  session?.attach(engine, model);
  const again = gallery.items.map(({ file }) => file);
  if (again.length) openMany(again);
  show();
}

function listFaces() {
  people?.clear();
  people = new People({ list: $("people"), ...parts("nobody", "headline", "said") }, model.labels, {
    lit: (place) => stage.light(place),
    explain: (face) => engine.explain({ crop: face.crop, label: face.label }),
  });
}

async function changeModel(name) {
  try {
    use(await engine.use(name));
  } catch (error) {
    alarm(error);
    showModels(manifest.classifiers, model, model.uncertainBelow);
  }
}

/** Say everything once more, in another language. */
function speak() {
  show();
  if (!model) return;
  $("network").textContent = t("network", model);
  listFaces();
  gallery.judge(model.uncertainBelow);
  if (session?.engine) showFaces(session.seen, session.alive, !session.moving);
  run.judge(model.uncertainBelow);
  say(session?.engine ? summary() : t("ready"));
}

function changeThreshold() {
  if (!model) return;
  model.uncertainBelow = settings.threshold ?? model.own;
  showThreshold(model.uncertainBelow);
  gallery.judge(model.uncertainBelow);
  session?.judge(model.uncertainBelow);
  run.judge(model.uncertainBelow);
}

// ---- opening and closing a source

/** Replace what is open by what `opening` gives, once that is there: what fails ends nothing. */
async function open(opening, { item = null, camera = false } = {}) {
  const mine = ++asked;
  if (camera && session?.source.kind === "camera") close(mine); // many devices give only one camera at a time
  let opened;
  try {
    opened = await opening(() => mine === asked);
  } catch (error) {
    if (mine === asked) alarm(error);
    return;
  }
  if (mine !== asked) return opened.stop(); // something else was opened meanwhile
  close(mine, Boolean(item));
  hideAlert();
  session = new Session(opened, seen, alarm);
  stage.put(opened.element);
  gallery.mark(item);
  run.open(session, () => ({ engine, model, series: ++series }));
  show();
  warn(opened);
  await engine.ready
    .then(() => session?.source === opened && !session.engine && session.attach(engine, model))
    .catch(() => {});
}

/** What a person should know about a file that did open. */
async function warn({ file }) {
  if (file?.type !== "image/jpeg") return;
  if (!(await isWholeJpeg(file))) note(t("maybeCut", { name: file.name }));
}

function close(mine = ++asked, keepGallery = false) {
  asked = mine;
  cancelAnimationFrame(painting);
  painting = 0;
  takings.stop();
  run.clear();
  session?.stop();
  session = null;
  stage.put(null);
  people?.clear();
  time.clear();
  if (!keepGallery) gallery.clear();
  $("note").hidden = true;
  show();
  if (model) say(t("ready"));
}

/** Bring the page into the state of what is open. */
function show() {
  const kind = session?.source.kind;
  const pictures = gallery.items.length > 0;
  document.body.classList.toggle("empty", !kind);
  $("hint").hidden = Boolean(kind) || pictures;
  $("view").classList.toggle("only-bar", !kind && pictures);
  $("time").hidden = !kind || kind === "picture" || run.done;
  $("start").textContent = t(kind === "camera" ? "stopCamera" : "startCamera");
  $("close").hidden = (!kind || kind === "camera") && !pictures;
  $("analyse").hidden = kind !== "video" || run.running || run.done;
  $("analyse").disabled = !model;
  for (const id of ["snapshot", "full", "copy", "share"]) $(id).disabled = !kind;
  $("record").disabled = !kind || kind === "picture";
  $("table").disabled = !model || (!kind && !pictures);
  if (kind === "camera") listCameras();
  draw();
}

/** Offer the cameras that there are now; one that has gone is no longer the chosen one. */
async function listCameras() {
  const found = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
  const chosen = session?.source.device ?? $("device").value;
  $("device").replaceChildren(
    ...found.map(({ label, deviceId }, k) => new Option(label || t("cameraN", { n: k + 1 }), deviceId)),
  );
  if (found.some(({ deviceId }) => deviceId === chosen)) $("device").value = chosen;
  $("devices").hidden = found.length < 2;
}

function startCamera(device) {
  const ended = () => {
    close();
    alarm(told("cameraStopped"));
  };
  const opening = async (wanted) => {
    try {
      return await openCamera(device, wanted, ended);
    } catch (error) {
      if (error.cause?.name === "OverconstrainedError") await listCameras();
      throw error;
    }
  };
  open(opening, { camera: true });
}

function stop(words) {
  close();
  announce(t(words));
}

function openAll(files) {
  const videos = files.filter(isVideo);
  if (files.length === 1) return open(() => openFile(files[0]));
  if (videos.length === files.length) {
    const words = t("onlyOne", { name: files[0].name, n: files.length - 1 });
    return open(() => openFile(files[0])).then(() => note(words));
  }
  openMany(files.filter((file) => !isVideo(file)));
  if (videos.length) note(t("videosLeft", { names: videos.map(({ name }) => name).join(", ") }));
}

async function openMany(files) {
  close();
  hideAlert();
  const mine = asked;
  gallery.prepare(files);
  show();
  await engine.ready.catch(() => {});
  if (mine !== asked || !model) return;
  $("cancel").hidden = false;
  await gallery.run({ engine, model, series: () => ++series }, (share, words) => {
    Object.assign($("progress"), { value: share, hidden: false });
    if (!session) say(words);
  });
  if (gallery.running) return; // other pictures were opened meanwhile
  $("progress").hidden = $("cancel").hidden = true;
  if (session || !gallery.items.length) return;
  announce($("gallery-headline").textContent);
  say(t("ready")); // the words stand above the table
}

// ---- showing what was seen

function seen({ seen: { faces }, moving, source }) {
  if (moving) time.add(faces, source.time());
  painting ||= requestAnimationFrame(paint);
}

function paint() {
  painting = 0;
  showFaces(session.seen, session.alive, !session.moving);
  say(summary());
}

/** Show faces in the list and over the picture. @param {{faces, width, height}} given */
function showFaces(given, alive = new Set(), still = false) {
  session.seen = given;
  people.show(given.faces, alive, still);
  draw();
  takings.frame();
}

function summary() {
  const { source, seen, moving, came, analysed, table } = session;
  const { length } = seen.faces;
  const words = [source.name, source.size().join("×"), length ? count(length, "faces") : t("noFace")];
  if (moving) words.push(t("rate", { came, analysed }));
  if (table.full) words.push(t("tableFull"));
  return words.join(" · ");
}

/** What is shown now, for the stage, snapshots and clips; null when nothing is open. */
function shown() {
  if (!session) return null;
  const { source, seen } = session;
  const mirrored = Boolean(source.mirrored) && settings.mirror;
  return {
    source,
    mirrored,
    faces: seen.faces,
    frame: [seen.width, seen.height],
    labels: model?.labels,
    show: shownParts(),
  };
}

function draw() {
  stage.draw(shown());
  time.draw();
}

// ---- what a person does

const takings = takeAway(shown);
connectView({
  changed: draw,
  model: changeModel,
  threshold: changeThreshold,
  spoken: speak,
});
connectInput(openAll);
$("start").onclick = () => (session?.source.kind === "camera" ? stop("saidCameraOff") : startCamera($("device").value));
$("device").onchange = () => startCamera($("device").value);
$("close").onclick = () => stop("saidClosed");
$("retry").onclick = () => {
  $("alert").hidden = true;
  load();
};
$("note-close").onclick = () => ($("note").hidden = true);
$("analyse").onclick = () => run.start();
$("cancel").onclick = () => {
  gallery.cancel();
  run.cancel();
};
$("table").onclick = () => {
  const text = run.done ? run.csv() : session ? session.table.text() : gallery.csv();
  announce(t("saved", { name: save(new Blob([text], { type: "text/csv" }), "csv") }));
};
navigator.mediaDevices?.addEventListener("devicechange", listCameras);
if ("serviceWorker" in navigator) navigator.serviceWorker.register("sw.js").catch(() => {}); // no offline reload then
show();
load();
