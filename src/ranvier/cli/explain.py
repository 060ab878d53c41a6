"""``ranvier explain``: a trained network from inside: its layers, and the plan its training step is compiled to."""

from __future__ import annotations

import argparse
from typing import Any

from ranvier.cli import arguments

__all__ = ["add", "run"]


def add(verbs: Any) -> None:
    """Declare the verb and its options."""
    parser = verbs.add_parser(
        "explain",
        help="a trained network from inside: layers, and the compiled plan",
        description="Print the layers of a trained network, and the plan that its training step is compiled to: every "
        "kernel, the operations it fuses, where they come from, what they cost.",
        examples=("ranvier explain runs/digits-20260301-120000",
                  "ranvier explain runs/digits-20260301-120000 --step predict --batch-size 1"),
    )  # fmt: skip
    parser.add_argument("run_path", metavar="RUN", help="a run folder, or a model file")
    parser.add_argument("--step", choices=("train", "predict"), default="train", help="which plan (train)")
    parser.add_argument("--batch-size", metavar="N", type=arguments.positive, default=32, help="samples in a step (32)")
    arguments.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explain as the arguments say; returns the exit code."""
    from ranvier.cli.run_folder import open_run

    trained = open_run(args.run_path)
    model = trained.load()
    model.summary()
    print()
    print(model.explain(args.step, batch_size=args.batch_size))
    return 0
