"""Read damaged files of many kinds in subprocesses; count crashes, hangs, wrong exceptions and the peak of memory.

    python tests/fuzz/fuzz.py [--seconds 600] [--kinds images videos ...] [--first SEED] [--samples FOLDER]
    python tests/fuzz/fuzz.py --repeat videos 12345 [--samples FOLDER]      # one input again, in this process

An input follows from its kind and its seed. It may be read, or refused with a `mien.Error`. Everything else is a
finding: another exception, a crash, more than 5 s, more than 1 GB, or text on stdout or stderr; the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("", "fuzz", "media", "serve")]

from fuzz_kinds import KINDS, Faults  # noqa: E402

SLOW = 5.0  # seconds an input
START = 60.0  # seconds until the first input: imports on a busy machine
PEAK = 1_000_000_000  # bytes in memory
SPACE = 3_000_000_000  # bytes of address space on top of what the start takes
BATCH = 300  # inputs a process
FAULTS = ("crashes", "hangs", "other exceptions", "over 1 GB", "noise")


@dataclass
class Report:
    """What happened to the inputs of one kind."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def add(self, fault: str, text: str) -> None:
        self.counts[fault] += 1
        self.findings.append(text)
        print(text, flush=True)

    def line(self) -> str:
        counts = self.counts
        return (
            f"{counts['tried']:,} tried, {counts['read']:,} read, {counts['refused']:,} refused, "
            + ", ".join(f"{counts[fault]} {fault}" for fault in FAULTS)
            + f", peak {counts['peak'] / 1e6:.0f} MB, longest {counts['longest'] / 1000:.2f} s"
        )


def work(kind: str, first: int, count: int, progress: Path, samples: Path | None) -> None:
    """Try the inputs of some seeds, one after the other; note each before and after."""
    from mien import Error

    with tempfile.TemporaryDirectory() as folder, progress.open("w") as file:
        subject = {**KINDS, "faults": Faults}[kind](Path(folder), samples)
        own = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (own + SPACE, own + SPACE))
        try:
            for seed in range(first, first + count):
                name, data = subject.mutant(seed)
                file.write(f"{seed} {name}\t")
                file.flush()
                start, outcome = time.monotonic(), "read"
                try:
                    subject.attempt(name, data)
                except Error:
                    outcome = "refused"
                except Exception as error:
                    outcome = f"{type(error).__name__}: {error}".partition("\n")[0].replace("\t", " ")
                file.write(f"{time.monotonic() - start:.3f}\t{peak(subject.process)}\t{outcome}\n")
                file.flush()
        finally:
            subject.close()


def peak(process: int | str) -> int:
    """Return the largest memory that a process had, in bytes."""
    return 1024 * int(Path(f"/proc/{process}/status").read_text().partition("VmHWM:")[2].split()[0])


def run(kind: str, seconds: float, first: int, batch: int = BATCH, samples: Path | None = None) -> Report:
    """Try inputs of a kind in processes of their own for some seconds, at least one batch."""
    report, end = Report(), time.monotonic() + seconds
    while not sum(report.counts.values()) or time.monotonic() < end:
        first = _run_batch(report, kind, first, batch, samples, end)
    return report


def _run_batch(report: Report, kind: str, first: int, batch: int, samples: Path | None, end: float) -> int:
    """Run one process; return the seed to go on with."""
    last = first + batch
    with tempfile.TemporaryDirectory() as folder:
        progress, noise = Path(folder, "progress"), Path(folder, "noise")
        progress.touch()
        words = ["--work", kind, str(first), str(batch), str(progress)]
        words += ["--samples", str(samples)] if samples else []
        with noise.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-W", "always", "-X", "faulthandler", __file__, *words], stdout=stderr, stderr=stderr,
                env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": folder}, start_new_session=True,
            )  # fmt: skip
            hung = _watch(process, progress, end)
        rows = [line.split("\t") for line in progress.read_text(errors="replace").splitlines()]
        said = noise.read_text(errors="replace").strip()
    for row in rows:
        if len(row) == 4:
            _count(report, kind, *row)
    broken = rows[-1][0] if rows and len(rows[-1]) < 4 else ""
    if process.returncode == 0:
        if said:
            report.add("noise", f"{kind} from {first}, output: {said[:600]}")
        return last
    if time.monotonic() > end and process.returncode == -signal.SIGKILL and not hung:
        return last  # the time is up
    what = "hang" if hung else f"exit {process.returncode}"
    report.counts["tried"] += bool(broken)
    report.add("hangs" if hung else "crashes", f"{kind} {broken or 'at the start'}: {what}; {said[-600:]}")
    return int(broken.split()[0]) + 1 if broken else last


def _watch(process: subprocess.Popen[bytes], progress: Path, end: float) -> bool:
    """Wait for a process; kill it when an input takes too long, and return whether it did, or after the end."""
    size, since = 0, time.monotonic() + START
    while process.poll() is None:
        time.sleep(0.05)
        now = time.monotonic()
        if (grown := progress.stat().st_size) != size:
            size, since = grown, now
        if now > since + SLOW + 2 or (size and now > end + SLOW + 2):
            hung = now > since + SLOW + 2
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return hung
    return False


def _count(report: Report, kind: str, what: str, took: str, memory: str, outcome: str) -> None:
    counts = report.counts
    counts["tried"] += 1
    counts["longest"] = max(counts["longest"], round(1000 * float(took)))
    if outcome in ("read", "refused"):
        counts[outcome] += 1
    else:
        report.add("other exceptions", f"{kind} {what}: {outcome}")
    if float(took) > SLOW:
        report.add("hangs", f"{kind} {what}: {took} s")
    if int(memory) > PEAK and counts["peak"] <= PEAK:
        report.add("over 1 GB", f"{kind} {what}: {int(memory) / 1e6:.0f} MB")
    counts["peak"] = max(counts["peak"], int(memory))


def repeat(kind: str, seed: int, samples: Path | None) -> None:
    """Try one input in this process, with its traceback, and write it into the current folder."""
    with tempfile.TemporaryDirectory() as folder:
        subject = KINDS[kind](Path(folder), samples)
        try:
            name, data = subject.mutant(seed)
            Path(f"fuzz-{kind}-{seed}").write_bytes(data)
            print(f"{name}, {len(data)} bytes, written to fuzz-{kind}-{seed}", flush=True)
            subject.attempt(name, data)
        finally:
            subject.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="of all kinds together")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--first", type=int, default=int(time.time()) * 1000, help="first seed; default: from the time")
    parser.add_argument("--jobs", type=int, default=2, help="kinds at a time")
    parser.add_argument("--samples", type=Path, help="folder of further images and videos to damage")
    parser.add_argument("--repeat", nargs=2, metavar=("KIND", "SEED"))
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        kind, first, count, progress = options.work
        work(kind, int(first), int(count), Path(progress), options.samples)
        return 0
    if options.repeat:
        repeat(options.repeat[0], int(options.repeat[1]), options.samples)
        return 0
    print(f"first seed {options.first}", flush=True)
    share = options.seconds * min(options.jobs, len(options.kinds)) / len(options.kinds)
    with ThreadPoolExecutor(options.jobs) as pool:
        reports = list(pool.map(lambda kind: run(kind, share, options.first, samples=options.samples), options.kinds))
    total = Report()
    for kind, report in zip(options.kinds, reports, strict=True):
        print(f"{kind}: {report.line()}")
        for key, value in report.counts.items():
            total.counts[key] = (
                max(total.counts[key], value) if key in ("peak", "longest") else (total.counts[key] + value)
            )
    print(f"all: {total.line()}")
    return int(any(total.counts[fault] for fault in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
