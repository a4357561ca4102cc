"""What `mien data audit` finds in FER2013, and how long it takes, from the zip file to the findings.

`seconds` counts the whole audit: once without the cache of pixels, once with it. Near-duplicates are timed alone.

Usage: python benchmarks/audit.py --data fer2013.zip --votes ferplus_votes.csv [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from mien import files
from mien.report_page import environment
from mien.train import audit, near


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "audit.json")
    options = parser.parse_args()
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MIEN_CACHE"] = folder
        for name in ("whole audit, first reading", "whole audit, pixels in the cache"):
            start = time.perf_counter()
            found = audit.audit_source(options.data, options.votes)
            seconds[name] = time.perf_counter() - start
    faces = found.faces
    alone = np.sort(np.unique(faces.groups(), return_index=True)[1])
    start = time.perf_counter()
    near.near_pairs(faces.images, alone[~np.isin(alone, found.blank)], audit.NEAR)
    seconds["near-duplicates alone"] = time.perf_counter() - start
    facts: dict[str, Any] = found.to_dict()
    values = {
        "pictures": facts["images"],
        "findings": [{"what": what, "count": int(count), "remark": remark} for what, count, remark in found.findings()],
        "thresholds": facts["thresholds"],
        "sharpness": facts["sharpness"],
        "balance": facts["balance"],
        "differs from the FER+ majority": facts["ferplus"]["share"],
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "environment": environment(),
    }
    files.write_text(options.out, json.dumps(values, indent=1) + "\n")
    print(markdown(values))


def markdown(values: dict[str, Any]) -> str:
    """A table for a document."""
    lines = [f"| {values['pictures']:,} pictures of FER2013 | | |", "|---|---|---|"]
    lines += [f"| {row['what']} | {row['count']:,} | {row['remark']} |" for row in values["findings"]]
    differs = ", ".join(f"{name} {share:.0%}" for name, share in values["differs from the FER+ majority"].items())
    told = "; ".join(f"{name}: {value:.0f} s" for name, value in values["seconds"].items())
    machine = values["environment"]
    return "\n".join(
        [*lines, "", f"Labels that a majority of FER+ contradicts: {differs}.", "",
         f"{told}. {machine['processor']}, {machine['cores']} cores."]
    )  # fmt: skip


if __name__ == "__main__":
    main()
