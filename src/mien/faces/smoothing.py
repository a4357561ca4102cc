"""Hysteresis: a shown value that does not flicker."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Hysteresis(Generic[T]):
    """A value that gives way only to a clear or a lasting rival."""

    def __init__(self, value: T) -> None:
        self.value = self._rival = value
        self._since = 0.0

    def hear(self, rival: T, lead: float, passed: float, margin: float, lasting: float) -> None:
        """Take in the present rival: it takes over with a lead of `margin`, or after `lasting` seconds ahead."""
        self._since = self._since + passed if rival == self._rival else 0.0
        self._rival = rival
        if lead >= margin or self._since >= lasting:
            self.value = rival
