"""Fine-tuning without a recipe: its plan, frozen blocks, replay, early stopping, and a start that is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.data.faces import Faces
from mien.errors import ConfigError
from mien.faces.classifier import OnnxClassifier
from mien.train import checkpoint, distributed, export, finetune, log, models, trainer
from mien.train.config import FINETUNE, DataSet, Stage, TrainConfig
from mien.train.torch_classifier import TorchClassifier
from mien.types import EMOTIONS, EMOTIONS7, EMOTIONS8

TINY = TrainConfig(
    name="tiny", network="rep", width=0.125, batch=8, ema=0.5, precision="32-true",
    stages=(Stage(epochs=2, size=24, lr=0.01),),
)  # fmt: skip


def faces(count: int, labels: tuple[str, ...] = EMOTIONS, seed: int = 0) -> Faces:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 48, 48), dtype=np.uint8)
    splits = np.where(np.arange(count) % 4 == 3, 1, 0).astype(np.int8)
    return Faces(images, np.arange(count) // 4 % len(labels), splits, np.arange(count).astype(str), labels)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny network of seven classes with a FER+ head that is blended into its answers."""
    folder = tmp_path_factory.mktemp("start")
    config = replace(TINY, ferplus=0.5, blend=0.5, class_bias={"sad": 0.3})
    data = faces(112, EMOTIONS7)
    votes = np.random.default_rng(1).integers(0, 5, (112, 10)).astype(np.int16)
    return str(trainer.fit(config, replace(data, votes=votes), folder))


@pytest.mark.parametrize(("each", "freeze"), [(20, 1.0), (200, 1.0), (1000, 0.67), (4000, 0.0)])
def test_fewer_images_freeze_more_blocks(each: int, freeze: float) -> None:
    own = faces(each * 2 * 4 // 3, ("happy", "sad"))
    plan = finetune.plan(FINETUNE, [own])
    assert [stage.freeze for stage in plan.stages] == [freeze]
    assert plan.sets[0].weight * len(own.split("Training")) >= finetune.PASS - 1
    assert not plan.sets[0].balance


def test_classes_of_other_names_need_more_than_a_new_head() -> None:
    assert finetune.plan(FINETUNE, [faces(80, ("left", "right", "up"))]).stages[0].freeze == 0.67


def test_unlike_classes_are_drawn_more_evenly() -> None:
    own = faces(400)
    few = own.take((own.targets > 0) | (np.arange(400) < 30))
    assert finetune.plan(FINETUNE, [few]).sets[0].balance == -0.5


def test_replay_draws_as_many_images_with_the_answers_of_the_start() -> None:
    own, fer = faces(200), faces(20_000)
    plan = finetune.plan(FINETUNE, [own], [fer])
    assert plan.sets[1].soft_labels == "init"
    assert plan.sets[1].weight * 15_000 == pytest.approx(finetune.PASS)
    assert (plan.sets[0].distill, plan.stages[0].distill) == (0.0, finetune.REPLAY)
    further = finetune.plan(FINETUNE, [own, faces(4000)], [fer])
    assert [item.soft_labels for item in further.sets] == ["", "", "init"]
    assert further.sets[2].weight * 15_000 == pytest.approx(finetune.PASS + 3000)


@pytest.mark.parametrize("labels", [("a", "b", "c"), tuple("abcdefghijkl"), EMOTIONS8])
def test_any_number_of_classes_trains(labels: tuple[str, ...], start: str, tmp_path: Path) -> None:
    own = faces(8 * len(labels), labels)
    config = finetune.plan(replace(TINY, init=start, patience=1, keep_start=True), [own])
    best = trainer.fit(config, own, tmp_path)
    classifier = TorchClassifier(best)
    assert classifier.labels == labels
    assert classifier(own.images[:3]).shape == (3, len(labels))
    if len(labels) == 12:
        exported = OnnxClassifier(export.export(best, tmp_path / "tiny.onnx", "0"))
        assert tuple(exported.labels) == labels
        assert np.allclose(exported(own.images), classifier(own.images), atol=1e-4)


def test_frozen_blocks_stay_and_the_others_learn(start: str, tmp_path: Path) -> None:
    config = replace(TINY, init=start, stages=(replace(TINY.stages[0], freeze=0.5),))
    run = trainer.Trainer(config, faces(80), tmp_path, distributed.make_fabric(1, "32-true"))
    run.fit()
    before, after = checkpoint.load(Path(start))[0], run.model.state_dict()
    blocks = len(list(run.model.get_submodule("features").children()))
    for name, value in before.items():
        if name.startswith("features."):
            same = torch.equal(value, after[name])
            assert same == (int(name.split(".")[1]) < blocks // 2), name
    assert models.freeze(run.model, 1.0)[-1] is list(run.model.get_submodule("features").children())[-1]


def test_start_is_what_the_exported_model_answers(start: str, tmp_path: Path) -> None:
    config = replace(TINY, init=start, keep_start=True)
    run = trainer.Trainer(config, faces(80), tmp_path, distributed.make_fabric(1, "32-true"))
    run.start_stage(config.stages[0])
    run.measure_start()
    images = faces(80).images
    known = TorchClassifier(Path(start))  # with the FER+ head blended in
    expected = known(images)[:, [known.labels.index(label) for label in EMOTIONS]]
    expected /= expected.sum(1, keepdims=True)
    assert np.allclose(TorchClassifier(tmp_path / "best.safetensors")(images), expected, atol=1e-5)


def test_start_is_kept_if_no_epoch_is_better(start: str, tmp_path: Path) -> None:
    own = faces(80)
    known = TorchClassifier(Path(start))
    answers = known(own.images)[:, [known.labels.index(label) for label in EMOTIONS]].argmax(1)
    right = replace(own, targets=np.where(own.splits == 1, answers, own.targets))  # the start is right on validation
    config = replace(TINY, init=start, keep_start=True, patience=1, stages=(Stage(epochs=9, size=24, lr=0.5),))
    _, meta = checkpoint.load(trainer.fit(config, right, tmp_path))
    assert (meta["epoch"], meta["start_accuracy"]) == (0, 1.0)
    assert len(log.read_log(tmp_path / "log.csv")) == 1  # and the run stops
    trainer.fit(config, right, tmp_path, resume=True)
    assert len(log.read_log(tmp_path / "log.csv")) == 1


def test_start_that_lacks_a_class_is_not_kept(start: str, tmp_path: Path) -> None:
    own = faces(80, (*EMOTIONS[:4], "wink"))
    config = replace(TINY, init=start, keep_start=True)
    _, meta = checkpoint.load(trainer.fit(config, own, tmp_path))
    assert meta["epoch"] > 0
    assert "start_accuracy" not in meta


def test_stopped_and_resumed_run_remembers_its_patience(start: str, tmp_path: Path) -> None:
    config = replace(TINY, init=start, keep_start=True, patience=3, stages=(Stage(epochs=4, size=24, lr=0.5),))
    run = trainer.Trainer(config, faces(80), tmp_path, distributed.make_fabric(1, "32-true"))
    run.fit()
    again = trainer.Trainer(config, faces(80), tmp_path, distributed.make_fabric(1, "32-true"))
    again.load_state(*checkpoint.load(tmp_path / "last.safetensors"))
    assert (again.epoch, again.waited, again.best, again.start) == (run.epoch, run.waited, run.best, run.start)


def test_replayed_images_have_the_answers_of_the_start_as_targets(start: str, tmp_path: Path) -> None:
    own, replay = faces(80), faces(60, seed=5)
    config = replace(
        TINY, init=start, label_smoothing=0.0, stages=(replace(TINY.stages[0], distill=0.8),),
        sets=(DataSet(distill=0.0), DataSet(0.5, soft_labels="init")),
    )  # fmt: skip
    sets = {"own": own, "replay": replay}
    run = trainer.Trainer(config, sets, tmp_path, distributed.make_fabric(1, "32-true"))
    first = len(own.split("Training"))
    index = torch.tensor([0, first])
    soft = run.targets.soft_targets(config, config.stages[0], torch.zeros(2, 1, 48, 48), index)
    known = TorchClassifier(Path(start))
    expected = known(replay.split("Training").images[:1])[0, [known.labels.index(label) for label in EMOTIONS]]
    expected = 0.8 * expected / expected.sum() + 0.2 * np.eye(5)[replay.split("Training").targets[0]]
    assert soft[0].tolist() == np.eye(5)[own.split("Training").targets[0]].tolist()
    assert np.allclose(soft[1].numpy(), expected, atol=1e-5)


def test_soft_labels_of_the_start_need_a_start() -> None:
    with pytest.raises(ConfigError, match="soft_labels: init needs init"):
        replace(TINY, sets=(DataSet(), DataSet(soft_labels="init")))
