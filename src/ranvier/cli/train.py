"""``ranvier train``: from a data set's name to a trained network and its run folder."""

from __future__ import annotations

import argparse
import math
import shlex
import time
from typing import Any

from ranvier.cli import arguments
from ranvier.cli.console import Console
from ranvier.cli.recipes import NAMES, RECIPES, Recipe, TrainingData, load_data

__all__ = ["add", "build_model", "run"]


def add(verbs: Any) -> None:
    """Declare the verb and its options."""
    parser = verbs.add_parser(
        "train",
        help="train a network on a well-known data set and write a run folder",
        description="Train a multilayer perceptron, show how good it is and where it is wrong, and write a run folder: "
        "model, history, settings, environment, results, and report.html to look at.",
        examples=(
            "ranvier train digits",
            "ranvier train mnist --data ~/mnist --epochs 5",
            "ranvier train wine --hidden 64,32 --seed 7 --out runs/wine",
            "ranvier train iris --json --quiet",
        ),
        after="After Ctrl-C what was learned so far is kept: the run folder is written and marked as interrupted.\n"
        "Defaults of --epochs, --batch-size, --hidden and --learning-rate suit each data set.",
    )
    parser.add_argument("data_name", metavar="DATA", choices=NAMES, help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--data", metavar="DIR", help="folder of the IDX files of mnist or fashion-mnist; by default "
                        "they are downloaded once")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", help="the run folder to make; by default runs/DATA-TIME")
    parser.add_argument("--epochs", metavar="N", type=arguments.positive, help="passes over the training data")
    parser.add_argument("--batch-size", metavar="N", type=arguments.positive, help="samples for one step")
    parser.add_argument("--hidden", metavar="N,N,...", type=arguments.widths, help="widths of hidden layers, or none")
    parser.add_argument("--learning-rate", metavar="X", type=arguments.learning_rate, help="of the first step; it "
                        "falls to 0 along a cosine")  # fmt: skip
    parser.add_argument("--seed", metavar="N", type=arguments.seed, default=0, help="start of the random numbers (0)")
    parser.add_argument("--threads", metavar="N", type=arguments.positive, help="threads; the result is the same for "
                        "any number")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="print only the accuracy and the run folder")
    parser.add_argument("--json", action="store_true", help="print the results as JSON, and talk on the standard error")
    arguments.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train as the arguments say; returns the exit code."""
    from ranvier.cli import outcome
    from ranvier.cli.run_folder import RunWriter
    from ranvier.errors import ArgumentError
    from ranvier.models.running import Interrupts

    console = Console(args.json, args.quiet)
    recipe = RECIPES[args.data_name]
    if args.data is not None and recipe.bundled:
        raise ArgumentError(f"--data: {recipe.name} is part of Ranvier, not read from a folder. Leave --data out.")
    settings = choose_settings(recipe, args)
    with RunWriter(recipe.name, args.out) as folder:
        data = load_data(recipe, args.data)
        result = _train(recipe, data, settings, console)
        with Interrupts():  # a second Ctrl-C, pressed while the first is being obeyed, does not lose the run
            result.write(folder)
            path = folder.commit()
    outcome.show(result, path, console)
    if result.status == "finished":
        return 0
    outcome.explain_stop(result, path)
    return 130 if result.status == "interrupted" else 1


def choose_settings(recipe: Recipe, args: argparse.Namespace) -> dict[str, Any]:
    """The recipe's settings, with those of the command line in their place."""
    from ranvier import config

    if args.threads is not None:
        config.set("threads", args.threads)
    names = ("epochs", "batch_size", "hidden", "learning_rate")
    chosen = {name: getattr(recipe, name) if getattr(args, name) is None else getattr(args, name) for name in names}
    words = ["ranvier", "train", recipe.name]
    for name in (*names, "seed", "threads", "data"):
        value = getattr(args, name)
        if value is not None and not (name == "seed" and value == 0):
            text = ",".join(map(str, value)) or "none" if name == "hidden" else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    return {
        **chosen,
        "dropout": recipe.dropout,
        "input_dropout": recipe.input_dropout,
        "seed": args.seed,
        "threads": args.threads,
        "data_folder": args.data,
        "command": shlex.join(words),
    }


def build_model(recipe: Recipe, data: TrainingData, settings: dict[str, Any]) -> Any:
    """The network, compiled: normalisation of the raw inputs, hidden layers with dropout, softmax."""
    from ranvier.layers import Dense, Dropout, Flatten, Input, Normalization
    from ranvier.models import Sequential
    from ranvier.optimizers import Adam
    from ranvier.optimizers.schedules import CosineDecay

    shape = data.x_train.shape[1:]
    # Pixels share one mean and one spread: those at the border, always empty, must not be blown up by their own.
    normalise = Normalization(axis=None if recipe.pixels else -1)
    normalise.adapt(data.x_train)
    layers: list[Any] = [Input(shape=shape), normalise]
    if len(shape) > 1:
        layers.append(Flatten())
    if settings["input_dropout"]:
        layers.append(Dropout(settings["input_dropout"]))
    for width in settings["hidden"]:
        layers.append(Dense(width, activation="relu"))
        if settings["dropout"]:
            layers.append(Dropout(settings["dropout"]))
    layers.append(Dense(len(data.class_names), activation="softmax"))
    model = Sequential(layers)
    steps = settings["epochs"] * math.ceil(len(data.x_train) / settings["batch_size"])
    rate = CosineDecay(settings["learning_rate"], steps)
    model.compile(optimizer=Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _train(recipe: Recipe, data: TrainingData, settings: dict[str, Any], console: Console) -> Any:
    """Build, fit, test; returns the outcome."""
    from ranvier import random
    from ranvier.cli.outcome import Outcome, learned
    from ranvier.cli.progress import Progress
    from ranvier.errors import NonFiniteError

    random.set_random_seed(settings["seed"])
    model = build_model(recipe, data, settings)
    widths = " → ".join(map(str, (math.prod(data.x_train.shape[1:]), *settings["hidden"], len(data.class_names))))
    rate = f"{settings['learning_rate']:g}"
    console.talk(f"{recipe.title}: {len(data.x_train):,} to learn from, {len(data.x_test):,} held out")
    console.talk(f"network {widths}, {learned(model):,} parameters; Adam from {rate}, batches of "
                 f"{settings['batch_size']}, seed {settings['seed']}\n")  # fmt: skip
    progress = Progress(console, settings["epochs"])
    began = time.perf_counter()
    status = "finished"
    try:
        history = model.fit(
            data.x_train, data.y_train, batch_size=settings["batch_size"], epochs=settings["epochs"], verbose=0,
            validation_data=(data.x_test, data.y_test), callbacks=[progress],
        )  # fmt: skip
        if history.stopped_by == "interrupt":
            status = "interrupted"
    except KeyboardInterrupt:  # outside of the native calls, where fit does not catch it
        if not progress.history:
            raise
        status = "interrupted"
    except NonFiniteError as error:  # the weights are those from before the bad step
        if not progress.history:
            raise
        console.warn(error.message)
        status = "diverged"
    seconds = time.perf_counter() - began
    probabilities = model.predict(data.x_test, batch_size=1024, verbose=0)
    return Outcome(recipe, data, settings, model, status, progress, seconds, probabilities)
