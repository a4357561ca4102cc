"""Shots of made frames with known cuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.media import prefetch
from mien.media.shots import NumberShots, ShotDetector, thumbnail
from mien.media.video import Video
from mien.media.video_writer import VideoWriter
from mien.types import Failure, Frame, Image

RATE = 25


def scene(seed: int, width: int = 160) -> Image:
    """Return a wide smooth image, uint8 BGR (90, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, width // 14, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, 90), interpolation=cv2.INTER_CUBIC), np.uint8)


def mixed(a: Image, b: Image, share: float) -> Image:
    return np.asarray(cv2.addWeighted(a, 1 - share, b, share, 0), np.uint8)


def fade(a: Image, b: Image, count: int) -> list[Image]:
    return [mixed(a, b, k / (count + 1)) for k in range(1, count + 1)]


def shots(images: Sequence[Image], live: bool = False) -> list[int]:
    """Return the shot of each frame."""
    frames = [Frame(image, k, k / RATE) for k, image in enumerate(images)]
    return [item[1] for item in NumberShots(frames, live) if not isinstance(item, Failure)]


A, B, C = (scene(seed) for seed in range(3))
BLACK = np.zeros_like(A)


@pytest.mark.parametrize("live", [False, True])
def test_hard_cuts_start_shots(live: bool) -> None:
    assert shots([A] * 15 + [B] * 20 + [C] * 15, live) == [1] * 15 + [2] * 20 + [3] * 15


@pytest.mark.parametrize("live", [False, True])
def test_fade_through_black_is_one_cut(live: bool) -> None:
    images = [A] * 10 + fade(A, BLACK, 8) + [BLACK] * 3 + fade(BLACK, B, 8) + [B] * 20
    found = shots(images, live)
    assert set(found[:19]) == {1} and set(found[24:]) == {2}


@pytest.mark.parametrize("count", [10, 20, 35])
def test_dissolve_ends_where_the_new_scene_is_pure(count: int) -> None:
    found = shots([A] * 20 + fade(A, B, count) + [B] * 30)
    assert max(found) == 2
    assert abs(found.index(2) - (20 + count)) <= 3


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("level", [0, 90, 255])
def test_flash_or_dropped_frame_is_no_cut(level: int, count: int, live: bool) -> None:
    flash = np.clip(A.astype(int) + 150, 0, 255).astype(np.uint8) if level == 90 else np.full_like(A, level)
    assert set(shots([A] * 15 + [flash] * count + [A] * 20, live)) == {1}


def test_cut_at_a_flash_is_found() -> None:
    assert max(shots([A] * 15 + [np.full_like(A, 255)] * 2 + [B] * 20)) == 2


@pytest.mark.parametrize("live", [False, True])
def test_switched_light_is_no_cut(live: bool) -> None:
    dark = np.asarray(A * 0.5, np.uint8)
    assert set(shots([A] * 15 + [dark] * 20, live)) == {1}


@pytest.mark.parametrize("step", [4, 12, 30])
def test_pan_is_no_cut(step: int) -> None:
    wide = scene(5, 1400)
    places = [0] * 15 + [step * k for k in range(1, 31)] + [30 * step] * 15
    assert set(shots([np.ascontiguousarray(wide[:, x : x + 160]) for x in places])) == {1}


def test_caption_that_appears_is_no_cut() -> None:
    captioned = A.copy()
    captioned[72:88, 8:150] = (30, 20, 20)
    assert set(shots([A] * 15 + [captioned] * 20)) == {1}


def test_live_cut_to_a_brighter_scene_counts_within_a_third_of_a_second() -> None:
    bright, dark = np.asarray(B // 2 + 128, np.uint8), np.asarray(A // 2, np.uint8)
    found = shots([dark] * 15 + [bright] * 20, live=True)
    assert found[14] == 1 and found[24] == 2


def test_video_that_starts_again_is_a_new_shot() -> None:
    detector = ShotDetector()
    assert [detector.update(thumbnail(A, time)) for time in (5.0, 5.04, 0.0, 0.04)] == [1, 1, 2, 2]


def test_failures_keep_their_places() -> None:
    items = [Frame(A, 0, 0.0), Failure("v", "damaged", 1), *(Frame(A, k, k / RATE) for k in range(2, 20))]
    found = [item if isinstance(item, Failure) else item[0] for item in NumberShots(items)]
    assert found == items


def test_few_frames_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    def frames() -> Iterator[Frame]:
        nonlocal read
        for k in range(100):
            read += 1
            yield Frame(A, k, k / RATE)

    def most(limit: int) -> int:
        nonlocal read
        read = 0
        monkeypatch.setattr(prefetch, "MAX_BYTES", limit)
        return max(read - given for given, _ in enumerate(NumberShots(frames()), start=1))

    assert most(10**9) == 8  # 0.3 s
    assert most(A.nbytes) == 3


def test_closing_closes_the_source() -> None:
    class Source(list):  # type: ignore[type-arg]
        closed = False

        def close(self) -> None:
            self.closed = True

    source = Source([Frame(A)])
    NumberShots(source).close()
    assert source.closed


def test_cut_of_an_encoded_video_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 160, 90, RATE) as writer:
        for k, image in enumerate([A] * 20 + [B] * 20):
            writer.write(image, k / RATE)
    found = [item[1] for item in NumberShots(Video(path)) if not isinstance(item, Failure)]
    assert found == [1] * 20 + [2] * 20
