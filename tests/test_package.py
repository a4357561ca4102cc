"""The package's metadata, what `make web` needs, and the lowest versions."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest

import mien
from mien import doctor

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_version_is_written_once_and_the_metadata_are_complete() -> None:
    assert PROJECT["dynamic"] == ["version"] and "version" not in PROJECT
    assert PROJECT["authors"] and PROJECT["classifiers"] and PROJECT["keywords"]
    for name, line in (("CITATION.cff", f"version: {mien.__version__}"), ("CHANGELOG.md", f"## {mien.__version__}")):
        assert re.search(rf"^{re.escape(line)}\b", (ROOT / name).read_text("utf-8"), re.MULTILINE), name


def test_every_dependency_has_a_lower_bound_that_can_be_pinned() -> None:
    spec = importlib.util.spec_from_file_location("lowest", ROOT / ".ci/lowest.py")
    assert spec and spec.loader
    lowest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lowest)
    pins = lowest.requirements(list(PROJECT["optional-dependencies"]))
    assert "numpy==1.26" in pins and all("==" in pin and ">" not in pin for pin in pins)
    with pytest.raises(SystemExit, match="no lower bound"):
        lowest.lowest("numpy")


def test_the_page_is_built_with_the_light_install() -> None:
    (rule,) = (line for line in (ROOT / "Makefile").read_text("utf-8").splitlines() if line.startswith("web:"))
    assert ".venv/light" in rule and ".venv/full" not in rule


def test_doctor_asks_for_no_package_of_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["uvloop>=0.21; sys_platform != 'win32' and extra == 'serve'", "nowhere>=1; extra == 'serve'"]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda _: lines)
    monkeypatch.setattr(doctor, "_version", lambda _: "")
    for system, wanted in (("win32", "without nowhere"), ("linux", "without uvloop, nowhere")):
        monkeypatch.setattr(sys, "platform", system)
        (check,) = doctor._extras()
        assert check.detail == wanted
