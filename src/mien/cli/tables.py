"""The tables that the commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Column, Table

from mien.cli.console import out
from mien.errors import ConfigError
from mien.media.paths import display
from mien.types import Result

if TYPE_CHECKING:
    from mien.evaluation.robustness import Robustness
    from mien.personal.fit import Trial
    from mien.sinks import Timeline


def faces_table(labels: Sequence[str]) -> Table:
    # A long file name folds, and boxes need a wide terminal: the figures stay whole on 80 columns.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption="probabilities in %")
    table.add_column("picture", overflow="fold")
    table.add_column("face")
    if out.width >= 100:
        table.add_column("box")
    table.add_column("emotion")
    for name in labels:
        table.add_column(escape(name), justify="right")
    for column in table.columns[1:]:
        column.no_wrap, column.min_width = True, len(str(column.header))
    return table


def faces_rows(table: Table, result: Result, labels: Sequence[str]) -> None:
    name = escape(display(Path(result.frame.name).name))
    wide = len(table.columns) > 3 + len(labels)
    if not result.faces:
        table.add_row(name, "-", *[""] * wide, "no face found", *[""] * len(labels))
    for number, face in enumerate(result.faces, start=1):
        box = [" ".join(f"{v:.0f}" for v in face.box)] if wide else []
        emotion = escape(f"{face.emotion}?" if face.uncertain else face.emotion)
        table.add_row(name, str(number), *box, emotion, *(f"{100 * face.probabilities[k]:.0f}" for k in labels))


_PEOPLE = 20  # rows of the table at the end


def people_table(people: Timeline, title: str) -> Table:
    """A row a person: those seen longest, in the order in which they came."""
    table = Table(title=f"{escape(title)}\ntimes in s, shares in %", title_justify="left", box=SIMPLE_HEAD)
    table.padding, table.show_edge = (0, 1, 0, 0), False  # it fits into 80 columns
    states = [*people.labels, "uncertain"]
    for name in ("id", "from", "to", "seen", *states, "changes"):
        table.add_column(escape(name), justify="right")
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
    """Accuracy of the shipped and of the fine-tuned model on pictures that the fine-tuning did not learn from."""
    from mien.evaluation.views import evaluate_views
    from mien.faces.models import load_classifier

    table = Table(title="before and after, on pictures kept aside")
    for name in ("model", "classes", "pictures", "accuracy %"):
        table.add_column(name)
    for name in (before, str(after)):
        try:
            report = next(iter(evaluate_views(load_classifier(name), path, votes, kind=kind).values()))
            low, high = (100 * v for v in report.interval)
            accuracy = f"{100 * report.accuracy:.1f} ({low:.0f}-{high:.0f})"
            table.add_row(escape(name), escape(", ".join(report.labels)), str(report.n), accuracy)
        except ConfigError as error:
            table.add_row(escape(name), escape(str(error)), "-", "-")
    return table


def views_table(reports: Mapping[str, Any], title: str) -> Table:
    """A column a view, so that it fits a narrow terminal."""
    table = Table("", *(Column(escape(view), justify="right") for view in reports), title=escape(title))
    found = list(reports.values())
    table.add_row("pictures", *(f"{each.n:,}" for each in found))
    table.add_row("accuracy %", *(f"{100 * each.accuracy:.2f}" for each in found))
    table.add_row("95 % interval", *("{:.1f}-{:.1f}".format(*(100 * v for v in each.interval)) for each in found))
    table.add_row("balanced accuracy %", *(f"{100 * each.balanced_accuracy:.1f}" for each in found))
    table.add_row("macro-F1 %", *(f"{100 * each.macro_f1:.1f}" for each in found))
    for name, key in (("NLL", "nll"), ("Brier", "brier"), ("ECE", "ece"), ("ECE before temperature", "ece_before")):
        table.add_row(name, *(f"{getattr(each, key):.3f}" for each in found))
    table.add_row("answered (not uncertain) %", *(f"{100 * each.coverage:.1f}" for each in found))
    shares = ("-" if each.covered_accuracy is None else f"{100 * each.covered_accuracy:.1f}" for each in found)
    table.add_row("right among answered %", *shares)
    table.add_row("AURC (risk-coverage)", *(f"{each.aurc:.3f}" for each in found), end_section=True)
    table.add_row("[i]precision, recall, F1 %[/i]")
    for label in found[0].labels:
        rows = (each.per_class[label] for each in found)
        shares = ("  ".join(f"{100 * row[key]:.0f}" for key in ("precision", "recall", "f1")) for row in rows)
        table.add_row(escape(label), *shares)
    return table


def robustness_table(shaken: Robustness) -> Table:
    low, high = (100 * value for value in shaken.interval)
    title = (
        f"accuracy % under corruption: {100 * shaken.mean:.2f} ({low:.1f}-{high:.1f}), clean {100 * shaken.clean:.2f}"
    )
    table = Table("severity", *(Column(str(k), justify="right") for k in range(1, 6)), title=title)
    for name, values in shaken.accuracy.items():
        table.add_row(name, *(f"{100 * value:.1f}" for value in values))
    table.caption = f"{shaken.n:,} pictures; the worst: {' and '.join(shaken.worst)}"
    return table


def comparison_table(compared: Mapping[str, Any], first: str, second: str) -> Table:
    first, second = escape(first), escape(second)
    columns = (Column(escape(view), justify="right") for view in compared)
    table = Table("", *columns, title=f"{first} minus {second}")
    found = list(compared.values())
    table.add_row("pictures", *(f"{each.n:,}" for each in found))
    table.add_row(f"{first} %", *(f"{100 * each.accuracy:.2f}" for each in found))
    table.add_row(f"{second} %", *(f"{100 * each.other:.2f}" for each in found))
    table.add_row("difference, points", *(f"{100 * each.difference:+.2f}" for each in found))
    table.add_row("95 % interval", *("{:+.1f} to {:+.1f}".format(*(100 * v for v in each.interval)) for each in found))
    table.add_row("only the first right", *(f"{each.only_first:,}" for each in found))
    table.add_row("only the second right", *(f"{each.only_second:,}" for each in found))
    table.add_row("McNemar p", *(f"{each.p:.2g}" for each in found))
    return table


def audit_tables(found: Any, title: str) -> list[Table]:
    findings = Table("finding", Column("count", justify="right"), "remark", title=escape(title))
    for what, count, remark in found.findings():
        findings.add_row(what, f"{count:,}", remark)
    splits = Table("class", *(Column(split, justify="right") for split in found.balance), title="Splits")
    for label in found.faces.labels:
        splits.add_row(escape(label), *(f"{counts[label]:,}" for counts in found.balance.values()))
    marks = dict.fromkeys(found.blurred_splits, " blurred")
    splits.add_row("median sharpness", *(f"{v:.2f}{marks.get(k, '')}" for k, v in found.sharpness.items()))
    if found.votes is None:
        return [findings, splits]
    labels = [Column(escape(label), justify="right") for label in found.votes.table]
    votes = Table("majority", *labels, title="Labels (columns) and what more than half of the FER+ raters saw")
    for seen in next(iter(found.votes.table.values())):
        votes.add_row(escape(seen), *(f"{row[seen]:,}" for row in found.votes.table.values()))
    votes.add_row("differs", *(f"{share:.1%}" for share in found.votes.share.values()))
    return [findings, splits, votes]


def personal_table(trial: Trial, shifts: dict[str, float]) -> Table:
    title = "right in the round that the fit has not seen, in %"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("asked for")
    for name in ("before", "after", "shift of the logit"):
        table.add_column(name, justify="right")
    for label, shift in shifts.items():
        shares = (f"{100 * part[label]:.0f}" for part in (trial.before, trial.after))
        table.add_row(escape(label), *shares, f"{shift:+.2f}")
    table.add_row("mean", f"{100 * trial.accuracy_before:.1f}", f"{100 * trial.accuracy_after:.1f}", "")
    table.add_row("cross-entropy", f"{trial.loss_before:.2f}", f"{trial.loss_after:.2f}", "")
    return table
