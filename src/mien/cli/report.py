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

    Of several sets or models, the page shows a table of all and the rest of the first model on the first set.

    The page holds thumbnails of the data set: mind its terms before you pass the page on.
    """
    from mien.data.joint import split_kind
    from mien.data.registry import load_any
    from mien.data.summary import summarize
    from mien.evaluation.report import Page, confusions, mistakes, write_html
    from mien.evaluation.robustness import evaluate_robustness
    from mien.faces.models import load_classifier
    from mien.media.output_paths import OutputPaths

    clock = start(quiet)
    OutputPaths(measured.inputs).file(out, what="a report", suffixes=(".html", ".htm"))
    classifier = load_classifier(measured.models[0])
    answers = measured.answers(classifier)
    main = next(iter(answers.values()))
    kind, path = split_kind(measured.sources[0])
    summary = summarize(load_any(path, kind=kind, votes=measured.first_votes, drop_leaks=False), main.faces.labels)
    page = Page(
        model=classifier.name,
        data=path.name,
        split=main.split or "all images",
        reports={view: part.report() for view, part in answers.items()},
        mistakes=mistakes(main),
        confusions=confusions(main),
        counts=summary.counts,
        remarks=summary.remarks(),
        metadata={"sha256": classifier.sha256, **classifier.metadata},
        robustness=evaluate_robustness(classifier, main.faces).to_dict() if robustness else None,
        matrix=measured.matrix() if measured.several else None,
    )
    write_html(page, out)
    echo(f"wrote {out}")
    clock.summary(count(len(main.faces), "image"), f"{100 * main.right.mean():.1f} % right")
    return 0
