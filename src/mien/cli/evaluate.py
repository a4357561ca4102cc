"""The command `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from mien.cli import options
from mien.cli.console import count, echo, screen_for, start, write_json
from mien.cli.tables import comparison_table, robustness_table, views_table
from mien.errors import ConfigError
from mien.media.output_paths import OutputPaths


def evaluate(
    *,
    measured: options.Measured,
    compare: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    robustness: Annotated[bool, options.Robustness] = False,
    json: options.Json = None,
    plots: Path | None = None,
    quiet: options.Quiet = False,
) -> int:
    """Measure a model on the four views of the protocol, or on the test split of another data set.

    Parameters
    ----------
    compare
        A second model to compare with --model on the same images, or two models in place of --model.
    plots
        Folder for a confusion matrix of each view and the plot of robustness.
    """
    from mien.evaluation.plots import confusion_png, robustness_png
    from mien.evaluation.robustness import evaluate_robustness
    from mien.evaluation.views import compare_answers
    from mien.faces.models import load_classifier

    clock = start(quiet)
    *first, second = compare or [""]
    if len(first) > 1 or (first and measured.model):
        raise ConfigError("--compare takes a second model, or two models and no --model")
    model = first[0] if first else measured.model
    outputs = OutputPaths([*measured.inputs, *(compare or [])])
    if json:
        outputs.file(json, what="figures", suffixes=(".json", ""), stdout=True)
    folder = outputs.folder(plots, what="plots") if plots else None
    screen = screen_for(json)
    classifier = load_classifier(model)
    answers = measured.answers(classifier)
    reports = {view: part.report() for view, part in answers.items()}
    views_table(reports, f"{classifier.name} on {measured.split}").print(screen)
    for view, report in reports.items():
        name = f"{view}: {report.name}" if report.name != view else view
        echo(f"{name} sha256 {report.index}", screen)
        if folder:
            confusion_png(report, folder.check(f"confusion-{view}.png"))
    figures: dict[str, Any] = {"model": classifier.name, "sha256": classifier.sha256, "split": measured.split}
    figures["views"] = {view: report.to_dict() for view, report in reports.items()}
    if second:
        other = load_classifier(second)
        others = measured.answers(other)
        compared = {view: compare_answers(answers[view], others[view]) for view in answers}
        comparison_table(compared, Path(model or classifier.name).stem, Path(second).stem).print(screen)
        views = {view: comparison.to_dict() for view, comparison in compared.items()}
        figures["comparison"] = {"model": other.name, "sha256": other.sha256, "views": views}
    if robustness:
        result = evaluate_robustness(classifier, next(iter(answers.values())).faces)
        figures["robustness"] = result.to_dict()
        robustness_table(result).print(screen)
        if folder:
            robustness_png({classifier.name: figures["robustness"]}, folder.check("robustness.png"))
    if json:
        write_json(json, figures)
    main = next(iter(reports.values()))
    clock.summary(count(main.n, "image"), f"{100 * main.accuracy:.1f} % right", screen=screen)
    return 0
