"""The page of an audit: its figures, and thumbnails of the worst cases of each kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.audit import Audit
from mien.data.faces import SPLITS
from mien.data.near_duplicates import Pair
from mien.evaluation.html import inline_png, write_page

_CASES, _IMAGES = 24, 8  # of a section, of a case

Case = tuple[str, list[tuple[str, dict[str, str]]]]


def write_html(audit: Audit, path: Path | str, title: str) -> None:
    """Write an HTML file with the figures and thumbnails of the worst cases of each kind; it loads nothing."""
    write_page(
        path, "audit.html", **audit.to_dict(), title=title, labels=audit.faces.labels, findings=audit.findings(),
        columns=[] if audit.votes is None else list(next(iter(audit.votes.table.values()))),
        sections=list(_sections(audit)),
    )  # fmt: skip


def _sections(audit: Audit) -> Iterable[tuple[str, str, list[Case]]]:
    """Yield (heading, note, cases) of each kind; a case is a text and its (thumbnail, image) pairs."""
    faces = audit.faces

    def case(text: str, indices: Sequence[int]) -> Case:
        shown = _varied(indices, faces.targets)
        more = f" (the first {_IMAGES} of {len(indices)})" if len(indices) > _IMAGES else ""
        return text + more, list(zip(map(inline_png, faces.images[list(shown)]), audit.images(shown), strict=True))

    def groups(heading: str, chosen: Sequence[Sequence[int]]) -> tuple[str, str, list[Case]]:
        return heading, _count(len(chosen), "groups"), [case(f"{len(g)} images", g) for g in chosen[:_CASES]]

    def singles(heading: str, indices: Sequence[int]) -> tuple[str, str, list[Case]]:
        return heading, _count(len(indices), "cases"), [case("", [i]) for i in indices[:_CASES]]

    def pairs(heading: str, chosen: Sequence[Pair]) -> tuple[str, str, list[Case]]:
        some = [chosen[k] for k in np.linspace(0, len(chosen) - 1, min(_CASES, len(chosen))).astype(int)]
        note = _count(len(chosen), "cases") + " Spread evenly from the most similar to the least."
        texts = [f"{pair.correlation:.3f}{' mirrored' if pair.mirrored else ''}" for pair in some]
        return heading, note, [case(text, [p.first, p.second]) for text, p in zip(texts, some, strict=True)]

    leaks, test = set(audit.leaks), faces.splits != SPLITS.index("Training")
    within = [group for group in audit.duplicates if len(set(faces.splits[list(group)])) == 1]
    across = [pair for pair in audit.near if test[pair.first] != test[pair.second]]
    conflicting = [pair for pair in audit.near if faces.targets[pair.first] != faces.targets[pair.second]]
    yield groups("Identical images with conflicting labels", audit.conflicts)
    yield groups("Training images identical to a test image", [g for g in audit.duplicates if leaks & set(g)])
    yield groups("Identical images within one split", within)
    yield pairs("Near-duplicates across Training and test", across)
    yield pairs("Near-duplicates with different labels", conflicting)
    yield pairs("Near-duplicates", audit.near)
    yield singles("Blank images", audit.blank)
    yield singles("Blurred images", audit.blurred)
    if audit.votes is not None:
        votes = list(zip(audit.votes.disagree, audit.votes.seen, audit.votes.agreement, strict=True))
        clearest = [v for c in range(len(faces.labels)) for v in [v for v in votes if faces.targets[v[0]] == c][:6]]
        cases = [case(f"{seen}, {agreement:.0%} of the votes", [i]) for i, seen, agreement in clearest]
        yield "Labels against the FER+ majority", "The clearest six of each class.", cases


def _varied(indices: Sequence[int], targets: NDArray[np.int64]) -> list[int]:
    """Return at most `_IMAGES` of the images, sorted by label, with as many labels as there are."""
    by_label: dict[int, list[int]] = {}
    for index in indices:
        by_label.setdefault(int(targets[index]), []).append(index)
    turns = zip_longest(*(by_label[label] for label in sorted(by_label)))
    chosen = [index for turn in turns for index in turn if index is not None][:_IMAGES]
    return sorted(chosen, key=lambda index: int(targets[index]))


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}." if count <= _CASES else f"{_CASES} of {count:,} {noun}."
