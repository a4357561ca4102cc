"""Names of files on a terminal: short, cut with an ellipsis, and different where the files are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import PurePath

from rich.cells import cell_len, set_cell_size

_KEPT = 8  # columns before the first difference that names of one beginning keep


def short_names(paths: Sequence[str], ellipsis: str = "…") -> list[str]:
    """Return the last part of each path, with as many folders as tell apart those that end alike.

    Folders between the first that differs and the name are left out where the names stay different.
    """
    groups: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        groups[PurePath(path).name].add(path)
    short: dict[str, str] = {}
    for name, group in groups.items():
        if len(group) == 1:
            short[group.pop()] = name
            continue
        tails = {path: _tail(path, group) for path in group}
        brief = {path: "/".join((tail[0], ellipsis, name)) for path, tail in tails.items() if len(tail) > 2}
        taken = Counter(brief.values())
        for path, tail in tails.items():
            short[path] = brief[path] if taken[brief.get(path, "")] == 1 else "/".join(tail)
    return [short[path] for path in paths]


def fit(names: Sequence[str], width: int, ellipsis: str = "…") -> list[str]:
    """Cut names to at most `width` columns; different names stay different if there is any room."""
    cuts = {name: cut_middle(name, width, ellipsis) for name in set(names)}
    groups: dict[str, list[str]] = defaultdict(list)
    for name, short in cuts.items():
        groups[short].append(name)
    for group in groups.values():
        if len(group) > 1:
            cuts |= _from_difference(sorted(group), width, ellipsis)
    return [cuts[name] for name in names]


def cut(text: str, width: int, ellipsis: str = "…") -> str:
    """Cut a text at its end to at most `width` columns."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - cell_len(ellipsis))).rstrip() + ellipsis


def cut_middle(text: str, width: int, ellipsis: str = "…") -> str:
    """Cut a text in its middle: the start and the end of a file's name say the most."""
    if cell_len(text) <= width:
        return text
    room = max(0, width - cell_len(ellipsis))
    head = set_cell_size(text, room // 3)
    tail = ""
    for char in reversed(text):
        if cell_len(char + tail) > room - cell_len(head):
            break
        tail = char + tail
    return head + ellipsis + tail


def _tail(path: str, others: set[str]) -> tuple[str, ...]:
    """Return the last parts of a path that no other path of the group ends in."""
    parts = PurePath(path).parts
    for count in range(2, len(parts)):
        if all(PurePath(other).parts[-count:] != parts[-count:] for other in others if other != path):
            return parts[-count:]
    return parts


def _from_difference(group: Sequence[str], width: int, ellipsis: str) -> dict[str, str]:
    """Cut names of one length of start and end shortly before the place where they differ."""
    first, last = group[0], group[-1]  # sorted: all others share what these two share
    start = next((k for k, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), len(first))
    kept = max(0, start - min(_KEPT, width // 3))
    cuts = {name: cut((ellipsis if kept else "") + name[kept:], width, ellipsis) for name in group}
    taken: dict[str, list[str]] = defaultdict(list)
    for name, short in cuts.items():
        taken[short].append(name)
    for same in taken.values():
        if 1 < len(same) < len(group):
            cuts |= _from_difference(same, width, ellipsis)
    return cuts
