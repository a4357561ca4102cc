"""Several data sets in one run: drawing, targets, validation, checkpoints, variants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.data.faces import Faces
from mien.errors import ConfigError
from mien.faces.classifier import OnnxClassifier
from mien.train import checkpoint, distributed, export, log, trainer
from mien.train.config import DataSet, Stage, TrainConfig, Variant, from_dict
from mien.train.soft_labels import write_soft_labels
from mien.train.targets import build_targets
from mien.types import EMOTIONS, EMOTIONS7, Floats

CPU = torch.device("cpu")
TINY = TrainConfig(
    network="rep", width=0.125, batch=16, classes=5, extra_classes=True, ema=0.5, ferplus=0.5, precision="32-true",
    stages=(Stage(epochs=1, size=24),),
)  # fmt: skip


def faces(count: int, seed: int, labels: tuple[str, ...] = EMOTIONS7, votes: bool = False) -> Faces:
    rng = np.random.default_rng(seed)
    targets = np.arange(count, dtype=np.int64) % len(labels)
    images = rng.integers(0, 256, (count, 48, 48), dtype=np.uint8)
    splits = (np.arange(count) >= count * 3 // 4).astype(np.int8)
    names = np.array([f"{n}.png" for n in range(count)])
    return Faces(images, targets, splits, names, labels, np.full((count, 10), 1, np.int16) if votes else None)


def draw(config: TrainConfig, sets: list[Faces]) -> list[int]:
    torch.manual_seed(0)
    return build_targets(config, sets, CPU).order().tolist()


def test_weight_is_the_share_of_a_set_that_an_epoch_draws() -> None:
    sets = [faces(40, 1), faces(80, 2)]
    order = draw(TrainConfig(sets=(DataSet(), DataSet(weight=0.25))), sets)
    first, second = [n for n in order if n < 40], [n for n in order if n >= 40]
    assert sorted(first) == list(range(40))
    assert len(second) == len(set(second)) == 20


def test_balance_draws_rare_classes_more_often() -> None:
    many, few = faces(90, 1, ("happy",)), faces(10, 2, ("happy",))
    one = Faces(
        np.concatenate([many.images, few.images]), np.repeat([0, 1], [90, 10]), np.zeros(100, np.int8),
        np.concatenate([many.names, few.names]), ("happy", "sad"),
    )  # fmt: skip
    order = draw(TrainConfig(sets=(DataSet(weight=10, balance=-1),)), [one])
    assert len(order) == 1000
    assert 450 < sum(n >= 90 for n in order) < 550


def test_soft_labels_count_only_in_their_own_set(tmp_path: Path) -> None:
    class Always:
        labels, name, sha256, metadata = EMOTIONS, "always", "0", {"recipe": "{}"}

        def __call__(self, crops: np.ndarray) -> Floats:
            return np.tile(np.float32([0.6, 0.1, 0.1, 0.1, 0.1]), (len(crops), 1))

    sets = [faces(20, 1, EMOTIONS), faces(20, 2, EMOTIONS)]
    write_soft_labels(tmp_path / "soft.npz", [Always()], sets[0])
    config = TrainConfig(
        soft_labels=str(tmp_path / "soft.npz"), label_smoothing=0, stages=(Stage(distill=0.5),),
        sets=(DataSet(), DataSet(distill=0.2)),
    )  # fmt: skip
    targets = build_targets(config, sets, CPU)
    index = torch.tensor([1, 21])  # both happy
    soft = targets.soft_targets(config, config.stages[0], torch.zeros(2, 1, 48, 48), index)
    assert soft[0].tolist() == pytest.approx([0.3, 0.55, 0.05, 0.05, 0.05], abs=0.01)
    assert soft[1].tolist() == [0, 1, 0, 0, 0]


def test_run_on_two_sets_logs_the_accuracy_on_each_and_exports_variants(tmp_path: Path) -> None:
    variant = Variant("seven", 7, blend=0.3, class_bias={"fear": 1.0})
    config = replace(TINY, name="five", variants=(variant,), class_bias={"sad": 100.0}, sets=(DataSet(), DataSet(0.5)))
    sets = {"main": faces(140, 1, votes=True), "more": faces(70, 2)}
    best = trainer.fit(config, sets, tmp_path)
    [row] = log.read_log(tmp_path / "log.csv")
    assert row["val_accuracy"] == pytest.approx((row["val_accuracy_main"] + row["val_accuracy_more"]) / 2, abs=1e-5)
    export.export_all(best, tmp_path, sets, "0")
    five, seven = (OnnxClassifier(tmp_path / f"{name}.onnx") for name in ("five", "seven"))
    assert (tuple(five.labels), tuple(seven.labels)) == (EMOTIONS, EMOTIONS7)
    images = sets["main"].images[:20]
    assert {EMOTIONS[n] for n in five(images).argmax(1)} == {"sad"}  # the bias reaches the exported model


def test_class_bias_is_added_to_the_logit_of_its_class(tmp_path: Path) -> None:
    best = trainer.fit(TINY, faces(140, 1, votes=True), tmp_path)
    variants = [Variant("x", 5, class_bias=bias) for bias in ({}, {"sad": 0.7, "angry": -0.2})]
    plain, biased = (export.load_network(best, variant=variant)[0] for variant in variants)
    images = torch.rand(3, 1, 24, 24)
    difference = (biased(images) - plain(images)).detach()
    torch.testing.assert_close(difference, torch.tensor([[-0.2, 0, 0.7, 0, 0]]).repeat(3, 1), atol=1e-5, rtol=0)


def test_set_of_weight_0_only_validates(tmp_path: Path) -> None:
    config = replace(TINY, sets=(DataSet(), DataSet(0)))
    sets = {"main": faces(140, 1, votes=True), "dev": faces(70, 2)}
    run = trainer.Trainer(config, sets, tmp_path, distributed.make_fabric(1, "32-true"))
    assert len(run.targets.images) == 105
    assert len(run.valid["dev"][0]) == 50  # of 70 images, those of the five classes to choose from


def test_init_from_several_checkpoints_is_the_mean_of_their_weights(tmp_path: Path) -> None:
    runs = [
        trainer.fit(replace(TINY, seed=seed, init=init), faces(140, 1, votes=True), tmp_path / str(seed))
        for seed, init in ((1, ""), (2, str(tmp_path / "1/best.safetensors")))
    ]
    first, second = (checkpoint.load(path)[0] for path in runs)
    mean, _ = checkpoint.load_mean("+".join(map(str, runs)))
    assert torch.allclose(mean["head.3.weight"], (first["head.3.weight"] + second["head.3.weight"]) / 2)
    assert torch.allclose(mean["auxiliary.2.bias"], (first["auxiliary.2.bias"] + second["auxiliary.2.bias"]) / 2)


def test_recipe_with_more_sets_than_given_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the recipe is for 2 data sets, but 1 were given"):
        trainer.fit(replace(TINY, sets=(DataSet(), DataSet())), faces(140, 1, votes=True), tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sets": [{"weight": -1}]}, "weight must be"),
        ({"sets": [{"balance": 0.5}]}, "balance must be"),
        ({"sets": [{"weight": 0}]}, "first of the sets must have a weight above 0"),
        ({"class_bias": {"sad": "much"}}, "class_bias of sad"),
        ({"class_bias": {"sad": float("nan")}}, "finite"),
        ({"variants": [{"name": "../x"}]}, "file name"),
        ({"variants": [{"classes": 7}]}, "name"),
    ],
)
def test_impossible_settings_of_sets_and_variants_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(values)


def test_settings_of_the_last_set_hold_for_further_sets() -> None:
    config = TrainConfig(sets=(DataSet(), DataSet(0.5, -0.3)))
    assert config.settings(4) == [DataSet(), *[DataSet(0.5, -0.3)] * 3]
    assert TrainConfig(sets=(DataSet(0.5),)).settings(2) == [DataSet(0.5), DataSet()]


def test_recipe_of_sets_survives_its_checkpoint() -> None:
    config = replace(TINY, sets=(DataSet(), DataSet(0.7, -0.5)), variants=(Variant("x"),), class_bias={"sad": 0.2})
    assert from_dict(config.to_dict()) == config
