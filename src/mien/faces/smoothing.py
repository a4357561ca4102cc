"""Hysteresis: a shown value that does not flicker."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Hysteresis(Generic[T]):
    """Holds a value until another one leads clearly or for some time."""

    def __init__(self, value: T) -> None:
        self.value = self._rival = value
        self._since = 0.0

    def update(self, rival: T, lead: float, elapsed: float, margin: float, hold: float) -> None:
        """Take over the leading `rival` when its lead reaches `margin` or it has led for `hold` seconds."""
        self._since = self._since + elapsed if rival == self._rival else 0.0
        self._rival = rival
        if lead >= margin or self._since >= hold:
            self.value = rival
