"""What an installation takes: sizes are counted once, and what pip refuses is told in its words."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("footprint")


def test_a_file_with_two_names_counts_once_and_a_link_for_itself(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(bytes(5000))
    os.link(tmp_path / "deep" / "a", tmp_path / "b")
    assert script.size(tmp_path) == 5000
    (tmp_path / "c").symlink_to(tmp_path / "b")
    assert 5000 < script.size(tmp_path) < 6000


def test_what_pip_cannot_install_is_told_in_its_words(script: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("pip")
    assert script.install(Path(sys.executable), str(tmp_path / "none")).startswith("ERROR")


def test_a_reason_stands_below_the_table_where_there_are_no_figures(script: ModuleType) -> None:
    page = script.markdown({"one": {"installed_mb": 7830.2, "packages": 74, "peak_mb": 83.4}, "two": {"reason": "no"}})
    assert "| one | 7,830 | 74 | 83 |" in page and "| two |  |  |  |" in page
    assert page.splitlines()[-1] == "two: no"


def test_memory_is_that_of_a_process_of_its_own(script: ModuleType) -> None:
    here = script.used(Path(sys.executable), "mien")
    assert here["faces"] == 1 and here["peak_mb"] > 30
    assert "No module named" in script.used(Path(sys.executable), "fer")["reason"]
