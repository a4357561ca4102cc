"""The model card says what benchmarks/results/ says, and nothing about another model file."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mien.classify import DEFAULT, model

ROOT = Path(__file__).parents[1]
FIGURES = f"{DEFAULT}-PrivateTest.json"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("model_card", ROOT / "benchmarks" / "model_card.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "benchmarks" / "results" / FIGURES, tmp_path)
    return tmp_path


def write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values))


def test_the_card_is_the_one_that_the_results_give(script: ModuleType) -> None:
    """After a new model or new figures: python benchmarks/model_card.py."""
    assert (ROOT / "MODEL_CARD.md").read_text("utf-8") == script.card()


def test_figures_come_from_the_results(script: ModuleType, results: Path) -> None:
    values = json.loads((results / FIGURES).read_text())
    made = {"accuracy": 0.12345, "interval": [0.111, 0.222], "ece_before": 0.98765, "answered": 0.4321}
    values["views"]["T3"] |= made
    write(results / FIGURES, values)
    card = script.card(results)
    assert "| T3 | 2,663 | 12.3 (11.1 to 22.2) |" in card
    assert "| 0.988 | 43.2 |" in card
    for words in (DEFAULT, "Art. 5(1)(f)", "nothing is claimed", model().sha256, model().metadata["temperature"]):
        assert words in card
    assert "int8 file against" not in card  # the fp32 figures are not there


def test_what_was_not_measured_is_left_out_and_what_was_is_in(script: ModuleType, results: Path) -> None:
    without = script.card(results)
    assert "Not measured for this file." in without and "Beside `fer`" not in without
    placed = {"n": 300, "side": 96, "angle": 0, "recall": 0.91, "accuracy": 0.66, "accuracy_found": 0.73}
    shaken = {
        "sha256": model().sha256,
        "n": 3037,
        "clean": 0.8,
        "mean": 0.555,
        "interval": [0.54, 0.57],
        "worst": ["noise", "jpeg"],
    }
    shaken |= {"accuracy": {"noise": [0.7, 0.6, 0.5, 0.4, 0.305]}}
    shaken |= {"end_to_end": {"crops": 0.79, "yunet": [placed, {**placed, "angle": 45, "recall": 0.1}]}}
    write(results / "robustness-PublicTest.json", {"split": "PublicTest", "models": {DEFAULT: shaken}})
    gap = {"difference": 0.0212, "interval": [0.01, 0.031], "p": 0.00042}
    row = {"mien": {"accuracy": 0.77}, "fer": {"accuracy": 0.7436}, "difference": gap}
    times = {"one": {"ratio": 0.51}, "many": {"ratio": 1.52, "batch": 64, "threads": 2}}
    versions = {"fer": {"fer": "25.10.3"}, "mien": {"processor": "made"}}
    peers = {"sha256": model().sha256, "views": {"T1": row}, "versions": versions, "times": times}
    write(results / "peers.json", peers)
    card = script.card(results)
    assert "| noise | 70.0 | 60.0 | 50.0 | 40.0 | 30.5 | 50.1 |" in card and "55.5 % (54.0 to 57.0)" in card
    assert "| yunet | 96 | 0 | 91.0 | 66.0 | 73.0 |" in card and "| yunet | 96 | 45 | 10.0 |" in card
    assert "| T1 | 77.0 | 74.4 | +2.1 (+1.0 to +3.1) | 0.00042 |" in card
    assert "0.51 for one" in " ".join(card.split()) and "1.52 for 64 faces on 2 threads" in " ".join(card.split())


@pytest.mark.parametrize("name", [FIGURES, "robustness-PublicTest.json", "peers.json"])
def test_figures_of_another_model_file_are_refused(script: ModuleType, results: Path, name: str) -> None:
    (results / name).unlink(missing_ok=True)
    if name == FIGURES:
        with pytest.raises(SystemExit, match="missing"):
            script.card(results)
    other = {"sha256": "0" * 64, "split": "PublicTest", "models": {DEFAULT: {"sha256": "0" * 64}}}
    write(results / name, other)
    with pytest.raises(SystemExit, match="another model file"):
        script.card(results)
