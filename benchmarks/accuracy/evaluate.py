"""Measure the shipped models on both test splits of FER2013, four views each: the accuracy figures of the documents.

Writes one file a model and split. The first model is also compared with each of the others, image by image:
comparisons.json holds the differences with paired intervals and McNemar's p. `--previous` adds the file of an earlier
default model to the comparison.

Usage: python -m benchmarks.accuracy.evaluate --data fer2013.zip --votes ferplus_votes.csv [--model NAME|FILE ...]
       [--splits PublicTest PrivateTest] [--previous FILE] [--results FOLDER]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import harness
from mien.evaluation.views import Answers, answer_views, compare_answers
from mien.faces.models import load_classifier

MODELS = ("mien-s", "mien-s-7", "mien-xs", "mien-m", "baseline", "mien-s+mien-m+baseline")


def main() -> None:
    parser = harness.parser(__doc__, data=True, votes=True)
    parser.add_argument("--model", nargs="*", default=MODELS)
    parser.add_argument("--splits", nargs="*", default=["PublicTest", "PrivateTest"])
    parser.add_argument("--previous", help="file of the model that was the default before")
    parser.add_argument("--results", type=Path, default=harness.RESULTS, help="folder for the result files")
    options = parser.parse_args()
    first: dict[str, dict[str, Answers]] = {}
    comparisons: list[dict[str, Any]] = []
    for name in [*options.model, *([options.previous] if options.previous else [])]:
        classifier = load_classifier(name)
        for split in options.splits:
            answers = answer_views(classifier, options.data, options.votes, split)
            if split in first:
                views = {view: compare_answers(first[split][view], answers[view]).to_dict() for view in first[split]}
                second = "previous default" if name == options.previous else name
                row = {"first": options.model[0], "second": second, "sha256": classifier.sha256, "split": split}
                comparisons.append({**row, "views": views})
            first.setdefault(split, answers)
            if name != options.previous:
                write_report(options.results, classifier, split, answers)
    if comparisons:
        harness.save(options.results / "comparisons.json", {"rows": comparisons})


def write_report(results: Path, classifier: Any, split: str, answers: dict[str, Answers]) -> None:
    """Write and print the figures of one model on one split; of seven-class models also those on all classes."""
    views = {view: found.report() for view, found in answers.items()}
    values = {"model": classifier.name, "sha256": classifier.sha256, "split": split}
    values["views"] = {view: report.to_dict() for view, report in views.items()}
    if "fer2013-7" in views:
        values["seven_classes"] = values["views"].pop("fer2013-7")
        values["seven_classes_majority"] = values["views"].pop("ferplus-majority-7")
    harness.save(results / f"{classifier.name}-{split}.json", values)
    for view, report in views.items():
        print(f"{classifier.name} {split} {view}: n {report.n}, accuracy {harness.percent(report.accuracy, 2)} %")


if __name__ == "__main__":
    main()
