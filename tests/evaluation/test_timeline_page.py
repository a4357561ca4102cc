"""The interactive page of a timeline; tests/e2e looks at it in a browser."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.errors import DataError
from mien.evaluation.timeline_page import write_timeline
from mien.sinks import Timeline
from mien.types import Face, Frame, Result

LABELS = ("happy", "sad")


def people(*spans: tuple[int, int], thumbnails: bool = False) -> Timeline:
    """Return a video of 40 frames in 4 s with a happy person for each span of frames."""
    seen = Timeline(LABELS, thumbnails)
    for k in range(40):
        faces = tuple(
            Face((5, 5, 25, 25), probabilities={"happy": 0.75, "sad": 0.25}, id=n)
            for n, (first, last) in enumerate(spans, 1)
            if first <= k <= last
        )
        seen.write(Result(Frame(np.full((40, 40, 3), 90, np.uint8), k, k / 10), faces))
    return seen


def page_data(text: str) -> Any:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert match
    return json.loads(match[1])


def test_page_has_curves_and_summary_of_each_person(tmp_path: Path) -> None:
    path = tmp_path / "t.html"
    seen = people((0, 39), (20, 39), thumbnails=True)
    seen.cuts.append(2.0)
    write_timeline(seen, path, "talk.mp4")
    text = path.read_text("utf-8")
    data = page_data(text)
    assert data["labels"] == list(LABELS) and data["duration"] == pytest.approx(4.0) and data["cuts"] == [2.0]
    first, second = data["people"]
    assert first["means"] == [[75] * 40, [25] * 40] and first["states"] == [0] * 40
    assert second["states"] == [-2] * 20 + [0] * 20 and second["means"][0] == [-1] * 20 + [75] * 20
    assert text.count("data:image/jpeg;base64,") == 2 and "2 shots, 2" in text
    assert "happy 4.00 s" in text and "happy 2.00 s" in text
    assert not re.search(r'(src|href)="(https?:)?//', text) and "<video" not in text


def test_page_links_the_video_beside_it(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_timeline(people((0, 9)), tmp_path / "out" / "t.html", "a", tmp_path / "my talk#1.mp4")
    assert 'src="../my%20talk%231.mp4"' in (tmp_path / "out" / "t.html").read_text("utf-8")


def test_passers_by_are_only_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.html"
    write_timeline(people((0, 39), (3, 4)), path, "a", min_seen=0.5)
    text = path.read_text("utf-8")
    assert len(page_data(text)["people"]) == 1 and "1 is not shown" in re.sub(r"\s+", " ", text)
    write_timeline(people((3, 4)), path, "a", min_seen=0.5)
    assert len(page_data(path.read_text("utf-8"))["people"]) == 1  # nobody was seen for longer


def test_names_cannot_inject_markup(tmp_path: Path) -> None:
    path = tmp_path / "t.html"
    seen = Timeline(("</script><b>", "sad"))
    face = Face((0, 0, 9, 9), probabilities={"</script><b>": 1.0, "sad": 0.0}, id=1)
    seen.write(Result(Frame(np.zeros((9, 9, 3), np.uint8)), (face,)))
    write_timeline(seen, path, "<img src=x>")
    text = path.read_text("utf-8")
    assert "<b>" not in text and "<img src=x>" not in text
    assert page_data(text)["labels"][0] == "</script><b>"


def test_video_without_faces_has_no_page(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no face was seen"):
        write_timeline(Timeline(), tmp_path / "t.html", "a")
    assert not list(tmp_path.iterdir())
