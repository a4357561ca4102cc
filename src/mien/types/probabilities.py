"""Probabilities: a dictionary that does not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


class Probabilities(dict[str, float]):
    """Emotion -> probability, in the order of the model's labels; read-only, hashable and comparable with `dict`.

    It is a dictionary so that `json.dumps` and pandas take it. `dict(probabilities)` is a copy that can be changed.
    """

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[Probabilities], tuple[dict[str, float]]]:
        return Probabilities, (dict(self),)

    def copy(self) -> dict[str, float]:
        """Return a dictionary that can be changed."""
        return dict(self)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("probabilities are read-only; change a copy: dict(face.probabilities)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


EMPTY = Probabilities()


def read_only(values: Mapping[str, float]) -> Probabilities:
    """Return the values as read-only probabilities, not copied if they are already."""
    return values if isinstance(values, Probabilities) else Probabilities(values)
