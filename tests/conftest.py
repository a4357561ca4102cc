"""Small made data and, where it lies beside the project, the real data."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_files import write_video

from mien.types import EMOTIONS7

SHARED = Path(__file__).parents[2] / "shared"

# Commands that a shell runs in the background start with Ctrl-C ignored, and so would all processes of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)

# PyTorch reads this when it is imported. The networks of the tests are tiny: more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


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


@pytest.fixture
def film() -> Callable[..., Path]:
    """Return `write_video`: film(path, times) writes a video with a frame `numbered` for each time in seconds."""
    return write_video
