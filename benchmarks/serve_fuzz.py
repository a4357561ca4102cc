"""Requests that schemathesis makes up from the server's own description, valid and invalid: no answer may be a 5xx, and
each must have a status, a type and a shape that the description promises.

Usage: python benchmarks/serve_fuzz.py [--examples 100] [--seed 0] [--out FILE]     (examples of each route)
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mien import files
from mien.report_page import environment
from mien.serve.app import create_app

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def fuzz(operation: Any, mode: GenerationMode, examples: int, start: int) -> Counter[int]:
    """Send made-up requests to one route; how often each status came back."""
    statuses: Counter[int] = Counter()

    @seed(start)
    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        answer = case.call()
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    with contextlib.suppress(Unsatisfiable):  # a route without parameters has no invalid request
        send()
    return statuses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "serve_fuzz.json")
    options = parser.parse_args()
    app = create_app(hosts=["testserver"], static=Path("/nowhere"))
    total: Counter[int] = Counter()
    routes: dict[str, dict[str, dict[int, int]]] = {}
    for each in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        operation = each.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            statuses = fuzz(operation, mode, options.examples, options.seed)
            routes.setdefault(operation.label, {})[mode.name.lower()] = dict(sorted(statuses.items()))
            print(f"{operation.label}, {mode.name.lower()}: {routes[operation.label][mode.name.lower()]}")
            total += statuses
    found = {
        "requests": sum(total.values()),
        "server_errors": sum(number for status, number in total.items() if status >= 500),
        "statuses": dict(sorted(total.items())),
        "routes": routes,
        "examples": options.examples,
        "seed": options.seed,
        "schemathesis": schemathesis.__version__,
        "environment": environment(),
    }
    files.write_text(options.out, json.dumps(found, indent=1) + "\n")
    print(f"{found['requests']} requests, {found['server_errors']} of them 5xx")


if __name__ == "__main__":
    main()
