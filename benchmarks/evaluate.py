"""The accuracy figures of the README: the shipped model on both test splits, four views each, written to results/.

Usage: python benchmarks/evaluate.py --data fer2013.zip --votes ferplus_votes.csv [--model FILE ...] [--splits ...]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mien import files
from mien.classify import model
from mien.train.evaluate import evaluate_views


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", required=True)
    parser.add_argument("--model", nargs="*", default=["rep", "swift", "wide", "baseline", "wide+baseline"])
    parser.add_argument("--splits", nargs="*", default=["PublicTest", "PrivateTest"])
    options = parser.parse_args()
    results = Path(__file__).parent / "results"
    for name in options.model:
        classifier = model(name)
        for split in options.splits:
            reports = evaluate_views(classifier, options.data, options.votes, split)
            values = {"model": Path(name).stem, "sha256": classifier.sha256, "split": split}
            values["views"] = {view: report.to_dict() for view, report in reports.items()}
            files.write_text(results / f"{Path(name).stem}-{split}.json", json.dumps(values, indent=1) + "\n")
            for view, report in reports.items():
                print(f"{Path(name).stem} {split} {view}: n {report.n}, accuracy {100 * report.accuracy:.2f} %")


if __name__ == "__main__":
    main()
