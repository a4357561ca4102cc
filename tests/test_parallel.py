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

from mien.train import datasets, loop, parallel
from mien.train.config import from_dict
from mien.types import ConfigError, Error

RECIPE: dict[str, Any] = {
    "network": "rep", "batch": 9, "optimizer": "sgd", "ema": 0.1, "mixup": 0.2, "precision": "32-true",
    "rotation": 0, "stages": [{"epochs": 3, "lr": 0.02, "dropout": 0.0}],
}  # fmt: skip
STEPS = 4

COMMAND = """
import json, os, signal, sys
from pathlib import Path
from mien import report
from mien.cli import main
from mien.train import export, loop, parallel

report.curves_png = lambda *given: None  # curves and export need no second process: see their own tests
export.ship = lambda best, *given: (best, best)
agree, validate, steps = parallel.agree, loop.validate, 0

def deadly(model, fabric):
    global steps
    agree(model, fabric)
    steps += 1
    if os.environ.get("DIE") == f"{fabric.global_rank} {steps}":
        os.kill(os.getpid(), 9)
    if os.environ.get("DIE") == f"all {steps}" and fabric.global_rank == 0:
        os.killpg(0, 9)

def seven(model, images, targets, mean, std, size, columns, fabric):
    if folder := os.environ.get("SEVEN"):
        given = (model, images[:7], targets[:7], mean, std, size, columns)
        both = [validate(*given, fabric, 2), validate(*given, None, 2)]
        Path(folder, str(fabric.global_rank)).write_text(json.dumps([*both, len(images[:7]), fabric.world_size]))
    return validate(model, images, targets, mean, std, size, columns, fabric)

fit = loop.fit
loop.fit = lambda *given, pause: fit(*given)  # a checkpoint after each of these short epochs
parallel.agree, loop.validate = deadly, seven
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
    given = ["train", "--data", str(root / "data"), "--recipe", str(recipe), "--out", str(out), *more]
    process = subprocess.Popen(
        [sys.executable, *start, str(script), *given], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, start_new_session=True,
    )  # fmt: skip
    try:
        output, errors = process.communicate(timeout=500)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(given, process.returncode, output, errors)


def rows(out: Path) -> list[list[float]]:
    """The log, without the time that each epoch took."""
    return [list(row.values())[:-1] for row in loop.read_log(out / "log.csv")]


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
    loop.fit(from_dict(RECIPE), datasets.load_any(root / "data", 5), out, resume)


def test_two_processes_learn_what_one_learns_and_write_once(
    root: Path, whole: subprocess.CompletedProcess[str]
) -> None:
    fit_alone(root, root / "one")
    one, two = (loop.read_log(root / name / "log.csv") for name in ("one", "two"))
    assert [row["epoch"] for row in two] == [1, 2, 3]
    assert [row["lr"] for row in one] == [row["lr"] for row in two]
    assert one[-1]["val_accuracy"] >= 0.9
    assert two[-1]["val_accuracy"] == pytest.approx(one[-1]["val_accuracy"], abs=0.1)
    assert two[0]["train_loss"] == pytest.approx(one[0]["train_loss"], rel=0.1)
    assert whole.stdout.count("best checkpoint") == 1


def test_shared_validation_gives_the_figures_of_one_process(
    root: Path, whole: subprocess.CompletedProcess[str]
) -> None:
    for rank in ("0", "1"):
        shared, alone, count, world = json.loads((root / rank).read_text())
        assert (count, world) == (7, 2)
        assert shared == alone


def test_a_run_that_was_killed_goes_on_and_does_not_wait_for_a_dead_process(
    root: Path, whole: subprocess.CompletedProcess[str]
) -> None:
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
def test_the_shares_hold_each_row_once_and_their_weighted_means_are_the_mean_of_all(count: int, world: int) -> None:
    values = torch.rand(count, dtype=torch.float64)
    shares = [parallel.share(count, group(rank, world)) for rank in range(world)]
    assert torch.equal(torch.cat([values[share] for share in shares]), values)
    means = [
        values[share].mean() * parallel.weight(share, count, group(0, world))
        for share in shares
        if share.stop > share.start
    ]
    assert float(sum(means)) / world == pytest.approx(float(values.mean()))


def test_each_process_drops_out_at_random_and_the_shared_random_state_stays() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(2)
    drawn = []
    for rank in (0, 1, 1):
        torch.manual_seed(3)
        with parallel.own_random(group(rank, 2), 1, 2, 3):
            drawn.append(torch.rand(2))
        assert torch.equal(torch.rand(2), wanted)
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[1], drawn[2])


def test_what_cannot_be_shared_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = datasets.load_any(root / "data", 5)
    with pytest.raises(ConfigError, match="at least 1"):
        loop.fit(from_dict(RECIPE), faces, root / "none", devices=0)
    monkeypatch.setattr(parallel, "fabric", lambda *given: group(0, 5))
    with pytest.raises(ConfigError, match="batches of 9 are too small for 5 processes"):
        loop.fit(from_dict(RECIPE), faces, root / "none", devices=5)


def test_the_numbers_of_torchrun_must_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "3", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert not parallel.first(1)
    with pytest.raises(ConfigError, match="2 of 3 processes"):
        parallel.fabric(1, "32-true")


def test_a_lost_process_is_told_and_other_errors_are_not_taken_for_it() -> None:
    def fail(message: str) -> None:
        with parallel.group(SimpleNamespace(world_size=2, local_rank=0, global_rank=0, launch=lambda: None)):  # type: ignore[arg-type]
            raise RuntimeError(message)

    with pytest.raises(Error, match="--resume"):
        fail("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes"):
        fail("shapes do not fit")
