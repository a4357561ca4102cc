"""The fuzzer over fixed seeds: damaged input is read or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_kinds import KINDS

from fuzz import FAULTS, run


@pytest.mark.parametrize(("kind", "count"), [("images", 1500), ("videos", 150)])
def test_damaged_input_is_read_or_refused(kind: str, count: int) -> None:
    report = run(kind, 0, first=4_000_000, batch=count)
    assert report.counts["tried"] == count and report.counts["read"] > count / 50, report.line()
    assert not any(report.counts[fault] for fault in FAULTS), report.findings


@pytest.mark.parametrize("kind", ["images", "recipes", "models"])
def test_undamaged_files_are_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", "")
    subject = KINDS[kind](tmp_path, None)
    for name, data in subject.files.items():
        subject.attempt(name, data)
