"""What the page computes is what Python computes: detector, crop, classifier, tracker, colours."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.video import shots as made
from mien import draw, pipeline
from mien.evaluation import explain
from mien.faces import crop, models, onnx, quality, resize, yunet
from mien.faces.tracker import Tracker
from mien.faces.zero_lag import ZeroLagSmoother
from mien.media import image, shots
from mien.media.video import Video
from mien.media.video_writer import VideoWriter
from mien.types import EMOTIONS, QUALITY, Face, Frame, Result

from .conftest import ROOT, STATIC, Site

MEDIA = ROOT.parent / "shared/media"
LOOK = """async (url) => {
  const worker = new Worker("/worker.js", { type: "module" });
  const answer = (message, transfer) => new Promise((resolve, reject) => {
    worker.onerror = (event) => reject(new Error(event.message));
    worker.onmessage = ({ data }) => {
      if (data.failed) reject(new Error(JSON.stringify(data.failed)));
      if (data.answer) resolve(data.answer);
    };
    worker.postMessage(message, transfer);
  });
  await answer({ id: 1, task: "load" });
  const bitmap = await createImageBitmap(await (await fetch(url)).blob());
  const { faces } = await answer({ id: 2, task: "look", series: 1, bitmap }, [bitmap]);
  worker.terminate();
  return faces.map((face) => ({ ...face, crop: Array.from(face.crop) }));
}"""


@pytest.fixture(scope="module")
def page(launch: Callable[..., Any]) -> Iterator[Any]:
    """A page of the site, from which its modules can be imported."""
    server = Site(STATIC)
    page = launch().new_page(service_workers="block")
    page.goto(f"{server.url}icon.svg")
    page.site = server
    yield page
    server.stop()


def rgba(picture: np.ndarray) -> dict[str, Any]:
    """A BGR picture as the fields of an ImageData, for `evaluate`."""
    data = cv2.cvtColor(picture, cv2.COLOR_BGR2RGBA)
    return {"bytes": base64.b64encode(data).decode(), "width": picture.shape[1], "height": picture.shape[0]}


PIXELS = (
    "const pixels = ({ bytes, ...size }) => ({ ...size, data: Uint8Array.from(atob(bytes), (c) => c.charCodeAt()) });"
)


def test_built_models_equal_the_package(page: Any) -> None:
    built = json.loads((STATIC / "models/models.json").read_text("utf-8"))
    again = "the page has older models: run make web"
    assert [part["name"] for part in built["classifiers"]] == [models.DEFAULT, "mien-xs", "mien-s-7"], again
    for part in built["classifiers"]:
        model = models.load_classifier(part["name"])
        assert part["sha256"] == model.sha256, again
        assert part["labels"] == list(model.labels), again
        assert part["uncertain_below"] == model.confidence_threshold, again
    assert built["margin"] == pipeline.MARGIN, again


@pytest.mark.parametrize(
    "path",
    [onnx.ASSETS / "portrait.jpg", *(MEDIA / name for name in ("multi_face.jpg", "BWPictureHuman.jpg"))],
    ids=lambda path: path.name,
)
def test_image_gives_the_same_faces_crops_and_probabilities(page: Any, path: Path) -> None:
    if not path.exists():
        pytest.skip("the pictures that lie beside the project are not there")
    picture = image.decode(path.read_bytes(), path.name)
    # as PNG, so that two JPEG decoders are not compared
    page.site.altered["/given.png"] = cv2.imencode(".png", picture)[1].tobytes()
    found = page.evaluate(LOOK, "/given.png")
    expected = yunet.YuNet()(picture)
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose([face["box"] for face in found], [face.box for face in expected], atol=1)
    np.testing.assert_allclose([face["landmarks"] for face in found], [face.landmarks for face in expected], atol=1)
    np.testing.assert_allclose([face["score"] for face in found], [face.score for face in expected], atol=1e-3)
    crops = np.array([face["crop"] for face in found], np.uint8).reshape(-1, 48, 48)
    seen = [Face(tuple(face["box"]), 1.0, tuple(map(tuple, face["landmarks"]))) for face in found]
    off = np.abs(crop.crops(picture, seen, pipeline.MARGIN).astype(int) - crops)
    assert off.mean() < 0.2 and off.max() <= 2
    np.testing.assert_allclose([face["probabilities"] for face in found], models.load_classifier()(crops), atol=1e-3)


def test_image_without_faces_gives_none(page: Any) -> None:
    page.site.altered["/given.png"] = cv2.imencode(".png", np.full((90, 33, 3), 127, np.uint8))[1].tobytes()
    assert page.evaluate(LOOK, "/given.png") == []


@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_crops_equal_python_at_any_angle_size_and_position(page: Any, margin: float) -> None:
    random = np.random.default_rng(1)
    picture = cv2.resize(
        random.integers(0, 256, (24, 30, 3), dtype=np.uint8), (150, 120), interpolation=cv2.INTER_CUBIC
    )
    faces = []
    for side in (20, 47, 60, 96, 110, 150, 195, 400):
        x, y = (random.uniform(*sorted((-0.3 * side, limit - 0.7 * side))) for limit in (150, 120))
        eyes = random.uniform([x, y], [x + side, y + side], (2, 2))
        faces.append(Face((x, y, x + side, y + side * 0.8), 1.0, tuple(map(tuple, eyes.tolist()))))
    faces.append(Face((30.0, 20.0, 90.0, 95.0)))
    script = f"""async ([picture, faces, margin]) => {{
      {PIXELS}
      const {{ crop }} = await import("/crop.js");
      return faces.map((face) => Array.from(crop(pixels(picture), face, margin)));
    }}"""
    given = [{"box": face.box, "landmarks": face.landmarks} for face in faces]
    found = np.array(page.evaluate(script, [rgba(picture), given, margin])).reshape(-1, 48, 48)
    off = np.abs(found - crop.crops(picture, faces, margin))
    assert off.mean() < 0.2 and off.max() <= 3  # OpenCV rounds in another way on some processors


@pytest.mark.parametrize(
    ("size", "small"),
    [((80, 61), (45, 34)), ((101, 77), (45, 34)), ((120, 60), (45, 22)), ((50, 131), (17, 45)), ((391, 187), (45, 22))],
)
def test_downscaling_equals_python(page: Any, size: tuple[int, int], small: tuple[int, int]) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    script = f"""async ([picture, side]) => {{
      {PIXELS}
      const {{ shrunk }} = await import("/detect.js");
      const {{ data, width, height, factors }} = shrunk(pixels(picture), side);
      return [Array.from(data), width, height, factors];
    }}"""
    data, width, height, factors = page.evaluate(script, [rgba(picture), 45])
    expected, ratio = resize.downscale(picture, 45, None)
    assert (width, height) == small and factors == pytest.approx(ratio)
    found = np.array(data, np.uint8).reshape(height, width, 4)[:, :, 2::-1]
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_half_size_detection_equals_python(page: Any) -> None:
    picture = cv2.resize(image.decode((onnx.ASSETS / "portrait.jpg").read_bytes(), "portrait"), (640, 640))
    script = f"""async (picture) => {{
      {PIXELS}
      const ort = await import("/vendor/ort.wasm.min.mjs");
      Object.assign(ort.env.wasm, {{ wasmPaths: "/vendor/", numThreads: 1 }});
      const network = await ort.InferenceSession.create("/models/yunet.onnx");
      const widths = [];
      const run = async (data, height, width) => {{
        widths.push(width);
        const [score, nms] = [0.7, 0.3].map((value) => new ort.Tensor("float32", [value], []));
        const image = new ort.Tensor("uint8", data, [height, width, 3]);
        return (await network.run({{ image, score, nms }})).faces.data;
      }};
      const {{ Search }} = await import("/search.js");
      const search = new Search(run);
      await search.faces(pixels(picture), true);
      return [await search.faces(pixels(picture), true), widths];
    }}"""
    found, widths = page.evaluate(script, rgba(picture))
    assert widths == [640, 320]
    expected = yunet.YuNet(max_side=320)(picture)
    assert len(found) == len(expected) == 1
    np.testing.assert_allclose(found[0]["box"], expected[0].box, atol=1)


SEARCH = """async ([frames, live]) => {
  const { Search } = await import("/search.js");
  let faces, widths;
  const run = async (pixels, height, width) => {
    widths.push(width);
    // left and side in shares of the width; not found where it has less than `least` pixels
    const found = faces.filter(([left, side, least]) => side * width >= least);
    const rows = found.map(([left, side]) => [left, 0, left + side, side].map((share) => share * width));
    return Float32Array.from(rows.flatMap((box) => [...box, 1, ...Array(10).fill(0)]));
  };
  const search = new Search(run);
  const image = { width: 640, height: 640, data: new Uint8ClampedArray(4 * 640 * 640) };
  const all = [];
  for (faces of frames) {
    widths = [];
    const found = await search.faces(image, live);
    all.push([widths, found.length]);
  }
  return all;
}"""


def test_source_with_large_faces_is_searched_at_half_size(page: Any) -> None:
    large = [0.2, 0.25, 0]
    found = page.evaluate(SEARCH, [[[large]] * 25, True])
    assert found == [[[640], 1], *[[[320], 1]] * 11, [[320, 640], 1], *[[[320], 1]] * 11, [[320, 640], 1]]


def test_small_faces_and_still_images_are_searched_at_full_size(page: Any) -> None:
    large, small = [0.2, 0.25, 0], [0.7, 0.1, 0]
    assert page.evaluate(SEARCH, [[[large, small]] * 3, True]) == [[[640], 2]] * 3
    assert page.evaluate(SEARCH, [[[]] * 3, True]) == [[[640], 0]] * 3
    assert page.evaluate(SEARCH, [[[large]] * 3, False]) == [[[640], 1]] * 3


def test_face_missed_at_half_size_is_searched_at_full_size(page: Any) -> None:
    large, hard = [0.2, 0.25, 0], [0.7, 0.25, 100]
    found = page.evaluate(SEARCH, [[[large], [large, hard], [large], [hard], [hard]], True])
    assert found == [[[640], 1], [[320], 1], [[320], 1], [[320, 640], 1], [[320, 640], 1]]


def test_tracker_equals_python(page: Any) -> None:
    random = np.random.default_rng(3)
    frames = []
    where = random.uniform(50, 400, (4, 2))
    time = 0.0
    for step in range(120):
        time += float(random.choice([0.03, 0.1, 0.4, 1.2], p=[0.5, 0.4, 0.08, 0.02])) if step != 60 else -3.0
        where += random.normal(0, 6, where.shape)
        shown = random.permutation(4)[: random.integers(0, 5)]
        faces = []
        for k in shown:
            (x, y), p = where[k], random.dirichlet(np.eye(5)[(k + step // 15) % 5] * 2 + 0.6)
            faces.append({"box": [x, y, x + 60 + 9 * k, y + 70], "probabilities": p.tolist()})
        frames.append({"time": time, "faces": faces})
    script = """async ([frames, settings]) => {
      const { Tracker } = await import("/track.js");
      const tracker = new Tracker(settings);
      return frames.map(({ time, faces }) => [tracker.update(faces, time), [...tracker.alive]]);
    }"""
    found = page.evaluate(script, [frames, {"uncertainBelow": 0.5}])
    tracker = Tracker()
    for frame, (faces, alive) in zip(frames, found, strict=True):
        given = [
            Face(
                tuple(f["box"]),
                probabilities=dict(zip(EMOTIONS, f["probabilities"], strict=True)),
                confidence_threshold=0.5,
            )
            for f in frame["faces"]
        ]
        expected = tracker.update(given, frame["time"])
        assert [face["id"] for face in faces] == [face.id for face in expected]
        assert [EMOTIONS[face["label"]] for face in faces] == [face.emotion for face in expected]
        assert [face["uncertain"] for face in faces] == [face.uncertain for face in expected]
        for face, other in zip(faces, expected, strict=True):
            np.testing.assert_allclose(face["probabilities"], list(other.probabilities.values()), atol=1e-9)
        assert set(alive) == tracker.active_ids
    assert found[-1][0] or tracker.active_ids


def test_smoothing_of_files_equals_python(page: Any) -> None:
    random = np.random.default_rng(5)
    times = np.cumsum(random.choice([0.04, 0.05, 0.2], 50)).tolist()
    rows = [random.dirichlet(np.eye(5)[k // 12 % 5] * 3 + 0.5).tolist() for k in range(50)]
    script = """async ([times, rows]) => {
      const { smoothed } = await import("/smooth.js");
      const frames = times.map((time, k) => ({ time, faces: [{ id: 1, probabilities: rows[k] }] }));
      return smoothed(frames, { uncertainBelow: 0.5, halfLife: 0.25 }).map(({ faces }) => faces[0]);
    }"""
    found = page.evaluate(script, [times, rows])
    results = []
    for k, (time, row) in enumerate(zip(times, rows, strict=True)):
        answers = dict(zip(EMOTIONS, row, strict=True))
        face = Face((0.0, 0.0, 9.0, 9.0), id=1, probabilities=answers, confidence_threshold=0.5)
        results.append(Result(Frame(np.zeros((1, 1, 3), np.uint8), k, time, "a"), (face,)))
    smooth = ZeroLagSmoother()
    for result in results:  # all at once, as the page does it
        smooth._waiting.append(result)
        smooth._add(result)
    expected = [result.faces[0] for result in smooth._finish(np.inf, lambda _: 0) if isinstance(result, Result)]
    assert [EMOTIONS[face["label"]] for face in found] == [face.emotion for face in expected]
    assert [face["uncertain"] for face in found] == [face.uncertain for face in expected]
    for face, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(face["probabilities"], list(other.probabilities.values()), atol=1e-9)


def variants() -> dict[str, np.ndarray]:
    """The portrait, and made worse in several ways."""
    portrait = image.decode((onnx.ASSETS / "portrait.jpg").read_bytes(), "portrait")
    turn = cv2.getRotationMatrix2D((256, 256), 25, 1)
    return {
        "portrait": portrait,
        "blurred": cv2.GaussianBlur(portrait, (0, 0), 5),
        "dark": np.asarray(portrait * 0.12, np.uint8),
        "bright": np.asarray(205 + portrait * 0.17, np.uint8),
        "small": cv2.resize(portrait, None, fx=0.19, fy=0.19, interpolation=cv2.INTER_AREA),
        "half": np.ascontiguousarray(portrait[:130]),
        "tilted": cv2.warpAffine(portrait, turn, (512, 512)),
    }


@pytest.mark.parametrize("kind", list(variants()))
def test_quality_equals_python(page: Any, kind: str) -> None:
    picture = variants()[kind]
    page.site.altered["/given.png"] = cv2.imencode(".png", picture)[1].tobytes()
    found = page.evaluate(LOOK, "/given.png")
    expected = pipeline.Pipeline().process(Frame(picture)).faces
    assert len(found) == len(expected) > 0
    for face, other in zip(found, expected, strict=True):
        assert other.quality
        assert list(face["quality"]) == list(QUALITY)
        for name, value in other.quality.to_dict().items():
            assert face["quality"][name] == pytest.approx(value, abs=0.3 if name in ("yaw", "pitch", "roll") else 0.1)
        assert face["weaknesses"] == list(other.weaknesses)
        measured = Face(tuple(face["box"]), 1.0, tuple(map(tuple, face["landmarks"])))
        (exact,) = quality.measure([measured], np.array(face["crop"], np.uint8).reshape(1, 48, 48), picture.shape)
        assert face["quality"] == pytest.approx(exact.to_dict(), abs=1e-3)
    if kind not in ("portrait", "half", "tilted"):
        assert kind in found[0]["weaknesses"]


def test_smoothing_of_poor_faces_equals_python(page: Any) -> None:
    random = np.random.default_rng(6)
    times = np.cumsum(random.choice([0.04, 0.05, 0.2], 80)).tolist()
    rows = [random.dirichlet(np.eye(5)[1] * 3 + 0.5).tolist() for _ in times]
    weak = [["blurred"] if 20 <= k < 45 or k % 9 == 0 else [] for k in range(80)]
    script = """async ([times, rows, weak]) => {
      const { smoothed } = await import("/smooth.js");
      const { Tracker } = await import("/track.js");
      const faces = rows.map((probabilities, k) => ({ box: [0, 0, 9, 9], probabilities, weaknesses: weak[k] }));
      const frames = times.map((time, k) => ({ time, faces: [{ id: 1, ...faces[k] }] }));
      const tracker = new Tracker({ uncertainBelow: 0.3 });
      return [
        smoothed(frames, { uncertainBelow: 0.3, halfLife: 0.25 }).map(({ faces }) => faces[0].uncertain),
        times.map((time, k) => tracker.update([faces[k]], time)[0].uncertain),
      ];
    }"""
    found = page.evaluate(script, [times, rows, weak])
    tracker, live, results = Tracker(), [], []
    for k, time in enumerate(times):
        answers = dict(zip(EMOTIONS, rows[k], strict=True))
        face = Face((0, 0, 9, 9), probabilities=answers, confidence_threshold=0.3, weaknesses=tuple(weak[k]))
        live += [tracker.update([face], time)[0].uncertain]
        followed = replace(face, id=1)
        results.append(Result(Frame(np.zeros((1, 1, 3), np.uint8), k, time, "a"), (followed,)))
    smooth = ZeroLagSmoother()
    for result in results:  # all at once, as the page does it
        smooth._waiting.append(result)
        smooth._add(result)
    whole = [item.faces[0].uncertain for item in smooth._finish(np.inf, lambda _: 0) if isinstance(item, Result)]
    assert found == [whole, live]
    assert len(set(whole)) == 2


@pytest.mark.parametrize("size", [(480, 270), (1920, 1080), (101, 77), (37, 640)])
def test_thumbnails_equal_python(page: Any, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(7).integers(0, 256, (6, 9, 3), np.uint8)
    picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    script = f"""async (picture) => {{
      {PIXELS}
      const {{ reduced, thumbnail }} = await import("/shots.js");
      const planes = reduced(pixels(picture));
      const {{ image, values, norm, blank }} = thumbnail(planes, 0);
      return [Array.from(image), Array.from(values), norm, blank];
    }}"""
    brightness, values, norm, blank = page.evaluate(script, rgba(picture))
    expected = shots.thumbnail(picture, 0.0)
    luma, chroma = 219 / 255, 224 / 255  # the page has the smaller range of videos
    np.testing.assert_allclose(brightness, 16 + luma * expected.image.ravel(), atol=1.5)
    scaled = np.concatenate(
        [luma * expected.values[: expected.image.size], chroma * expected.values[expected.image.size :]]
    )
    np.testing.assert_allclose(values, scaled, atol=4)  # a rounded step of colour counts twice
    assert norm == pytest.approx(float(np.linalg.norm(scaled)), rel=5e-3)
    assert blank == expected.is_blank


NUMBERS = """async ([planes, times, live]) => {
  const { ShotDetector, ShotsAhead, thumbnail } = await import("/shots.js");
  const all = planes.map((text, k) => thumbnail(Uint8Array.from(atob(text), (c) => c.charCodeAt()), times[k]));
  const detector = new ShotDetector();
  if (live) return all.map((each) => detector.update(each));
  const ahead = new ShotsAhead();
  const numbered = [...all.flatMap((each, k) => ahead.add(each, k)), ...ahead.finish()];
  return numbered.map(([, shot]) => shot);
}"""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoded video with cuts, dissolves and fades, and with events that are no cut."""
    photographs = [
        *(cv2.resize(variant, (700, 700)) for variant in list(variants().values())[:1]),
        *map(scenery, (1, 2)),
    ]
    clips = [[np.roll(made.fitted(scenery(seed)), 2 * k, axis=1) for k in range(30)] for seed in (3, 4, 5)]
    frames, joints, events = made.make(clips, photographs, 2)
    assert {joint.kind for joint in joints} > {"cut", "dissolve"} and len(events) > 2
    path = tmp_path_factory.mktemp("film") / "made.mp4"
    with VideoWriter(path, made.WIDTH, made.HEIGHT, made.RATE) as writer:
        for k, frame in enumerate(frames):
            writer.write(np.ascontiguousarray(frame), k / made.RATE)
    return path


def scenery(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (800, 600), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.mark.parametrize("live", [False, True])
def test_shots_of_the_same_thumbnails_equal_python(page: Any, film: Path, live: bool) -> None:
    frames = [item for item in Video(film) if isinstance(item, Frame)]
    planes = [base64.b64encode(frame.pixels.thumbnail(shots.WIDTH, shots.HEIGHT)).decode() for frame in frames]
    numbers = page.evaluate(NUMBERS, [planes, [frame.time for frame in frames], live])
    cuts = [frame.time for frame, a, b in zip(frames[1:], numbers, numbers[1:], strict=False) if a != b]
    assert cuts == made.found_cuts(film, live)
    assert len(cuts) >= 5


def test_cuts_of_a_video_file_equal_python(page: Any, film: Path) -> None:
    page.site.altered["/film.mp4"] = film.read_bytes()
    script = """async () => {
      const [{ framesOf }, { ShotsAhead, reduced, thumbnail }] =
        await Promise.all([import("/frames.js"), import("/shots.js")]);
      const file = new File([await (await fetch("/film.mp4")).blob()], "film.mp4");
      const ahead = new ShotsAhead();
      const numbered = [];
      for await (const { time, bitmap } of framesOf({ file }, new AbortController().signal)) {
        const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
        context.drawImage(bitmap, 0, 0);
        const planes = reduced(context.getImageData(0, 0, bitmap.width, bitmap.height));
        numbered.push(...ahead.add(thumbnail(planes, time), time));
      }
      numbered.push(...ahead.finish());
      return numbered.filter(([, shot], k) => k && shot !== numbered[k - 1][1]).map(([time]) => time);
    }"""
    found, expected = page.evaluate(script), made.found_cuts(film, False)
    # the end of a fade or dissolve may differ by two frames: browsers convert the colours
    assert found == pytest.approx(expected, abs=2.01 / made.RATE)
    assert sum(abs(a - b) < 0.01 for a, b in zip(found, expected, strict=True)) >= 3


def test_order_and_colours_equal_the_overlay(page: Any) -> None:
    script = """async (labels) => {
      const { COLOURS, order } = await import("/labels.js");
      return [COLOURS, order(labels).map((k) => labels[k])];
    }"""
    colours, ordered = page.evaluate(script, ["neutral", "fear", "sad", "angry", "disgust", "surprise", "happy"])
    assert ordered == [*EMOTIONS, "disgust", "fear"]
    assert colours == {name: f"#{red:02x}{green:02x}{blue:02x}" for name, (blue, green, red) in draw.COLOURS.items()}


CROWD = """async ([faces, frame, size]) => {
  const { layout } = await import("/overlay.js");
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  const labels = ["angry", "happy", "sad", "surprise", "neutral"];
  const all = faces.map((box) => ({ box, label: 1, uncertain: false, probabilities: [0.01, 0.96, 0.01, 0.01, 0.01] }));
  const [width, height] = size;
  const { boxes, panels } = layout(context, all, labels, { width, height, frame, unit: width < 480 ? 12 : 14 });
  return [boxes, panels.map(({ spot }) => spot)].map((list) => list.map((b) => b && [b.x1, b.y1, b.x2, b.y2]));
}"""


@pytest.mark.parametrize("size", [[800, 450], [360, 202]])
@pytest.mark.parametrize("columns", [1, 3, 8, 16])
def test_no_panel_hides_another_face_or_panel(page: Any, columns: int, size: list[int]) -> None:
    rows = max(columns // 2, 1)
    step = 1600 / columns
    faces = [
        [step * (x + 0.2), 900 / rows * (y + 0.15), step * (x + 0.8), 900 / rows * (y + 0.85)]
        for y in range(rows)
        for x in range(columns)
    ]
    boxes, spots = page.evaluate(CROWD, [faces, [1600, 900], size])
    shown = [(k, spot) for k, spot in enumerate(spots) if spot]
    if columns <= 3:
        assert len(shown) == len(faces)
    for place, (k, spot) in enumerate(shown):
        assert 0 <= spot[0] < spot[2] <= size[0] and 0 <= spot[1] < spot[3] <= size[1]
        assert all(shared(spot, other) == 0 for _, other in shown[:place])
        for other, box in enumerate(boxes):
            if other != k:
                assert shared(spot, box) <= 0.03 * (box[2] - box[0]) * (box[3] - box[1])


def shared(a: list[float], b: list[float]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


@pytest.mark.parametrize("label", [0, 1])
def test_occlusion_map_equals_python(page: Any, label: int) -> None:
    picture = image.decode((onnx.ASSETS / "portrait.jpg").read_bytes(), "portrait")
    (one,) = crop.crops(picture, yunet.YuNet()(picture), pipeline.MARGIN)
    script = """async ([crop, label]) => {
      const { startEngine } = await import("/engine.js");
      const engine = startEngine(null, () => {}, () => {});
      await engine.ready;
      return Array.from(await engine.explain({ crop: Uint8Array.from(crop), label }));
    }"""
    found = np.array(page.evaluate(script, [one.flatten().tolist(), label])).reshape(48, 48)
    model = models.load_classifier()
    np.testing.assert_allclose(found, explain.occlusion_map(model, one, model.labels[label]), atol=5e-3)
