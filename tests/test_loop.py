"""Training on a tiny set: it learns, resumes to the same weights and refuses to mix runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.classify import ASSETS, OnnxClassifier
from mien.train import data, export, lessons, loop, models, store
from mien.train.config import Stage, TrainConfig
from mien.train.trained import Trained
from mien.types import EMOTIONS, EMOTIONS7, ConfigError, DataError, ModelError

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
    tensors, meta = store.load(best)
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
    whole, _ = store.load(tmp_path / "whole/last.safetensors")
    cut, _ = store.load(tmp_path / "cut/last.safetensors")
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


def test_a_run_goes_on_with_the_data_it_was_started_with(tmp_path: Path) -> None:
    config = replace(REP, stages=(Stage(epochs=1),))
    faces = stripes()
    loop.fit(config, faces, tmp_path)
    fewer = faces.take(np.arange(len(faces)) != 0)
    darker = replace(faces, images=faces.images // 2)
    for other, words in (
        (fewer, r"other data \(Training images: 48, now 47; mean .*\); resume it"),
        (darker, r"mean of the pixels: 0\.\d+, now 0\.\d+; standard"),
        (replace(faces, labels=EMOTIONS[::-1]), "classes: angry happy sad surprise neutral, now neutral"),
        (faces.take(np.arange(len(faces)) != len(faces) - 1), r"\(PublicTest images: 16, now 15\)"),
    ):
        with pytest.raises(ConfigError, match=words):
            loop.fit(config, other, tmp_path, resume=True)
    with pytest.raises(ConfigError, match="with another recipe and other data"):
        loop.fit(replace(config, seed=9), fewer, tmp_path, resume=True)
    loop.fit(config, faces, tmp_path, resume=True, source="another name")


def test_a_run_without_a_best_epoch_and_without_an_epoch_left_is_refused(tmp_path: Path) -> None:
    first = Stage(epochs=1, lr=0.01)
    best = loop.fit(replace(REP, stages=(first,)), stripes(), tmp_path)
    best.unlink()
    with pytest.raises(ConfigError, match=r"no epoch left and no best.*add a stage"):
        loop.fit(replace(REP, stages=(first,)), stripes(), tmp_path, resume=True)
    assert loop.fit(replace(REP, stages=(first, first)), stripes(), tmp_path, resume=True).exists()


def test_stages_that_have_not_begun_may_change_when_a_run_goes_on(tmp_path: Path) -> None:
    first, planned, changed = Stage(epochs=1, lr=0.01), Stage(epochs=1, lr=0.01), Stage(epochs=1, lr=0.02)
    loop.fit(replace(REP, stages=(first,)), stripes(), tmp_path / "cut")
    loop.fit(replace(REP, stages=(first, changed)), stripes(), tmp_path / "cut", resume=True)
    loop.fit(replace(REP, stages=(first, changed)), stripes(), tmp_path / "whole")
    for file in ("last", "best"):
        (cut, cut_meta), (whole, meta) = (
            store.load(tmp_path / name / f"{file}.safetensors") for name in ("cut", "whole")
        )
        assert all(torch.equal(whole[key], cut[key]) for key in whole)
        assert (cut_meta["epoch"], cut_meta["config"]) == (meta["epoch"], meta["config"])
    with pytest.raises(ConfigError, match="another recipe"):
        loop.fit(replace(REP, stages=(first, planned)), stripes(), tmp_path / "cut", resume=True)


def test_what_only_matters_at_export_may_change_after_the_last_epoch(tmp_path: Path) -> None:
    faces = stripes()
    config = replace(REP, ferplus=1.0, blend=0.5, stages=(Stage(epochs=1),))
    faces = replace(faces, votes=np.ones((len(faces), 10), np.int16))
    before, _ = store.load(loop.fit(config, faces, tmp_path))
    after, meta = store.load(loop.fit(replace(config, blend=0.0, mirror=True), faces, tmp_path, resume=True))
    assert (meta["config"]["blend"], meta["config"]["mirror"], meta["epoch"]) == (0.0, True, 1)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_too_few_images_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few"):
        loop.fit(TrainConfig(batch=128), stripes(), tmp_path)


def test_a_checkpoint_may_be_read_by_whom_other_files_may(tmp_path: Path) -> None:
    store.save(tmp_path / "a.safetensors", {"x": torch.zeros(2)}, {})
    (tmp_path / "b").write_text("")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match=r"x\.safetensors is not a readable mien checkpoint"):
        store.load(tmp_path / "x.safetensors")


REP = TrainConfig(network="rep", batch=16, precision="32-true", stages=(Stage(epochs=1, size=32, width=0.25, lr=0.01),
                  Stage(epochs=1, lr=0.01)), optimizer="sgd", ema=0.5)  # fmt: skip


def test_the_ferplus_head_needs_votes_learns_from_them_and_is_not_exported(tmp_path: Path) -> None:
    config = replace(REP, ferplus=1.0)
    with pytest.raises(ConfigError, match="--votes"):
        loop.fit(config, stripes(), tmp_path / "none")
    faces = stripes()
    votes = np.zeros((len(faces), 10), np.int16)
    votes[np.arange(len(faces)), np.where(faces.targets == 0, 3, 6)] = 10
    tensors, _ = store.load(loop.fit(config, replace(faces, votes=votes), tmp_path / "run"))
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
    monkeypatch.setattr(lessons, "shipped", lambda name, spin: Always())
    config = replace(REP, teacher="x", stages=(Stage(distill=1.0), Stage(distill=0.5)), label_smoothing=0.0)
    taught = lessons.gather(config, stripes().split("Training"), torch.device("cpu"))
    views, index = torch.rand(2, 1, 48, 48), torch.tensor([0, 1])
    full = taught.wanted(config, config.stages[0], views, index)
    torch.testing.assert_close(full, torch.tensor([[0.0, 0.1, 0.1, 0.1, 0.7]] * 2))
    half = taught.wanted(config, config.stages[1], views, index)
    torch.testing.assert_close(half, torch.tensor([[0.5, 0.05, 0.05, 0.05, 0.35], [0.0, 0.55, 0.05, 0.05, 0.35]]))


def test_teachers_take_turns_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoke: list[str] = []

    class Named(Always):
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, crops: np.ndarray) -> np.ndarray:
            spoke.append(self.name)
            return super().__call__(crops)

    monkeypatch.setattr(lessons, "shipped", lambda name, spin: Named(name))
    config = replace(REP, teacher="a+b", stages=(Stage(epochs=2, lr=0.01, size=24, distill=1.0),))
    faces = stripes()
    loop.fit(config, faces, tmp_path)
    steps = 2 * (len(faces.split("Training")) // config.batch)
    assert spoke == ["a", "b"] * (steps // 2) and steps >= 4
    spoke.clear()
    lessons.gather(replace(config, teacher="folder+x/net.onnx"), faces, torch.device("cpu"))  # no name: a path


def test_a_teacher_that_lacks_a_class_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = Always()
    teacher.labels = ("neutral", "surprise", "sad", "happy", "fear")
    monkeypatch.setattr(lessons, "shipped", lambda name, spin: teacher)
    with pytest.raises(ConfigError, match="does not know angry"):
        loop.fit(replace(REP, teacher="x"), stripes(), tmp_path)


def test_a_run_that_starts_from_the_shipped_checkpoint_keeps_its_normalisation_and_is_near_it(tmp_path: Path) -> None:
    config = replace(REP, init="rep", stages=(Stage(epochs=1, lr=1e-6),), ema=0.0)
    _, before = store.load(ASSETS / "rep.safetensors")
    tensors, after = store.load(loop.fit(config, stripes(), tmp_path))
    assert (after["mean"], after["std"]) == (before["mean"], before["std"])
    shipped, _ = store.load(ASSETS / "rep.safetensors")
    torch.testing.assert_close(tensors["head.3.weight"], shipped["head.3.weight"].float(), rtol=0, atol=1e-3)


def test_a_fold_is_left_out_of_training(tmp_path: Path) -> None:
    faces = stripes(64)
    train = faces.split("Training")
    left = int((train.keys() % 3 != 1).sum())
    _, meta = store.load(loop.fit(replace(REP, folds=3, fold=1, stages=(Stage(epochs=1),)), faces, tmp_path))
    assert 0 < left < len(train)
    assert meta["train"] == left


def seven(count: int = 84) -> data.Faces:
    """Noise in seven classes, of which the validation pictures of disgust and fear must not count."""
    rng = np.random.default_rng(1)
    targets = np.arange(count) % 7
    splits = np.where(np.arange(count) < count * 2 // 3, 0, 1).astype(np.int8)
    images = rng.integers(0, 256, (count, 48, 48), dtype=np.uint8)
    names = np.array([f"{i}.jpg" for i in range(count)])
    return data.Faces(images, targets.astype(np.int64), splits, names, EMOTIONS7)


def test_extra_classes_are_learned_but_neither_validated_nor_exported(tmp_path: Path) -> None:
    config = replace(REP, extra_classes=True, stages=(Stage(epochs=1),))
    best = loop.fit(config, seven(), tmp_path)
    tensors, meta = store.load(best)
    assert tensors["head.3.weight"].shape[0] == 7
    assert (meta["train"], meta["valid"]) == (56, 20)
    network, used = export.load_network(best)
    assert used["labels"] == list(EMOTIONS)
    rows = [EMOTIONS7.index(label) for label in EMOTIONS]
    assert torch.equal(network.state_dict()["head.3.weight"], tensors["head.3.weight"][rows])


def test_validation_counts_among_the_given_columns_only() -> None:
    class Last(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[0.0, 1.0, 9.0]]).repeat(len(images), 1)

    images, targets = torch.zeros(4, 1, 48, 48, dtype=torch.uint8), torch.tensor([1, 1, 1, 0])
    assert loop.validate(Last(), images, targets, 0.5, 0.25)[1] == 0.0
    assert loop.validate(Last(), images, targets, 0.5, 0.25, 48, [0, 1])[1] == 0.75


def test_one_cycle_turns_the_momentum_against_the_learning_rate(tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []
    step = torch.optim.SGD.step

    def spy(self: torch.optim.SGD, *args: object) -> None:
        seen.append((self.param_groups[0]["lr"], self.param_groups[0]["momentum"]))
        step(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", spy)
        config = replace(REP, schedule="one-cycle", stages=(Stage(epochs=4, lr=0.02, lr_end=0.0),), warmup=0.0)
        loop.fit(config, stripes(), tmp_path)
    rates, momenta = zip(*seen, strict=True)
    peak = rates.index(max(rates))
    assert len(rates) == 12
    assert peak == 2  # three of ten steps warm up
    assert momenta[peak] == pytest.approx(0.85)
    assert all((a < b) == (m > n) for a, b, m, n in zip(rates, rates[1:], momenta, momenta[1:], strict=False))


def test_the_blend_of_the_ferplus_head_is_one_layer_with_the_sum_of_the_logits(tmp_path: Path) -> None:
    faces = stripes()
    votes = np.random.default_rng(0).integers(0, 5, (len(faces), 10)).astype(np.int16)
    config = replace(REP, ferplus=1.0, blend=0.5, stages=(Stage(epochs=1, lr=0.1),))
    best = loop.fit(config, replace(faces, votes=votes), tmp_path)
    tensors, meta = store.load(best)
    both = models.build("rep", 5, auxiliary=8)
    both.load_state_dict(tensors)
    features = torch.rand(3, 256, 3, 3)
    order = [4, 1, 3, 2, 0]  # angry, happy, sad, surprise, neutral among FER+'s columns
    wanted = both.eval().head(features) + 0.5 * both.auxiliary(features)[:, order]
    network, _ = export.load_network(best)
    torch.testing.assert_close(network.head(features), wanted)
    assert meta["config"]["blend"] == 0.5


def test_a_mirrored_model_gives_a_picture_and_its_mirror_image_the_same_answer() -> None:
    torch.manual_seed(0)
    network = models.build("rep", 5).eval()
    crops = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8)
    plain, both = (export.Deployed(network, 0.5, 0.25, mirror=mirror).eval() for mirror in (False, True))
    with torch.no_grad():
        assert not torch.allclose(plain(crops), plain(crops.flip(2)), atol=1e-4)
        torch.testing.assert_close(both(crops), both(crops.flip(2)))
        torch.testing.assert_close(both(crops), (plain(crops) + plain(crops.flip(2))) / 2)


def test_mixed_pictures_have_mixed_votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = stripes()
    votes = np.zeros((len(faces), 10), np.int16)
    votes[np.arange(len(faces)), np.where(faces.targets == 0, 3, 6)] = 10
    seen = []

    def note(views: torch.Tensor, targets: torch.Tensor, config: TrainConfig) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(targets)
        return views, targets

    monkeypatch.setattr(loop, "mix", note)
    config = replace(REP, ferplus=1.0, label_smoothing=0.0, stages=(Stage(epochs=1, size=16, width=0.25),))
    loop.fit(config, replace(faces, votes=votes), tmp_path)
    assert all(each.shape == (16, 5 + 8) for each in seen)
    rows = torch.cat(seen)
    torch.testing.assert_close(rows[:, [5 + 3, 5 + 6]], rows[:, :2])


def test_checkpoints_may_be_rarer_than_epochs_and_the_last_epoch_always_has_one(tmp_path: Path) -> None:
    kept: list[bool] = []
    tell = lambda told: kept.append((tmp_path / "last.safetensors").exists())  # noqa: E731
    best = loop.fit(REP, stripes(), tmp_path, progress=tell, pause=1e9)
    assert not any(kept)
    _, last = store.load(tmp_path / "last.safetensors")
    assert last["epoch"] == REP.epochs
    assert store.load(best)[1]["epoch"] == 2


def test_a_run_may_start_from_a_wider_network_cut_down(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wide = models.build("wide", 5)
    assert isinstance(wide, models.Rep)
    meta = {"config": replace(REP, network="wide").to_dict(), "labels": list(EMOTIONS), "mean": 0.5, "std": 0.25}
    store.save(tmp_path / "wide.safetensors", wide.state_dict(), meta)
    config = replace(REP, init=str(tmp_path / "wide.safetensors"), ema=0.0, stages=(Stage(epochs=1, size=16, lr=1e-9),))
    tensors, _ = store.load(loop.fit(config, stripes(), tmp_path / "run"))
    cut = models.build("rep", 5)
    assert isinstance(cut, models.Rep)
    models.narrow(wide, cut)
    torch.testing.assert_close(tensors["features.3.conv.weight"], cut.state_dict()["features.3.conv.weight"])
    with pytest.raises(ConfigError, match="cannot start a baseline"):
        loop.fit(replace(config, network="baseline", stages=(Stage(epochs=1),)), stripes(), tmp_path / "none")


@pytest.mark.filterwarnings("ignore")  # the exporter warns about its own insides
def test_a_checkpoint_answers_as_its_exported_file_does_with_the_classes_it_learned_from(tmp_path: Path) -> None:
    config = replace(REP, extra_classes=True, stages=(Stage(epochs=1, size=32, lr=0.01),))
    faces = seven()
    best = loop.fit(config, faces, tmp_path)
    teller = Trained(best)
    assert teller.labels == EMOTIONS7
    assert json.loads(teller.metadata["recipe"])["extra_classes"]
    found = teller(faces.images)[:, [EMOTIONS7.index(label) for label in EMOTIONS]]
    exported = OnnxClassifier(export.export(best, tmp_path / "x.onnx", "0"))
    np.testing.assert_allclose(found / found.sum(1, keepdims=True), exported(faces.images), atol=2e-3)
