"""The page of an audit: its figures, and thumbnails of the worst cases of each kind, in one HTML file."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from mien import files
from mien.train import data
from mien.train.audit import Audit
from mien.train.near import Pair

_SHOWN = 24


def write_html(found: Audit, path: Path | str, title: str) -> None:
    """Write a page with the figures and thumbnails of the worst cases of each kind; it loads nothing from elsewhere.

    Args:
        found: of `audit`.
        path: of the HTML file; its folder is made.
        title: what was looked at, to be shown as it is.

    Raises:
        OSError: the file cannot be written.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(Path(__file__).with_name("audit.html").read_text("utf-8"))
    facts = found.to_dict()
    columns = [] if found.votes is None else list(next(iter(found.votes.table.values())))
    page = template.render(
        facts, title=title, labels=found.faces.labels, findings=found.findings(), columns=columns,
        sections=list(_sections(found)),
    )  # fmt: skip
    files.write_text(path, page)


Case = tuple[str, list[tuple[str, dict[str, str]]]]


def _sections(found: Audit) -> Iterable[tuple[str, str, list[Case]]]:
    """(heading, note, cases) of each kind; a case is a text and its (thumbnail, image) pairs."""
    faces = found.faces

    def case(text: str, indices: Sequence[int]) -> Case:
        shown = indices[:8]
        more = f" (the first 8 of {len(indices)})" if len(indices) > 8 else ""
        return text + more, list(zip(map(_png, faces.images[list(shown)]), found.images(shown), strict=True))

    def singles(heading: str, indices: Sequence[int]) -> tuple[str, str, list[Case]]:
        return heading, _shown(len(indices)), [case("", [i]) for i in indices[:_SHOWN]]

    def pairs(heading: str, chosen: Sequence[Pair]) -> tuple[str, str, list[Case]]:
        some = [chosen[k] for k in np.linspace(0, len(chosen) - 1, min(_SHOWN, len(chosen))).astype(int)]
        note = _shown(len(chosen)) + " Spread evenly from the most similar to the least."
        text = {p: f"{p.correlation:.3f}{' mirrored' if p.mirrored else ''}" for p in some}
        return heading, note, [case(text[p], [p.first, p.second]) for p in some]

    leaked = set(found.leaks)
    for heading, groups in (
        ("Identical images with conflicting labels", found.conflicts),
        ("Training images identical to a test image", [g for g in found.duplicates if leaked & set(g)]),
        ("Identical images within one split", [g for g in found.duplicates if len(set(faces.splits[list(g)])) == 1]),
    ):
        yield heading, _shown(len(groups), "groups"), [case(f"{len(g)} images", g) for g in groups[:_SHOWN]]
    test = faces.splits != data.SPLITS.index("Training")
    yield pairs("Near-duplicates across Training and test", [p for p in found.near if test[p.first] != test[p.second]])
    yield pairs(
        "Near-duplicates with different labels",
        [p for p in found.near if faces.targets[p.first] != faces.targets[p.second]],
    )
    yield pairs("Near-duplicates", found.near)
    yield singles("Blank images", found.blank)
    yield singles("Blurred images", found.blurred)
    if found.votes is not None:
        votes = list(zip(found.votes.disagree, found.votes.seen, found.votes.agreement, strict=True))
        clearest = [v for c in range(len(faces.labels)) for v in [v for v in votes if faces.targets[v[0]] == c][:6]]
        cases = [case(f"{seen}, {agreement:.0%} of the votes", [i]) for i, seen, agreement in clearest]
        yield "Labels against the FER+ majority", "The clearest six of each class.", cases


def _shown(count: int, what: str = "cases") -> str:
    return f"{count:,} {what}." if count <= _SHOWN else f"{_SHOWN} of {count:,} {what}."


def _png(image: NDArray[np.uint8]) -> str:
    packed = cv2.imencode(".png", image)[1]
    return "data:image/png;base64," + base64.b64encode(packed.tobytes()).decode("ascii")
