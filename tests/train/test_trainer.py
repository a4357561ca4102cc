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

from mien.data.faces import Faces
from mien.errors import ConfigError, DataError, ModelError
from mien.faces.classifier import OnnxClassifier
from mien.faces.onnx import ASSETS
from mien.train import checkpoint, distributed, export, log, models, targets, trainer
from mien.train.config import Stage, TrainConfig
from mien.train.targets import build_targets
from mien.train.torch_classifier import TorchClassifier
from mien.types import EMOTIONS, EMOTIONS7

TINY = TrainConfig(
    width=0.125,
    batch=16, label_smoothing=0.0, ema=0.9, precision="32-true",
    stages=(Stage(epochs=2, size=24, dropout=0.0), Stage(epochs=1, size=48, dropout=0.1, lr=3e-4)),
)  # fmt: skip


def stripes(count: int = 64) -> Faces:
    """Two classes that a network tells apart at once: horizontal and vertical stripes."""
    rng = np.random.default_rng(0)
    targets = np.arange(count) % 2
    wave = (np.arange(48) % 8 < 4) * 160.0
    plain = np.stack([np.tile(wave[:, None] if t else wave, (48, 1) if not t else (1, 48)) for t in targets])
    images = np.clip(plain + rng.normal(40, 20, plain.shape), 0, 255).astype(np.uint8)
    splits = np.where(np.arange(count) < count * 3 // 4, 0, 1).astype(np.int8)
    names = np.array([f"{i}.jpg" for i in range(count)])
    return Faces(images, targets.astype(np.int64), splits, names, EMOTIONS)


def test_loss_falls_and_best_epoch_is_kept(tmp_path: Path) -> None:
    config = TrainConfig(
        width=0.125, batch=16, stages=(Stage(epochs=4, size=24, dropout=0), Stage(epochs=1, lr=1e-4)), ema=0.5,
        rotation=0, precision="32-true",
    )  # fmt: skip
    best = trainer.fit(config, stripes(), tmp_path)
    rows = log.read_log(tmp_path / "log.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[3]["train_loss"] < rows[0]["train_loss"]
    tensors, meta = checkpoint.load(best)
    assert meta["epoch"] == 5
    assert meta["labels"] == list(EMOTIONS)
    assert "head.1.weight" in tensors


def test_killed_and_resumed_run_equals_uninterrupted_run(tmp_path: Path) -> None:
    trainer.fit(TINY, stripes(), tmp_path / "whole")
    script = (
        f"import torch; torch.set_num_threads({torch.get_num_threads()})\n"  # other numbers sum in another order
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from test_trainer import TINY, stripes; from mien.train import trainer\n"
        "on_progress = lambda f: os.kill(os.getpid(), signal.SIGKILL) if (f['epoch'], f['step']) == (2, 2) else None\n"
        "trainer.fit(TINY, stripes(), Path(sys.argv[2]), progress=on_progress)\n"
    )
    here = str(Path(__file__).parent)
    killed = subprocess.run(
        [sys.executable, "-c", script, here, str(tmp_path / "cut")], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    trainer.fit(TINY, stripes(), tmp_path / "cut", resume=True)
    whole, _ = checkpoint.load(tmp_path / "whole/last.safetensors")
    cut, _ = checkpoint.load(tmp_path / "cut/last.safetensors")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    drop = slice(0, -1)  # the last column is the time it took
    for a, b in zip(log.read_log(tmp_path / "whole/log.csv"), log.read_log(tmp_path / "cut/log.csv"), strict=True):
        assert list(a.values())[drop] == list(b.values())[drop]


def test_second_run_in_a_folder_needs_resume(tmp_path: Path) -> None:
    short = TrainConfig(batch=16, stages=(Stage(epochs=1),), precision="32-true")
    faces = stripes(32)
    trainer.fit(short, faces, tmp_path)
    with pytest.raises(ConfigError, match="--resume"):
        trainer.fit(short, faces, tmp_path)
    with pytest.raises(ConfigError, match="another recipe"):
        trainer.fit(
            TrainConfig(batch=16, seed=2, stages=(Stage(epochs=1),), precision="32-true"), faces, tmp_path, resume=True
        )


def test_resume_refuses_other_data(tmp_path: Path) -> None:
    config = replace(REP, stages=(Stage(epochs=1),))
    faces = stripes()
    trainer.fit(config, faces, tmp_path)
    fewer = faces.take(np.arange(len(faces)) != 0)
    darker = replace(faces, images=faces.images // 2)
    for other, words in (
        (fewer, r"other data \(Training images: 48, now 47; mean .*\); resume it"),
        (darker, r"mean of the pixels: 0\.\d+, now 0\.\d+; standard"),
        (replace(faces, labels=EMOTIONS[::-1]), "classes: angry happy sad surprise neutral, now neutral"),
        (faces.take(np.arange(len(faces)) != len(faces) - 1), r"\(PublicTest images: 16, now 15\)"),
    ):
        with pytest.raises(ConfigError, match=words):
            trainer.fit(config, other, tmp_path, resume=True)
    with pytest.raises(ConfigError, match="with another recipe and other data"):
        trainer.fit(replace(config, seed=9), fewer, tmp_path, resume=True)
    trainer.fit(config, faces, tmp_path, resume=True, source="another name")


def test_resume_without_epochs_left_needs_a_best_epoch(tmp_path: Path) -> None:
    first = Stage(epochs=1, lr=0.01)
    best = trainer.fit(replace(REP, stages=(first,)), stripes(), tmp_path)
    best.unlink()
    with pytest.raises(ConfigError, match=r"no epoch left and no best.*add a stage"):
        trainer.fit(replace(REP, stages=(first,)), stripes(), tmp_path, resume=True)
    assert trainer.fit(replace(REP, stages=(first, first)), stripes(), tmp_path, resume=True).exists()


def test_later_stages_may_change_on_resume(tmp_path: Path) -> None:
    first, planned, changed = Stage(epochs=1, lr=0.01), Stage(epochs=1, lr=0.01), Stage(epochs=1, lr=0.02)
    trainer.fit(replace(REP, stages=(first,)), stripes(), tmp_path / "cut")
    trainer.fit(replace(REP, stages=(first, changed)), stripes(), tmp_path / "cut", resume=True)
    trainer.fit(replace(REP, stages=(first, changed)), stripes(), tmp_path / "whole")
    for file in ("last", "best"):
        (cut, cut_meta), (whole, meta) = (
            checkpoint.load(tmp_path / name / f"{file}.safetensors") for name in ("cut", "whole")
        )
        assert all(torch.equal(whole[key], cut[key]) for key in whole)
        assert (cut_meta["epoch"], cut_meta["config"]) == (meta["epoch"], meta["config"])
    with pytest.raises(ConfigError, match="another recipe"):
        trainer.fit(replace(REP, stages=(first, planned)), stripes(), tmp_path / "cut", resume=True)


def test_export_settings_may_change_after_the_last_epoch(tmp_path: Path) -> None:
    faces = stripes()
    config = replace(REP, ferplus=1.0, blend=0.5, stages=(Stage(epochs=1),))
    faces = replace(faces, votes=np.ones((len(faces), 10), np.int16))
    before, _ = checkpoint.load(trainer.fit(config, faces, tmp_path))
    after, meta = checkpoint.load(trainer.fit(replace(config, blend=0.0, mirror=True), faces, tmp_path, resume=True))
    assert (meta["config"]["blend"], meta["config"]["mirror"], meta["epoch"]) == (0.0, True, 1)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few"):
        trainer.fit(TrainConfig(batch=128), stripes(), tmp_path)


def test_checkpoint_has_default_permissions(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a.safetensors", {"x": torch.zeros(2)}, {})
    (tmp_path / "b").write_text("")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match=r"x\.safetensors: not a readable mien checkpoint"):
        checkpoint.load(tmp_path / "x.safetensors")


REP = TrainConfig(network="rep", batch=16, precision="32-true", stages=(Stage(epochs=1, size=32, lr=0.01),
                  Stage(epochs=1, lr=0.01)), optimizer="sgd", ema=0.5)  # fmt: skip


def test_ferplus_head_learns_votes_and_is_not_exported(tmp_path: Path) -> None:
    config = replace(REP, ferplus=1.0)
    with pytest.raises(ConfigError, match="--votes"):
        trainer.fit(config, stripes(), tmp_path / "none")
    faces = stripes()
    votes = np.zeros((len(faces), 10), np.int16)
    votes[np.arange(len(faces)), np.where(faces.targets == 0, 3, 6)] = 10
    tensors, _ = checkpoint.load(trainer.fit(config, replace(faces, votes=votes), tmp_path / "run"))
    assert tensors["auxiliary.2.weight"].shape == (8, 256)
    bias = tensors["auxiliary.2.bias"]
    assert min(bias[3], bias[6]) > max(bias[k] for k in (0, 1, 2, 4, 5, 7))
    network, _ = export.load_network(tmp_path / "run/best.safetensors")
    assert not any("auxiliary" in name for name in network.state_dict())


class Always:
    """A teacher that gives the same answer for everything, in its own order of labels."""

    labels = ("neutral", "surprise", "sad", "happy", "angry")
    confidence_threshold = 0.0

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        return np.tile(np.array([0.7, 0.1, 0.1, 0.1, 0.0], np.float32), (len(crops), 1))


def test_teacher_answers_are_mapped_by_class_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "load_classifier", lambda name, spin: Always())
    config = replace(REP, teacher="x", stages=(Stage(distill=1.0), Stage(distill=0.5)), label_smoothing=0.0)
    data = build_targets(config, [stripes().split("Training")], torch.device("cpu"))
    views, index = torch.rand(2, 1, 48, 48), torch.tensor([0, 1])
    full = data.soft_targets(config, config.stages[0], views, index)
    torch.testing.assert_close(full, torch.tensor([[0.0, 0.1, 0.1, 0.1, 0.7]] * 2))
    half = data.soft_targets(config, config.stages[1], views, index)
    torch.testing.assert_close(half, torch.tensor([[0.5, 0.05, 0.05, 0.05, 0.35], [0.0, 0.55, 0.05, 0.05, 0.35]]))


def test_teachers_take_turns_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    class Named(Always):
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, crops: np.ndarray) -> np.ndarray:
            turns.append(self.name)
            return super().__call__(crops)

    monkeypatch.setattr(targets, "load_classifier", lambda name, spin: Named(name))
    config = replace(REP, teacher="a+b", stages=(Stage(epochs=2, lr=0.01, size=24, distill=1.0),))
    faces = stripes()
    trainer.fit(config, faces, tmp_path)
    steps = 2 * (len(faces.split("Training")) // config.batch)
    assert turns == ["a", "b"] * (steps // 2) and steps >= 4
    turns.clear()
    build_targets(replace(config, teacher="folder+x/net.onnx"), [faces], torch.device("cpu"))  # no name: a path


def test_teacher_without_a_class_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = Always()
    teacher.labels = ("neutral", "surprise", "sad", "happy", "fear")
    monkeypatch.setattr(targets, "load_classifier", lambda name, spin: teacher)
    with pytest.raises(ConfigError, match="no class angry"):
        trainer.fit(replace(REP, teacher="x"), stripes(), tmp_path)


def test_init_loads_shipped_weights_and_normalisation(tmp_path: Path) -> None:
    config = replace(REP, init="mien-s", stages=(Stage(epochs=1, lr=1e-6),), ema=0.0)
    _, before = checkpoint.load(ASSETS / "mien-s.safetensors")
    tensors, after = checkpoint.load(trainer.fit(config, stripes(), tmp_path))
    assert (after["mean"], after["std"]) == (before["mean"], before["std"])
    shipped, _ = checkpoint.load(ASSETS / "mien-s.safetensors")
    rows = [before["labels"].index(label) for label in EMOTIONS]
    blend, bias = (before["config"][name] for name in ("blend", "class_bias"))
    start = models.fold_votes(shipped, before["labels"], blend, bias)  # what the shipped model answers
    torch.testing.assert_close(tensors["head.3.weight"], start["head.3.weight"][rows].float(), rtol=0, atol=1e-3)


def test_fold_is_left_out_of_training(tmp_path: Path) -> None:
    faces = stripes(64)
    train = faces.split("Training")
    left = int((train.keys() % 3 != 1).sum())
    _, meta = checkpoint.load(trainer.fit(replace(REP, folds=3, fold=1, stages=(Stage(epochs=1),)), faces, tmp_path))
    assert 0 < left < len(train)
    assert meta["train"] == left


def seven_classes(count: int = 84) -> Faces:
    """Noise in seven_classes classes, of which the validation pictures of disgust and fear must not count."""
    rng = np.random.default_rng(1)
    targets = np.arange(count) % 7
    splits = np.where(np.arange(count) < count * 2 // 3, 0, 1).astype(np.int8)
    images = rng.integers(0, 256, (count, 48, 48), dtype=np.uint8)
    names = np.array([f"{i}.jpg" for i in range(count)])
    return Faces(images, targets.astype(np.int64), splits, names, EMOTIONS7)


def test_extra_classes_are_for_training_only(tmp_path: Path) -> None:
    config = replace(REP, extra_classes=True, stages=(Stage(epochs=1),))
    best = trainer.fit(config, seven_classes(), tmp_path)
    tensors, meta = checkpoint.load(best)
    assert tensors["head.3.weight"].shape[0] == 7
    assert (meta["train"], meta["valid"]) == (56, 20)
    network, used = export.load_network(best)
    assert used["labels"] == list(EMOTIONS)
    rows = [EMOTIONS7.index(label) for label in EMOTIONS]
    assert torch.equal(network.state_dict()["head.3.weight"], tensors["head.3.weight"][rows])


def test_validation_counts_only_the_classes_to_choose(tmp_path: Path) -> None:
    class Last(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[0.0, 1.0, 9.0]]).repeat(len(images), 1)

    fabric = distributed.make_fabric(1, "32-true")
    run = trainer.Trainer(replace(REP, stages=(Stage(size=48),)), stripes(), tmp_path, fabric)
    run.start_stage(run.config.stages[0])
    run.average.module = Last()
    run.valid = {"set": (torch.zeros(4, 1, 48, 48, dtype=torch.uint8), torch.tensor([1, 1, 1, 0]))}
    run.columns = [0, 1, 2]
    assert run.validate()["set"][1] == 0.0
    run.columns = [0, 1]
    assert run.validate()["set"][1] == 0.75


def test_one_cycle_moves_momentum_against_learning_rate(tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []
    step = torch.optim.SGD.step

    def spy(self: torch.optim.SGD, *args: object) -> None:
        seen.append((self.param_groups[0]["lr"], self.param_groups[0]["momentum"]))
        step(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", spy)
        config = replace(REP, schedule="one-cycle", stages=(Stage(epochs=4, lr=0.02, lr_end=0.0),), warmup=0.0)
        trainer.fit(config, stripes(), tmp_path)
    rates, momenta = zip(*seen, strict=True)
    peak = rates.index(max(rates))
    assert len(rates) == 12
    assert peak == 3  # of 12 steps
    assert momenta[peak] == pytest.approx(0.85, abs=0.01)
    assert all((a < b) == (m > n) for a, b, m, n in zip(rates, rates[1:], momenta, momenta[1:], strict=False))


def test_blend_adds_ferplus_logits(tmp_path: Path) -> None:
    faces = stripes()
    votes = np.random.default_rng(0).integers(0, 5, (len(faces), 10)).astype(np.int16)
    config = replace(REP, ferplus=1.0, blend=0.5, stages=(Stage(epochs=1, lr=0.1),))
    best = trainer.fit(config, replace(faces, votes=votes), tmp_path)
    tensors, meta = checkpoint.load(best)
    two_heads = models.build("rep", 5, auxiliary=8)
    two_heads.load_state_dict(tensors)
    features = torch.rand(3, 256, 3, 3)
    order = [4, 1, 3, 2, 0]  # angry, happy, sad, surprise, neutral among FER+'s columns
    expected = two_heads.eval().head(features) + 0.5 * two_heads.auxiliary(features)[:, order]
    network, _ = export.load_network(best)
    torch.testing.assert_close(network.head(features), expected)
    assert meta["config"]["blend"] == 0.5


def test_mirrored_export_is_symmetric() -> None:
    torch.manual_seed(0)
    network = models.build("rep", 5).eval()
    crops = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8)
    plain, two_heads = (export.ExportModule(network, 0.5, 0.25, mirror=mirror).eval() for mirror in (False, True))
    with torch.no_grad():
        assert not torch.allclose(plain(crops), plain(crops.flip(2)), atol=1e-4)
        torch.testing.assert_close(two_heads(crops), two_heads(crops.flip(2)))
        torch.testing.assert_close(two_heads(crops), (plain(crops) + plain(crops.flip(2))) / 2)


def test_mixing_includes_the_votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = stripes()
    votes = np.zeros((len(faces), 10), np.int16)
    votes[np.arange(len(faces)), np.where(faces.targets == 0, 3, 6)] = 10
    seen = []

    def note(views: torch.Tensor, targets: torch.Tensor, config: TrainConfig) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(targets)
        return views, targets

    monkeypatch.setattr(trainer, "mix", note)
    config = replace(REP, ferplus=1.0, label_smoothing=0.0, stages=(Stage(epochs=1, size=16),))
    trainer.fit(config, replace(faces, votes=votes), tmp_path)
    assert all(each.shape == (16, 5 + 8) for each in seen)
    rows = torch.cat(seen)
    torch.testing.assert_close(rows[:, [5 + 3, 5 + 6]], rows[:, :2])


def test_pause_skips_checkpoints_except_the_last(tmp_path: Path) -> None:
    kept: list[bool] = []
    on_progress = lambda facts: kept.append((tmp_path / "last.safetensors").exists())  # noqa: E731
    best = trainer.fit(REP, stripes(), tmp_path, progress=on_progress, pause=1e9)
    assert not any(kept)
    _, last = checkpoint.load(tmp_path / "last.safetensors")
    assert last["epoch"] == REP.epochs
    assert checkpoint.load(best)[1]["epoch"] == 2


def test_init_prunes_a_wider_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wide = models.build("wide", 5)
    assert isinstance(wide, models.Rep)
    meta = {"config": replace(REP, network="wide").to_dict(), "labels": list(EMOTIONS), "mean": 0.5, "std": 0.25}
    checkpoint.save(tmp_path / "wide.safetensors", wide.state_dict(), meta)
    config = replace(REP, init=str(tmp_path / "wide.safetensors"), ema=0.0, stages=(Stage(epochs=1, size=16, lr=1e-9),))
    tensors, _ = checkpoint.load(trainer.fit(config, stripes(), tmp_path / "run"))
    cut = models.build("rep", 5)
    assert isinstance(cut, models.Rep)
    models.prune_channels(wide, cut)
    torch.testing.assert_close(tensors["features.3.conv.weight"], cut.state_dict()["features.3.conv.weight"])
    with pytest.raises(ConfigError, match="cannot start a baseline"):
        trainer.fit(replace(config, network="baseline", stages=(Stage(epochs=1),)), stripes(), tmp_path / "none")


@pytest.mark.filterwarnings("ignore")  # the exporter warns about its own insides
def test_torch_classifier_equals_exported_file(tmp_path: Path) -> None:
    config = replace(REP, extra_classes=True, stages=(Stage(epochs=1, size=32, lr=0.01),))
    faces = seven_classes()
    best = trainer.fit(config, faces, tmp_path)
    classifier = TorchClassifier(best)
    assert classifier.labels == EMOTIONS7
    assert json.loads(classifier.metadata["recipe"])["extra_classes"]
    answers = classifier(faces.images)[:, [EMOTIONS7.index(label) for label in EMOTIONS]]
    exported = OnnxClassifier(export.export(best, tmp_path / "x.onnx", "0"))
    np.testing.assert_allclose(answers / answers.sum(1, keepdims=True), exported(faces.images), atol=2e-3)
