"""The page as a person uses it."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import mien
from mien.cli import serve
from mien.errors import ConfigError
from mien.faces.onnx import ASSETS
from mien.media import image
from mien.sinks import Csv
from mien.types import EMOTIONS, QUALITY

from .conftest import ROOT, STATIC, Site

AXE = ROOT / "web/node_modules/axe-core/axe.min.js"
VIDEO = ROOT.parent / "shared/media/single_face.mp4"
FAKE_CAMERA = "--use-fake-device-for-media-stream"
ALLOW = "--use-fake-ui-for-media-stream"


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A flag that makes the browser's camera show a person: a real video, or where it is missing the portrait."""
    path = tmp_path_factory.mktemp("camera") / "face.y4m"
    film = cv2.VideoCapture(str(VIDEO)) if VIDEO.exists() else None
    frames = [image.decode((ASSETS / "portrait.jpg").read_bytes(), "portrait")] * 5
    if film:
        frames = [frame for good, frame in (film.read() for _ in range(30)) if good]
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W640 H480 F15:1 Ip A1:1 C420jpeg\n")
        for frame in frames:
            scale = 480 / frame.shape[0]
            wide = cv2.resize(frame, None, fx=scale, fy=scale)
            left = max((wide.shape[1] - 640) // 2, 0)
            whole = np.zeros((480, 640, 3), np.uint8)
            cut = wide[:480, left : left + 640]
            whole[:, : cut.shape[1]] = cut
            file.write(b"FRAME\n" + cv2.cvtColor(whole, cv2.COLOR_BGR2YUV_I420).tobytes())
    return f"--use-file-for-fake-video-capture={path}"


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Any], camera: str) -> Any:
    return launch(FAKE_CAMERA, ALLOW, camera)


def opened(browser: Any, site: Site, script: str = "", **settings: Any) -> Any:
    """A page in a context of its own, perhaps not yet ready; `script` runs before the page's own.

    `page.troubles` gathers what a person would only see in the console, and requests to elsewhere.
    """
    page = browser.new_context(**{"service_workers": "block", **settings}).new_page()
    page.set_default_timeout(60_000)
    page.troubles = []
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on("console", lambda said: page.troubles.append(said.text) if said.type == "error" else None)
    page.on("request", lambda asked: _own(asked.url, site) or page.troubles.append(asked.url))
    if script:
        page.add_init_script(script)
    page.goto(site.url)
    return page


def _own(url: str, site: Site) -> bool:
    return url.startswith((site.url, f"blob:{site.url}"))


@pytest.fixture(scope="module")
def shared(browser: Any) -> Iterator[dict[str, Any]]:
    """A page that many tests use one after the other: loading the networks takes longer than most of them."""
    kept: dict[str, Any] = {"site": Site(STATIC)}
    yield kept
    kept["site"].stop()


@pytest.fixture
def page(browser: Any, shared: dict[str, Any]) -> Iterator[Any]:
    """The page, ready, with nothing open; in the end there may have been no troubles and nothing sent."""
    page = shared.pop("page", None) or opened(browser, shared["site"])
    page.wait_for_selector("html[data-ready]")
    yield page
    assert page.troubles == []
    assert shared["site"].bodies == 0
    if _reset(page):
        shared["page"] = page
    else:
        page.context.close()


def _reset(page: Any) -> bool:
    """Close what is open; False when settings were changed, so that the page is of no more use."""
    if page.inner_text("#start") == "Stop camera":
        page.click("#start")
    elif page.is_visible("#close"):
        page.click("#close")
    page.evaluate("document.querySelector('#alert').hidden = document.querySelector('#note').hidden = true")
    page.evaluate("document.querySelector('#menu').open = false")
    page.mouse.move(0, 0)
    untouched = "!localStorage.getItem('mien') && document.querySelector('#examples').offsetParent !== null"
    return bool(page.evaluate(untouched))


def bars(page: Any) -> dict[str, int]:
    """Name and number of the first face's bars, in their order."""
    page.wait_for_selector(".face .number:not(:empty)")
    names = page.locator(".face >> nth=0").locator(".name").all_inner_texts()
    numbers = page.locator(".face >> nth=0").locator(".number").all_inner_texts()
    return {name: int(number.removesuffix(" %")) for name, number in zip(names, numbers, strict=True)}


def saved(page: Any, button: str) -> bytes:
    with page.expect_download() as waiting:
        page.click(button)
    return Path(waiting.value.path()).read_bytes()


def complaint(page: Any) -> str:
    page.wait_for_selector("#alert:not([hidden])")
    return str(page.inner_text("#alert"))


def upload(page: Any, name: str, content: bytes, kind: str = "") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})


def webm(path: Path, frames: int = 20) -> bytes:
    """A film of the portrait, which moves to the side."""
    av = pytest.importorskip("av")
    portrait = cv2.imread(str(ASSETS / "portrait.jpg"))
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuv420p"
        for k in range(frames):
            moved = np.roll(cv2.resize(portrait, (320, 320)), 2 * k, axis=1)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(moved, "bgr24")))
        out.mux(stream.encode(None))
    return path.read_bytes()


def test_camera_shows_an_id_and_bars_that_sum_to_one(page: Any) -> None:
    page.click("#start")
    page.wait_for_selector("#time:not([hidden])")
    shown = bars(page)
    assert tuple(shown) == EMOTIONS
    assert abs(sum(shown.values()) - 100) <= 3  # five rounded numbers
    # not always 1: on a busy machine a face may be away for more than a second
    assert re.match(r"#\d+ \w", page.locator(".face strong").first.inner_text())
    page.wait_for_selector("#person option:nth-child(2)", state="attached")
    rows = list(csv.DictReader(io.StringIO(saved(page, "#table").decode())))
    seen = [row for row in rows if row["id"]]
    assert seen and all(abs(sum(float(row[name]) for name in EMOTIONS) - 1) < 1e-3 for row in seen)
    times = [float(row["time"]) for row in rows]
    assert times == sorted(times)
    page.click("#start")
    page.wait_for_selector("#hint:not([hidden])")
    assert page.inner_text("#start") == "Start camera"
    assert page.evaluate("document.querySelector('video')") is None
    assert page.inner_text("#said") == "Camera off."


def test_image_table_equals_python(page: Any, tmp_path: Path) -> None:
    picture = cv2.imread(str(ASSETS / "portrait.jpg"))
    cv2.imwrite(str(tmp_path / "face.png"), picture)
    upload(page, "face.png", (tmp_path / "face.png").read_bytes(), "image/png")
    bars(page)
    found = list(csv.DictReader(io.StringIO(saved(page, "#table").decode())))
    with Csv(tmp_path / "faces.csv") as sink:
        sink.write(mien.load()(picture))
    expected = list(csv.DictReader(io.StringIO((tmp_path / "faces.csv").read_text("utf-8"))))
    assert [list(row) for row in found] == [list(row) for row in expected]
    for name, value in expected[0].items():
        if name in ("name", "shot", "id", "error"):
            continue
        if name == "emotion":
            assert found[0][name] == value
        else:
            exact = name not in ("x1", "y1", "x2", "y2", *QUALITY)
            assert float(found[0][name]) == pytest.approx(float(value), abs=1e-3 if exact else 0.1)


def test_image_without_faces_has_a_row(page: Any) -> None:
    upload(page, "=1+1.png", cv2.imencode(".png", np.full((80, 100, 3), 90, np.uint8))[1].tobytes(), "image/png")
    page.wait_for_selector("text=No face found >> visible=true")
    rows = list(csv.reader(io.StringIO(saved(page, "#table").decode())))
    assert rows[0][14:21] == list(QUALITY)
    assert len(rows) == 2 and len(rows[0]) == len(rows[1])
    assert rows[1][0] == "'=1+1.png" and rows[1][4] == ""


def test_snapshot_has_the_image_size_and_the_box(page: Any) -> None:
    page.click("#example")
    bars(page)
    drawn = cv2.imdecode(np.frombuffer(saved(page, "#snapshot"), np.uint8), cv2.IMREAD_COLOR)
    plain = cv2.imread(str(ASSETS / "portrait.jpg"))
    assert drawn.shape == plain.shape
    changed = (np.abs(drawn.astype(int) - plain) > 60).any(axis=2).mean()
    assert 0.01 < changed < 0.4


def test_video_file_plays_with_tracking(page: Any, tmp_path: Path) -> None:
    upload(page, "face.webm", webm(tmp_path / "face.webm"), "video/webm")
    assert abs(sum(bars(page).values()) - 100) <= 3
    page.wait_for_selector("#video:not([hidden])")
    assert page.evaluate("document.querySelector('video').controls")
    assert not page.is_visible("#picture")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_image_can_be_dropped_and_pasted(page: Any, way: str) -> None:
    page.evaluate(
        """async (way) => {
          const blob = await (await fetch("models/portrait.jpg")).blob();
          const data = new DataTransfer();
          data.items.add(new File([blob], "face.jpg", { type: "image/jpeg" }));
          const event = way === "drop"
            ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
          document.body.dispatchEvent(event);
        }""",
        way,
    )
    assert abs(sum(bars(page).values()) - 100) <= 3


def test_wrong_file_is_reported_and_the_next_one_works(page: Any) -> None:
    portrait = (ASSETS / "portrait.jpg").read_bytes()
    wrong = {
        "notes.txt": (b"no picture", "is neither a picture nor a video"),
        "empty.png": (b"", "is empty"),
        "cut.jpg": (portrait[:300], "is cut off"),
        "bad.jpg": (b"\xff\xd8" + bytes(60) + b"\xff\xd9", "is damaged"),
        "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(60), "is an HEIC picture"),
        "scan.tif": (b"II*\0" + bytes(60), "is a TIFF picture"),
        "paper.pdf": (b"%PDF-1.7" + bytes(60), "is a PDF"),
        "old.avi": (b"RIFF" + bytes(4) + b"AVI " + bytes(60), "is an AVI video"),
        "cut.mp4": (b"\0\0\0\x18ftypisom" + bytes(60), "is a video, but it is damaged or cut off"),
    }
    for name, (content, words) in wrong.items():
        upload(page, name, content)
        page.wait_for_selector(f"#alert:has-text('{name} {words.split()[0]}')")
        assert words.replace("is damaged", "it is damaged").replace("is cut", "it is cut") in complaint(page) or (
            words in complaint(page)
        )
    page.click("#example")
    assert len(bars(page)) == 5
    assert not page.is_visible("#alert")


def test_all_controls_are_reachable_by_keyboard(page: Any) -> None:
    reached = []
    for _ in range(24):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
        if reached[-1] == "example":
            page.keyboard.press("Enter")
            bars(page)
    assert {"language", "start", "open", "example", "close", "snapshot", "table", "full"} <= set(reached)


def test_changes_are_announced_to_screen_readers(page: Any) -> None:
    page.click("#example")
    page.wait_for_selector("#said:has-text('Face 1')", state="attached")
    assert re.fullmatch(r"Face 1 (looks \w+|is uncertain)\.", page.inner_text("#said"))


def test_smoothing_can_be_turned_off(page: Any) -> None:
    page.click("#start")
    bars(page)
    page.focus("#smoothing")
    page.keyboard.press("Home")
    assert page.inner_text("#half-life") == "off"


def test_face_below_the_threshold_is_uncertain(browser: Any, site: Site) -> None:
    manifest = json.loads((STATIC / "models/models.json").read_text("utf-8"))
    manifest["classifiers"][0]["uncertain_below"] = 1.1
    site.altered["/models/models.json"] = json.dumps(manifest).encode()
    page = opened(browser, site)
    page.click("#example")
    bars(page)
    assert page.inner_text(".face strong") == "uncertain"
    assert "perhaps" in page.inner_text(".face .sure")
    assert page.inner_text("#headline") == "1 uncertain"
    page.context.close()


def test_denied_camera_is_reported_and_images_still_work(launch: Callable[..., Any], site: Site) -> None:
    page = opened(launch(FAKE_CAMERA, "--deny-permission-prompts"), site)
    page.click("#start")
    assert "not allowed" in complaint(page)
    assert page.inner_text("#start") == "Start camera"
    page.click("#example")
    assert len(bars(page)) == 5


def test_missing_camera_is_reported(launch: Callable[..., Any], site: Site) -> None:
    page = opened(launch(ALLOW), site)
    page.click("#start")
    assert "No camera was found" in complaint(page)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NotReadableError", "in use"),
        ("OverconstrainedError", "no longer there"),
        ("AbortError", "could not be started"),
    ],
)
def test_failing_camera_is_reported(browser: Any, site: Site, name: str, words: str) -> None:
    script = f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('x', '{name}'); }};"
    page = opened(browser, site, script)
    page.click("#start")
    assert words in complaint(page)
    page.context.close()


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("/models/models.json", None, "models.json is missing"),
        ("/models/yunet.onnx", None, "yunet.onnx is missing"),
        ("/models/yunet.onnx", b"damaged", "arrived damaged"),
        ("/vendor/ort.wasm.min.mjs", None, "runtime"),
        ("/worker.js", None, "worker did not start"),
    ],
)
def test_missing_or_damaged_file_is_reported(
    browser: Any, site: Site, path: str, content: bytes | None, words: str
) -> None:
    site.altered[path] = content
    page = opened(browser, site)
    assert words in complaint(page)
    page.wait_for_timeout(500)  # for what still loads
    assert page.inner_text("#status") == "The page cannot analyse pictures."
    page.click("#example")
    page.wait_for_selector("#picture")
    assert words in complaint(page)
    del site.altered[path]
    page.click("#retry")
    assert len(bars(page)) == 5
    assert not page.is_visible("#alert")
    page.context.close()


@pytest.mark.parametrize(
    ("script", "words"),
    [("delete window.WebAssembly;", "too old"), ("delete window.OffscreenCanvas;", "too old")],
)
def test_unsupported_browser_is_reported(browser: Any, site: Site, script: str, words: str) -> None:
    page = opened(browser, site, script)
    assert words in complaint(page)
    page.context.close()


def test_page_works_on_any_server_and_then_offline(browser: Any) -> None:
    site = Site(STATIC.parent, headers=False)
    site.url += "static/"
    page = opened(browser, site, service_workers="allow")
    page.wait_for_selector("html[data-ready]")
    assert not page.evaluate("crossOriginIsolated")
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    site.stop()
    page.goto(f"{site.url}index.html?again")
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("crossOriginIsolated")  # the service worker's headers: now it may use threads
    page.click("#example")
    assert len(bars(page)) == 5
    page.context.close()


@pytest.mark.parametrize(
    "put",
    ["async () => { throw new DOMException('', 'QuotaExceededError'); }", "() => new Promise(() => {})"],
    ids=["full", "slow"],
)
def test_page_opens_when_the_disk_is_full_or_slow(browser: Any, put: str) -> None:
    site = Site(STATIC, headers=False)
    page = opened(browser, site, service_workers="allow")
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.context.service_workers[0].evaluate(f"caches.delete('mien').then(() => {{ Cache.prototype.put = {put}; }})")
    page.goto(site.url)
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("crossOriginIsolated")  # so it was the service worker that answered
    assert page.troubles == []
    page.context.close()
    site.stop()


def test_service_worker_follows_redirects(browser: Any, site: Site) -> None:
    page = opened(browser, site, service_workers="allow")
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    site.moved["/"] = "/icon.svg"  # as a server does whose session is over
    page.goto(site.url)
    assert page.url == f"{site.url}icon.svg"
    page.context.close()


CAMERAS = """
let here = ["old"];
const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async ({ video }) => {
  if (video.deviceId && !here.includes(video.deviceId.exact)) throw new DOMException("", "OverconstrainedError");
  const stream = await real({ video: true });
  const device = video.deviceId?.exact ?? here[0];
  stream.getVideoTracks()[0].getSettings = () => ({ deviceId: device });
  return stream;
};
navigator.mediaDevices.enumerateDevices = async () =>
  here.map((deviceId) => ({ kind: "videoinput", label: `${deviceId} camera`, deviceId }));
window.replug = (devices, told) => {
  here = devices;
  if (told) navigator.mediaDevices.dispatchEvent(new Event("devicechange"));
};
"""


@pytest.mark.parametrize("told", [True, False])
def test_replaced_camera_can_be_started(browser: Any, site: Site, told: bool) -> None:
    page = opened(browser, site, CAMERAS)
    page.click("#start")
    bars(page)
    page.click("#start")
    page.evaluate("(told) => replug(['new'], told)", told)
    page.wait_for_timeout(50)
    page.click("#start")
    if not told:
        assert "no longer there" in complaint(page)
        page.click("#start")
    bars(page)
    assert not page.is_visible("#alert")
    assert page.evaluate("document.querySelector('#device').value") == "new"
    page.context.close()


def test_second_camera_appears_and_disappears(browser: Any, site: Site) -> None:
    page = opened(browser, site, CAMERAS)
    page.click("#start")
    bars(page)
    assert not page.is_visible("#devices")
    page.evaluate("replug(['new', 'old'], true)")
    page.wait_for_selector("#devices:not([hidden])")
    assert page.evaluate("document.querySelector('#device').value") == "old"
    page.evaluate("replug(['old'], true)")
    page.wait_for_selector("#devices", state="hidden")
    page.context.close()


def test_image_opens_without_models_but_has_no_table(browser: Any, site: Site) -> None:
    site.altered["/models/models.json"] = None
    page = opened(browser, site)
    complaint(page)
    page.click("#example")
    page.wait_for_selector("#picture:not([hidden])")
    assert page.is_disabled("#table")
    assert saved(page, "#snapshot").startswith(b"\x89PNG")
    page.context.close()


def test_image_opened_before_the_models_loaded_has_a_table(browser: Any, site: Site) -> None:
    script = """
      window.Worker = class extends Worker {
        postMessage(...given) {
          if (given[0].task === "load") window.load = () => super.postMessage(...given);
          else super.postMessage(...given);
        }
      };"""
    page = opened(browser, site, script)
    page.click("#example")
    page.wait_for_selector("#picture:not([hidden])")
    assert page.is_disabled("#table")
    page.evaluate("load()")
    bars(page)
    assert saved(page, "#table").count(b"\n") == 2
    page.context.close()


@pytest.mark.parametrize("how", ["error", "silence"])
def test_dead_worker_is_reported_and_replaced(browser: Any, site: Site, how: str) -> None:
    script = """
      window.Worker = class extends Worker {
        constructor(...given) {
          super(...given);
          window.last = this;
        }
      };
      window.later = window.setTimeout;"""
    if how == "silence":
        script += "window.setTimeout = (work, wait) => later(work, wait >= 60_000 ? 50 : wait);"
    page = opened(browser, site, script)
    page.wait_for_selector("html[data-ready]")
    if how == "silence":
        page.evaluate("last.terminate()")
        page.click("#example")
    else:
        page.click("#start")
        bars(page)
        page.evaluate("last.dispatchEvent(new ErrorEvent('error'))")
    assert "worker has stopped" in complaint(page)
    page.evaluate("void (window.setTimeout = later)")
    page.wait_for_selector("html[data-ready]")
    assert page.inner_text("#start") == "Start camera"
    page.click("#example")
    assert len(bars(page)) == 5
    assert not page.is_visible("#alert")
    page.context.close()


OPEN = """async ([order, pause, film]) => {
  const bytes = Uint8Array.from(atob(film), (c) => c.charCodeAt());
  const portrait = await (await fetch("models/portrait.jpg")).blob();
  const large = new OffscreenCanvas(4000, 3000);
  large.getContext("2d").fillRect(0, 0, 1, 1);
  const noise = await large.convertToBlob();
  const files = {
    film: new File([bytes], "face.webm", { type: "video/webm" }),
    picture: new File([portrait], "face.jpg", { type: "image/jpeg" }),
    large: new File([noise], "large.png", { type: "image/png" }),
  };
  for (const each of order) {
    if (each === "camera") document.querySelector("#start").click();
    else {
      const data = new DataTransfer();
      data.items.add(files[each]);
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    }
    if (pause) await new Promise((resolve) => setTimeout(resolve, pause));
  }
}"""


@pytest.mark.parametrize(
    ("order", "pause"),
    [
        ("film camera", 0),
        ("camera film", 30),
        ("film camera film", 30),
        ("camera film picture", 0),
        ("large picture", 0),
    ],
)
def test_last_of_several_sources_is_shown(page: Any, order: str, pause: int, tmp_path: Path) -> None:
    film = base64.b64encode(webm(tmp_path / "face.webm", 60)).decode()
    page.evaluate(OPEN, [order.split(), pause, film])
    bars(page)
    page.wait_for_timeout(300)  # for what comes late
    if order.endswith("picture"):
        assert page.evaluate("[picture.width, picture.height]") == [512, 512]
        assert not page.is_visible("#video")
        return
    states = "[video.currentTime, video.paused && !video.ended, Boolean(video.srcObject)]"
    before, paused, camera = page.evaluate(states)
    assert not paused
    assert camera == order.endswith("camera")
    page.wait_for_function("(before) => video.ended || video.currentTime > before", arg=before)
    assert page.inner_text("#start") == ("Stop camera" if camera else "Start camera")
    assert not page.is_visible("#alert")


@pytest.mark.parametrize(
    "settings", [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"forced_colors": "active"}], ids=str
)
def test_axe_finds_no_serious_problem(browser: Any, site: Site, settings: dict[str, Any], tmp_path: Path) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not there: make web")
    page = opened(browser, site, **settings)
    page.evaluate(AXE.read_text("utf-8"))
    page.wait_for_selector("html[data-ready]")
    assert_accessible(page, "first screen")
    page.click("[data-file='crowd.jpg']")
    page.wait_for_selector(".face >> nth=23")
    page.click(".face summary >> nth=0")
    page.click("#menu summary")
    assert_accessible(page, "crowd and menu")
    page.keyboard.press("Escape")
    page.click("#start")
    page.wait_for_selector("#time:not([hidden])")
    assert_accessible(page, "camera")
    analysed(page, tmp_path, 8)
    assert_accessible(page, "analysed video")
    portrait = (ASSETS / "portrait.jpg").read_bytes()
    page.set_input_files("#file", [{"name": name, "mimeType": "", "buffer": portrait} for name in ("a.jpg", "b.jpg")])
    page.wait_for_selector("#gallery-headline:has-text('2 happy')")
    upload(page, "notes.txt", b"")
    complaint(page)
    assert_accessible(page, "many images and an alert")
    page.context.close()


def assert_accessible(page: Any, state: str) -> None:
    found = page.evaluate("axe.run()")
    bad = [rule for rule in found["violations"] if rule["impact"] in ("serious", "critical")]
    assert [(state, rule["id"], [node["html"] for node in rule["nodes"]]) for rule in bad] == []
    assert len(found["passes"]) > 10


def test_page_fits_a_small_screen(browser: Any, site: Site) -> None:
    page = opened(browser, site)
    page.click("#start")
    bars(page)
    for width in (320, 390, 768, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        heights = page.evaluate(
            "[...document.querySelectorAll('button, summary')]"
            ".map((each) => each.getBoundingClientRect().height).filter(Boolean)"
        )
        assert min(heights) >= 44  # a finger's size
    page.context.close()


def test_service_worker_caches_every_file() -> None:
    listed = re.search(r"const PAGE = \[(.*?)\];", (STATIC / "sw.js").read_text("utf-8"), re.S)
    assert listed
    names = set(re.findall(r'"([^"]+)"', listed[1]))
    files = {path.name for path in STATIC.iterdir() if path.is_file()}
    assert names == files - {"sw.js", "index.html"} | {"./"}


def test_web_opens_the_page_on_loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serving, server = pytest.importorskip("mien.serve.app"), pytest.importorskip("mien.serve.server")
    opened: list[str] = []
    ran: list[Any] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(server, "run", lambda *given: ran.append(given))
    monkeypatch.setattr(serving, "STATIC", tmp_path)
    with pytest.raises(ConfigError, match="make web"):
        serve.web(port=0)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/models.json").write_text("{}")
    with pytest.raises(ConfigError, match="make web"):
        serve.web(port=0)
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor/ort.wasm.min.mjs").touch()
    assert serve.web(port=0) == 0
    assert len(ran) == 1
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", opened[0])


def test_wrong_file_does_not_end_what_runs(page: Any) -> None:
    page.click("#start")
    bars(page)
    page.evaluate("window.before = document.querySelector('video')")
    upload(page, "notes.txt", b"no picture")
    complaint(page)
    assert page.inner_text("#start") == "Stop camera"
    assert page.evaluate("before === document.querySelector('video') && before.srcObject.active")
    assert saved(page, "#table").count(b"\n") > 2


def test_announcements_are_postponed_and_the_last_one_is_never_lost(page: Any) -> None:
    said = page.evaluate(
        """async () => {
          const { People } = await import("./people.js");
          const parts = Object.fromEntries(["list", "nobody", "headline", "said"].map((name) =>
            [name, document.createElement(name === "list" ? "ul" : "p")]));
          const people = new People(parts, ["happy", "sad"], {});
          const told = [];
          new MutationObserver(() => told.push(parts.said.textContent)).observe(parts.said, { childList: true });
          const face = (label) => ({ id: 1, label, uncertain: false, probabilities: label ? [0, 1] : [1, 0] });
          for (const label of [0, 1, 0, 1]) people.show([face(label)], new Set());
          await new Promise((resolve) => setTimeout(resolve, 100));
          const early = told.length;
          await new Promise((resolve) => setTimeout(resolve, 2200));
          return [early, told];
        }"""
    )
    assert said == [1, ["Face 1 looks happy.", "Face 1 looks sad."]]


def test_full_screen_shows_the_boxes_too(page: Any, tmp_path: Path) -> None:
    upload(page, "face.webm", webm(tmp_path / "face.webm"), "video/webm")
    bars(page)
    assert page.get_attribute("#video", "controlslist") == "nofullscreen"
    page.click("#full")
    page.wait_for_function("() => document.fullscreenElement?.id === 'stage'")
    drawn = "overlay.getContext('2d').getImageData(0, 0, overlay.width, overlay.height).data.some((value) => value)"
    page.wait_for_function(f"() => overlay.clientWidth === innerWidth && {drawn}")
    page.click("#leave")
    page.wait_for_function("() => !document.fullscreenElement && !stage.classList.contains('full')")


def test_video_that_the_browser_cannot_play_names_its_codec(page: Any, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "tape.mov"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("prores_ks", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv422p10le"
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "bgr24")))
        out.mux(stream.encode(None))
    upload(page, "tape.mov", path.read_bytes(), "video/quicktime")
    assert re.search(r"tape.mov is a video in (ProRes|ap\w\w)", complaint(page))


def test_videos_left_out_are_named_until_read(page: Any, tmp_path: Path) -> None:
    portrait = (ASSETS / "portrait.jpg").read_bytes()
    page.set_input_files(
        "#file",
        [
            {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": portrait},
            {"name": "b.webm", "mimeType": "video/webm", "buffer": webm(tmp_path / "b.webm", 3)},
        ],
    )
    page.wait_for_selector("#pictures td:has-text('1 happy')")
    assert "b.webm" in page.inner_text("#note")
    page.click("#note-close")
    assert not page.is_visible("#note")


def test_opened_file_is_named(page: Any) -> None:
    upload(page, "aunt.jpg", (ASSETS / "portrait.jpg").read_bytes(), "image/jpeg")
    page.wait_for_selector("#status:has-text('aunt.jpg · 512×512 · 1 face')")


def test_forced_colours_keep_the_bars(browser: Any, site: Site) -> None:
    page = opened(browser, site, forced_colors="active")
    page.click("#example")
    bars(page)
    for selector in (".bars .fill >> nth=1", ".mini .fill >> nth=1"):
        colour = page.eval_on_selector(selector, "(fill) => getComputedStyle(fill).backgroundColor")
        assert colour == "rgb(240, 228, 66)"
    assert page.eval_on_selector(".track", "(track) => getComputedStyle(track).borderTopStyle") == "solid"
    page.context.close()


def analysed(page: Any, tmp_path: Path, frames: int = 24) -> None:
    upload(page, "face.webm", webm(tmp_path / "face.webm", frames), "video/webm")
    page.click("#analyse")
    page.wait_for_selector("#report:not([hidden])")


def test_every_frame_of_a_video_is_analysed(page: Any, tmp_path: Path) -> None:
    analysed(page, tmp_path)
    assert "24 frames" in page.inner_text("#said")
    rows = list(csv.DictReader(io.StringIO(saved(page, "#save-csv").decode())))
    assert [float(row["time"]) for row in rows] == pytest.approx([k / 10 for k in range(24)], abs=2e-3)
    assert {row["id"] for row in rows} == {"1"}
    assert saved(page, "#table").decode() == saved(page, "#save-csv").decode()
    told = json.loads(saved(page, "#save-json"))
    (person,) = told["people"]
    assert person["seconds"] == pytest.approx(2.4, abs=0.01)
    assert sum(person["share"].values()) == pytest.approx(1, abs=1e-3)
    assert sum(person["mean"].values()) == pytest.approx(1, abs=1e-3)
    assert len(told["frames"]) == 24
    drawing = saved(page, "#save-svg").decode()
    assert drawing.startswith("<svg") and drawing.count('fill="none"') == len(EMOTIONS)
    assert "Person 1" in page.inner_text("#persons")
    assert not page.is_visible("#analyse")


def test_cuts_of_an_analysed_video_end_tracks_and_are_marked(page: Any, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    portrait = cv2.imread(str(ASSETS / "portrait.jpg"))
    grounds = np.random.default_rng(0).integers(0, 256, (3, 5, 5, 3), np.uint8)
    with av.open(str(tmp_path / "cut.webm"), "w") as out:
        stream = out.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuv420p"
        for ground in grounds:
            scene = cv2.resize(ground, (512, 512), interpolation=cv2.INTER_CUBIC)
            scene[40:200, 150:300] = portrait[40:200, 150:300]  # the face stays in its place
            for _ in range(12):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(cv2.resize(scene, (320, 320)), "bgr24")))
        out.mux(stream.encode(None))
    upload(page, "cut.webm", (tmp_path / "cut.webm").read_bytes(), "video/webm")
    page.click("#analyse")
    page.wait_for_selector("#report:not([hidden])")
    rows = list(csv.DictReader(io.StringIO(saved(page, "#save-csv").decode())))
    expected = [(str(1 + k // 12), str(1 + k // 12)) for k in range(36)]
    assert [(row["shot"], row["id"]) for row in rows] == expected
    told = json.loads(saved(page, "#save-json"))
    assert [str(frame["shot"]) for frame in told["frames"]] == [shot for shot, _ in expected]
    assert "3 shots" in page.inner_text("#report-headline")
    assert page.locator(".chart >> nth=0").locator(".cut").count() == 2
    assert "cut" in page.locator("#legend li").all_inner_texts()
    assert saved(page, "#save-svg").decode().count('class="cut"') == 2 * 3


@pytest.mark.parametrize("weakness", ["blurred", "too dark", "too small"])
def test_poor_faces_are_uncertain_and_say_why(page: Any, weakness: str) -> None:
    portrait = cv2.imread(str(ASSETS / "portrait.jpg"))
    poor = {
        "blurred": cv2.GaussianBlur(portrait, (0, 0), 5),
        "too dark": np.asarray(portrait * 0.12, np.uint8),
        "too small": cv2.resize(portrait, None, fx=0.19, fy=0.19, interpolation=cv2.INTER_AREA),
    }[weakness]
    upload(page, "poor.png", cv2.imencode(".png", poor)[1].tobytes(), "image/png")
    bars(page)
    assert page.inner_text("#headline") == "1 uncertain"
    assert weakness in page.inner_text(".face .sure")
    (row,) = csv.DictReader(io.StringIO(saved(page, "#table").decode()))
    assert row["uncertain"] == "1"


def test_click_into_the_chart_seeks_the_video(page: Any, tmp_path: Path) -> None:
    analysed(page, tmp_path)
    page.wait_for_selector(".chart svg path", state="attached")
    box = page.locator(".chart").bounding_box()
    page.click(".chart", position={"x": box["width"] / 2, "y": 40})
    expected = 2.4 * (box["width"] / 2 - 50) / (box["width"] - 62)  # the room left and right of the curves
    page.wait_for_function("(time) => Math.abs(video.currentTime - time) < 0.1", arg=expected)
    told = "document.querySelector('.chart').getAttribute('aria-valuenow')"
    page.wait_for_function(f"() => {told} === video.currentTime.toFixed(1)")
    page.focus(".chart")
    page.keyboard.press("Home")
    page.wait_for_function("() => video.currentTime === 0")
    text = told.replace("now", "text")
    page.wait_for_function(f"() => /^0:00: \\w+$/.test({text})")  # told after the video has moved
    assert len(bars(page)) == 5  # of the analysis


def test_analysis_can_be_cancelled(page: Any, tmp_path: Path) -> None:
    upload(page, "face.webm", webm(tmp_path / "face.webm", 300), "video/webm")
    page.click("#analyse")
    page.wait_for_selector("#status:has-text('frames ·')")
    page.click("#cancel")
    page.wait_for_selector("#analyse:not([hidden])")
    assert page.inner_text("#said") == "Stopped."
    assert not page.is_visible("#report")
    assert not page.is_visible("#progress")
    assert len(bars(page)) == 5


@pytest.mark.parametrize("missing", ["decoder", "container"])
def test_video_is_analysed_by_seeking_where_frames_cannot_be_decoded(
    browser: Any, site: Site, missing: str, tmp_path: Path
) -> None:
    if missing == "container":
        site.altered["/vendor/mediabunny.min.mjs"] = b"throw new Error()"
    page = opened(browser, site, "delete window.VideoDecoder;")
    analysed(page, tmp_path, 8)
    rows = list(csv.DictReader(io.StringIO(saved(page, "#save-csv").decode())))
    assert [float(row["time"]) for row in rows] == pytest.approx([k / 10 for k in range(8)], abs=0.02)
    page.context.close()


def test_many_images_have_a_table_and_open_by_a_click(page: Any) -> None:
    portrait = (ASSETS / "portrait.jpg").read_bytes()
    empty = cv2.imencode(".png", np.full((80, 100, 3), 90, np.uint8))[1].tobytes()
    files = {"a.jpg": portrait, "b.png": empty, "c.jpg": portrait[:300], "d.jpg": portrait}
    page.set_input_files(
        "#file", [{"name": name, "mimeType": "", "buffer": content} for name, content in files.items()]
    )
    page.wait_for_selector("#gallery-headline:has-text('3 pictures · 2 faces · 2 happy · 1 failed')")
    page.wait_for_selector("#cancel", state="hidden")
    cells = page.locator("#pictures td:last-child").all_inner_texts()
    assert cells[0] == cells[3] == "1 happy"
    assert cells[1] == "No face found."
    assert "c.jpg is a JPEG picture, but it is cut off" in cells[2]
    rows = list(csv.DictReader(io.StringIO(saved(page, "#table").decode())))
    assert [row["name"] for row in rows] == list(files)
    assert [row["emotion"] for row in rows] == ["happy", "", "", "happy"]
    assert "cut off" in rows[2]["error"]
    page.click("#pictures button >> nth=3")
    page.wait_for_selector("#status:has-text('d.jpg')")
    assert len(bars(page)) == 5
    assert page.locator("#pictures tr").count() == 4
    page.click("#close")
    assert not page.is_visible("#gallery")


def test_first_screen_offers_four_examples(page: Any) -> None:
    assert page.locator("#examples button").count() == 4
    page.click("[data-file='drawings.jpg']")
    page.wait_for_selector(".face >> nth=4")
    words = page.inner_text("#headline")
    assert {"1 happy", "1 sad", "1 surprise", "1 neutral", "1 uncertain"} == set(words.split(", "))
    page.click("#close")
    page.click("[data-file='video.webm']")
    bars(page)
    assert page.is_visible("#analyse")


def test_all_faces_of_a_crowd_are_listed_and_pointed_at(page: Any) -> None:
    page.click("[data-file='crowd.jpg']")
    page.wait_for_selector(".face >> nth=23")
    pixels = "Array.from(overlay.getContext('2d').getImageData(0, 0, overlay.width, overlay.height).data).join()"
    plain = page.evaluate(pixels)
    last = page.locator(".face summary >> nth=23")
    last.focus()
    lit = page.evaluate(pixels)
    assert lit != plain
    page.focus("#open")
    assert page.evaluate(pixels) == plain
    page.hover(".face >> nth=3")
    assert page.evaluate(pixels) not in (plain, lit)
    page.locator(".face summary >> nth=5").press("Enter")
    assert page.locator(".face >> nth=5").locator(".number").first.inner_text().endswith("%")


def test_pointing_at_a_face_marks_its_row(page: Any) -> None:
    page.click("[data-file='drawings.jpg']")
    page.wait_for_selector(".face >> nth=4")
    stage = page.locator("#stage").bounding_box()
    page.mouse.move(stage["x"] + stage["width"] / 6, stage["y"] + stage["height"] / 4)
    page.wait_for_selector(".face.lit")
    assert page.inner_text(".face.lit strong") == "happy"


def test_view_is_remembered(browser: Any, site: Site) -> None:
    page = opened(browser, site)
    page.wait_for_selector("html[data-ready]")
    page.click("#example")
    bars(page)
    drawn = "overlay.getContext('2d').getImageData(0, 0, overlay.width, overlay.height).data.some((value) => value)"
    assert page.evaluate(drawn)
    page.click("#menu summary")
    for name in ("boxes", "labels", "bars"):
        page.uncheck(f"#{name}")
    assert not page.evaluate(drawn)
    page.fill("#threshold", "99")
    page.wait_for_selector("#headline:has-text('1 uncertain')")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    page.click("#example")
    bars(page)
    assert page.inner_text("#headline") == "1 uncertain"
    assert not page.evaluate(drawn)
    page.click("#menu summary")
    page.click("#own")
    page.wait_for_selector("#headline:has-text('1 happy')")
    page.check("#boxes")
    assert page.evaluate(drawn)
    page.context.close()


def test_seven_classes_can_be_chosen(page: Any) -> None:
    page.click("#example")
    bars(page)
    page.click("#menu summary")
    assert page.locator("#models option").all_inner_texts() == ["mien-s", "mien-xs", "mien-s-7"]
    page.select_option("#models", "mien-s-7")
    page.wait_for_selector(".face .name >> nth=6")
    assert tuple(bars(page)) == (*EMOTIONS, "disgust", "fear")
    (row,) = csv.DictReader(io.StringIO(saved(page, "#table").decode()))
    picture = image.decode((ASSETS / "portrait.jpg").read_bytes(), "portrait")
    (face,) = mien.load("mien-s-7")(picture).faces
    assert float(row["happy"]) == pytest.approx(face.probabilities["happy"], abs=0.02)  # two decoders of JPEG
    assert "mien-s-7" in page.inner_text("#network")


def test_mirror_is_for_the_camera(page: Any) -> None:
    page.click("#start")
    bars(page)
    assert page.evaluate("video.classList.contains('mirrored')")
    page.click("#menu summary")
    page.uncheck("#mirror")
    assert not page.evaluate("video.classList.contains('mirrored')")


def test_clip_is_recorded(page: Any, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    page.click("#start")
    bars(page)
    page.click("#menu summary")
    page.click("#record")
    page.wait_for_selector("#rec:has-text('REC 0:01')")
    content = saved(page, "#record")
    with av.open(io.BytesIO(content)) as film:
        frames = list(film.decode(video=0))
    assert frames and (frames[0].width, frames[0].height) == (640, 480)
    assert not page.is_visible("#rec")


def test_picture_is_copied(browser: Any, site: Site) -> None:
    page = opened(browser, site, permissions=["clipboard-read", "clipboard-write"])
    page.click("#example")
    bars(page)
    page.click("#menu summary")
    page.click("#copy")
    page.wait_for_selector("#status:has-text('clipboard')")
    kinds = page.evaluate("navigator.clipboard.read().then((items) => items.flatMap(({ types }) => types))")
    assert kinds == ["image/png"]
    page.context.close()


def test_why_shows_a_map(page: Any) -> None:
    page.click("#example")
    bars(page)
    page.click(".why")
    page.wait_for_selector("figure:not([hidden])")
    assert "speak for happy" in page.inner_text("figcaption")
    colours = page.evaluate(
        """() => {
          const { data } = document.querySelector("figure canvas").getContext("2d").getImageData(0, 0, 48, 48);
          let coloured = 0;
          for (let k = 0; k < data.length; k += 4) coloured += Math.abs(data[k] - data[k + 2]) > 20;
          return coloured;
        }"""
    )
    assert colours > 50


def test_page_speaks_german(browser: Any, site: Site) -> None:
    page = opened(browser, site, locale="de-DE")
    page.wait_for_selector("html[data-ready][lang=de]")
    page.click("#example")
    assert tuple(bars(page)) == ("wütend", "froh", "traurig", "überrascht", "neutral")
    assert page.inner_text("#headline") == "1 froh"
    assert page.inner_text("#start") == "Kamera starten"
    assert saved(page, "#table").startswith(b"name,index,time")
    page.select_option("#language", "en")
    assert page.inner_text("#headline") == "1 happy"
    assert page.inner_text("#open") == "Open files"
    page.reload()
    page.wait_for_selector("html[data-ready][lang=en]")
    page.context.close()


def test_german_has_all_words(page: Any) -> None:
    missing = page.evaluate(
        """async () => {
          const [{ EN }, { DE }] = await Promise.all([import("./words-en.js"), import("./words-de.js")]);
          const marks = [...document.querySelectorAll("[data-t], [data-t-label]")];
          const marked = marks.flatMap(({ dataset: { t, tLabel } }) => [t, tLabel]).filter(Boolean);
          const keys = [...Object.keys(EN), ...marked];
          const holes = (text) => (text.match(/\\{\\w+\\}/g) ?? []).sort().join();
          return keys.filter((key) => !DE[key] || (EN[key] && holes(EN[key]) !== holes(DE[key])));
        }"""
    )
    assert missing == []


def test_labels_of_an_analysed_video_change_when_the_face_does(page: Any) -> None:
    frames = [[1 - k, k] for k in [0.1] * 50 + [0.9] * 50 + [0.45, 0.55] + [0.9] * 48]
    found = page.evaluate(
        """async (curve) => {
          const { smoothed } = await import("./smooth.js");
          const frames = curve.map((probabilities, k) => ({ time: k / 25, faces: [{ id: 1, probabilities }] }));
          return smoothed(frames, { uncertainBelow: 0.6, halfLife: 0.25 }).map(({ faces: [face] }) => face.label);
        }""",
        frames,
    )
    assert found == [0] * 50 + [1] * 100
