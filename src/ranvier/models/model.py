"""The model: a layer that can be trained, evaluated, asked for predictions, summed up and saved.

Derive from :class:`Model` for networks of any form; :class:`ranvier.Sequential` is the usual case, layer after layer.
Methods, arguments and defaults follow Keras 3. What they do lies in the files beside this one: ``training``,
``evaluation``, ``summary``, ``saving``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ranvier.callbacks import History
from ranvier.dtypes import DType
from ranvier.errors import ArgumentError, describe
from ranvier.layers import Layer
from ranvier.models import evaluation, summary, training
from ranvier.models.building import all_or_nothing, output_of
from ranvier.models.compiled import Compiled
from ranvier.models.engine import Engine
from ranvier.tensor import Tensor
from ranvier.variable import Variable

__all__ = ["Model"]


def _holds(batch_size: Any, rows: int) -> bool:
    """Whether so many rows are one batch (False also where the size is none, which others will say)."""
    return type(batch_size) is int and batch_size >= rows


class _Keeper:
    """What a model keeps that is no part of the network; an object of its own, so that nobody takes it for weights."""

    def __init__(self, model: Any):
        self.engine = Engine(model)
        self.compiled: Compiled | None = None
        self.busy = threading.Lock()  # held during fit
        self.input_dtype: DType | None = None
        self.output: Any = None  # (shape, dtype) of the output, once built
        self.output_for: Any = None  # the shape of the input it was found for, if that may be another one


class Model(Layer):
    """A network, made of layers found by attribute.

    ::

        class TwoPaths(rv.Model):
            def __init__(self):
                super().__init__()
                self.wide = rv.layers.Dense(32, activation="relu")
                self.narrow = rv.layers.Dense(4, activation="tanh")
                self.out = rv.layers.Dense(1)

            def call(self, inputs, training=False):
                return self.out(rv.concatenate([self.wide(inputs), self.narrow(inputs)], axis=-1))

    Args:
        name: name in summaries and files; by default made from the class name.
        trainable: whether gradients are taken by the weights.
        dtype: dtype that floating inputs are converted to.
        **nothing: no other arguments are known.

    Attributes:
        stop_training: set to True, for example by a callback, to end ``fit`` after the present epoch.
        history: the history of the last ``fit``, or None.

    Raises:
        ArgumentError: an unknown argument or an unusable name.
    """

    def __init__(self, name: str | None = None, trainable: bool = True, dtype: Any = None, **nothing: Any):
        super().__init__(name=name, trainable=trainable, dtype=dtype, **nothing)
        self._keeper = _Keeper(self)
        self.stop_training = False
        self.history: History | None = None

    # -- building -------------------------------------------------------------------------------------------------

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The model's output for a batch, computed at once.

        Args:
            inputs: a tensor or array, the batch axis first.
            *args: passed to ``call``.
            **kwargs: ``training``, and what ``call`` takes.
        """
        self._check_initialised()
        if not self.built and isinstance(inputs, Tensor | np.ndarray) and self._keeper.input_dtype is None:
            self._keeper.input_dtype = _input_dtype(self, inputs.dtype)
        return super().__call__(inputs, *args, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Make all weights, for a shape of the input. Done by the first call, fit or predict if not before.

        Args:
            input_shape: sizes with None for the batch axis.
        """
        if not all(n is None or isinstance(n, int) for n in input_shape) or None in input_shape[1:]:
            return  # several inputs, or open sizes: layers are built as they meet their input
        with all_or_nothing(self):
            self._keeper.output = output_of(self._forward, input_shape, self._keeper.input_dtype or self.compute_dtype)

    def _masked(self, inputs: Any, mask: Any, outputs: Any) -> Any:
        return outputs  # the layers inside have said which of their outputs have masks

    def _forward(self, x: Tensor) -> Any:
        options = {"training": False} if self._takes_training else {}
        return self.call(x, **options)

    def _keeps_integers(self) -> bool:
        """Whether integer data goes in as integers; else it is converted to the model's dtype first."""
        return True

    def _first_layer(self) -> Layer | None:
        """The layer that the data goes into as it is, if that is certain."""
        return None

    def _output_layer(self) -> tuple[Layer | None, bool]:
        """The layer whose activation the output has, and whether that is certain."""
        found = [layer for layer in self.layers if not isinstance(layer, Model)]
        return (found[-1] if found else None), False

    # -- parts ----------------------------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers directly inside, in order (without the input layer)."""
        return self.sublayers

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or its number.

        Args:
            name: name of the layer.
            index: number of the layer in ``layers``.

        Raises:
            ArgumentError: there is no such layer, or not exactly one of the arguments was given.
        """
        if (name is None) == (index is None):
            raise ArgumentError(f"{self._who()}: get_layer expects either a name or an index.")
        layers = self.layers
        if index is not None:
            if isinstance(index, bool) or not isinstance(index, int) or not -len(layers) <= index < len(layers):
                raise ArgumentError(f"{self._who()}: there are {len(layers)} layers, none has the number {index!r}.")
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        known = ", ".join(layer.name for layer in layers)
        raise ArgumentError(f"{self._who()}: there is no layer {name!r}. Layers: {known}.")

    @property
    def trainable_variables(self) -> list[Variable]:
        """The weights that gradients are taken by."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The other weights."""
        return self.non_trainable_weights

    @property
    def input_shape(self) -> Any:
        """Shape of the input with an open batch axis, or None before the model is built."""
        return self.built_shape

    @property
    def output_shape(self) -> Any:
        """Shape of the output with an open batch axis; None before the model is built, and for several outputs."""
        output = self._keeper.output
        one = isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], DType)  # (shape, dtype)
        return output[0] if one else None

    # -- compile --------------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        jit_compile: Any = "auto",
        steps_per_execution: Any = 1,
    ) -> None:
        """Say how the model is to be trained. Weights stay as they are; an earlier optimizer's state is forgotten.

        Args:
            optimizer: name or object.
            loss: name, object, or function of (y_true, y_pred) that returns one number for each sample.
            metrics: names or objects of what is to be reported beside the loss, for example ``["accuracy"]``.
            weighted_metrics: the same, but counted with sample and class weights.
            jit_compile: taken for the sake of Keras programs; everything is compiled.
            steps_per_execution: taken for the sake of Keras programs; fit runs as many steps per call as are useful.

        Raises:
            ArgumentError: an unknown name, or a loss that contradicts the last layer's activation.
        """
        self._check_initialised()
        del jit_compile, steps_per_execution
        compiled = Compiled(optimizer, loss, metrics, weighted_metrics)
        self._check_output(compiled)
        self._keeper.compiled = compiled
        self._keeper.engine.forget()

    def _check_output(self, compiled: Compiled) -> None:
        layer, certain = self._output_layer()
        activation = getattr(getattr(layer, "activation", None), "registered_name", None)
        if layer is not None and activation is not None:
            compiled.check_output(activation, layer.name, certain)

    @property
    def compiled(self) -> bool:
        """Whether ``compile`` has been called."""
        return self._keeper.compiled is not None

    def _compiled(self, who: str, loss: bool = True) -> Compiled:
        compiled = self._keeper.compiled
        if compiled is None:
            raise ArgumentError(
                f"{who}: the model {self.name!r} is not compiled. Call model.compile(optimizer=..., loss=...) first."
            )
        if loss and compiled.loss is None:
            raise ArgumentError(
                f"{who}: compile was given no loss. Call model.compile(optimizer=..., loss=...), for example "
                "loss='mse'."
            )
        return compiled

    @property
    def optimizer(self) -> Any:
        """The optimizer, or None before ``compile``."""
        return self._keeper.compiled.optimizer if self._keeper.compiled else None

    @property
    def loss(self) -> Any:
        """The loss, or None before ``compile``."""
        return self._keeper.compiled.loss if self._keeper.compiled else None

    @property
    def metrics(self) -> list[Any]:
        """The loss's mean and the metrics."""
        return self._keeper.compiled.trackers if self._keeper.compiled else []

    @property
    def metrics_names(self) -> list[str]:
        """Names of what ``evaluate`` returns, in order."""
        return [m.name for m in self.metrics]

    def reset_metrics(self) -> None:
        """Forget what loss and metrics have counted so far."""
        for metric in self.metrics:
            metric.reset_state()

    # -- work -----------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
        check_data: str = "warn",
    ) -> History:
        """Train.

        The data stays in memory and every step picks its own rows, so that one native call runs many steps. Ctrl-C
        ends training after the present call: the model stays usable and the history so far is returned, with
        ``stopped_by == "interrupt"``.

        Args:
            x: samples, shape ``(samples, ...)``: array, nested lists, tensor or table.
            y: targets, one row for each sample.
            batch_size: samples per step; 32 by default.
            epochs: number of the last epoch, counted from 1: how often the data is gone through, if the first is 0.
            verbose: 0 silent, 1 a progress bar (a line per epoch where there is no terminal), 2 lines; "auto" is 1.
            callbacks: a list of :class:`ranvier.callbacks.Callback`.
            validation_split: share of the rows, taken from the end, that is held out to validate with.
            validation_data: (x, y) or (x, y, sample_weight) to validate with after each epoch.
            shuffle: go through the rows in a new order each epoch (see ``rv.set_random_seed``).
            class_weight: factor on the loss of samples by their class number.
            sample_weight: factor on the loss of each sample.
            initial_epoch: number of the first epoch, to go on from an earlier fit.
            validation_batch_size: samples per step of validation; by default ``batch_size``.
            validation_freq: validate after every so many epochs.
            check_data: what to do about NaN and infinity in x, y and the validation data: "warn", "error" or "ignore".

        Returns:
            The history: ``history.history["loss"]`` and so on, one value for each epoch.

        Raises:
            ArgumentError: an argument is out of range, or the model is not compiled.
            DataError: data is empty, labels are no classes, or (if asked) data holds NaN.
            DTypeError: data is not made of numbers.
            ShapeError: lengths differ, or data does not fit the model.
            NonFiniteError: the loss became NaN or infinite; the model keeps the weights from before that step.

        Example:
            >>> rv.set_random_seed(1)
            >>> model = rv.Sequential([rv.layers.Dense(1)])
            >>> model.compile(rv.optimizers.SGD(0.1), "mse")
            >>> history = model.fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0], epochs=200, verbose=0)
            >>> model.predict([[10.0]], verbose=0).round(2).tolist()
            [[21.0]]
        """
        return training.fit(
            self,
            x,
            y,
            training.Settings(
                batch_size, epochs, verbose, callbacks, validation_split, validation_data, shuffle, class_weight,
                sample_weight, initial_epoch, validation_batch_size, validation_freq, check_data,
            ),
        )  # fmt: skip

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics on data the model is not trained with.

        Args:
            x: samples.
            y: targets.
            batch_size: samples per step; 32 by default. The result does not depend on it.
            verbose: 0 silent; 1, 2 and "auto" print one line.
            sample_weight: factor on the loss of each sample.
            callbacks: a list of callbacks.
            return_dict: return values by name.

        Returns:
            The loss, or with metrics a list ``[loss, *metrics]``, or a dictionary.

        Raises:
            ArgumentError: an argument is out of range, or the model is not compiled.
            DataError: data is empty, or labels are no classes.
            DTypeError: data is not made of numbers.
            ShapeError: lengths differ, or data does not fit the model.
        """
        return evaluation.evaluate(self, x, y, batch_size, verbose, sample_weight, callbacks, return_dict)

    def predict(self, x: Any, batch_size: int | None = None, verbose: Any = "auto", callbacks: Any = None) -> Any:
        """The model's output for samples.

        Args:
            x: samples, the batch axis first.
            batch_size: samples per call of the network; the result does not depend on it.
            verbose: 1 and 2 print a line at the end; 0 and "auto" print nothing.
            callbacks: a list of callbacks.

        Returns:
            A NumPy array with a row for each sample.

        Raises:
            ArgumentError: an argument is out of range.
            DTypeError: data is not made of numbers.
            ShapeError: data does not fit the model.
        """
        if type(x) is np.ndarray and callbacks is None and (batch_size is None or _holds(batch_size, len(x))):
            ready = self._keeper.engine.forward.get((x.shape, x.dtype))
            if ready is not None and verbose in ("auto", 0):
                return ready(x)
        return evaluation.predict(self, x, batch_size, verbose, callbacks)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on one batch. Loss and metrics go on counting from batch to batch, until ``reset_metrics``.

        Args:
            x: samples.
            y: targets.
            sample_weight: factor on the loss of each sample.
            class_weight: factor on the loss of samples by their class number.
            return_dict: return values by name.

        Returns:
            The loss, or with metrics a list ``[loss, *metrics]``, or a dictionary.

        Raises:
            NonFiniteError: the loss is NaN or infinite; nothing was changed.
        """
        return training.train_on_batch(self, x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch. They go on counting from batch to batch, until ``reset_metrics``.

        Args:
            x: samples.
            y: targets.
            sample_weight: factor on the loss of each sample.
            return_dict: return values by name.

        Returns:
            The loss, or with metrics a list ``[loss, *metrics]``, or a dictionary.
        """
        return evaluation.test_on_batch(self, x, y, sample_weight, return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The model's output for one batch, as a NumPy array.

        Args:
            x: samples, the batch axis first.
        """
        return evaluation.predict(self, x, None, 0, None)

    # -- description and files ------------------------------------------------------------------------------------

    def count_params(self) -> int:
        """The number of numbers in the weights.

        Raises:
            ArgumentError: the model is not built.
        """
        if not self.built:
            raise ArgumentError(
                f"{self._who()}: the model has no weights yet. Start it with an Input, or call it on data first."
            )
        return sum(v.size for v in self.weights)

    def summary(self, print_fn: Callable[[str], Any] | None = None) -> None:
        """Print the layers, the shapes of their outputs and their numbers of weights.

        The layers are counted as in the literature: the input layer does not count.

        Args:
            print_fn: what to call with the text instead of ``print``.
        """
        text = summary.summary_text(self)
        (print if print_fn is None else print_fn)(text)

    def explain(self, x: Any, y: Any, batch_size: int = 32) -> str:
        """The plan that one training step is compiled to: its kernels, what they fuse, their cost.

        Args:
            x: samples, as for ``fit``; only their shape and number matter.
            y: targets.
            batch_size: samples per step.

        Raises:
            ArgumentError: the model is not compiled.

        Example:
            >>> model = rv.Sequential([rv.layers.Dense(1)])
            >>> model.compile("sgd", "mse")
            >>> "optimizer" in model.explain([[0.0], [1.0]], [0.0, 1.0])
            True
        """
        return training.explain(self, x, y, batch_size)

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write weights, structure, input signature, and how the model was compiled, to one file.

        The file appears whole or not at all; an old one stays until the new one is complete.

        Args:
            filepath: the file, ending in ``.safetensors``.
            overwrite: False refuses to replace a file.

        Raises:
            ArgumentError: the model cannot be written, or the path does not end in ``.safetensors``.
            SaveError: the folder is missing or read-only, or the disk is full; an old file is unchanged.
        """
        from ranvier.models import saving

        saving.save_model(self, filepath, overwrite)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON data."""
        return super().get_config()


def _input_dtype(model: Model, given: Any) -> DType:
    """The dtype in which data of some dtype enters the model."""
    from ranvier.dtypes import FROM_NUMPY, int64

    dtype = given if isinstance(given, DType) else FROM_NUMPY.get(np.dtype(given))
    if dtype is None or dtype.is_float or not model._keeps_integers():
        return model.dtype
    return dtype if dtype.kind == "bool" else int64


def checked_layers(who: str, layers: Any) -> list[Layer]:
    """A list of layers."""
    if layers is None:
        return []
    if isinstance(layers, Layer):
        return [layers]
    if not isinstance(layers, Sequence) or isinstance(layers, str):
        raise ArgumentError(f"{who}: expected a list of layers, got {describe(layers)}.")
    return list(layers)
