"""`python -m bench.counts`: what a message costs, in counts that are the same on every machine, however busy.

A batch of messages goes its road (bench.road) while calls, memory, statements, commands and tasks are
counted (bench.counting). counts.json has what was recorded; tests/bench/test_counts.py fails when the counts
are others. What each of them is, is written in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bench import stack

RECORDED = Path(__file__).with_name("counts.json")
TOLERANCE = 0.005  # of the recorded count, up to which it is the same: a call more for each message is not
MEMORY_TOLERANCE = 0.02  # what objects Python has put by is chance
MEMORY_LEAST = 10_000  # bytes; of less than that, chance is a greater part
BATCHES = (1, 100)  # messages; memory is of the largest, for that of one is mostly chance
WARM_UP = 3  # batches of each size that are not counted: they open, prepare and remember what stays
MEMORY = "bytes of memory"
HOW = "python -m bench.counts --record"

Counts = dict[str, int]


def python() -> str:
    """The Python that calls and memory are recorded for: each minor version calls in its own way."""
    return f"Python {sys.version_info.major}.{sys.version_info.minor}"


def of_other_python(name: str) -> bool:
    """Whether a count is one of a Python that this is not."""
    return "Python" in name and not name.endswith(python())


def measure(functions: dict[str, Counter[str]] | None = None) -> Counts:
    """The counts of a batch of each size; needs migrated, empty databases and an empty Redis.

    `functions` gets what each step calls, and how often.
    """
    from bench import counting, road  # they need Django to be set up

    found: Counts = {}
    with road.opened() as its:
        for number in BATCHES * WARM_UP:
            for _, work in its.steps(number):
                work()
        for number in BATCHES:
            batch = f"batch of {number}"
            for step, work in its.steps(number):
                for what, count in counting.traffic(work).items():
                    found[f"{batch}, {step}: {what}"] = count
            for what, size in its.bytes.items():
                found[f"{batch}, all: bytes of {what}"] = size
            for step, work in its.steps(number):
                called = counting.calls(work)
                found[f"{batch}, {step}: calls, {python()}"] = called.total()
                if functions is not None:
                    functions[f"{batch}, {step}"] = called
        largest = max(BATCHES)
        for step, work in its.steps(largest):
            if (size := counting.memory(work)) >= MEMORY_LEAST:
                found[f"batch of {largest}, {step}: {MEMORY}, {python()}"] = size
    return {name: count for name, count in sorted(found.items()) if count}


def recorded() -> Counts:
    """What the file has."""
    counts: Counts = json.loads(RECORDED.read_text())
    return counts


def record(found: Mapping[str, int], before: Mapping[str, int]) -> None:
    """Write the file; what it has of other Pythons stays."""
    kept = {name: count for name, count in before.items() if of_other_python(name)}
    RECORDED.write_text(json.dumps({**kept, **found}, indent=2, sort_keys=True) + "\n")


def differences(found: Mapping[str, int], before: Mapping[str, int]) -> list[str]:
    """What has grown or shrunk by more than the tolerance, a line each. Of a Python that nothing is recorded
    of, calls and memory are not compared.
    """
    known = any(name.endswith(python()) for name in before)
    lines = []
    for name in sorted({*found, *before}):
        now, then = found.get(name, 0), before.get(name, 0)
        if of_other_python(name) or ("Python" in name and not known):
            continue
        tolerance = MEMORY_TOLERANCE if MEMORY in name else TOLERANCE
        if abs(now - then) > tolerance * then:
            grown = f" ({(now - then) / then:+.1%})" if then else ""
            lines.append(f"{name}: {now}, recorded {then}{grown}")
    return lines


def main() -> int:
    """Count on servers of its own; exit status 1 when a count is not as recorded."""
    parser = argparse.ArgumentParser(prog="python -m bench.counts", description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write the counts to {RECORDED.name}")
    parser.add_argument("--calls", action="store_true", help="also print what is called, and how often")
    chosen = parser.parse_args()
    functions: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="imcloud-counts-") as folder:
        own = stack.environment(Path(folder), PROCESS="counts")
        os.environ.clear()
        os.environ |= own | {"DJANGO_SETTINGS_MODULE": "imcloud.settings"}
        found = _measure_alone(functions)
    before = recorded() if RECORDED.exists() else {}
    for name in sorted({*found, *before}):
        if not of_other_python(name):
            print(f"{found.get(name, 0):>9} {before.get(name, 0):>9}  {name}")
    for step, called in functions.items() if chosen.calls else ():
        print(f"\n{step}:")
        print("\n".join(f"{times:>9}  {function}" for function, times in called.most_common()))
    if chosen.record:
        record(found, before)
        return 0
    different = differences(found, before)
    print("\n".join(different))
    return 1 if different else 0


def _measure_alone(functions: dict[str, Counter[str]]) -> Counts:
    """With servers and databases that are made for it."""
    import django
    from django.core.management import call_command

    from imcloud.config import read

    config = read(os.environ)
    with stack.servers(config):
        django.setup()

        from apps.routing import databases
        from bench.road import SET

        databases.create(config.control_database)
        call_command("migrate", database="default", verbosity=0, skip_checks=True)
        databases.create(databases.url(SET))
        databases.migrate(SET)
        return measure(functions)


if __name__ == "__main__":
    sys.exit(main())
