"""``ranvier predict``: what a trained network says about the samples in a file."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
from collections.abc import Sequence
from typing import Any

from ranvier.cli import arguments
from ranvier.cli.console import Console

__all__ = ["add", "class_names", "probabilities_of", "run"]

_SHOWN = 20  # rows printed for people; --out and --json give all


def add(verbs: Any) -> None:
    """Declare the verb and its options."""
    parser = verbs.add_parser(
        "predict",
        help="what a trained network says about the samples in a file",
        description="Print the class of every sample in a file, with its probability, or write all probabilities.",
        examples=(
            "ranvier predict runs/digits-20260301-120000 pictures.npy",
            "ranvier predict runs/wine-20260301-120000 bottles.csv --out answers.csv",
            "ranvier predict runs/mnist-20260301-120000 t10k-images-idx3-ubyte.gz --json",
        ),
        after="FILE is a NumPy array (.npy, .npz), a table (.csv, with or without a header) or IDX images, plain or\n"
        "compressed. Values are taken as the network was trained on them, before any scaling.",
    )
    parser.add_argument("run_path", metavar="RUN", help="a run folder, or a model file")
    parser.add_argument("file", metavar="FILE", help="the samples")
    parser.add_argument("--out", metavar="FILE", help="write all answers to a file: .csv, .json, .npy or .npz")
    parser.add_argument("--overwrite", action="store_true", help="replace the file of --out if it exists")
    parser.add_argument("--json", action="store_true", help="print class and probabilities of all samples as JSON")
    arguments.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict as the arguments say; returns the exit code."""
    from ranvier.cli.reading import fit_shape, read_samples
    from ranvier.cli.run_folder import open_run

    console = Console(args.json)
    if args.out:
        _check_target(args.out, args.overwrite)
    trained = open_run(args.run_path)
    model = trained.load()
    shape = model.input_shape[1:]
    table = read_samples(args.file, trained.feature_names, shape[0] if len(shape) == 1 else None)
    x = fit_shape(args.file, table.x, shape)
    p = probabilities_of(model, x, trained.model_file)
    names = class_names(trained.class_names, p.shape[1])
    if args.out:
        _write(args.out, p, names)
        console.talk(f"{len(p):,} answers written to {args.out}")
    console.result({"run": trained.path, "classes": names, "predictions": _rows(p, names)} if args.json else {})
    if not args.out:
        _print(p, names, console)
    return 0


def probabilities_of(model: Any, x: Any, path: str) -> Any:
    """Class probabilities ``(samples, classes)``; one sigmoid output becomes two classes.

    Raises:
        DataError: the model does not answer with probabilities of classes.
    """
    import numpy as np

    from ranvier.errors import DataError

    p = np.asarray(model.predict(x, batch_size=1024, verbose=0), np.float64)
    if p.ndim == 2 and p.shape[1] == 1 and (p >= 0).all() and (p <= 1).all():
        p = np.hstack([1 - p, p])
    if p.ndim != 2 or p.shape[1] < 2 or (p < 0).any() or not np.allclose(p.sum(axis=1), 1, atol=1e-3):
        raise DataError(f"{path}: this model does not answer with class probabilities; use it from Python.")
    return p


def class_names(known: Sequence[str], classes: int) -> tuple[str, ...]:
    """The names of the classes; their numbers where no (fitting) names are known."""
    return tuple(known) if len(known) == classes else tuple(map(str, range(classes)))


def _check_target(path: str, overwrite: bool) -> None:
    """Refuse an output file before anything is computed."""
    from ranvier.errors import ArgumentError, DataError

    if not path.lower().endswith((".csv", ".json", ".npy", ".npz")):
        raise ArgumentError(f"--out: expected a name ending in .csv, .json, .npy or .npz, got {path}.")
    if os.path.lexists(path) and not overwrite:
        raise DataError(f"{path} exists already. Add --overwrite to replace it.")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise DataError(f"{path} cannot be written: there is no folder {folder}.")


def _rows(p: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    said = p.argmax(axis=1).tolist()
    return [
        {"row": row, "class": names[k], "probability": float(p[row, k]), "probabilities": p[row].tolist()}
        for row, k in enumerate(said)
    ]


def _write(path: str, p: Any, names: Sequence[str]) -> None:
    """Write all answers in the form the name asks for; the file appears whole or not at all."""
    import numpy as np

    from ranvier.data.atomic import atomic_write

    kind = os.path.splitext(path)[1].lower()
    with atomic_write(path) as file:
        if kind == ".npy":
            np.save(file, p.astype(np.float32))
        elif kind == ".npz":
            np.savez(file, classes=np.asarray(names), probabilities=p.astype(np.float32), said=p.argmax(axis=1))
        elif kind == ".json":
            file.write((json.dumps(_rows(p, names), ensure_ascii=False) + "\n").encode("utf-8"))
        else:
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(["row", "class", "probability", *(f"p({name})" for name in names)])
            for row in _rows(p, names):
                numbers = (f"{value:.6g}" for value in (row["probability"], *row["probabilities"]))
                writer.writerow([row["row"], row["class"], *numbers])
            file.write(text.getvalue().encode("utf-8"))


def _print(p: Any, names: Sequence[str], console: Console) -> None:
    """The first answers as a table, with the runner-up where the network was not sure."""
    from ranvier.diagnose.text import table_text

    rows = []
    for row in range(min(len(p), _SHOWN)):
        first, second = p[row].argsort()[::-1][:2]
        other = f"{names[second]} {100 * p[row, second]:.1f} %" if p[row, second] >= 0.01 else ""
        rows.append([row, names[first], f"{100 * p[row, first]:.1f} %", other])
    console.tell(table_text(["row", "class", "probability", "or else"], rows, right=[0, 2]))
    if len(p) > _SHOWN:
        console.tell(f"... and {len(p) - _SHOWN:,} more rows; --out answers.csv writes all of them")
