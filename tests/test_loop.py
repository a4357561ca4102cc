"""Training on a tiny set: it learns, resumes to the same weights and refuses to mix runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.train import augment, data, loop
from mien.train.config import Stage, TrainConfig
from mien.types import EMOTIONS, ConfigError, DataError, ModelError

TINY = TrainConfig(
    batch=16, label_smoothing=0.0, ema=0.9, precision="32-true",
    stages=(Stage(epochs=2, size=24, width=0.125, dropout=0.0), Stage(epochs=1, size=48, dropout=0.1, lr=3e-4)),
)  # fmt: skip


def stripes(count: int = 64) -> data.Faces:
    """Two classes that a network tells apart at once: horizontal and vertical stripes."""
    rng = np.random.default_rng(0)
    targets = np.arange(count) % 2
    wave = (np.arange(48) % 8 < 4) * 160.0
    plain = np.stack([np.tile(wave[:, None] if t else wave, (48, 1) if not t else (1, 48)) for t in targets])
    images = np.clip(plain + rng.normal(40, 20, plain.shape), 0, 255).astype(np.uint8)
    splits = np.where(np.arange(count) < count * 3 // 4, 0, 1).astype(np.int8)
    names = np.array([f"{i}.jpg" for i in range(count)])
    return data.Faces(images, targets.astype(np.int64), splits, names, EMOTIONS)


def test_loss_falls_and_the_best_epoch_is_kept(tmp_path: Path) -> None:
    config = TrainConfig(
        batch=16, stages=(Stage(epochs=4, size=24, width=0.125, dropout=0), Stage(epochs=1, lr=1e-4)), ema=0.5,
        rotation=0, precision="32-true",
    )  # fmt: skip
    best = loop.fit(config, stripes(), tmp_path)
    log = loop.read_log(tmp_path / "log.csv")
    assert [row["epoch"] for row in log] == [1, 2, 3, 4, 5]
    assert log[3]["train_loss"] < log[0]["train_loss"]
    tensors, meta = loop.load(best)
    assert meta["epoch"] == 5
    assert meta["labels"] == list(EMOTIONS)
    assert "head.1.weight" in tensors


def test_resume_after_kill_gives_the_weights_of_an_uninterrupted_run(tmp_path: Path) -> None:
    loop.fit(TINY, stripes(), tmp_path / "whole")
    script = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from test_loop import TINY, stripes; from mien.train import loop\n"
        "tell = lambda f: os.kill(os.getpid(), signal.SIGKILL) if (f['epoch'], f['step']) == (2, 2) else None\n"
        "loop.fit(TINY, stripes(), Path(sys.argv[2]), progress=tell)\n"
    )
    here = str(Path(__file__).parent)
    killed = subprocess.run(
        [sys.executable, "-c", script, here, str(tmp_path / "cut")], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    loop.fit(TINY, stripes(), tmp_path / "cut", resume=True)
    whole, _ = loop.load(tmp_path / "whole/last.safetensors")
    cut, _ = loop.load(tmp_path / "cut/last.safetensors")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    drop = slice(0, -1)  # the last column is the time it took
    for a, b in zip(loop.read_log(tmp_path / "whole/log.csv"), loop.read_log(tmp_path / "cut/log.csv"), strict=True):
        assert list(a.values())[drop] == list(b.values())[drop]


def test_a_second_run_in_the_same_folder_needs_resume_and_the_same_recipe(tmp_path: Path) -> None:
    short = TrainConfig(batch=16, stages=(Stage(epochs=1),), precision="32-true")
    faces = stripes(32)
    loop.fit(short, faces, tmp_path)
    with pytest.raises(ConfigError, match="--resume"):
        loop.fit(short, faces, tmp_path)
    with pytest.raises(ConfigError, match="another recipe"):
        loop.fit(
            TrainConfig(batch=16, seed=2, stages=(Stage(epochs=1),), precision="32-true"), faces, tmp_path, resume=True
        )


def test_too_few_images_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few"):
        loop.fit(TrainConfig(batch=128), stripes(), tmp_path)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match=r"x\.safetensors is not a readable mien checkpoint"):
        loop.load(tmp_path / "x.safetensors")


def test_augmentation_keeps_range_and_shape_and_is_the_identity_at_strength_zero() -> None:
    torch.manual_seed(0)
    images = torch.rand(8, 1, 48, 48)
    changed = augment.augment(images, TrainConfig())
    assert changed.shape == images.shape
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    still = TrainConfig(flip=False, rotation=0, zoom=0, shift=0, brightness=0, contrast=0)
    torch.testing.assert_close(augment.augment(images, still), images, rtol=0, atol=1e-4)


def test_flip_mirrors_about_the_middle() -> None:
    torch.manual_seed(0)
    images = torch.rand(64, 1, 48, 48)
    flips = augment.augment(images, TrainConfig(rotation=0, zoom=0, shift=0, brightness=0, contrast=0))
    same = [torch.allclose(a, b, atol=1e-4) for a, b in zip(flips, images, strict=True)]
    mirrored = [torch.allclose(a, b.flip(-1), atol=1e-4) for a, b in zip(flips, images, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 20 < sum(mirrored) < 44
