from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

import mien
from mien.cli import main
from mien.errors import ConfigError, DataError
from mien.evaluation.explain import PATCH, STRIDE, occlusion_map, write_explanation
from mien.faces import onnx
from mien.types import Face, Frame, Result

PORTRAIT = onnx.ASSETS / "portrait.jpg"


class Patch:
    """A classifier for which one bright patch means happy, another one sad, and nothing else counts."""

    labels = ("sad", "happy", "neutral")
    confidence_threshold = 0.0

    def __init__(self, happy: tuple[int, int], sad: tuple[int, int]) -> None:
        self.happy, self.sad, self.calls = happy, sad, 0

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        self.calls += 1

        def brightness(y: int, x: int) -> np.ndarray:
            return crops[:, y : y + 6, x : x + 6].mean((1, 2)) / 255

        happy, sad = 0.7 * brightness(*self.happy), 0.3 * brightness(*self.sad)
        return np.stack([sad, happy, 1 - sad - happy], 1).astype(np.float32)


def bright(*places: tuple[int, int]) -> np.ndarray:
    crop = np.zeros((48, 48), np.uint8)
    for y, x in places:
        crop[y : y + 6, x : x + 6] = 255
    return crop


@pytest.mark.parametrize("place", [(0, 0), (42, 42), (6, 6), (30, 12), (21, 39), (39, 0)])
def test_the_map_peaks_where_the_classifier_looks(place: tuple[int, int]) -> None:
    classifier = Patch(place, (0, 42))
    values = occlusion_map(classifier, bright(place))
    assert values.shape == (48, 48) and values.dtype == np.float32
    assert classifier.calls <= 4
    y, x = np.unravel_index(values.argmax(), values.shape)
    assert abs(y - place[0] - 2.5) <= STRIDE and abs(x - place[1] - 2.5) <= STRIDE
    far = np.ones((48, 48), bool)
    far[max(place[0] - PATCH, 0) : place[0] + 6 + PATCH, max(place[1] - PATCH, 0) : place[1] + 6 + PATCH] = False
    assert np.abs(values[far]).max() < 1e-6


def test_the_peak_is_the_probability_lost() -> None:
    crop = bright((18, 18))
    values = occlusion_map(Patch((18, 18), (0, 0)), crop)
    full = 0.7 * (1 - np.rint(crop.mean()) / 255)  # the patch is filled with the mean gray
    assert 0.6 * full < values.max() <= full + 1e-6


def test_the_border_counts_no_more_than_its_neighbours() -> None:
    values = occlusion_map(Patch((9, 9), (0, 42)), bright((9, 9)))
    assert values[0, 0] < 0.3 * values.max()


def test_each_label_has_its_own_signed_map() -> None:
    happy, sad = (9, 9), (33, 33)
    model, crop = Patch(happy, sad), bright(happy, sad)
    assert np.array_equal(occlusion_map(model, crop), occlusion_map(model, crop, "happy"))
    assert np.unravel_index(occlusion_map(model, crop, "sad").argmax(), (48, 48))[0] >= 32
    neutral = occlusion_map(model, crop, "neutral")
    assert neutral.min() < -0.3 and neutral.max() < 1e-6
    assert np.array_equal(crop, bright(happy, sad))


def test_the_map_of_the_shipped_model_is_finite() -> None:
    pipeline = mien.load()
    (crop,) = pipeline(PORTRAIT).crops
    values = occlusion_map(pipeline.classifier, crop)
    assert values.shape == (48, 48) and np.isfinite(values).all()
    assert np.abs(values).max() <= 1 and np.ptp(values) > 0.01


def test_bad_arguments_are_named() -> None:
    model = Patch((0, 0), (9, 9))
    with pytest.raises(ConfigError, match="no class joy"):
        occlusion_map(model, bright(), "joy")
    for crop in (bright().astype(float), bright()[None], bright()[:40]):
        with pytest.raises(ConfigError, match="48, 48"):
            occlusion_map(model, crop)


def result(faces: int) -> Result:
    face = Face((0, 0, 9, 9), probabilities={"angry": 0.2, "<b>": 0.8})
    return Result(
        Frame(np.zeros((9, 9, 3), np.uint8), name="a&b.png"), (face,) * faces, np.zeros((2, 48, 48), np.uint8)[:faces]
    )


def ramp(peak: float) -> np.ndarray:
    return np.linspace(-peak, peak, 48, dtype=np.float32)[None].repeat(48, 0)


def one(peak: float) -> dict[str, np.ndarray]:
    return {"happy": ramp(peak)}


def test_the_image_shows_all_maps_on_one_scale(tmp_path: Path) -> None:
    write_explanation(result(1), [one(0.4)], tmp_path / "new" / "one.png")
    write_explanation(result(2), [one(0.4), one(0.1)], tmp_path / "two.png")
    first, both = cv2.imread(str(tmp_path / "new" / "one.png")), cv2.imread(str(tmp_path / "two.png"))
    assert both.size > 1.4 * first.size

    def purple(image: np.ndarray) -> int:
        """Return the strongest purple (against the emotion) below the numbered image."""
        values = image[40:].astype(int)
        return int(np.min(values[..., 1] - values[..., [0, 2]].mean(-1)))

    weak = tmp_path / "weak.png"
    write_explanation(result(2), [one(0.1), one(0.1)], weak)
    assert purple(first) < -40
    assert abs(purple(cv2.imread(str(weak))) - purple(first)) < 5  # the scale follows the strongest map of the image


def test_the_image_of_a_crowd_is_about_square(tmp_path: Path) -> None:
    face = Face((0, 0, 9, 9), probabilities={"angry": 0.2, "happy": 0.8})
    crowd = Result(Frame(np.zeros((90, 90, 3), np.uint8)), (face,) * 32, np.zeros((32, 48, 48), np.uint8))
    write_explanation(crowd, [one(0.4)] * 32, tmp_path / "crowd.png")
    height, width = cv2.imread(str(tmp_path / "crowd.png")).shape[:2]
    assert 0.5 < height / width < 2 and height < 2500


def test_chosen_labels_have_a_map_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", str(PORTRAIT), "--out", str(tmp_path / "e.html"), "--label", "sad", "--label", "neutral"]
    assert main.app(words, result_action="return_value") == 0
    page = (tmp_path / "e.html").read_text("utf-8")
    assert page.count("data:image/png") == 4 and "happy 9" in page  # overview, crop and two maps
    with pytest.raises(ConfigError, match="no class joy"):
        main.app([*words[:4], "--label", "joy"], result_action="return_value")


def test_the_page_holds_its_images_and_escapes_names(tmp_path: Path) -> None:
    write_explanation(result(2), [one(0.4), one(0.1)], tmp_path / "e.html")
    page = (tmp_path / "e.html").read_text("utf-8")
    sources: list[str] = []

    class Images(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            sources.extend(value or "" for key, value in attrs if key in ("src", "href"))

    Images().feed(page)
    assert len(sources) == 5 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert "a&amp;b.png" in page and "&lt;b&gt;" in page and "<b>" not in page
    assert "40 percentage points" in page


def test_a_face_without_a_map_writes_nothing(tmp_path: Path) -> None:
    for faces in (0, 1):
        with pytest.raises(DataError, match="a map for each"):
            write_explanation(result(faces), [], tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_explain_needs_only_the_light_install(tmp_path: Path) -> None:
    blocked = "torch=None, matplotlib=None, jinja2=None, markupsafe=None"
    code = f"import sys; sys.modules.update({blocked}); import mien.cli.main; mien.cli.main.main()"
    command = [sys.executable, "-c", code, "explain", str(PORTRAIT), "--out"]
    done = subprocess.run([*command, str(tmp_path / "e.png")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert cv2.imread(str(tmp_path / "e.png")).shape[1] > 700
    done = subprocess.run([*command, str(tmp_path / "e.html")], capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'mien[report]'" in done.stderr


def test_the_command_writes_nothing_without_a_face(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.png"
    cv2.imwrite(str(empty), np.full((90, 90, 3), 120, np.uint8))
    assert main.app(["explain", str(empty), "--out", str(tmp_path / "f.png")], result_action="return_value") == 1
    assert "no face found" in capsys.readouterr().err
    for out, message in ((empty, "be overwritten"), (tmp_path / "e.gif", r"must end in \.png, \.html")):
        with pytest.raises(ConfigError, match=message):
            main.app(["explain", str(empty), "--out", str(out)], result_action="return_value")
    assert list(tmp_path.iterdir()) == [empty]
