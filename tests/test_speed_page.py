"""The page on speed says what benchmarks/results/ says; the floors behind it are counted right."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mien.classify import ASSETS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for extra in ("onnx", "threadpoolctl", "jinja2"):
        pytest.importorskip(extra)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("speed_page")


@pytest.fixture
def profile() -> dict[str, Any]:
    values: dict[str, Any] = json.loads((RESULTS / "frame_profile.json").read_text())
    return values


def test_the_page_is_the_one_that_the_results_give(script: ModuleType) -> None:
    """After new figures: python benchmarks/speed_page.py."""
    assert (ROOT / "docs" / "speed.md").read_text("utf-8") == script.page()


def test_a_missing_file_of_figures_is_named_with_what_measures_it(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"run benchmarks/frame_profile\.py"):
        script.page(tmp_path)


def test_a_step_faster_than_its_floor_is_marked(script: ModuleType, profile: dict[str, Any]) -> None:
    own = script.frame_profile
    assert own.below(profile) == [] and "floor is wrong" not in own.markdown(profile)
    profile["steps"]["crop"]["below_floor"] = True
    assert own.below(profile) == ["crop"]
    assert [line.startswith("| crop |") for line in own.markdown(profile).splitlines() if "floor is wrong" in line] == [
        True
    ]


def test_the_best_time_decides_whether_a_step_is_below_its_floor(script: ModuleType) -> None:
    clock = script.frame_profile.Clock()
    for seconds, work in ((0.010, 4.0), (0.002, 1.0)):
        clock.add("step", seconds, seconds)
        clock.work["step"].append(work)
    assert not clock.row("step", rate=501.0)["below_floor"]
    row = clock.row("step", rate=499.0)
    assert row["below_floor"] and row["milliseconds"] == pytest.approx(6)
    assert row["floor_milliseconds"] == pytest.approx(2500 / 499)


def test_multiply_adds_of_a_known_network_are_counted(script: ModuleType, tmp_path: Path) -> None:
    import onnx

    peaks, count = script.frame_profile.peaks, script.frame_profile.multiply_adds
    onnx.save(peaks.convolutions(3, 8, 2, int8=False), tmp_path / "two.onnx")
    assert count(tmp_path / "two.onnx", (8, 8)) == 2 * 8 * 8 * 3 * 3 * 9
    small, large = (count(script.frame_profile.YUNET, (side, side)) for side in (64, 128))
    assert large == 4 * small
    assert count(ASSETS / "rep.onnx") == count(ASSETS / "rep-fp32.onnx")


@pytest.mark.parametrize("int8", [False, True])
def test_models_for_the_peaks_run(script: ModuleType, tmp_path: Path, int8: bool) -> None:
    import onnx

    peaks = script.frame_profile.peaks
    for model in (peaks.convolutions(8, 6, 2, int8), peaks.product(16, int8)):
        onnx.save(model, tmp_path / "peak.onnx")
        peaks.call(tmp_path / "peak.onnx")()


def test_defaults_stay_best_unless_something_is_clearly_faster(script: ModuleType) -> None:
    own = script.session_options
    given, *others = [{"threads": 1, "batch": 1, **each} for each in own.choices()]
    rows = [given | {"times_default": {"low": 1.0, "median": 1.0}}]
    rows += [each | {"times_default": {"low": 1.01, "median": 1.3}} for each in others]
    assert own.best(rows) == rows[:1] and own.is_default(rows[0])
    rows[5]["times_default"]["low"] = 1.05
    assert own.best(rows) == [rows[5]]


def test_a_change_is_named_only_beside_figures_that_it_can_have_moved(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = script.history
    commits = [
        ("a", "Video: whole searches twice a second, and more"),
        ("b", "Words"),
        ("c", "rep begins as part of wide"),
    ]
    assert [each["commit"] for each in own.touching(commits, "video: 640x480 video, frames a second")] == ["a", "c"]
    assert [each["commit"] for each in own.touching(commits, "peers: one face, one thread, ms")] == ["c"]
    row = {"rates": {"yunet": {"median": 1.0}}}
    later = {"rates": {"yunet": {"median": 150.0}}, "ratio_to_fer": {"yunet": {"median": 5.0}}}
    monkeypatch.setattr(own, "versions", lambda file: [("x", row), ("y", later)])
    monkeypatch.setattr(own, "log", lambda *words: commits)
    (found,) = own.moved("video")
    assert found["figures"] == [{"figure": "640x480 video, frames a second", "before": 1.0, "after": 150.0}]
    assert "| 640x480 video, frames a second | 1.00 | 150 |" in own.markdown([found])
