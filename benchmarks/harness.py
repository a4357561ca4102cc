"""Shared by all benchmarks: arguments, turns, medians, result files, tables and the environment.

A benchmark runs as a module from the root of the repository, for example `python -m benchmarks.speed.video --help`. It
writes one JSON file into `benchmarks/results/`, named after the script unless `--out` is given, and prints the tables
that `benchmarks.pages` puts into the documents.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mien.evaluation import html
from mien.faces import amx, onnx
from mien.media import atomic

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
REST = 0.1
"""Seconds between two turns, in which the threads of the last contestant go to sleep."""


def parser(doc: str | None, result: str = "", *, data: bool = False, votes: bool = False) -> argparse.ArgumentParser:
    """Return a parser with the script's docstring as help and the arguments that many scripts share.

    `result` is the name of the result file without suffix, the default of `--out`; "" leaves `--out` out.
    """
    arguments = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if data:
        arguments.add_argument(
            "--data", type=Path, required=True, help="fer2013.zip, its unpacked folder or fer2013.csv"
        )
    if votes:
        arguments.add_argument("--votes", type=Path, required=True, help="csv of FER+ votes")
    if result:
        arguments.add_argument("--out", type=Path, default=RESULTS / f"{result}.json", help="result file")
    return arguments


def save(out: Path, values: Mapping[str, Any]) -> None:
    """Write a result file: the values, and the machine under "environment"."""
    atomic.write_text(out, json.dumps({**values, "environment": environment()}, indent=1) + "\n")


def load(name: str, folder: Path = RESULTS) -> Any:
    """Return the content of a result file, or None when it is missing."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def require(folder: Path, name: str, model: str = "") -> Any:
    """Return the content of a result file; exit when it is missing or about another file of the shipped model."""
    values = load(name, folder)
    if values is None:
        raise SystemExit(f"{folder / name}.json is missing: run the script in benchmarks/ that writes it")
    if model:
        measured = values.get("models", {}).get(model, values).get("sha256")
        if measured != shipped_sha256(model):
            raise SystemExit(
                f"{folder / name}.json is about another model file than the shipped {model}: measure again"
            )
    return values


@lru_cache
def shipped_sha256(model: str) -> str:
    """Return the hash of a shipped model file, or of an ensemble as `Ensemble.sha256` gives it."""
    hashes = [hashlib.sha256((onnx.ASSETS / f"{name}.onnx").read_bytes()).hexdigest() for name in model.split("+")]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def environment() -> dict[str, Any]:
    """Return versions and machine: processor, cores, cores that this process may use, VNNI and AMX."""
    hidden = {"hidden": hidden_instructions()} if hidden_instructions() else {}
    return {**html.environment(), "threads": onnx.cores(), "vnni": has_vnni(), "amx": amx.has_amx(), **hidden}


def has_vnni() -> bool | None:
    """Return whether the processor has int8 dot products (VNNI), or None where Linux does not say."""
    if hidden_instructions() == "avx512":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8", "replace").split()
    except OSError:
        return None
    return any(flag in flags for flag in ("avx512_vnni", "avx_vnni"))


def hidden_instructions() -> str:
    """Return what is hidden from this process, "amx" or "avx512", or "": see speed/hide_instructions.c."""
    return os.environ.get("HIDE", "avx512") if "hide_instructions" in os.environ.get("LD_PRELOAD", "") else ""


def machine(values: Mapping[str, Any]) -> str:
    """Return a sentence about the machine of a result file."""
    found = values["environment"]
    return f"{found['processor']}, {found['cores']} cores."


def take_turns(
    contestants: Mapping[str, Callable[[], float]], rounds: int, warm_up: bool = True, rest: float = REST
) -> dict[str, list[float]]:
    """Run contestants in turn, so that other work on the machine slows all of them.

    `contestants` maps names to functions that do their work once and return the seconds to count; the result maps the
    names to the seconds of each turn. With `warm_up`, each runs once beforehand, uncounted. `rest` seconds of sleep
    separate the turns.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(-1 if warm_up else 0, rounds):
        for name, run in contestants.items():
            time.sleep(rest)
            took = run()
            if turn >= 0:
                seconds[name].append(took)
        print(f"turn {turn + 1} of {rounds}", end="\r", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return seconds


def stopwatch(work: Callable[[], object]) -> Callable[[], float]:
    """Return a function that does the work and returns the seconds it took."""

    def run() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return run


def median_seconds(call: Callable[[], object], seconds: float) -> float:
    """Return the median time of one call, over calls for about `seconds`; the first call is not counted."""
    call()
    measure, taken, end = stopwatch(call), [], time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        taken.append(measure())
    return statistics.median(taken)


def rate(count: int, seconds: Iterable[float]) -> dict[str, Any]:
    """Return items a second of each turn, "all", and their median."""
    rates = [count / each for each in seconds]
    return {"median": statistics.median(rates), "all": rates}


def quartiles(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Return the quartiles as low, median and high."""
    low, median, high = np.quantile(np.asarray(values, float), [0.25, 0.5, 0.75]).tolist()
    return {"low": low, "median": median, "high": high}


def resident_mb(process: int | str = "self") -> float:
    """Return the memory that a process holds now, in MB (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def percent(value: float, digits: int = 1) -> str:
    """Return a share as per cent."""
    return f"{100 * value:.{digits}f}"


def interval(pair: Sequence[float], form: str = "{:.1f}", joint: str = " to ") -> str:
    """Return the bounds of an interval of shares, in per cent."""
    return joint.join(form.format(100 * value) for value in pair)
