"""The fuzzer over fixed seeds: damaged input is read or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_kinds import KINDS

from fuzz import FAULTS, run

COUNTS = {"images": 400, "videos": 40, "data": 30, "recipes": 60, "models": 20, "requests": 16}


@pytest.mark.parametrize("kind", COUNTS)
def test_damaged_input_is_read_or_refused(kind: str) -> None:
    report = run(kind, None, first=4_000_000, batch=COUNTS[kind])
    assert not report.findings
    assert report.counts["tried"] == COUNTS[kind], report.line()
    assert report.counts["read"] > 0 and report.counts["refused"] > 0, report.line()


@pytest.mark.parametrize("kind", ["images", "recipes", "models"])
def test_undamaged_files_are_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", "")
    subject = KINDS[kind](tmp_path, None)
    for name, data in subject.files.items():
        subject.attempt(name, data)


@pytest.mark.parametrize(
    ("seed", "fault"), [(0, ""), (1, "other exceptions"), (2, "noise"), (3, "over 1 GB"), (4, "crashes")]
)
def test_fuzzer_notices_faults(seed: int, fault: str) -> None:
    counts = run("faults", None, first=seed, batch=1).counts
    assert counts["tried"] == 1
    assert [name for name in FAULTS if counts[name]] == [fault] * bool(fault)
