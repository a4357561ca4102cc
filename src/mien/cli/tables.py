"""The tables that the commands print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from mien.cli.console import literal, out
from mien.errors import ConfigError
from mien.types import Result

if TYPE_CHECKING:
    from mien.evaluation.matrix import Matrix
    from mien.evaluation.robustness import Robustness
    from mien.personal.fit import Trial
    from mien.sinks import Timeline

_PEOPLE = 20  # rows of `people_table`


def _columns(names: Iterable[str]) -> list[Column]:
    return [Column(literal(name), justify="right") for name in names]


def faces_table(labels: Sequence[str]) -> Table:
    # On 80 columns long names fold and boxes are left out, so that figures stay whole.
    table = Table(
        Column("image", overflow="fold"), "face", box=SIMPLE_HEAD, pad_edge=False, caption="probabilities in %"
    )
    if out.width >= 100:
        table.add_column("box")
    table.add_column("emotion")
    table.columns += _columns(labels)
    for column in table.columns[1:]:
        column.no_wrap, column.min_width = True, len(str(column.header))
    return table


def faces_rows(table: Table, result: Result, labels: Sequence[str]) -> None:
    name = literal(Path(result.frame.name).name)
    wide = len(table.columns) > 3 + len(labels)
    if not result.faces:
        table.add_row(name, "-", *[""] * wide, "no face found", *[""] * len(labels))
    for number, face in enumerate(result.faces, start=1):
        box = [" ".join(f"{v:.0f}" for v in face.box)] if wide else []
        emotion = literal(f"{face.emotion}?" if face.uncertain else face.emotion)
        table.add_row(name, str(number), *box, emotion, *(f"{100 * face.probabilities[k]:.0f}" for k in labels))


def people_table(people: Timeline, title: str) -> Table:
    """Return a row a person: those seen longest, in order of appearance."""
    states = [*people.labels, "uncertain"]
    table = Table(*_columns(("id", "from", "to", "seen", *states, "changes")), box=SIMPLE_HEAD, title_justify="left")
    table.title = f"{literal(title)}\ntimes in s, shares in %"
    table.padding, table.show_edge = (0, 1, 0, 0), False  # fits into 80 columns
    tracks = people.summary()
    longest = sorted(tracks, key=lambda track: -track.seconds)[:_PEOPLE]
    for track in sorted(longest, key=lambda track: (track.first, track.id or 0)):
        shares = [f"{100 * track.share[name]:.0f}" for name in states]
        times = [f"{value:.2f}" for value in (track.first, track.last, track.seconds)]
        table.add_row(str(track.id), *times, *shares, str(track.flips))
    if len(tracks) > _PEOPLE:
        table.caption = f"{len(tracks) - _PEOPLE} more people were seen for a shorter time"
    return table


def before_after(before: str, after: Path, path: Path, kind: str | None, votes: Path | None) -> Table:
    """Return the accuracies of the shipped and the fine-tuned model on images held out from fine-tuning."""
    from mien.evaluation.views import evaluate_views
    from mien.faces.models import load_classifier

    table = Table("model", "classes", "images", "accuracy %", title="before and after, on held-out images")
    for name in (before, str(after)):
        try:
            report = next(iter(evaluate_views(load_classifier(name), path, votes, kind=kind).values()))
            low, high = (100 * v for v in report.interval)
            accuracy = f"{100 * report.accuracy:.1f} ({low:.0f}-{high:.0f})"
            table.add_row(literal(name), literal(", ".join(report.labels)), str(report.n), accuracy)
        except ConfigError as error:
            table.add_row(literal(name), literal(str(error)), "-", "-")
    return table


def matrix_table(matrix: Matrix) -> Table:
    """Return a row a model and a column a set."""
    table = Table("model", title="models by data sets", box=SIMPLE_HEAD, pad_edge=False)
    for name, report in matrix.columns.items():
        facts = f"{report.n:,} images, {len(report.labels)} classes"
        table.add_column(f"{literal(name)}\n{matrix.splits[name] or 'all splits'}\n{facts}", justify="right")
    for model, row in matrix.reports.items():
        cells = [
            "{:.1f} ({:.1f}-{:.1f})\n{:.1f} ({:.1f}-{:.1f})".format(
                *(100 * v for v in (r.accuracy, *r.interval, r.balanced_accuracy, *r.intervals["balanced_accuracy"]))
            )
            for r in row.values()
        ]
        table.add_row(literal(model), *cells)
    notes = [literal(r.name) for name, r in matrix.columns.items() if r.name != name]
    table.caption = "\n".join(["above: accuracy, below: balanced accuracy, in % with 95 % intervals", *notes])
    return table


def views_tables(reports: Mapping[str, Any], title: str) -> list[Table]:
    """Return a table for each set of classes, with a column a view, so that it fits a narrow terminal."""
    kinds: dict[tuple[str, ...], dict[str, Any]] = {}
    for view, report in reports.items():
        kinds.setdefault(tuple(report.labels), {})[view] = report
    return [_views_table(part, title) for part in kinds.values()]


def _views_table(reports: Mapping[str, Any], title: str) -> Table:
    table = Table("", *_columns(reports), title=literal(title))
    views = list(reports.values())
    table.add_row("images", *(f"{view.n:,}" for view in views))
    table.add_row("accuracy %", *(f"{100 * view.accuracy:.2f}" for view in views))
    table.add_row("95 % interval", *("{:.1f}-{:.1f}".format(*(100 * v for v in view.interval)) for view in views))
    table.add_row("balanced accuracy %", *(f"{100 * view.balanced_accuracy:.1f}" for view in views))
    table.add_row("macro-F1 %", *(f"{100 * view.macro_f1:.1f}" for view in views))
    for name, key in (("NLL", "nll"), ("Brier", "brier"), ("ECE", "ece"), ("ECE before temperature", "ece_before")):
        table.add_row(name, *(f"{getattr(view, key):.3f}" for view in views))
    table.add_row("answered (not uncertain) %", *(f"{100 * view.coverage:.1f}" for view in views))
    shares = ("-" if view.covered_accuracy is None else f"{100 * view.covered_accuracy:.1f}" for view in views)
    table.add_row("right among answered %", *shares)
    table.add_row("AURC (risk-coverage)", *(f"{view.aurc:.3f}" for view in views), end_section=True)
    table.add_row("[i]precision, recall, F1 %[/i]")
    for label in views[0].labels:
        rows = (view.per_class[label] for view in views)
        shares = ("  ".join(f"{100 * row[key]:.0f}" for key in ("precision", "recall", "f1")) for row in rows)
        table.add_row(literal(label), *shares)
    return table


def robustness_table(found: Robustness) -> Table:
    low, high = (100 * value for value in found.interval)
    title = f"accuracy % under corruption: {100 * found.mean:.2f} ({low:.1f}-{high:.1f}), clean {100 * found.clean:.2f}"
    table = Table("severity", *_columns(map(str, range(1, 6))), title=title)
    for name, values in found.accuracy.items():
        table.add_row(name, *(f"{100 * value:.1f}" for value in values))
    table.caption = f"{found.n:,} images; worst: {' and '.join(found.worst)}"
    return table


def comparison_table(compared: Mapping[str, Any], first: str, second: str) -> Table:
    first, second = literal(first), literal(second)
    table = Table("", *_columns(compared), title=f"{first} minus {second}")
    views = list(compared.values())
    table.add_row("images", *(f"{view.n:,}" for view in views))
    table.add_row(f"{first} %", *(f"{100 * view.accuracy:.2f}" for view in views))
    table.add_row(f"{second} %", *(f"{100 * view.other:.2f}" for view in views))
    table.add_row("difference, points", *(f"{100 * view.difference:+.2f}" for view in views))
    table.add_row("95 % interval", *("{:+.1f} to {:+.1f}".format(*(100 * v for v in view.interval)) for view in views))
    table.add_row("only the first right", *(f"{view.only_first:,}" for view in views))
    table.add_row("only the second right", *(f"{view.only_second:,}" for view in views))
    table.add_row("McNemar p", *(f"{view.p:.2g}" for view in views))
    return table


def audit_tables(found: Any, title: str) -> list[Table]:
    findings = Table("finding", Column("count", justify="right"), "remark", title=literal(title))
    for what, count, remark in found.findings():
        findings.add_row(what, f"{count:,}", remark)
    splits = Table("class", *_columns(found.balance), title="Splits")
    for label in found.faces.labels:
        splits.add_row(literal(label), *(f"{counts[label]:,}" for counts in found.balance.values()))
    marks = dict.fromkeys(found.blurred_splits, " blurred")
    splits.add_row("median sharpness", *(f"{v:.2f}{marks.get(k, '')}" for k, v in found.sharpness.items()))
    if found.votes is None:
        return [findings, splits]
    votes = Table("majority", *_columns(found.votes.table), title="Labels (columns) and the majority of FER+ raters")
    for majority in next(iter(found.votes.table.values())):
        votes.add_row(literal(majority), *(f"{row[majority]:,}" for row in found.votes.table.values()))
    votes.add_row("differs", *(f"{share:.1%}" for share in found.votes.share.values()))
    return [findings, splits, votes]


def personal_table(trial: Trial, shifts: dict[str, float]) -> Table:
    title = "correct answers in the held-out round, in %"
    columns = _columns(("before", "after", "shift of the logit"))
    table = Table("prompt", *columns, title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for label, shift in shifts.items():
        shares = (f"{100 * part[label]:.0f}" for part in (trial.before, trial.after))
        table.add_row(literal(label), *shares, f"{shift:+.2f}")
    table.add_row("mean", f"{100 * trial.accuracy_before:.1f}", f"{100 * trial.accuracy_after:.1f}", "")
    table.add_row("cross-entropy", f"{trial.loss_before:.2f}", f"{trial.loss_after:.2f}", "")
    return table
