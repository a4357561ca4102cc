"""Tables of found cuts, dissolves and fades, for docs/howto/video.md, and of memory, for docs/howto/webcam.md."""

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


def soak(results: Path) -> str:
    """Return the memory of the live window and of the page at the beginning and end of a long run."""
    values = require(results, "soak")
    parts = {
        "`mien live`, its own memory": values["live"]["own"],
        "page in Chromium, the renderer's own memory": values["page"]["own"],
        "page, JavaScript heap": values["page"]["heap"],
    }
    head = ["", "first minute", "last minute", "peak", "slope in the second half"]
    rows = [
        [
            name,
            *(f"{part[key]:.0f} MB" for key in ("first_minute_mb", "last_minute_mb", "peak_mb")),
            f"{part['slope_second_half_mb_per_minute']:+.1f} MB a minute",
        ]
        for name, part in parts.items()
    ]
    frames = [f"{values[part]['frames']:,}" for part in ("live", "page")]
    text = f"{values['minutes']:g} minutes of one face, {frames[0]} frames in the window and {frames[1]} on the page:"
    return f"{text}\n\n{table(head, rows)}"
