"""The accuracy figures of the README: the shipped models on both test splits, four views each, written to results/.

The first model is compared with each of the others, and with the `--previous` default, picture by picture:
comparisons.json holds the differences with their paired intervals and McNemar's p.

Usage: python benchmarks/evaluate.py --data fer2013.zip --votes ferplus_votes.csv [--model FILE ...] [--splits ...]
       [--previous FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mien import files
from mien.classify import model
from mien.train.evaluate import Answers, answer_views, compare_answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", required=True)
    parser.add_argument("--model", nargs="*", default=["rep", "swift", "wide", "baseline", "rep+wide+baseline"])
    parser.add_argument("--splits", nargs="*", default=["PublicTest", "PrivateTest"])
    parser.add_argument("--previous", type=Path, help="the model file that was the default before")
    options = parser.parse_args()
    results = Path(__file__).parent / "results"
    first: dict[str, dict[str, Answers]] = {}
    compared: list[dict[str, Any]] = []
    for name in [*options.model, *([options.previous] if options.previous else [])]:
        classifier = model(name)
        for split in options.splits:
            answers = answer_views(classifier, options.data, options.votes, split)
            if split in first:
                views = {view: compare_answers(first[split][view], answers[view]).to_dict() for view in answers}
                title = "the default before" if name == options.previous else name
                row = {"first": options.model[0], "second": title, "sha256": classifier.sha256, "split": split}
                compared.append({**row, "views": views})
            first.setdefault(split, answers)
            if name == options.previous:
                continue
            reports = {view: found.report() for view, found in answers.items()}
            values = {"model": Path(name).stem, "sha256": classifier.sha256, "split": split}
            values["views"] = {view: report.to_dict() for view, report in reports.items()}
            files.write_text(results / f"{Path(name).stem}-{split}.json", json.dumps(values, indent=1) + "\n")
            for view, report in reports.items():
                print(f"{Path(name).stem} {split} {view}: n {report.n}, accuracy {100 * report.accuracy:.2f} %")
    if compared:
        files.write_text(results / "comparisons.json", json.dumps(compared, indent=1) + "\n")


if __name__ == "__main__":
    main()
