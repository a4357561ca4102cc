"""What a run tells: an epoch at a time, loggers, sentences about the result, and the page at the end."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lightning_fabric.loggers.csv_logs import CSVLogger
from test_trainer import TINY, stripes

from mien.cli.train import compare, describe, epoch_line, measured_split
from mien.errors import ConfigError
from mien.evaluation.run_page import RunPage, write_run_page
from mien.evaluation.views import Answers
from mien.train import checkpoint, log, trainer
from mien.train.config import Stage
from mien.types import EMOTIONS

SHORT = replace(TINY, stages=(Stage(epochs=3, size=24, dropout=0.0, lr=0.01),))


def epoch(**changes: object) -> log.Epoch:
    values: dict[str, object] = {
        "epoch": 3, "epochs": 12, "stage": 1, "lr": 4.2e-4, "train_loss": 0.8123, "train_accuracy": 0.712,
        "val_loss": 0.9, "val_accuracy": 0.689, "seconds": 12.34, "sets": {"mine": (0.9, 0.689)}, "is_best": True,
    }  # fmt: skip
    return log.Epoch(**values | changes)  # type: ignore[arg-type]


def rows(*accuracies: float) -> list[dict[str, float]]:
    return [
        epoch(epoch=k, val_accuracy=accuracy, val_loss=1.0).metrics() for k, accuracy in enumerate(accuracies, start=1)
    ]


def answers(right: float, count: int = 20) -> Answers:
    faces = stripes(count)
    probabilities = np.full((count, 5), 0.1)
    truth = faces.targets.copy()
    truth[round(right * count) :] = 4
    probabilities[np.arange(count), truth] = 0.6
    return Answers("test", faces, probabilities)


def test_each_epoch_calls_back_after_its_row_is_in_the_log(tmp_path: Path) -> None:
    seen: list[log.Epoch] = []

    def on_epoch(done: log.Epoch) -> None:
        seen.append(done)
        assert len(log.read_log(tmp_path / "log.csv")) == done.epoch == len(seen)

    trainer.fit(SHORT, stripes(), tmp_path, on_epoch=on_epoch)
    assert [done.epochs for done in seen] == [3, 3, 3]
    best = [done.val_accuracy for done in seen if done.is_best]
    assert best == sorted(best) and best[-1] == max(done.val_accuracy for done in seen)
    assert log.read_log(tmp_path / "log.csv")[-1]["lr"] == pytest.approx(seen[-1].lr, rel=1e-4)


def test_figures_go_to_loggers_of_fabric(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, "figures", "")
    trainer.fit(SHORT, {"a": stripes(), "b": stripes()}, tmp_path / "run", loggers=[logger])
    logged = (tmp_path / "figures" / "metrics.csv").read_text().splitlines()
    assert len(logged) == 4
    assert {"train_loss", "lr", "val_accuracy_a", "val_accuracy_b", "step"} <= set(logged[0].split(","))


def test_tensorboard_names_the_missing_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("Neither `tensorboard` nor `tensorboardX` is available.")

    monkeypatch.setattr(log, "TensorBoardLogger", missing)
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        log.tensorboard(tmp_path)


def test_the_last_epoch_is_kept_on_request(tmp_path: Path) -> None:
    wild = replace(SHORT, stages=(Stage(epochs=1, size=24, lr=0.01), Stage(epochs=4, size=24, lr=5.0)), ema=0.0)
    for keep_last in (False, True):
        best = trainer.fit(wild, stripes(), tmp_path / str(keep_last), keep_last=keep_last)
        epochs = [row for row in log.read_log(tmp_path / str(keep_last) / "log.csv") if row["stage"] == 2]
        top = max(epochs, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
        assert checkpoint.load(best)[1]["epoch"] == (epochs[-1] if keep_last else top)["epoch"]


def test_an_epoch_is_one_line() -> None:
    assert epoch_line(epoch()) == (
        "epoch  3/12  lr 4.2e-04  loss 0.812  accuracy 71.2 %  validation 68.9 %  12.3 s  best"
    )
    two = epoch_line(epoch(sets={"a": (1.0, 0.7), "b": (1.0, 0.678)}, is_best=False))
    assert "validation 68.9 %  (a 70.0, b 67.8)  12.3 s" in two and "best" not in two


@pytest.mark.parametrize(
    ("start", "kept", "words"),
    [
        (None, 2, ["Epoch 2 is kept: 80.0 % of 20 validation images right."]),
        (0.7, 2, ["Epoch 2 is kept: 80.0 % of 20 validation images right, 70.0 % before."]),
        (0.9, 0, ["Fine-tuning made it worse: at best 80.0 %", "The weights from before are kept"]),
        (0.8, 0, ["Fine-tuning did not help: at best 80.0 %", "--keep-last"]),
        (0.9, 3, ["Epoch 3 is kept: 75.0 %", "Fine-tuning made it worse; without --keep-last"]),
        (None, 3, ["Epoch 3 is kept: 75.0 %", "Epoch 2 was better, with 80.0 %."]),
    ],
)
def test_sentences_say_what_was_kept_and_whether_it_is_worse(start: float | None, kept: int, words: list[str]) -> None:
    found = describe(rows(0.6, 0.8, 0.75), start, kept, 20)
    assert len(found) == len(words) and all(word in text for word, text in zip(words, found, strict=True))


def test_a_worse_result_on_held_out_images_is_said() -> None:
    (worse,) = compare([answers(1.0), answers(0.75)])
    assert "less often than before: 75.0 % against 100.0 %" in worse
    assert compare([answers(0.75), answers(1.0)]) == compare(["no shared class", answers(1.0)]) == []


def test_page_of_a_run_is_one_file_with_curves_matrices_and_mistakes(tmp_path: Path) -> None:
    page = RunPage(
        name="<b>mine</b>", epochs=rows(0.6, 0.8, 0.75), outcome=["Epoch 2 is kept."], images="held-out images",
        answers={"mien-s": answers(1.0), "mine & yours": answers(0.75)}, start=0.7, recipe={"batch": "32"},
        files={"log.csv": "a row an epoch"},
    )  # fmt: skip
    write_run_page(page, tmp_path / "index.html")
    html = (tmp_path / "index.html").read_text("utf-8")
    assert "<b>mine</b>" not in html and "mine &amp; yours" in html and "Epoch 2 is kept." in html
    assert html.count("<svg") == 3 and "validation before" in html
    assert html.count('<figure><img src="data:image/png;base64,') == 5 and "Before and after" in html
    assert not re.search(r'(src|href)="(?!data:|#)', html) and "http" not in html
    assert re.search(r'class="best"><td>2</td>', html)


def test_page_of_a_run_without_answers_shows_the_curves(tmp_path: Path) -> None:
    write_run_page(RunPage("mine", rows(0.5)), tmp_path / "index.html")
    html = (tmp_path / "index.html").read_text("utf-8")
    assert html.count("<svg") == 1 and "Confusion" not in html and EMOTIONS[0] not in html


def test_sets_without_held_out_images_are_measured_on_the_validation_images() -> None:
    faces = stripes(40)
    assert measured_split(faces.take(faces.splits < 2)) == ("PublicTest", "validation images")
    assert measured_split(replace(faces, splits=np.full(40, 2, np.int8))) == ("PrivateTest", "held-out images")
