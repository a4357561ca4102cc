"""Training in two processes: the figures of one, whatever starts them and however often they are cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mien.data import registry
from mien.errors import ConfigError, Error
from mien.train import distributed, log, trainer
from mien.train.config import from_dict

RECIPE: dict[str, Any] = {
    "network": "rep", "batch": 9, "optimizer": "sgd", "ema": 0.1, "mixup": 0.2, "precision": "32-true",
    "rotation": 0, "stages": [{"epochs": 3, "lr": 0.02, "dropout": 0.0}],
}  # fmt: skip
STEPS = 4

COMMAND = """
import json, os
from pathlib import Path
from types import SimpleNamespace
from mien.cli import train
from mien.cli.main import main
from mien.evaluation import plots
from mien.train import distributed, export, trainer

plots.curves_png = lambda *args: None  # curves, export and page have their own tests
export.export_all = lambda best, *args: (best, best)
train._answers = lambda *args: {}
average, validate, steps = distributed.average_batch_norms, trainer.Trainer.validate, 0

def average_or_die(model, fabric):
    global steps
    average(model, fabric)
    steps += 1
    if os.environ.get("DIE") == f"{fabric.global_rank} {steps}":
        os.kill(os.getpid(), 9)
    if os.environ.get("DIE") == f"all {steps}" and fabric.global_rank == 0:
        os.killpg(0, 9)

def validate_seven(self):
    if folder := os.environ.get("SEVEN"):
        everything, fabric = self.valid, self.fabric
        self.valid = {name: (images[:7], targets[:7]) for name, (images, targets) in everything.items()}
        results = [validate(self, 2)]
        self.fabric = SimpleNamespace(global_rank=0, world_size=1)
        results.append(validate(self, 2))
        self.valid, self.fabric = everything, fabric
        Path(folder, str(fabric.global_rank)).write_text(json.dumps([*results, fabric.world_size]))
    return validate(self)

init = trainer.Trainer.__init__  # without its pause: a checkpoint after each of these short epochs
trainer.Trainer.__init__ = lambda self, *args, pause, **options: init(self, *args, **options)
distributed.average_batch_norms, trainer.Trainer.validate = average_or_die, validate_seven
main()
"""


def write(root: Path) -> Path:
    """Stripes in two directions, in the Kaggle layout: 36 Training and 31 PublicTest pictures."""
    rng = np.random.default_rng(0)
    wave = np.tile((np.arange(48) % 8 < 4) * 160.0, (48, 1))
    for number, split in enumerate(["Training"] * 36 + ["PublicTest"] * 31 + ["PrivateTest"]):
        folder = root / ("train" if split == "Training" else "test") / ("sad", "happy")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image = (wave, wave.T)[number % 2] + rng.normal(40, 20, wave.shape)
        cv2.imwrite(str(folder / f"{split}_{number}.jpg"), np.clip(image, 0, 255).astype(np.uint8))
    return root


def run(start: list[str], root: Path, out: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`mien train`, started by the arguments `start`; fails the test when it hangs."""
    script, recipe = root / "command.py", root / "recipe.yaml"
    script.write_text(COMMAND)
    recipe.write_text(json.dumps(RECIPE))
    arguments = ["train", "--data", str(root / "data"), "--recipe", str(recipe), "--out", str(out), *more]
    process = subprocess.Popen(
        [sys.executable, *start, str(script), *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, start_new_session=True,
    )  # fmt: skip
    try:
        output, errors = process.communicate(timeout=500)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


def rows(out: Path) -> list[list[float]]:
    """The log, without the time that each epoch took."""
    return [list(row.values())[:-1] for row in log.read_log(out / "log.csv")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parallel")
    write(folder / "data")
    return folder


@pytest.fixture(scope="module")
def whole(root: Path) -> subprocess.CompletedProcess[str]:
    """An uninterrupted run of two processes under torchrun, in root/two."""
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = run(start, root, root / "two", SEVEN=str(root))
    assert done.returncode == 0, done.stderr
    return done


def fit_alone(root: Path, out: Path, resume: bool = False) -> None:
    trainer.fit(from_dict(RECIPE), registry.load_any(root / "data", 5), out, resume)


def test_two_processes_match_one_and_write_once(root: Path, whole: subprocess.CompletedProcess[str]) -> None:
    fit_alone(root, root / "one")
    one, two = (log.read_log(root / name / "log.csv") for name in ("one", "two"))
    assert [row["epoch"] for row in two] == [1, 2, 3]
    assert [row["lr"] for row in one] == [row["lr"] for row in two]
    assert one[-1]["val_accuracy"] >= 0.9
    assert two[-1]["val_accuracy"] == pytest.approx(one[-1]["val_accuracy"], abs=0.1)
    assert two[0]["train_loss"] == pytest.approx(one[0]["train_loss"], rel=0.1)
    assert whole.stdout.count("best checkpoint") == 1


def test_sharded_validation_equals_one_process(root: Path, whole: subprocess.CompletedProcess[str]) -> None:
    for rank in ("0", "1"):
        sharded, alone, world = json.loads((root / rank).read_text())
        assert world == 2
        assert sharded == alone


def test_killed_distributed_run_resumes(root: Path, whole: subprocess.CompletedProcess[str]) -> None:
    killed = run([], root, root / "cut", "--devices", "2", DIE=f"all {STEPS + 2}")
    assert killed.returncode == -signal.SIGKILL
    assert rows(root / "cut") == rows(root / "two")[:1]
    lost = run([], root, root / "cut", "--devices", "2", "--resume", DIE=f"1 {STEPS + 2}")
    assert lost.returncode == -signal.SIGKILL or (lost.returncode == 2 and "--resume" in lost.stderr)
    assert rows(root / "cut") == rows(root / "two")[:2]
    fit_alone(root, root / "cut", resume=True)  # another number of devices
    assert len(rows(root / "cut")) == 3
    assert rows(root / "cut")[-1][-1] == pytest.approx(rows(root / "two")[-1][-1], abs=0.1)


def group(rank: int, world: int) -> Any:
    return SimpleNamespace(global_rank=rank, world_size=world, device=torch.device("cpu"))


@pytest.mark.parametrize(("count", "world"), [(16, 2), (15, 2), (7, 3), (2, 4)])
def test_weighted_means_of_shares_are_the_mean(count: int, world: int) -> None:
    values = torch.rand(count, dtype=torch.float64)
    shares = [distributed.share(count, group(rank, world)) for rank in range(world)]
    assert torch.equal(torch.cat([values[share] for share in shares]), values)
    means = [
        values[share].mean() * distributed.weight(share, count, group(0, world))
        for share in shares
        if share.stop > share.start
    ]
    assert float(sum(means)) / world == pytest.approx(float(values.mean()))


def test_dropout_is_seeded_per_process() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    draws = []
    for rank in (0, 1, 1):
        torch.manual_seed(3)
        with distributed.own_random(group(rank, 2), 1, 2, 3):
            draws.append(torch.rand(2))
        assert torch.equal(torch.rand(2), expected)
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(draws[1], draws[2])


def test_impossible_numbers_of_devices_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = registry.load_any(root / "data", 5)
    with pytest.raises(ConfigError, match="at least 1"):
        trainer.fit(from_dict(RECIPE), faces, root / "none", devices=0)
    monkeypatch.setattr(distributed, "make_fabric", lambda *args: group(0, 5))
    with pytest.raises(ConfigError, match="batch 9 is too small for 5 processes"):
        trainer.fit(from_dict(RECIPE), faces, root / "none", devices=5)


def test_mismatched_torchrun_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "3", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert not distributed.is_first_process(1)
    with pytest.raises(ConfigError, match="2 of 3 processes"):
        distributed.make_fabric(1, "32-true")


def test_lost_process_is_reported() -> None:
    def fail(message: str) -> None:
        with distributed.process_group(SimpleNamespace(world_size=2, local_rank=0, global_rank=0, launch=lambda: None)):  # type: ignore[arg-type]
            raise RuntimeError(message)

    with pytest.raises(Error, match="--resume"):
        fail("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes"):
        fail("shapes do not fit")
