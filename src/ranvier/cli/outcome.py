"""What came out of a training run: shown on the terminal, written as results and as a report."""

from __future__ import annotations

import math
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ranvier.cli import run_folder
from ranvier.cli.console import Console, side_by_side
from ranvier.cli.progress import Progress, duration
from ranvier.cli.recipes import Recipe, TrainingData
from ranvier.cli.run_folder import RunWriter, history_csv
from ranvier.cli.score import Score, score
from ranvier.diagnose.confusion import most_confused
from ranvier.diagnose.pictures import Example
from ranvier.diagnose.report import LayerRow, RunReport, write_report
from ranvier.diagnose.text import confusion_text, image_text
from ranvier.version import __version__

__all__ = ["Outcome", "explain_stop", "learned", "show"]

_PICTURES = 6  # mistakes drawn on the terminal
_REPORTED = 48  # mistakes drawn in the report


@dataclass
class Outcome:
    """A finished (or interrupted) run: what was done, the model, and how good it is.

    Attributes:
        status: ``"finished"``, ``"interrupted"`` or ``"diverged"``.
    """

    recipe: Recipe
    data: TrainingData
    settings: dict[str, Any]
    model: Any
    status: str
    progress: Progress
    seconds: float
    probabilities: Any
    score: Score = field(init=False)

    def __post_init__(self) -> None:
        self.score = score(self.probabilities, self.data.y_test)

    @property
    def source(self) -> str:
        """The data as a command line names it."""
        folder = self.settings.get("data_folder")
        return f"{self.recipe.name} --data {shlex.quote(folder)}" if folder else self.recipe.name

    @property
    def epochs(self) -> int:
        """Epochs that were finished."""
        return len(self.progress.epoch_seconds)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch."""
        return math.ceil(len(self.data.x_train) / self.settings["batch_size"])

    @property
    def step_seconds(self) -> float:
        """What one step takes: the median over the epochs, without the first, which includes compiling."""
        times = self.progress.epoch_seconds[1:] or self.progress.epoch_seconds
        return statistics.median(times) / self.steps_per_epoch if times else math.nan

    def results(self) -> dict[str, Any]:
        """The figures, for results.json and ``--json``."""
        return {
            "data": self.recipe.name,
            "status": self.status,
            "test_accuracy": self.score.accuracy,
            "test_accuracy_interval": self.score.interval,
            "test_right": self.score.right,
            "test_total": self.score.total,
            "test_loss": self.score.loss,
            "epochs": self.epochs,
            "training_seconds": self.seconds,
            "step_seconds": self.step_seconds,
            "parameters": learned(self.model),
            "confusion": self.score.confusion,
        }

    def saved_settings(self) -> dict[str, Any]:
        """What settings.json holds: enough to repeat the run and to name what the model says."""
        return {
            **self.settings,
            "data": self.recipe.name,
            "class_names": self.data.class_names,
            "feature_names": self.data.feature_names,
            "input_shape": self.data.x_train.shape[1:],
            "optimizer": "Adam",
            "loss": "sparse_categorical_crossentropy",
            "training_samples": len(self.data.x_train),
            "test_samples": len(self.data.x_test),
        }

    def write(self, folder: RunWriter) -> None:
        """Write all files of the run folder."""
        self.model.save(folder.file(run_folder.MODEL_FILE))
        folder.write_text(run_folder.HISTORY_FILE, history_csv(self.progress.history))
        folder.write_json(run_folder.SETTINGS_FILE, self.saved_settings())
        folder.write_json(run_folder.ENVIRONMENT_FILE, environment())
        folder.write_json(run_folder.RESULTS_FILE, self.results())
        write_report(folder.file(run_folder.REPORT_FILE), self.report(folder.path))

    def report(self, path: str) -> RunReport:
        """The report of the run.

        Args:
            path: the place the run folder will have.
        """
        data, settings, recipe = self.data, self.settings, self.recipe
        image = data.x_train.shape[1:] if recipe.pixels else None
        folder, model_file = shlex.quote(path), os.path.join(path, run_folder.MODEL_FILE)
        done = f"{self.epochs} of {settings['epochs']}" if self.status != "finished" else f"{self.epochs}"
        stopped = "" if self.status == "finished" else f" The run was {self.status} before its end."
        return RunReport(
            title=f"{recipe.title[0].upper()}{recipe.title[1:]}",
            summary=f"A multilayer perceptron learned from {len(data.x_train):,} samples and was then asked about "
            f"{len(data.x_test):,} others that it had never seen.{stopped}",
            right=self.score.right,
            total=self.score.total,
            figures=[
                ("Test loss", f"{self.score.loss:.4f}"),
                ("Parameters", f"{learned(self.model):,}"),
                ("Training time", duration(self.seconds)),
                *([("Time per step", duration(self.step_seconds))] if self.epochs else []),
                ("Epochs", done),
            ],
            facts=[
                ("Task", f"Classification, {len(data.class_names)} classes"),
                ("Training samples", f"{len(data.x_train):,}"),
                ("Test samples", f"{len(data.x_test):,}, held out"),
                ("Inputs", " × ".join(map(str, data.x_train.shape[1:])) + ", normalised inside the model"),
                ("Loss", "Sparse categorical cross-entropy"),
                ("Optimizer", f"Adam, learning rate {settings['learning_rate']:g} falling to 0 along a cosine"),
                ("Batch size", f"{settings['batch_size']}"),
                ("Dropout", f"{settings['dropout']:g} of hidden units, {settings['input_dropout']:g} of inputs"),
            ],
            layers=layer_rows(self.model),
            history=self.progress.history,
            validation_name="test",
            confusion=self.score.confusion,
            class_names=data.class_names,
            mistakes=[self._example(row) for row in self.score.wrong[:_REPORTED]] if image else (),
            image_range=recipe.pixels,
            weights=first_kernel(self.model),
            weight_shape=image,
            input_names=data.feature_names or None,
            settings=_shown(self.saved_settings()),
            environment=_shown(environment()),
            commands=[
                ("Measure it again", f"ranvier evaluate {folder} {self.source}"),
                ("Ask it about data of your own (.npy, .npz, .csv or IDX)", f"ranvier predict {folder} FILE"),
                ("See the compiled training step", f"ranvier explain {folder}"),
                (
                    "Use it from Python",
                    f"import ranvier as rv\nmodel = rv.load_model({model_file!r})\nmodel.predict(x)",
                ),
            ],
            created=time.strftime("%d %B %Y, %H:%M").lstrip("0"),
            version=__version__,
        )

    def _example(self, row: int) -> Example:
        names, truth = self.data.class_names, int(self.data.y_test[row])
        said, sure = int(self.score.said[row]), float(self.score.sure[row])
        return Example(self.data.x_test[row], names[truth], names[said], sure, f"test sample {row:,}")


_NOT_SHOWN = ("class_names", "feature_names", "input_shape", "training_samples", "test_samples")


def _shown(facts: Mapping[str, Any]) -> dict[str, object]:
    """Settings or environment for people to read."""
    shown: dict[str, object] = {}
    for key, value in facts.items():
        if key not in _NOT_SHOWN:
            told = ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else value
            shown[key.replace("_", " ")] = "automatic" if value is None else told
    return shown


def environment() -> dict[str, Any]:
    """On what this runs."""
    from ranvier import config
    from ranvier.compiler.native.limits import default_threads

    facts = {
        "ranvier": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "backend": config.get("backend"),
        "threads": config.get("threads") or default_threads(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    if config.get("backend") == "native":
        from ranvier.compiler.native.target import host_isa, llvm_version

        facts |= {"llvm": llvm_version(), "vectors": host_isa(config.get("isa")).name}
    return facts


def _processor() -> str:
    """The processor's name as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def learned(layer: Any) -> int:
    """How many numbers a layer or model learns (statistics of the data do not count)."""
    return sum(weight.size for weight in layer.trainable_weights)


def first_kernel(model: Any) -> Any:
    """The incoming weights of the first layer that learns, as a matrix ``(inputs, units)``; None without one."""
    for weight in model.trainable_weights:
        if len(weight.shape) == 2:
            return weight.numpy()
    return None


def layer_rows(model: Any) -> list[LayerRow]:
    """The network as the report's table wants it."""
    rows = []
    shape = model.input_shape
    for layer in model.layers:
        shape = layer.compute_output_shape(shape)
        about = layer._describe()
        kind = type(layer).__name__ + (f", {about}" if about and not about.startswith("(") else "")
        rows.append(LayerRow(layer.name, kind, " × ".join(map(str, shape[1:])), learned(layer)))
    return rows


def show(outcome: Outcome, path: str, console: Console) -> None:
    """Print what came out: accuracy, confusion matrix, mistakes, where the run folder is, what to do next."""
    names, found = outcome.data.class_names, outcome.score
    console.result({**outcome.results(), "run": path})
    if outcome.epochs:
        steps = f"{outcome.epochs * outcome.steps_per_epoch:,} steps of {duration(outcome.step_seconds)}"
        console.talk(f"\ntrained in {duration(outcome.seconds)}, compiling and testing included; {steps}")
    console.tell(f"test {found.sentence()}")
    console.talk("\nconfusion matrix (row: what it is, column: what the network says)\n")
    console.talk(confusion_text(found.confusion, names))
    _show_mistakes(outcome, console)
    folder = shlex.quote(path)
    console.talk("")
    console.tell(f"run folder {folder}")
    console.talk(f"  look at  {shlex.quote(path + '/' + run_folder.REPORT_FILE)}")
    console.talk(f"  test     ranvier evaluate {folder} {outcome.source}")
    console.talk(f"  use      ranvier predict {folder} FILE")
    console.talk(f"  inside   ranvier explain {folder}")


def _show_mistakes(outcome: Outcome, console: Console) -> None:
    found, names = outcome.score, outcome.data.class_names
    if not len(found.wrong):
        console.talk("\nno mistakes")
        return
    pairs = most_confused(found.confusion, names, 4)
    often = [f"{pair.true} taken for {pair.said} ({pair.times} times)" for pair in pairs if pair.times > 1]
    told = f"{len(found.wrong):,} mistakes" if len(found.wrong) > 1 else "1 mistake"
    console.talk(f"\n{told}{', most often ' if often else ''}{', '.join(often)}")
    if not outcome.recipe.pixels:
        return
    low, high = outcome.recipe.pixels
    style = "auto" if console.unicode else "ascii"
    titles, pictures = [], []
    for row in found.wrong[:_PICTURES]:
        true, said = names[int(outcome.data.y_test[row])], names[int(found.said[row])]
        sure = f"{100 * found.sure[row]:.0f} %" if found.sure[row] < 0.995 else "over 99 %"
        titles.append(f"{true} → {said}, {sure}")
        pictures.append(image_text(outcome.data.x_test[row], low=low, high=high, style=style))
    console.talk("the surest of them: what it is, what the network says, how sure it is\n")
    blocks = list(zip(titles, _cropped(pictures), strict=True))
    console.talk(side_by_side(blocks, console.width, rows=1))


def _cropped(pictures: list[str]) -> list[str]:
    """Pictures without the lines at top and bottom that are empty in all of them."""
    split = [picture.split("\n") for picture in pictures]
    full = [index for lines in split for index, line in enumerate(lines) if line.strip()]
    if not full:
        return pictures
    return ["\n".join(lines[min(full) : max(full) + 1]) for lines in split]


def explain_stop(outcome: Outcome, path: str) -> None:
    """Say on the standard error why a run ended early."""
    epochs = f"after {outcome.epochs} of {outcome.settings['epochs']} epochs"
    if outcome.status == "interrupted":
        text = f"interrupted {epochs}; what was learned is kept in {path}"
    else:
        text = (
            f"the loss became NaN or infinite {epochs}; the last finite weights are kept in {path}. "
            "Try a smaller --learning-rate."
        )
    print(f"ranvier: {text}", file=sys.stderr)
