"""Recipes: defaults, overrides and clear errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.train.config import TrainConfig, from_dict, read_recipe
from mien.types import ConfigError

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_shipped_recipes_are_valid_and_named_as_their_file(path: Path) -> None:
    assert read_recipe(path).name == path.stem


def test_a_config_survives_its_own_plain_form() -> None:
    config = from_dict({"seed": 3, "stages": [{"epochs": 2, "size": 24, "width": 0.5}, {"epochs": 1}]})
    assert from_dict(config.to_dict()) == config
    assert config.epochs == 3


def test_overrides_win_over_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("seed: 1\nbatch: 64\n")
    assert read_recipe(tmp_path / "r.yaml", {"seed": 9}) == TrainConfig(seed=9, batch=64)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lerning_rate": 1}, "unknown field lerning_rate"),
        ({"batch": "many"}, "batch in the recipe must be int"),
        ({"ema": 1.0}, "ema must lie"),
        ({"stretch": -0.1}, "stretch and shear must lie in 0..1"),
        ({"shear": float("nan")}, "stretch and shear must lie in 0..1"),
        ({"shadow": 1.1}, "shadow and sharpen must lie in 0..1"),
        ({"sharpen": float("inf")}, "shadow and sharpen must lie in 0..1"),
        ({"stages": []}, "at least one stage"),
        ({"stages": [{"width": 0.5}]}, "last stage trains the whole network"),
        ({"classes": 6}, "classes must be 5 or 7, or 8 with contempt"),
    ],
)
def test_a_bad_value_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(values)


def test_a_missing_or_broken_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        read_recipe(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_recipe(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"folds": 1}, "folds is 0, or at least 2"),
        ({"folds": 3, "fold": 3}, "with fold in 0..folds - 1"),
        ({"classes": 7, "extra_classes": True}, "extra_classes adds to 5 classes"),
        ({"blend": 0.2}, "blend is not negative and needs ferplus"),
        ({"schedule": "steps"}, "schedule must be cosine or one-cycle"),
        ({"stages": [{"distill": 0.5}]}, "distill needs a teacher"),
        ({"teacher": "rep", "soft_labels": "x.npz"}, "not both"),
    ],
)
def test_fields_that_do_not_go_together_are_told(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(values)
