"""The tables that the commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mien.cli.grid import Cell, Grid, Label
from mien.types import Face, Result

if TYPE_CHECKING:
    from mien.evaluation.matrix import Matrix
    from mien.evaluation.robustness import Robustness
    from mien.evaluation.views import Answers
    from mien.personal.fit import Trial
    from mien.sinks import Timeline

_PEOPLE = 20  # rows of `people_table`
_BEST = 3  # probabilities of a face in a list


def faces_table(results: Sequence[tuple[str, Sequence[Face]]], labels: Sequence[str], caption: str = "") -> Grid:
    """Return a row a face of images with these names."""
    table = Grid(
        ["image", "face", "emotion", *labels],
        caption=f"probabilities in %{caption}",
        left=frozenset({0, 2}),
        files=True,
    )
    for name, faces in results:
        if not faces:
            table.add(name, "-", "no face", items=["no face"])
        for number, face in enumerate(faces, start=1):
            shares = (f"{100 * face.probabilities[label]:.0f}" for label in labels)
            table.add(name, str(number), Label(face.emotion, face.uncertain), *shares, items=_answer(face))
    return table


def _answer(face: Face) -> list[Cell]:
    """Return a face's emotion with its probability, and the next ones."""
    best = sorted(face.probabilities.items(), key=lambda pair: -pair[1])
    others = [f"{label} {share:.0%}" for label, share in best if label != face.emotion and share >= 0.005]
    return [Label(face.emotion, face.uncertain, f" {face.confidence:.0%}"), *others[: _BEST - 1]]


def result_line(result: Result) -> str:
    """Return one line for an image: its name and its faces."""
    faces = (f"{face.emotion}{'?' if face.uncertain else ''} {face.confidence:.0%}" for face in result.faces)
    return f"{result.frame.name}: {', '.join(faces) or 'no face'}"


def people_table(people: Timeline, title: str, min_seen: float = 0.0) -> Grid:
    """Return a row a person: those seen longest, in order of appearance.

    People seen for less than `min_seen` seconds are only counted, unless nobody was seen for longer.
    """
    from mien.sinks.timeline import shown_people  # it needs OpenCV, and the doctor must start without

    table = Grid(
        ["id", "from", "seen", *people.labels, "shown as", "longest", "changes"],
        title=f"{title}\ntimes in s, mean probabilities in %",
        left=frozenset({0, len(people.labels) + 3, len(people.labels) + 4}),
    )
    tracks = people.summary()
    shown = shown_people(tracks, min_seen, _PEOPLE)
    for track in shown:
        means = (f"{100 * track.mean[name]:.0f}" for name in people.labels)
        label, seconds = track.longest
        longest = Label(label, False, f" {seconds:.2f}") if label else "-"
        times = (f"{track.first:.2f}", f"{track.seconds:.2f}")
        table.add(str(track.id), *times, *means, _shares(track.share), longest, str(track.flips))
    if len(tracks) > len(shown):
        more = len(tracks) - len(shown)
        table.caption = f"{more} more {'person was' if more == 1 else 'people were'} seen for a shorter time"
    return table


def _shares(share: Mapping[str, float]) -> str:
    """Return the shares of time of the labels, the greatest first, as in "happy 80 uncertain 20"."""
    parts = sorted(((name, value) for name, value in share.items() if value >= 0.005), key=lambda part: -part[1])
    return " ".join(f"{name} {100 * value:.0f}" for name, value in parts)


def before_after(answers: Mapping[str, Answers | str], images: str = "held-out images") -> Grid:
    """Return the accuracies of the shipped and the fine-tuned model on the images that the title names."""
    table = Grid(["model", "classes", "images", "accuracy %"], title=f"before and after, on {images}")
    table.left = frozenset({0, 1})
    notes = []
    for name, part in answers.items():
        if isinstance(part, str):
            notes.append(f"{name} was not measured: {part}")
            continue
        report = part.report()
        low, high = (100 * v for v in report.interval)
        table.add(name, ", ".join(report.labels), str(report.n), f"{100 * report.accuracy:.1f} ({low:.0f}-{high:.0f})")
    table.caption = "\n".join(notes)
    return table


def matrix_table(matrix: Matrix) -> Grid:
    """Return a column a set, and the accuracy and the balanced accuracy of each model in rows."""
    table = Grid(["", *matrix.columns], title="models by data sets, in % with 95 % intervals")
    table.add("split", *(matrix.splits[name] or "all splits" for name in matrix.columns))
    table.add("images", *(f"{report.n:,}" for report in matrix.columns.values()))
    table.add("classes", *(str(len(report.labels)) for report in matrix.columns.values()))
    for model, row in matrix.reports.items():
        for name, key in (("accuracy", "accuracy"), ("balanced", "balanced_accuracy")):
            shares = [(getattr(r, key), *({"accuracy": r.interval} | r.intervals)[key]) for r in row.values()]
            cells = ("{:.1f} ({:.1f}-{:.1f})".format(*(100 * v for v in share)) for share in shares)
            table.add(f"{model}, {name}", *cells)
    table.caption = "\n".join(report.name for name, report in matrix.columns.items() if report.name != name)
    return table


def views_tables(reports: Mapping[str, Any], title: str) -> list[Grid]:
    """Return a table for each set of classes, with a column a view, so that it fits a narrow terminal."""
    kinds: dict[tuple[str, ...], dict[str, Any]] = {}
    for view, report in reports.items():
        kinds.setdefault(tuple(report.labels), {})[view] = report
    return [_views_table(part, title) for part in kinds.values()]


def _views_table(reports: Mapping[str, Any], title: str) -> Grid:
    table = Grid(["", *reports], title=title)
    views = list(reports.values())
    table.add("images", *(f"{view.n:,}" for view in views))
    table.add("accuracy %", *(f"{100 * view.accuracy:.2f}" for view in views))
    table.add("95 % interval", *("{:.1f}-{:.1f}".format(*(100 * v for v in view.interval)) for view in views))
    table.add("balanced accuracy %", *(f"{100 * view.balanced_accuracy:.1f}" for view in views))
    table.add("macro-F1 %", *(f"{100 * view.macro_f1:.1f}" for view in views))
    for name, key in (("NLL", "nll"), ("Brier", "brier"), ("ECE", "ece"), ("ECE before temperature", "ece_before")):
        table.add(name, *(f"{getattr(view, key):.3f}" for view in views))
    table.add("answered (not uncertain) %", *(f"{100 * view.coverage:.1f}" for view in views))
    shares = ("-" if view.covered_accuracy is None else f"{100 * view.covered_accuracy:.1f}" for view in views)
    table.add("right among answered %", *shares)
    table.add("AURC (risk-coverage)", *(f"{view.aurc:.3f}" for view in views))
    table.add("precision, recall, F1 %")
    for label in views[0].labels:
        rows = (view.per_class[label] for view in views)
        shares = ("  ".join(f"{100 * row[key]:.0f}" for key in ("precision", "recall", "f1")) for row in rows)
        table.add(Label(label), *shares)
    return table


def robustness_table(found: Robustness) -> Grid:
    low, high = (100 * value for value in found.interval)
    title = f"accuracy % under corruption: {100 * found.mean:.2f} ({low:.1f}-{high:.1f}), clean {100 * found.clean:.2f}"
    table = Grid(["severity", *map(str, range(1, 6))], title=title)
    for name, values in found.accuracy.items():
        table.add(name, *(f"{100 * value:.1f}" for value in values))
    table.caption = f"{found.n:,} images; worst: {' and '.join(found.worst)}"
    return table


def comparison_table(compared: Mapping[str, Any], first: str, second: str) -> Grid:
    table = Grid(["", *compared], title=f"{first} minus {second}")
    views = list(compared.values())
    table.add("images", *(f"{view.n:,}" for view in views))
    table.add(f"{first} %", *(f"{100 * view.accuracy:.2f}" for view in views))
    table.add(f"{second} %", *(f"{100 * view.other:.2f}" for view in views))
    table.add("difference, points", *(f"{100 * view.difference:+.2f}" for view in views))
    table.add("95 % interval", *("{:+.1f} to {:+.1f}".format(*(100 * v for v in view.interval)) for view in views))
    table.add("only the first right", *(f"{view.only_first:,}" for view in views))
    table.add("only the second right", *(f"{view.only_second:,}" for view in views))
    table.add("McNemar p", *(f"{view.p:.2g}" for view in views))
    return table


def audit_tables(found: Any, title: str) -> list[Grid]:
    findings = Grid(["finding", "count", "remark"], title=title, left=frozenset({0, 2}))
    for what, count, remark in found.findings():
        findings.add(what, f"{count:,}", remark)
    splits = Grid(["class", *found.balance], title="Splits")
    for label in found.faces.labels:
        splits.add(Label(label), *(f"{counts[label]:,}" for counts in found.balance.values()))
    marks = dict.fromkeys(found.blurred_splits, " blurred")
    splits.add("median sharpness", *(f"{v:.2f}{marks.get(k, '')}" for k, v in found.sharpness.items()))
    if found.votes is None:
        return [findings, splits]
    votes = Grid(["majority", *found.votes.table], title="Labels (columns) and the majority of FER+ raters")
    for majority in next(iter(found.votes.table.values())):
        votes.add(Label(majority), *(f"{row[majority]:,}" for row in found.votes.table.values()))
    votes.add("differs", *(f"{share:.1%}" for share in found.votes.share.values()))
    return [findings, splits, votes]


def personal_table(trial: Trial, shifts: dict[str, float]) -> Grid:
    title = "correct answers in held-out rounds or images, in %"
    table = Grid(["emotion", "before", "after", "shift of the logit"], title=title)
    for label, shift in shifts.items():
        shares = (f"{100 * part[label]:.0f}" if label in part else "-" for part in (trial.before, trial.after))
        table.add(Label(label), *shares, f"{shift:+.2f}")
    table.add("mean", f"{100 * trial.accuracy_before:.1f}", f"{100 * trial.accuracy_after:.1f}", "")
    table.add("cross-entropy", f"{trial.loss_before:.2f}", f"{trial.loss_after:.2f}", "")
    return table
