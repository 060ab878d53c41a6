"""``python -m benchmarks [workload ...]``: measure, print the tables, write the report.

With ``--quick`` the slices are tiny and nothing is written: for trying the programs, not for figures to quote.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks import machine, mlp, report
from benchmarks.harness import Plan

WORKLOADS = (
    "roofline", "mlp_small", "mlp_large", "mlp_breast_cancer", "matmul", "predict_one", "first_step", "eager_op",
    "import_time", "memory",
)  # fmt: skip
TRAINING = ("mlp_small", "mlp_large", "mlp_breast_cancer")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("workloads", nargs="*", metavar="workload", help=f"of: {', '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny slices, nothing written")
    parser.add_argument("--check", action="store_true", help="only prove that all contenders train alike")
    parser.add_argument("--slice", type=float, help="seconds in a slice (default 0.25)")
    parser.add_argument("--rounds", type=int, help="slices of each contender (default 9)")
    parser.add_argument("--sides", default="", help="only contenders whose name holds one of these, comma-separated")
    options = parser.parse_args()
    unknown = set(options.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"unknown workload {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    sides = tuple(side.strip() for side in options.sides.split(",") if side.strip())
    usual = (0.02, 3) if options.quick else (0.25, 9)
    plan = Plan(options.slice or usual[0], options.rounds or usual[1], options.quick, sides)
    names = options.workloads or list(WORKLOADS)
    if options.check:
        for name in [n for n in names if n in TRAINING]:
            result = mlp.check(importlib.import_module(f"benchmarks.{name}").SPEC, plan)
            print(f"{result['heading']}\n\n{report.markdown_table(result['columns'], result['rows'])}\n")
        return 0
    records = {}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        before = machine.cpu_seconds()
        records[name] = importlib.import_module(f"benchmarks.{name}").run(plan)
        records[name]["notes"] += machine.disturbance(before, machine.cpu_seconds())
        print(report.markdown(records[name]) + "\n", flush=True)
        if not options.quick and not sides:  # after each, so that an interruption loses little
            path = report.save(records, machine.environment(), WORKLOADS)
    if not options.quick and not sides:
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
