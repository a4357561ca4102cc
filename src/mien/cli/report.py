"""The command `report`."""

from __future__ import annotations

from pathlib import Path

from mien.cli.console import echo
from mien.cli.options import Measured


def report(
    *,
    measured: Measured,
    robustness: bool = True,
    out: Path = Path("report.html"),
) -> int:
    """Write what `evaluate` measures as a page to read: plots, the worst mistakes, data, recipe and machine.

    The page holds thumbnails of the data set's pictures: mind their terms before you pass it on.

    Parameters
    ----------
    robustness
        Measure on corrupted pictures too: 16 corruptions in five severities, which takes a minute or some.
    out
        HTML file to write; it needs mien[report].
    """
    from mien.data.registry import load_any
    from mien.data.summary import summarize
    from mien.evaluation.report import Page, mistakes, write_html
    from mien.evaluation.robustness import evaluate_robustness
    from mien.faces.models import load_classifier

    classifier = load_classifier(measured.model)
    answers = measured.answers(classifier)
    main = next(iter(answers.values()))
    faces = main.faces
    found = summarize(load_any(measured.data, kind=measured.kind, votes=measured.votes, drop_leaks=False), faces.labels)
    page = Page(
        model=classifier.name,
        data=measured.data.name,
        split=measured.split,
        reports={view: each.report() for view, each in answers.items()},
        mistakes=mistakes(main),
        counts=found.counts,
        remarks=found.remarks(),
        metadata={"sha256": classifier.sha256, **classifier.metadata},
        robustness=evaluate_robustness(classifier, faces).to_dict() if robustness else None,
    )
    write_html(page, out)
    echo(f"wrote {out}")
    return 0
