"""What a billion faces would take, from what was measured; prints the table of docs/scale.md.

Reads results/growth.json (faces a second of the classifier) and folder.json (photographs). A photograph counts as one
face, whatever it shows: the time goes to decoding and search, which hardly depend on that.
Assumptions are options, and are kept with the table.

Usage: python benchmarks/scale.py [--count 1e9] [--crop-bytes 1600] [--photo-bytes 150000] [--row-bytes 60]
       [--price 0.04] [--storage-price 0.023] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mien import files

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=float, default=1e9)
    parser.add_argument("--crop-bytes", type=float, default=1600, help="of a 48x48 JPEG; FER2013's mean is about that")
    parser.add_argument("--photo-bytes", type=float, default=150_000, help="of a JPEG with a side of 1280 pixels")
    parser.add_argument("--row-bytes", type=float, default=60, help="of a row of the table, compressed")
    parser.add_argument("--price", type=float, default=0.04, help="of a core for an hour, in any currency")
    parser.add_argument("--storage-price", type=float, default=0.023,
                        help="of a GB for a month: the list price of large object stores, in dollars")  # fmt: skip
    parser.add_argument("--out", type=Path, default=RESULTS / "scale.json")
    options = parser.parse_args()
    values = plan(options)
    files.write_text(options.out, json.dumps(values, indent=1) + "\n")
    print(table(values))


def plan(options: argparse.Namespace) -> dict[str, Any]:
    growth, folder = (json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in ("growth", "folder"))
    cores = int(growth["environment"]["cores"])
    photo = next(row for row in folder["sizes"] if row["side"] == 1280)["pictures_per_second"]
    rates = {  # faces a second of one core
        "crops, the network alone": max(row["per_second"] for row in growth["faces"]) / cores,
        "photographs of 1280 pixels, one face each, mien predict": photo["predict"]["median"] / cores,
    }
    rows = []
    for name, rate in rates.items():
        size = options.crop_bytes if name.startswith("crops") else options.photo_bytes
        hours = options.count / rate / 3600
        read, written = options.count * size / 1e12, options.count * options.row_bytes / 1e9
        rows.append(
            {
                "what": name, "faces_per_core_second": rate, "core_hours": hours, "price": hours * options.price,
                "read_tb": read, "written_gb": written,
                "storage_price_a_month": (1000 * read + written) * options.storage_price,
                "megabit_per_core": rate * size * 8 / 1e6,
            }
        )  # fmt: skip
    assumed = {"count": options.count, "crop_bytes": options.crop_bytes, "photo_bytes": options.photo_bytes,
               "row_bytes": options.row_bytes, "price": options.price,
               "storage_price": options.storage_price}  # fmt: skip
    return {"rows": rows, "assumed": assumed, "environment": growth["environment"]}


def table(values: dict[str, Any]) -> str:
    lines = [
        "| what | a core and second | core hours | price | read, TB | written, GB | storage a month, price | network a "
        "core, Mbit/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in values["rows"]:
        lines.append(
            f"| {row['what']} | {row['faces_per_core_second']:,.0f} | {row['core_hours']:,.0f} | {row['price']:,.0f} | "
            f"{row['read_tb']:.1f} | {row['written_gb']:.0f} | {row['storage_price_a_month']:,.0f} | "
            f"{row['megabit_per_core']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
