"""``ranvier evaluate``: how good a trained network is on data whose classes are known."""

from __future__ import annotations

import argparse
import os
from typing import Any

from ranvier.cli import arguments
from ranvier.cli.console import Console
from ranvier.cli.predict import class_names, probabilities_of
from ranvier.cli.recipes import NAMES, RECIPES, load_data

__all__ = ["add", "run"]


def add(verbs: Any) -> None:
    """Declare the verb and its options."""
    parser = verbs.add_parser(
        "evaluate",
        help="how good a trained network is on data whose classes are known",
        description="Print accuracy with its uncertainty, loss, and the confusion matrix.",
        examples=(
            "ranvier evaluate runs/digits-20260301-120000 digits",
            "ranvier evaluate runs/mnist-20260301-120000 mnist --data ~/mnist",
            "ranvier evaluate runs/wine-20260301-120000 bottles.csv",
            "ranvier evaluate runs/mnist-20260301-120000 images.npy --labels labels.npy",
        ),
        after=f"DATA is one of {', '.join(NAMES)} (its held-out part),\n"
        "a folder with the four IDX files of MNIST's form, or a file: .npz with x and y, .csv whose last column (or\n"
        "column class, label or target) is the class, or any other kind of samples with --labels.",
    )
    parser.add_argument("run_path", metavar="RUN", help="a run folder, or a model file")
    parser.add_argument("data_name", metavar="DATA", help="name of a data set, a folder or a file")
    parser.add_argument("--data", metavar="DIR", help="folder of the IDX files, if DATA is mnist or fashion-mnist")
    parser.add_argument("--labels", metavar="FILE", help="the classes, if DATA is a file without them: .npy or IDX")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    arguments.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate as the arguments say; returns the exit code."""
    from ranvier.cli.run_folder import open_run
    from ranvier.cli.score import score
    from ranvier.diagnose.text import confusion_text

    console = Console(args.json)
    trained = open_run(args.run_path)
    model = trained.load()
    shape = model.input_shape[1:]
    classes = max(2, int(model.output_shape[-1]))
    x, y, told = _read(args, shape, classes, trained)
    p = probabilities_of(model, x, trained.model_file)
    found = score(p, y)
    names = class_names(trained.class_names, p.shape[1])
    console.result(
        {
            "run": trained.path, "data": args.data_name, "accuracy": found.accuracy, "interval": found.interval,
            "right": found.right, "total": found.total, "loss": found.loss, "classes": names,
            "confusion": found.confusion,
        }
    )  # fmt: skip
    console.tell(f"{told}: {found.total:,} samples")
    console.tell(f"{found.sentence()}\nloss {found.loss:.4f}")
    console.tell("\nconfusion matrix (row: what it is, column: what the network says)\n")
    console.tell(confusion_text(found.confusion, names))
    return 0


def _read(args: argparse.Namespace, shape: Any, classes: int, trained: Any) -> tuple[Any, Any, str]:
    """Samples, classes, and what they are."""
    from ranvier.cli.reading import fit_shape, read_classes, read_samples
    from ranvier.errors import ArgumentError, DataError

    name = args.data_name
    recipe = RECIPES.get(name)
    if recipe is not None and (args.labels is not None or (args.data is not None and recipe.bundled)):
        option = "--labels" if args.labels is not None else "--data"
        raise ArgumentError(f"{option}: {name} is a data set of its own; leave {option} out, or name a file instead.")
    if recipe is not None:
        data = load_data(recipe, args.data)
        x = fit_shape(name, data.x_test, shape)
        return x, read_classes(name, data.y_test, (), classes, len(x)), f"held-out part of {recipe.title}"
    if not os.path.lexists(name):
        raise DataError(f"{name}: neither a file or folder nor one of {', '.join(NAMES)}.")
    if os.path.isdir(name):
        data = load_data(RECIPES["mnist"], name)
        x = fit_shape(name, data.x_test, shape)
        return x, read_classes(name, data.y_test, (), classes, len(x)), f"test part in {name}"
    table = read_samples(name, trained.feature_names, shape[0] if len(shape) == 1 else None)
    x = fit_shape(name, table.x, shape)
    y, source = table.y, name
    if args.labels is not None:
        labels = read_samples(args.labels)
        y, source = labels.x if labels.y is None else labels.y, args.labels
    if y is None:
        raise DataError(f"{name}: holds samples but no classes. Give them with --labels FILE (.npy or IDX).")
    return x, read_classes(source, y, trained.class_names, classes, len(x)), name
