"""Small made data and, where it lies beside the project, the real data."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mien.types import EMOTIONS7

SHARED = Path(__file__).parents[2] / "shared"

# Commands that a shell runs in the background start with Ctrl-C ignored, and so would all processes of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny FER2013 in the Kaggle layout: 6 Training, 2 PublicTest and 2 PrivateTest images a class, all different."""
    monkeypatch.delenv("MIEN_CACHE", raising=False)
    root = tmp_path / "fer"
    number = 0
    for label in EMOTIONS7:
        for split, count in (("Training", 6), ("PublicTest", 2), ("PrivateTest", 2)):
            folder = root / ("train" if split == "Training" else "test") / label
            folder.mkdir(parents=True, exist_ok=True)
            for _ in range(count):
                cv2.imwrite(str(folder / f"{split}_{number}.jpg"), picture(number))
                number += 1
    return root


@pytest.fixture
def fer2013(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real FER2013; the test is skipped where it is not there."""
    path = SHARED / "data" / "fer2013.zip"
    if not path.exists():
        pytest.skip("the real FER2013 is not there")
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    return path


def numbered(number: int, width: int = 160, height: int = 96) -> np.ndarray:
    """A BGR picture that shows a number of 0..255 as eight black or white stripes, with a red upper left corner."""
    image = np.zeros((height, width, 3), np.uint8)
    for bit in range(8):
        image[:, bit * width // 8 : (bit + 1) * width // 8] = 255 * (number >> bit & 1)
    image[: height // 4, : width // 8] = (0, 0, 255)
    return image


def number(image: np.ndarray) -> int:
    """What `numbered` shows."""
    width = image.shape[1]
    row = image[image.shape[0] // 2].mean(axis=1)
    return sum(1 << bit for bit in range(8) if row[bit * width // 8 + width // 16] > 127)


@pytest.fixture
def film() -> Callable[..., Path]:
    """Writes a video with PyAV: film(path, times) has a frame `numbered` for each time, in seconds."""
    av = pytest.importorskip("av")

    def write(
        path: Path,
        times: Sequence[float],
        codec: str = "libx264",
        options: dict[str, str] | None = None,
        container: dict[str, str] | None = None,
        sound: tuple[str, np.ndarray] | None = None,
        ticks: int = 90_000,
    ) -> Path:
        """`sound`: name of a codec, and int16 (N,) samples at 48 kHz that start at time 0."""
        with av.open(str(path), "w", options=container or {}) as out:
            video: Any = out.add_stream(codec, rate=30, options=options or {})
            video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
            video.codec_context.time_base = Fraction(1, ticks)
            packets: list[Any] = []
            if sound:
                audio: Any = out.add_stream(sound[0], rate=48_000)
                audio.layout = "mono"
                for at in range(0, len(sound[1]), 960):
                    block = av.AudioFrame.from_ndarray(sound[1][None, at : at + 960], "s16", "mono")
                    block.sample_rate, block.pts, block.time_base = 48_000, at, Fraction(1, 48_000)
                    packets += audio.encode(block)
                packets += audio.encode(None)
            for k, time in enumerate(times):
                frame = av.VideoFrame.from_ndarray(numbered(k), "bgr24")
                frame.pts, frame.time_base = round(time * ticks), Fraction(1, ticks)
                packets += video.encode(frame)
            packets += video.encode(None)
            for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
                out.mux(packet)
        return path

    return write
