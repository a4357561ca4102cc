"""A file is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien import files


def test_a_file_takes_its_name_at_the_end_and_folders_are_made(tmp_path: Path) -> None:
    goal = tmp_path / "new" / "a.txt"
    with files.draft(goal) as place:
        place.write_text("x")
        assert not goal.exists()
    assert goal.read_text() == "x"
    files.write_text(goal, "é")
    assert goal.read_bytes() == "é".encode()
    assert list(goal.parent.iterdir()) == [goal]


def test_a_failure_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    goal = tmp_path / "a.txt"
    files.write_text(goal, "old")
    with pytest.raises(RuntimeError), files.draft(goal) as place:
        place.write_text("half")
        raise RuntimeError
    assert goal.read_text() == "old"
    assert list(tmp_path.iterdir()) == [goal]
