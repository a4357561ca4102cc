"""Recipes: defaults, overrides, ranges and clear errors."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from mien.errors import ConfigError
from mien.train.config import FINETUNE, Stage, TrainConfig, from_dict, read_recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_shipped_recipes_are_valid_and_named_after_their_file(path: Path) -> None:
    assert read_recipe(path).name == path.stem


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda p: p.stem)
def test_recipes_of_experiments_are_valid(path: Path) -> None:
    assert read_recipe(path).epochs > 0


def test_config_round_trips_through_plain_values() -> None:
    config = from_dict({"seed": 3, "width": 0.5, "stages": [{"epochs": 2, "size": 24}, {"epochs": 1}]})
    assert from_dict(config.to_dict()) == config
    assert config.epochs == 3
    assert [config.stage_at(epoch) for epoch in range(3)] == [(0, 0), (0, 1), (1, 0)]


def test_overrides_win_over_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("seed: 1\nbatch: 64\nema: 5e-1\n")
    assert read_recipe(tmp_path / "r.yaml", {"seed": 9}) == TrainConfig(seed=9, batch=64, ema=0.5)


def test_stages_of_older_checkpoints_may_have_the_full_width() -> None:
    assert from_dict({"stages": [{"epochs": 2, "width": 1.0}]}).stages == (Stage(epochs=2),)
    with pytest.raises(ConfigError, match="unknown field width in stage 1"):
        from_dict({"stages": [{"epochs": 2, "width": 0.5}]})


FLOATS = [field.name for field in fields(TrainConfig) if isinstance(field.default, float)]
STAGE_FLOATS = [field.name for field in fields(Stage) if isinstance(field.default, float)]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", -0.5])
@pytest.mark.parametrize("name", FLOATS)
def test_numbers_must_be_finite_and_not_negative(name: str, value: float | str) -> None:
    with pytest.raises(ConfigError, match=rf"the recipe: {name} must be .*, got "):
        from_dict({name: value})


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", -0.5])
@pytest.mark.parametrize("name", STAGE_FLOATS)
def test_numbers_of_a_stage_must_be_finite_and_not_negative(name: str, value: float | str) -> None:
    with pytest.raises(ConfigError, match=rf"stage 2: {name} must be .*, got "):
        from_dict({"stages": [{}, {name: value}]})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ema": 1.0}, "ema must be at least 0 and below 1, got 1.0"),
        ({"label_smoothing": 1}, "label_smoothing must be at least 0 and below 1"),
        ({"shadow": 1.1}, "shadow must be at least 0 and at most 1, got 1.1"),
        ({"cutmix": 2}, "cutmix must be at least 0 and at most 1"),
        ({"rotation": 181}, "rotation must be at least 0 and at most 180"),
        ({"weight_decay": -1}, "weight_decay must be finite and at least 0, got -1.0"),
        ({"width": 0}, "width must be above 0 and at most 1"),
        ({"batch": 1}, "batch must be at least 2 and at most 65,536, got 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"classes": 6}, "classes must be one of 5, 7, 8, got 6"),
        ({"optimizer": "lion"}, "optimizer must be one of adamw, adam, sgd, got 'lion'"),
        ({"schedule": "steps"}, "schedule must be one of cosine, one-cycle"),
        ({"precision": "16"}, "precision must be one of auto"),
        ({"stages": [{"lr": 0}]}, "stage 1: lr must be finite and above 0, got 0.0"),
        ({"stages": [{"epochs": 0}]}, "stage 1: epochs must be at least 1 and at most 10,000, got 0"),
        ({"stages": [{"size": 97}]}, "stage 1: size must be at least 16 and at most 96, got 97"),
        ({"stages": [{"dropout": 1.5}]}, "stage 1: dropout must be at least 0 and at most 1"),
    ],
)
def test_values_out_of_range_name_field_value_and_range(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(values)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "../mine", "a/b", "a\\b", "/tmp/x", "C:x", "a\nb", " a", "a?", "x" * 101]
)
def test_names_that_are_no_plain_file_name_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name must be a file name"):
        from_dict({"name": name})


@pytest.mark.parametrize("name", ["mien-s", "mine 2.1", "Gesichter_für-uns"])
def test_plain_names_are_accepted(name: str) -> None:
    assert from_dict({"name": name}).name == name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lerning_rate": 1}, "unknown field lerning_rate in the recipe"),
        ({"batch": "many"}, "batch in the recipe must be int, got 'many'"),
        ({"batch": 2.5}, "batch in the recipe must be int"),
        ({"seed": True}, "seed in the recipe must be int"),
        ({"flip": 1}, "flip in the recipe must be bool"),
        ({"ema": "much"}, "ema in the recipe must be a number, got 'much'"),
        ({"name": None}, "name in the recipe must be str"),
        ({"stages": []}, "at least one stage"),
        ({"stages": [3]}, "stage 1 must be a list of 'field: value' lines, got 3"),
    ],
)
def test_unknown_fields_and_wrong_types_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"folds": 1}, "folds must be 0 or at least 2, got 1"),
        ({"folds": 3, "fold": 3}, r"fold must be below folds \(3\), got 3"),
        ({"fold": 1}, r"fold must be below folds \(0\), got 1"),
        ({"classes": 7, "extra_classes": True}, "extra_classes adds to 5 classes"),
        ({"blend": 0.2}, "blend needs ferplus"),
        ({"variants": [{"name": "other", "blend": 0.2}]}, "blend needs ferplus"),
        ({"network": "baseline", "ferplus": 0.5, "blend": 0.2}, "blend needs network: rep or wide"),
        ({"network": "baseline", "ferplus": 0.5, "variants": [{"name": "b", "blend": 0.2}]}, "rep or wide"),
        ({"stages": [{"distill": 0.5}]}, "distill needs a teacher or soft_labels"),
        ({"teacher": "mien-m", "soft_labels": "x.npz"}, "teacher and soft_labels exclude each other"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(values)


def test_changed_configs_are_checked_too() -> None:
    with pytest.raises(ConfigError, match="batch must be"):
        replace(FINETUNE, batch=0)


def test_missing_and_broken_recipes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_recipe(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="a recipe is a list of 'field: value' lines"):
        read_recipe(tmp_path / "list.yaml")
