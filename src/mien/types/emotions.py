"""The emotions by their names, and the columns of labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mien.errors import ConfigError

EMOTIONS = ("angry", "happy", "sad", "surprise", "neutral")
"""The five classes in the order of display. The order of a model is in its metadata."""

EMOTIONS7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""All classes of FER2013 in the order of its csv file."""

EMOTIONS8 = (*EMOTIONS7, "contempt")

CLASSES = {5: EMOTIONS, 7: EMOTIONS7, 8: EMOTIONS8}
"""The emotions by their number."""


def label_columns(labels: Sequence[str], wanted: Iterable[str], owner: str = "the model") -> list[int]:
    """Return the column of each wanted label, 0..C-1; `owner` of the C labels is named in the error."""
    columns = {label: column for column, label in enumerate(labels)}
    names = list(wanted)
    if missing := [name for name in names if name not in columns]:
        raise ConfigError(f"{owner} has no class {', '.join(missing)}; its classes are {', '.join(labels)}")
    return [columns[name] for name in names]
