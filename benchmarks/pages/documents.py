"""Write the measured figures into the documents, or check that they are up to date; nothing is measured here.

A figure that comes from `benchmarks/results/` stands between two markers, on lines of their own:

    <!-- begin: NAME -->
    ...
    <!-- end: NAME -->

Only the text between markers is written or compared; everything around it is edited by hand.

Usage: python -m benchmarks.pages.documents [--check]
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import harness
from benchmarks.pages import accuracy, card, speed, training, video
from mien.media import atomic

Block = Callable[[Path], str]
"""Folder of result files -> Markdown."""

DOCUMENTS: dict[str, Mapping[str, Block]] = {
    "README.md": {"accuracy": accuracy.readme},
    "MODEL_CARD.md": card.BLOCKS,
    "docs/benchmarks.md": accuracy.BLOCKS,
    "docs/howto/video.md": {"shots": video.shots},
    "docs/howto/webcam.md": {"soak": video.soak},
    "docs/speed.md": speed.BLOCKS,
    "docs/training.md": {"blend": accuracy.blend, "photographs": accuracy.photographs} | training.BLOCKS,
}


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a block is out of date")
    check = parser.parse_args().check
    stale = False
    for name, blocks in DOCUMENTS.items():
        path = harness.ROOT / name
        before = path.read_text("utf-8")
        after = fill(before, blocks, harness.RESULTS, name)
        if before == after:
            continue
        stale = True
        if check:
            print(
                "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), name, "results", lineterm=""))
            )
        else:
            atomic.write_text(path, after)
            print(f"wrote {name}")
    if check and stale:
        raise SystemExit("out of date: run python -m benchmarks.pages.documents")


def fill(text: str, blocks: Mapping[str, Block], results: Path, name: str = "the document") -> str:
    """Return the document with every marked block as the results give it; other text is unchanged."""
    for block, render in blocks.items():
        begin, end = f"<!-- begin: {block} -->", f"<!-- end: {block} -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise SystemExit(f"{name} needs one line {begin} and, below it, one line {end}")
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{render(results)}\n{end}{rest.split(end)[1]}"
    if unknown := set(re.findall(r"<!-- begin: (.*?) -->", text)) - set(blocks):
        raise SystemExit(f"{name} has blocks that nothing fills: {', '.join(sorted(unknown))}")
    return text


if __name__ == "__main__":
    main()
