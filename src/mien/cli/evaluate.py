"""The command `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from mien.cli import options
from mien.cli.console import count, echo, screen_for, start, write_json
from mien.cli.tables import comparison_table, matrix_table, robustness_table, views_tables
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
    """Measure a model on the four views of the protocol, or models on the test splits of several data sets.

    Several sets or models make one table: in a column all models answer the same images, on the classes that all of
    them know, mapped by name. Without `--votes` the views ferplus-majority and consensus are left out. `--split` is
    PrivateTest unless given, or all images of a set that has none.

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
    if measured.several:
        if compare or robustness or plots:
            raise ConfigError("--compare, --robustness and --plots are for one data set and one --model")
        outputs = OutputPaths(measured.inputs)
        if json:
            outputs.file(json, what="figures", suffixes=(".json", ""), stdout=True)
        matrix = measured.matrix()
        screen = screen_for(json)
        matrix_table(matrix).print(screen)
        if json:
            write_json(json, matrix.to_dict())
        sets = count(len(matrix.columns), "data set")
        clock.summary(count(len(matrix.reports), "model"), sets, screen=screen)
        return 0
    *first, second = compare or [""]
    if len(first) > 1 or (first and measured.model):
        raise ConfigError("--compare takes a second model, or two models and no --model")
    model = first[0] if first else measured.models[0]
    outputs = OutputPaths([*measured.inputs, *(compare or [])])
    if json:
        outputs.file(json, what="figures", suffixes=(".json", ""), stdout=True)
    folder = outputs.folder(plots, what="plots") if plots else None
    screen = screen_for(json)
    classifier = load_classifier(model)
    answers = measured.answers(classifier)
    reports = {view: part.report() for view, part in answers.items()}
    split = next(iter(answers.values())).split or "all images"
    for table in views_tables(reports, f"{classifier.name} on {split}"):
        table.print(screen)
    for view, report in reports.items():
        name = f"{view}: {report.name}" if report.name != view else view
        echo(f"{name} sha256 {report.index}", screen)
        if folder:
            confusion_png(report, folder.check(f"confusion-{view}.png"))
    figures: dict[str, Any] = {"model": classifier.name, "sha256": classifier.sha256, "split": split}
    figures["views"] = {view: report.to_dict() for view, report in reports.items()}
    if second:
        other = load_classifier(second)
        others = measured.answers(other)
        compared = {view: compare_answers(answers[view], others[view]) for view in answers if view in others}
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
