"""The fuzzer over fixed seeds: damaged input is read or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_kinds import KINDS

from fuzz import FAULTS, run


@pytest.mark.parametrize(("kind", "count"), [
    ("images", 1500), ("videos", 150), ("data", 100), ("recipes", 300), ("models", 150), ("requests", 60),
])  # fmt: skip
def test_damaged_input_is_read_or_refused(kind: str, count: int) -> None:
    report = run(kind, 0, first=4_000_000, batch=count)
    assert report.counts["tried"] == count and report.counts["read"] > count / 50, report.line()
    assert not any(report.counts[fault] for fault in FAULTS), report.findings


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "requests"])
def test_undamaged_files_are_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", "")
    subject = KINDS[kind](tmp_path, None)
    for name, data in subject.files.items():
        subject.attempt(name, data)


@pytest.mark.parametrize(
    ("seed", "fault"), [(0, ""), (1, "other exceptions"), (2, "noise"), (3, "over 1 GB"), (4, "crashes")]
)
def test_fuzzer_notices_faults(seed: int, fault: str) -> None:
    counts = run("faults", 0, first=seed, batch=1).counts
    assert counts["tried"] == 1
    assert [name for name in FAULTS if counts[name]] == [fault] * bool(fault)
