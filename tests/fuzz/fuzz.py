"""Read damaged files of many kinds in subprocesses; count crashes, hangs, wrong exceptions and the peak of memory.

    python tests/fuzz/fuzz.py [--seconds 600] [--kinds images videos ...] [--first SEED] [--samples FOLDER] [--out FILE]
    python tests/fuzz/fuzz.py --repeat videos 12345 [--samples FOLDER]      # one input again, in this process

An input follows from its kind and its seed. It may be read, or refused with a `mien.Error`. Everything else is a
finding: another exception, a crash, more than 5 s, more than 1 GB, or text on stdout or stderr; the exit code is 1.
Seconds in which a process waits for a processor do not count, so a busy machine makes no hangs.
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
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / name) for name in ("", "fuzz", "media", "serve"))]

from fuzz_kinds import KINDS, STUCK, Faults  # noqa: E402

from benchmarks import harness  # noqa: E402

SLOW = 5.0  # seconds an input
START = 300.0  # seconds until the first input: imports on a busy machine
PEAK = 1_000_000_000  # bytes in memory
SPACE = 3_000_000_000  # bytes of address space on top of what the start takes
BATCH = 2000  # inputs a process
FAULTS = ("crashes", "hangs", "other exceptions", "over 1 GB", "noise")
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Report:
    """What happened to the inputs of one kind."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    slowest: str = ""

    def add(self, fault: str, text: str) -> None:
        self.counts[fault] += 1
        self.findings.append(text)
        print(f"{fault}: {text}", flush=True)

    def line(self) -> str:
        counts = self.counts
        return (
            f"{counts['tried']:,} tried, {counts['read']:,} read, {counts['refused']:,} refused, "
            + ", ".join(f"{counts[fault]} {fault}" for fault in FAULTS)
            + f", peak {counts['peak'] / 1e6:.0f} MB, longest {counts['longest'] / 1000:.2f} s ({self.slowest})"
        )

    def values(self) -> dict[str, float]:
        names = ("tried", "read", "refused", *FAULTS)
        values: dict[str, float] = {name: self.counts[name] for name in names}
        return {**values, "peak MB": round(self.counts["peak"] / 1e6), "longest s": self.counts["longest"] / 1000}


class Clock:
    """Seconds that processes needed since a moment: those in which they waited for a processor are left out."""

    def __init__(self, *processes: int | str) -> None:
        self.processes = processes
        self.start = self._read()

    def seconds(self) -> float:
        wall, waited, worked = (now - then for now, then in zip(self._read(), self.start, strict=True))
        return max(wall - max(waited, 0.0), worked)

    def _read(self) -> tuple[float, float, float]:
        waited = worked = 0.0
        for process in set(self.processes):
            for task in Path(f"/proc/{process}/task").glob("*"):
                with suppress(OSError, IndexError):  # the thread has ended; or the kernel keeps no such figures
                    waited += int((task / "schedstat").read_text().split()[1]) / 1e9
            worked += busy(process)
        return time.monotonic(), waited, worked


def busy(process: int | str) -> float:
    """Return the processor seconds of all threads of a process."""
    with suppress(OSError):
        values = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(values[11]) + int(values[12])) / TICK
    return 0.0


def work(kind: str, first: int, count: int, end: float, progress: Path, samples: Path | None) -> None:
    """Try the inputs of some seeds until an end on the monotonic clock; note each before and after."""
    from mien import Error

    with tempfile.TemporaryDirectory() as folder, progress.open("w") as file:
        subject = {**KINDS, "faults": Faults}[kind](Path(folder), samples)
        own = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (own + SPACE, own + SPACE))
        try:
            for seed in range(first, first + count):
                if time.monotonic() > end:
                    break
                name, data = subject.mutant(seed)
                file.write(f"{seed} {name}\t")
                file.flush()
                clock, outcome = Clock("self", subject.process), "read"
                try:
                    subject.attempt(name, data)
                except Error:
                    outcome = "refused"
                except Exception as error:
                    outcome = f"{type(error).__name__}: {error}".partition("\n")[0].replace("\t", " ")
                file.write(f"{clock.seconds():.3f}\t{peak(subject.process)}\t{outcome}\n")
                file.flush()
        finally:
            subject.close()


def peak(process: int | str) -> int:
    """Return the largest memory that a process had, in bytes; 0 once it has ended."""
    with suppress(OSError, IndexError):
        return 1024 * int(Path(f"/proc/{process}/status").read_text().partition("VmHWM:")[2].split()[0])
    return 0


def run(kind: str, seconds: float | None, first: int, batch: int = BATCH, samples: Path | None = None) -> Report:
    """Try inputs of a kind in processes of their own for some seconds; None: exactly one batch."""
    report, end = Report(), float("inf") if seconds is None else time.monotonic() + seconds
    while time.monotonic() < end:
        first = _run_batch(report, kind, first, batch, samples, end)
        if seconds is None:
            break
    return report


def _run_batch(report: Report, kind: str, first: int, batch: int, samples: Path | None, end: float) -> int:
    """Run one process; return the seed to go on with."""
    with tempfile.TemporaryDirectory() as folder:
        progress, noise = Path(folder, "progress"), Path(folder, "noise")
        progress.touch()
        words = ["--work", kind, str(first), str(batch), str(end), str(progress)]
        words += ["--samples", str(samples)] if samples else []
        with noise.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-W", "always", "-X", "faulthandler", __file__, *words], stdout=stderr, stderr=stderr,
                env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": folder}, start_new_session=True,
            )  # fmt: skip
            try:
                hung = _watch(process, progress)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # what it may have left, too
                process.wait()
        rows = [line.split("\t") for line in progress.read_text(errors="replace").splitlines()]
        said = noise.read_text(errors="replace").strip()
    for row in rows:
        if len(row) == 4:
            _count(report, kind, *row)
    if process.returncode == 0:
        if said:
            report.add("noise", f"{kind} from {first}, output: {said[:600]}")
        return first + len(rows)
    broken = rows[-1][0] if rows and len(rows[-1]) < 4 else ""
    what = "hang" if hung else f"exit {process.returncode}"
    report.counts["tried"] += bool(broken)
    report.add("hangs" if hung else "crashes", f"{kind} {broken or f'from {first}'}: {what}; {said[-600:]}")
    return first + max(1, len(rows))


def _watch(process: subprocess.Popen[bytes], progress: Path) -> bool:
    """Wait for a process. Kill it when an input takes too long, and return whether it did."""
    size, since, worked = 0, time.monotonic() + START - STUCK, 0.0
    while process.poll() is None:
        time.sleep(0.05)
        if (grown := progress.stat().st_size) != size:
            size, since, worked = grown, time.monotonic(), busy(process.pid)
        if time.monotonic() > since + STUCK or (size and busy(process.pid) > worked + SLOW + 2):
            os.killpg(process.pid, signal.SIGKILL)
            return True
    return False


def _count(report: Report, kind: str, what: str, took: str, memory: str, outcome: str) -> None:
    counts = report.counts
    counts["tried"] += 1
    if round(1000 * float(took)) > counts["longest"]:
        counts["longest"], report.slowest = round(1000 * float(took)), f"{kind} {what}"
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
    parser.add_argument("--out", type=Path, help="result file")
    parser.add_argument("--repeat", nargs=2, metavar=("KIND", "SEED"))
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        kind, first, count, end, progress = options.work
        work(kind, int(first), int(count), float(end), Path(progress), options.samples)
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
        total.findings += report.findings
        if report.counts["longest"] >= total.counts["longest"]:
            total.slowest = report.slowest
        for key, value in report.counts.items():
            total.counts[key] = (
                max(total.counts[key], value) if key in ("peak", "longest") else total.counts[key] + value
            )
    print(f"all: {total.line()}")
    if options.out:
        kinds = {kind: report.values() for kind, report in zip(options.kinds, reports, strict=True)}
        run_of = {"seconds": options.seconds, "jobs": options.jobs, "first seed": options.first}
        harness.save(options.out, {**run_of, "kinds": kinds, "all": total.values(), "findings": total.findings})
    return int(any(total.counts[fault] for fault in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
