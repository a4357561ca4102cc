"""Every benchmark starts, and the parts that decide its figures are right."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("threadpoolctl")
pytest.importorskip("pyarrow")
pytest.importorskip("yaml")

import onnx

from benchmarks import harness
from benchmarks.peers import footprint
from benchmarks.speed import frame_profile, peaks, session_options
from mien.faces.onnx import ASSETS

PACKAGES = ("benchmarks", "experiments")
SCRIPTS = [
    ".".join(path.relative_to(harness.ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in sorted((harness.ROOT / package).rglob("*.py"))
    if path.stem != "__init__" and "\ndef main() -> " in path.read_text("utf-8")
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_prints_its_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(name)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with contextlib.suppress(SystemExit):
        module.main()
    said = " ".join(capsys.readouterr().out.split())
    first = next(line for line in str(module.__doc__).splitlines() if line)
    assert " ".join(first.split()) in said


def test_contestants_take_turns_after_a_warm_up() -> None:
    order: list[str] = []

    def contestant(name: str) -> Any:
        return lambda: order.append(name) or float(len(order))

    seconds = harness.take_turns({name: contestant(name) for name in "ab"}, rounds=2, rest=0)
    assert "".join(order) == "ababab"
    assert seconds == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_best_time_decides_whether_a_step_is_below_its_floor() -> None:
    clock = frame_profile.Clock()
    for seconds, work in ((0.010, 4.0), (0.002, 1.0)):
        clock.add("step", seconds, seconds)
        clock.work["step"].append(work)
    assert not clock.row("step", rate=501.0)["below_floor"]
    row = clock.row("step", rate=499.0)
    assert row["below_floor"]
    assert row["milliseconds"] == pytest.approx(6)
    assert row["floor_milliseconds"] == pytest.approx(2500 / 499)


def test_multiply_adds_of_a_known_network_are_counted(tmp_path: Path) -> None:
    count = frame_profile.multiply_adds
    onnx.save(peaks.convolutions(3, 8, 2, int8=False), tmp_path / "two.onnx")
    assert count(tmp_path / "two.onnx", (8, 8)) == 2 * 8 * 8 * 3 * 3 * 9
    small, large = (count(frame_profile.YUNET, (side, side)) for side in (64, 128))
    assert large == 4 * small
    full, int8 = (count(ASSETS / f"{name}.onnx") for name in ("mien-s-fp32", "mien-s"))
    assert full < int8 < 1.02 * full, "the int8 file multiplies by zeros in its first convolution"


@pytest.mark.parametrize("int8", [False, True])
def test_models_for_the_peaks_run(tmp_path: Path, int8: bool) -> None:
    for model in (peaks.convolutions(8, 6, 2, int8), peaks.product(16, int8)):
        onnx.save(model, tmp_path / "peak.onnx")
        peaks.call(tmp_path / "peak.onnx")()


def test_defaults_win_unless_an_option_is_clearly_faster() -> None:
    default, *others = [{"threads": 1, "batch": 1, **choice} for choice in session_options.choices()]
    rows = [default | {"times_default": {"low": 1.0, "median": 1.0}}]
    rows += [other | {"times_default": {"low": 1.01, "median": 1.3}} for other in others]
    assert session_options.best(rows) == rows[:1]
    rows[5]["times_default"]["low"] = 1.05
    assert session_options.best(rows) == [rows[5]]


def test_hard_links_count_once_and_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(bytes(5000))
    os.link(tmp_path / "deep" / "a", tmp_path / "b")
    assert footprint.size(tmp_path) == 5000
    (tmp_path / "c").symlink_to(tmp_path / "b")
    assert 5000 < footprint.size(tmp_path) < 6000


def test_failed_installation_returns_the_message_of_pip(tmp_path: Path) -> None:
    pytest.importorskip("pip")
    assert footprint.install(Path(sys.executable), str(tmp_path / "none")).startswith("ERROR")


def test_reasons_stand_below_the_table() -> None:
    page = footprint.markdown(
        {"one": {"installed_mb": 7830.2, "packages": 74, "peak_mb": 83.4}, "two": {"reason": "no"}}
    )
    assert "| one | 7,830 | 74 | 83 |" in page
    assert "| two |  |  |  |" in page
    assert page.splitlines()[-1] == "two: no"


def test_memory_is_measured_in_a_process_of_its_own() -> None:
    used = footprint.used(Path(sys.executable), "mien")
    assert used["faces"] == 1
    assert used["peak_mb"] > 30
    assert "No module named" in footprint.used(Path(sys.executable), "fer")["reason"]
