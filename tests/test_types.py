from __future__ import annotations

import pytest

from mien.errors import ConfigError
from mien.types import label_columns


def test_label_columns_follow_the_wanted_order() -> None:
    assert label_columns(("sad", "happy", "angry"), ["angry", "sad"]) == [2, 0]
    assert label_columns(("sad",), []) == []


def test_missing_labels_are_named() -> None:
    with pytest.raises(ConfigError, match=r"votes\.csv has no class joy, calm; its classes are sad, happy"):
        label_columns(("sad", "happy"), ["joy", "sad", "calm"], "votes.csv")
