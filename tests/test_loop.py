"""Training on a tiny set: it learns, resumes to the same weights and refuses to mix runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.classify import ASSETS
from mien.train import data, export, loop
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


def test_stages_that_have_not_begun_may_change_when_a_run_goes_on(tmp_path: Path) -> None:
    first, planned, changed = Stage(epochs=1, lr=0.01), Stage(epochs=1, lr=0.01), Stage(epochs=1, lr=0.02)
    loop.fit(replace(REP, stages=(first,)), stripes(), tmp_path / "cut")
    loop.fit(replace(REP, stages=(first, changed)), stripes(), tmp_path / "cut", resume=True)
    loop.fit(replace(REP, stages=(first, changed)), stripes(), tmp_path / "whole")
    cut, whole = (loop.load(tmp_path / name / "last.safetensors")[0] for name in ("cut", "whole"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    with pytest.raises(ConfigError, match="another recipe"):
        loop.fit(replace(REP, stages=(first, planned)), stripes(), tmp_path / "cut", resume=True)


def test_too_few_images_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few"):
        loop.fit(TrainConfig(batch=128), stripes(), tmp_path)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match=r"x\.safetensors is not a readable mien checkpoint"):
        loop.load(tmp_path / "x.safetensors")


REP = TrainConfig(network="rep", batch=16, precision="32-true", stages=(Stage(epochs=1, size=32, width=0.25, lr=0.01),
                  Stage(epochs=1, lr=0.01)), optimizer="sgd", ema=0.5)  # fmt: skip


def test_the_ferplus_head_needs_votes_learns_from_them_and_is_not_exported(tmp_path: Path) -> None:
    config = replace(REP, ferplus=1.0)
    with pytest.raises(ConfigError, match="--votes"):
        loop.fit(config, stripes(), tmp_path / "none")
    faces = stripes()
    votes = np.zeros((len(faces), 10), np.int16)
    votes[np.arange(len(faces)), np.where(faces.targets == 0, 3, 6)] = 10
    tensors, _ = loop.load(loop.fit(config, replace(faces, votes=votes), tmp_path / "run"))
    assert tensors["auxiliary.2.weight"].shape == (8, 256)
    bias = tensors["auxiliary.2.bias"]
    assert min(bias[3], bias[6]) > max(bias[k] for k in (0, 1, 2, 4, 5, 7))
    network, _ = export.load_network(tmp_path / "run/best.safetensors")
    assert not any("auxiliary" in name for name in network.state_dict())


class Always:
    """A teacher that gives the same answer for everything, in its own order of labels."""

    labels = ("neutral", "surprise", "sad", "happy", "angry")
    uncertain_below = 0.0

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        return np.tile(np.array([0.7, 0.1, 0.1, 0.1, 0.0], np.float32), (len(crops), 1))


def test_a_stage_that_distils_takes_the_teachers_answer_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "shipped", lambda name: Always())
    config = replace(REP, teacher="x", stages=(Stage(distill=1.0), Stage(distill=0.5)), label_smoothing=0.0)
    lessons = loop._lessons(config, stripes().split("Training"), torch.device("cpu"))
    views, truth = torch.rand(2, 1, 48, 48), torch.tensor([0, 1])
    full = loop._wanted(config, config.stages[0], lessons, views, truth)
    torch.testing.assert_close(full, torch.tensor([[0.0, 0.1, 0.1, 0.1, 0.7]] * 2))
    half = loop._wanted(config, config.stages[1], lessons, views, truth)
    torch.testing.assert_close(half, torch.tensor([[0.5, 0.05, 0.05, 0.05, 0.35], [0.0, 0.55, 0.05, 0.05, 0.35]]))


def test_a_teacher_that_lacks_a_class_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = Always()
    teacher.labels = ("neutral", "surprise", "sad", "happy", "fear")
    monkeypatch.setattr(loop, "shipped", lambda name: teacher)
    with pytest.raises(ConfigError, match="does not know angry"):
        loop.fit(replace(REP, teacher="x"), stripes(), tmp_path)


def test_a_run_that_starts_from_the_shipped_checkpoint_keeps_its_normalisation_and_is_near_it(tmp_path: Path) -> None:
    config = replace(REP, init="rep", stages=(Stage(epochs=1, lr=1e-6),), ema=0.0)
    _, before = loop.load(ASSETS / "rep.safetensors")
    tensors, after = loop.load(loop.fit(config, stripes(), tmp_path))
    assert (after["mean"], after["std"]) == (before["mean"], before["std"])
    shipped, _ = loop.load(ASSETS / "rep.safetensors")
    torch.testing.assert_close(tensors["head.3.weight"], shipped["head.3.weight"].float(), rtol=0, atol=1e-3)
