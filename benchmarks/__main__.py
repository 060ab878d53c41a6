"""``python -m benchmarks [workload ...]``: measure, print the tables, write the report.

With ``--quick`` the slices are tiny and nothing is written: for trying the programs, not for figures to quote.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from typing import Any

from benchmarks import machine, mlp, report, results, training
from benchmarks.harness import Plan

WORKLOADS = (
    "roofline", "mlp_small", "mlp_large", "mlp_breast_cancer", *training.BARS, "matmul", "convolutions", "inference",
    "predict_one", "first_step", "eager_op", "import_time", "determinism", "accuracy", "memory",
    "resnet_process",
)  # fmt: skip
TRAINING = ("mlp_small", "mlp_large", "mlp_breast_cancer")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("workloads", nargs="*", metavar="workload", help=f"of: {', '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny slices, nothing written")
    parser.add_argument("--check", action="store_true", help="only prove that all contenders train alike")
    parser.add_argument("--all", action="store_true", help="also variants that take minutes and were never the best")
    parser.add_argument("--slice", type=float, help="seconds in a slice (default 0.2)")
    parser.add_argument("--rounds", type=int, help="slices of each contender (default 7)")
    parser.add_argument("--sides", default="", help="only contenders whose name holds one of these, comma-separated")
    options = parser.parse_args()
    unknown = set(options.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"unknown workload {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    return options


def main() -> int:
    options = arguments()
    sides = tuple(side.strip() for side in options.sides.split(",") if side.strip())
    usual = (0.02, 3) if options.quick else (Plan.slice_s, Plan.rounds)
    plan = Plan(options.slice or usual[0], options.rounds or usual[1], options.quick, sides, options.all)
    names = options.workloads or list(WORKLOADS)
    if options.check:
        return check([n for n in names if n in TRAINING or n in training.BARS], plan)
    records, path = {}, None
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        before, began = machine.cpu_seconds(), time.monotonic()
        records[name] = run(name, plan)
        records[name]["notes"] += machine.disturbance(before, machine.cpu_seconds())
        records[name]["took_s"] = round(time.monotonic() - began, 1)
        print(report.markdown(records[name]) + "\n", flush=True)
        if not options.quick and not sides:  # after each, so that an interruption loses little
            path = results.save(records, machine.environment(), results.order())
    took = ", ".join(f"{name} {item['took_s']:.0f} s" for name, item in records.items())
    print(f"{took}: {sum(item['took_s'] for item in records.values()):.0f} s in all", file=sys.stderr)
    if path:
        print(f"written: {path}")
    return 0


def run(name: str, plan: Plan) -> dict[str, Any]:
    """One workload's record: a network of the table, or a module of this folder."""
    if name in training.BARS:
        return training.run(name, plan)
    return importlib.import_module(f"benchmarks.{name}").run(plan)


def check(names: list[str], plan: Plan) -> int:
    """Print what every contender's loss is after one epoch."""
    for name in names:
        if name in training.BARS:
            result = training.check(name, plan)
        else:
            result = mlp.check(importlib.import_module(f"benchmarks.{name}").SPEC, plan)
        print(f"{result['heading']}\n\n{report.markdown_table(result['columns'], result['rows'])}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
