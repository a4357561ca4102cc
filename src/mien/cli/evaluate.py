"""The command `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from mien.cli.console import literal, screen_for, write_json
from mien.cli.options import Measured
from mien.cli.tables import comparison_table, robustness_table, views_table
from mien.errors import ConfigError
from mien.media.output_paths import OutputPaths


def evaluate(
    *,
    measured: Measured,
    compare: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    robustness: bool = False,
    json: Path | None = None,
    plots: Path | None = None,
) -> int:
    """Measure a model on the four views of the protocol, or on the test split of another data set.

    Parameters
    ----------
    compare
        A second model for the same pictures, or two models in place of --model: how much more often the first is right,
        with interval and McNemar's p.
    robustness
        Measure on corrupted pictures too: 16 corruptions in five severities, which takes 81 times as long.
    json
        File for all figures.
    plots
        Folder for a confusion matrix a view, and for the curves of robustness.
    """
    from mien.evaluation.plots import confusion_png, robustness_png
    from mien.evaluation.robustness import evaluate_robustness
    from mien.evaluation.views import compare_answers
    from mien.faces.models import load_classifier

    *first, second = compare or [""]
    if len(first) > 1 or (first and measured.model):
        raise ConfigError("--compare takes a second model, or two models and no --model")
    name = first[0] if first else measured.model
    outputs = OutputPaths([measured.data, measured.votes, measured.model, *(compare or [])])
    if json:
        outputs.file(json, what="figures", suffixes=(".json", ""), stdout=True)
    folder = outputs.folder(plots, what="plots") if plots else None
    screen = screen_for(json)
    classifier = load_classifier(name)
    answers = measured.answers(classifier)
    reports = {view: found.report() for view, found in answers.items()}
    screen.print(views_table(reports, f"{classifier.name} on {measured.split}"))
    for view, found in reports.items():
        named = literal(f"{view}: {found.name}" if found.name != view else view)
        screen.print(named, "sha256", found.index, soft_wrap=True)
        if folder:
            confusion_png(found, folder.check(f"confusion-{view}.png"))
    figures: dict[str, Any] = {"model": classifier.name, "sha256": classifier.sha256, "split": measured.split}
    figures["views"] = {view: found.to_dict() for view, found in reports.items()}
    if second:
        other = load_classifier(second)
        others = measured.answers(other)
        compared = {view: compare_answers(answers[view], others[view]) for view in answers}
        screen.print(comparison_table(compared, Path(name or classifier.name).stem, Path(second).stem))
        figures["comparison"] = {"model": other.name, "sha256": other.sha256}
        figures["comparison"]["views"] = {view: each.to_dict() for view, each in compared.items()}
    if robustness:
        shaken = evaluate_robustness(classifier, next(iter(answers.values())).faces)
        figures["robustness"] = shaken.to_dict()
        screen.print(robustness_table(shaken))
        if folder:
            robustness_png({classifier.name: figures["robustness"]}, folder.check("robustness.png"))
    if json:
        write_json(json, figures)
    return 0
