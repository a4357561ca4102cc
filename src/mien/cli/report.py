"""The command `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mien.cli import options
from mien.cli.console import count, echo, start


def report(
    *,
    measured: options.Measured,
    robustness: Annotated[bool, options.Robustness] = True,
    out: Annotated[Path, options.out("an HTML file, which needs mien[report]")] = Path("report.html"),
    quiet: options.Quiet = False,
) -> int:
    """Write what `evaluate` measures as an HTML page with plots, the worst mistakes, data, recipe and machine.

    The page holds thumbnails of the data set: mind its terms before you pass the page on.
    """
    from mien.data.registry import load_any
    from mien.data.summary import summarize
    from mien.evaluation.report import Page, mistakes, write_html
    from mien.evaluation.robustness import evaluate_robustness
    from mien.faces.models import load_classifier
    from mien.media.output_paths import OutputPaths

    clock = start(quiet)
    OutputPaths(measured.inputs).file(out, what="a report", suffixes=(".html", ".htm"))
    classifier = load_classifier(measured.model)
    answers = measured.answers(classifier)
    main = next(iter(answers.values()))
    data = load_any(measured.data, kind=measured.kind, votes=measured.votes, drop_leaks=False)
    summary = summarize(data, main.faces.labels)
    page = Page(
        model=classifier.name,
        data=measured.data.name,
        split=measured.split,
        reports={view: part.report() for view, part in answers.items()},
        mistakes=mistakes(main),
        counts=summary.counts,
        remarks=summary.remarks(),
        metadata={"sha256": classifier.sha256, **classifier.metadata},
        robustness=evaluate_robustness(classifier, main.faces).to_dict() if robustness else None,
    )
    write_html(page, out)
    echo(f"wrote {out}")
    clock.summary(count(len(main.faces), "image"), f"{100 * main.right.mean():.1f} % right")
    return 0
