"""Measure what `mien data audit` finds in FER2013 and how long it takes, from the zip file to the findings.

The whole audit runs twice, without and with the cache of pixels; the search for near-duplicates is also timed alone.

Usage: python -m benchmarks.accuracy.audit --data fer2013.zip --votes ferplus_votes.csv [--out FILE]
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from mien.data.audit import NEAR, Audit, audit_source
from mien.data.near_duplicates import near_pairs


def main() -> None:
    options = harness.parser(__doc__, "audit", data=True, votes=True).parse_args()
    values = measure(options.data, options.votes)
    harness.save(options.out, values)
    print(markdown(harness.load(options.out.stem, options.out.parent)))


def measure(data: Path, votes: Path) -> dict[str, Any]:
    """Return findings and seconds."""
    found: list[Audit] = []
    run = harness.stopwatch(lambda: found.append(audit_source(data, votes)))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MIEN_CACHE"] = folder
        seconds = {name: run() for name in ("whole audit, first reading", "whole audit, pixels in the cache")}
    faces = found[-1].faces
    distinct = np.sort(np.unique(faces.groups(), return_index=True)[1])
    kept = distinct[~np.isin(distinct, found[-1].blank)]
    search = harness.stopwatch(lambda: near_pairs(faces.images, kept, NEAR))
    seconds["near-duplicates alone"] = search()
    facts = found[-1].to_dict()
    rows = found[-1].findings()
    return {
        "images": facts["images"],
        "findings": [{"what": what, "count": int(count), "remark": remark} for what, count, remark in rows],
        "thresholds": facts["thresholds"],
        "sharpness": facts["sharpness"],
        "balance": facts["balance"],
        "differs from the FER+ majority": facts["ferplus"]["share"],
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }


def markdown(values: dict[str, Any]) -> str:
    """Return the table for the document."""
    rows = [[row["what"], f"{row['count']:,}", row["remark"]] for row in values["findings"]]
    differs = ", ".join(f"{name} {share:.0%}" for name, share in values["differs from the FER+ majority"].items())
    seconds = "; ".join(f"{name}: {value:.0f} s" for name, value in values["seconds"].items())
    return "\n".join(
        [
            harness.table([f"{values['images']:,} images of FER2013", "", ""], rows), "",
            f"Labels that a majority of FER+ contradicts: {differs}.", "", f"{seconds}. {harness.machine(values)}",
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
