"""The page of `mien video --timeline out.html` in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mien.evaluation.timeline_page import write_timeline
from mien.sinks import Timeline
from mien.types import EMOTIONS, Face, Frame, Result


@pytest.fixture
def page(launch: Callable[..., Any], tmp_path: Path) -> Any:
    av = pytest.importorskip("av")
    seen = Timeline(EMOTIONS, thumbnails=True)
    with av.open(str(tmp_path / "talk.webm"), "w") as out:
        stream = out.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(40):
            image = cv2.resize(np.full((1, 1, 3), 6 * k, np.uint8), (64, 48))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
            rows = {"angry": 0.0, "happy": 0.9, "sad": 0.1, "surprise": 0.0, "neutral": 0.0}
            face = Face((5, 5, 40, 40), probabilities=rows, id=1 + k // 20)
            seen.write(Result(Frame(image, k, k / 10), (face,), shot=1 + k // 20))
        out.mux(stream.encode(None))
    write_timeline(seen, tmp_path / "talk.html", "talk.webm", tmp_path / "talk.webm")
    opened = launch().new_page(viewport={"width": 1000, "height": 900})
    opened.troubles = []
    opened.on("pageerror", lambda error: opened.troubles.append(str(error)))
    opened.goto((tmp_path / "talk.html").as_uri())
    opened.wait_for_function("() => video.readyState >= 2")
    return opened


def test_hover_shows_values_and_a_click_seeks(page: Any) -> None:
    box = page.locator(".chart >> nth=0").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 40)
    assert page.locator(".value").all_inner_texts() == [
        "0:01.00 happy: angry 0 % happy 90 % sad 10 % surprise 0 % neutral 0 %",
        "0:01.00 not seen",
    ]
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 40)
    page.wait_for_function("() => Math.abs(video.currentTime - 2) < 0.05")
    page.focus(".chart >> nth=1")
    page.keyboard.press("End")
    assert page.get_attribute(".chart >> nth=1", "aria-valuenow") == "4.00"
    page.click("#kind")
    assert page.get_attribute("#kind", "aria-pressed") == "true"
    assert page.troubles == []


def test_curves_have_no_seams_and_a_time_axis(page: Any) -> None:
    colours, axis = page.evaluate(
        """() => {
          const canvas = document.querySelector("canvas");
          const pen = canvas.getContext("2d");
          const row = pen.getImageData(10, 60, canvas.width / 2 - 20, 1).data;
          const colours = new Set();
          for (let k = 0; k < row.length; k += 4) colours.add(row.slice(k, k + 4).join());
          const axis = pen.getImageData(0, canvas.height - 14, canvas.width, 12).data;
          return [[...colours], axis.filter((value, k) => k % 4 === 3 && value > 100).length];
        }"""
    )
    assert colours == ["240,228,66,255"]
    assert axis > 100


def test_page_fits_a_small_screen(page: Any) -> None:
    page.set_viewport_size({"width": 320, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_missing_video_is_reported(page: Any, tmp_path: Path) -> None:
    (tmp_path / "talk.webm").unlink()
    page.reload()
    page.wait_for_selector("#missing:not([hidden])")
    assert not page.is_visible("video")
