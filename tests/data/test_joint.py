"""Several data sets in one run: labels by name, sets by name."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from conftest import picture
from mien.data.joint import load_sets, split_kind
from mien.errors import ConfigError
from mien.types import EMOTIONS, EMOTIONS7


def folder(path: Path, classes: dict[str, int]) -> Path:
    number = 1000
    for name, count in classes.items():
        (path / name).mkdir(parents=True)
        for _ in range(count):
            cv2.imwrite(str(path / name / f"{number}.png"), picture(number))
            number += 1
    return path


@pytest.mark.parametrize(
    ("source", "kind"),
    [("rafdb:sets/raf", "rafdb"), ("sets/raf", None), ("C:sets/raf", None), ("photographs:a:b.zip", "photographs")],
)
def test_kind_is_only_split_off_if_it_is_one(source: str, kind: str | None) -> None:
    assert split_kind(source) == (kind, Path(source.removeprefix(f"{kind}:") if kind else source))


def test_labels_are_mapped_by_name_onto_the_first_set(kaggle: Path, tmp_path: Path) -> None:
    own = folder(tmp_path / "own", {"Surprised": 12, "anger": 12, "contempt": 12})
    sets = load_sets([str(kaggle), str(own)], 7)
    assert list(sets) == ["fer", "own"]
    assert {faces.labels for faces in sets.values()} == {EMOTIONS7}
    labels = [EMOTIONS7[target] for target in sets["own"].targets]
    assert (labels.count("surprise"), labels.count("angry"), len(labels)) == (12, 12, 24)


def test_unknown_class_of_a_further_set_is_an_error(kaggle: Path, tmp_path: Path) -> None:
    own = folder(tmp_path / "own", {"happy": 12, "bored": 12})
    with pytest.raises(ConfigError, match="no class bored; it has angry"):
        load_sets([str(kaggle), str(own)], 5)


def test_two_sets_of_one_name_are_told_apart(kaggle: Path, tmp_path: Path) -> None:
    one, two = (folder(tmp_path / part / "faces", dict.fromkeys(EMOTIONS, 12)) for part in ("a", "b"))
    assert list(load_sets([str(one), str(two)], 5)) == ["faces", "faces+"]
