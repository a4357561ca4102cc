"""The command `doctor`."""

from __future__ import annotations

from rich.table import Column, Table

from mien.cli import options
from mien.cli.console import count, echo, literal, out, start


def doctor(*, quiet: options.Quiet = False) -> int:
    """Check installation, model files, cameras and screen, with advice where something is missing."""
    from mien.doctor import Check, examine

    def mark(check: Check) -> str:
        return "ok" if check.ok else "FAIL" if check.essential else "--"

    clock = start(quiet)
    checks = examine()
    if out.is_terminal:
        colours = {"ok": "green", "FAIL": "red", "--": "yellow"}
        table = Table(Column(""), Column("what"), Column("found"), box=None)
        for check in checks:
            advice = f"\n[bold]{literal(check.advice)}[/bold]" if check.advice else ""
            state = f"[{colours[mark(check)]}]{mark(check)}[/]"
            table.add_row(state, literal(check.name), literal(check.detail) + advice)
        out.print(table, highlight=False)
    else:
        for check in checks:
            echo(f"{mark(check)} {check.name}: {check.detail}{f'; {check.advice}' if check.advice else ''}")
    broken = [check.name for check in checks if check.essential and not check.ok]
    echo(f"mien does not work: see {', '.join(broken)}" if broken else "mien works here")
    advised = sum(not check.ok and not check.essential for check in checks)
    clock.summary(count(len(checks), "check"), f"{advised} with advice", f"{len(broken)} failed")
    return 1 if broken else 0
