"""Table of found cuts, dissolves and fades, for docs/howto/video.md."""

from __future__ import annotations

from pathlib import Path

from benchmarks.harness import percent, require, table

KINDS = {"cut": "cuts", "dissolve": "dissolves", "black": "fades through black", "white": "fades through white"}


def shots(results: Path) -> str:
    """Return precision and recall of the shot detector in files and live."""
    values = require(results, "shots")
    ways = [values["file"], values["live"]]
    rows = [
        ["precision", *(f"{percent(way['precision'])} % ({way['false']} false)" for way in ways)],
        [f"recall, {sum(values['joints'].values())} transitions", *(f"{percent(way['recall'])} %" for way in ways)],
        *(
            [f"of {values['joints'][kind]} {name}", *(f"{percent(way['recall_by_kind'][kind], 0)} %" for way in ways)]
            for kind, name in KINDS.items()
        ),
    ]
    return table(["", "files", "live"], rows)


BLOCKS = {"shots": shots}
