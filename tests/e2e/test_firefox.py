"""Images and videos in Firefox."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import mien
from mien.faces.onnx import ASSETS
from mien.sinks import Csv

from .conftest import STATIC, Site
from .firefox import Firefox

FACES = "document.querySelector('.face .number')?.innerText"
KEEP = "URL.createObjectURL = ((make) => (blob) => (window.kept = blob) && make.call(URL, blob))(URL.createObjectURL)"


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        pytest.skip("tests in Firefox need it: apt-get install firefox-esr")
    if not (STATIC / "models/models.json").exists():
        pytest.skip("browser tests need the page's runtime and models: make web (it needs npm)")
    with Firefox(program, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(firefox: Firefox, site: Site) -> Iterator[Firefox]:
    firefox.goto(site.url)
    firefox.evaluate(f"void ({KEEP})")
    firefox.wait("document.documentElement.dataset.ready")
    yield firefox
    assert firefox.troubles == []


def saved(page: Firefox, button: str) -> list[dict[str, str]]:
    """Return the rows of the table that a button saves."""
    page.click(button)
    page.wait("window.kept")
    text = page.evaluate("kept.text().finally(() => (window.kept = null))")
    return list(csv.DictReader(io.StringIO(text)))


def test_image_table_equals_python(page: Firefox, tmp_path: Path) -> None:
    picture = cv2.imread(str(ASSETS / "portrait.jpg"))
    cv2.imwrite(str(tmp_path / "face.png"), picture)
    page.upload("#file", tmp_path / "face.png")
    page.wait(FACES)
    (found,) = saved(page, "#table")
    with Csv(tmp_path / "faces.csv") as sink:
        sink.write(mien.load()(picture))
    (expected,) = csv.DictReader(io.StringIO((tmp_path / "faces.csv").read_text("utf-8")))
    assert list(found) == list(expected)
    assert found["emotion"] == expected["emotion"] == "happy"
    for name in ("happy", "neutral", "x1", "y2", "sharpness", "yaw"):
        assert float(found[name]) == pytest.approx(float(expected[name]), abs=0.1 if name in ("x1", "y2") else 0.02)


def test_many_images_have_a_table(page: Firefox, tmp_path: Path) -> None:
    portrait = (ASSETS / "portrait.jpg").read_bytes()
    contents = {
        "a.jpg": portrait,
        "b.jpg": portrait[:300],
        "c.png": cv2.imencode(".png", np.zeros((90, 90)))[1].tobytes(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    page.upload("#file", *(tmp_path / name for name in contents))
    page.wait("document.querySelector('#gallery-headline').innerText.includes('1 failed')")
    page.wait("document.querySelector('#cancel').hidden")
    assert page.text("#gallery-headline") == "2 pictures · 1 face · 1 happy · 1 failed"
    rows = saved(page, "#table")
    assert [row["name"] for row in rows] == list(contents)
    assert "cut off" in rows[1]["error"]


@pytest.mark.parametrize("decoder", [True, False], ids=["decoded", "sought"])
def test_every_frame_of_a_video_is_analysed(page: Firefox, decoder: bool, tmp_path: Path) -> None:
    write_video(tmp_path / "face.webm")
    if not decoder:
        page.evaluate("void (delete window.VideoDecoder)")
    page.upload("#file", tmp_path / "face.webm")
    page.wait("document.querySelector('#analyse').offsetParent")
    page.click("#analyse")
    page.wait("!document.querySelector('#report').hidden")
    rows = saved(page, "#save-csv")
    assert [float(row["time"]) for row in rows] == pytest.approx([k / 10 for k in range(16)], abs=0.02)
    assert [(row["shot"], row["id"]) for row in rows] == [("1", "1")] * 8 + [("2", "2")] * 8
    assert page.evaluate("document.querySelectorAll('.chart .cut').length") == 2


def write_video(path: Path) -> None:
    """Write a face in front of two scenes, ten frames a second."""
    av: Any = pytest.importorskip("av")
    portrait = cv2.imread(str(ASSETS / "portrait.jpg"))
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuv420p"
        for ground in np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), np.uint8):
            scene = cv2.resize(ground, (512, 512), interpolation=cv2.INTER_CUBIC)
            scene[40:200, 150:300] = portrait[40:200, 150:300]
            for _ in range(8):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(cv2.resize(scene, (320, 320)), "bgr24")))
        out.mux(stream.encode(None))
