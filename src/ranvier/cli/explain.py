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
    parser.add_argument("--batch-size", metavar="N", type=arguments.positive, help="samples in a step; by default "
                        "what the run was trained with")  # fmt: skip
    arguments.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explain as the arguments say; returns the exit code."""
    from ranvier.cli.run_folder import open_run

    trained = open_run(args.run_path)
    model = trained.load()
    size = args.batch_size or trained.number("batch_size", 32)
    plan = predict_plan if args.step == "predict" else train_plan
    text = plan(model, size, max(size, trained.number("training_samples", size)), trained.path)
    model.summary()
    print(f"\nthe {'prediction' if args.step == 'predict' else 'training step'} for a batch of {size:,}\n")
    print(text)
    return 0


def predict_plan(model: Any, size: int, rows: int, path: str) -> str:
    """The plan of a prediction for ``size`` samples."""
    import numpy as np

    from ranvier.jit import jit

    def predict(x: Any) -> Any:
        return model(x, training=False)

    return str(jit(predict).explain(np.zeros((size, *model.input_shape[1:]), np.float32)))


def train_plan(model: Any, size: int, rows: int, path: str) -> str:
    """The plan of a training step that takes ``size`` of ``rows`` samples, as ``fit`` runs it.

    Raises:
        DataError: the model was saved without optimizer and loss.
    """
    import numpy as np

    from ranvier.errors import DataError

    if not model.compiled or model.loss is None:
        raise DataError(
            f"{path}: the model was saved before compile(), so it has no training step. Use --step predict."
        )
    x = np.zeros((rows, *model.input_shape[1:]), np.float32)
    sparse = model._compiled("explain").kind == "sparse"
    y = np.zeros(rows, np.int64) if sparse else np.zeros((rows, *model.output_shape[1:]), np.float32)
    return str(model.explain(x, y, batch_size=size))
