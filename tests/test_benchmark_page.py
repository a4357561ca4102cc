"""The pages of figures say what benchmarks/results/ says."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("benchmark_page")


def test_page_and_readme_are_those_that_the_results_give(script: ModuleType) -> None:
    """After new figures: python benchmarks/benchmark_page.py."""
    assert (ROOT / "docs" / "benchmark.md").read_text("utf-8") == script.page()
    text = (ROOT / "README.md").read_text("utf-8")
    assert text == script.readme(text)


def test_other_figures_make_another_page(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    found = script.found

    def changed(name: str) -> Any:
        values = found(name)
        if name == "rep-PrivateTest":
            values["views"]["T1"]["accuracy"] = 0.12345
        return None if name in ("audit", "peers") else values

    monkeypatch.setattr(script, "found", changed)
    page = script.page()
    assert "| `rep` | T1 | 3,006 | 12.3 (" in page
    assert "Beside `fer`" not in page and "wrong with the data" not in page
    assert "12.3 (" in script.readme((ROOT / "README.md").read_text("utf-8"))
