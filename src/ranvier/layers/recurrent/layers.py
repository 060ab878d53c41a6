"""SimpleRNN, LSTM and GRU: an RNN over the cell of the same name, with the cell's arguments and its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ranvier.layers.base import register
from ranvier.layers.recurrent.cell import Cell
from ranvier.layers.recurrent.cells import GRUCell, LSTMCell, SimpleRNNCell
from ranvier.layers.recurrent.rnn import RNN

__all__ = ["GRU", "LSTM", "SimpleRNN"]

Class = TypeVar("Class", bound=type)


def _property(name: str) -> property:
    return property(lambda self: getattr(self.cell, name), doc=f"``{name}`` of the cell.")


def _over(cell: type[Cell], *names: str) -> Callable[[Class], Class]:
    """Decorator: arguments of the cell can be read from the layer."""

    def add(cls: Class) -> Class:
        for name in (*cell._arguments(), *names):
            if name not in ("name", "trainable", "dtype"):
                setattr(cls, name, _property(name))
        return cls

    return add


class _CellLayer(RNN):
    """Base of the three layers: makes the cell from the layer's own arguments."""

    def __init__(self, kind: type[Cell], given: dict[str, Any], **common: Any):
        cell_name = {"SimpleRNNCell": "simple_rnn_cell", "LSTMCell": "lstm_cell", "GRUCell": "gru_cell"}[kind.__name__]
        options = {name: given[name] for name in kind._arguments() if name in given}
        inner = {name: common[name] for name in ("trainable", "dtype") if name in common}
        own = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask")
        super().__init__(kind(**options, name=cell_name, **inner), **{n: given[n] for n in own if n in given}, **common)

    @classmethod
    def _arguments(cls) -> list[str]:
        return [name for name in super()._arguments() if name not in ("kind", "given", "cell")]

    def _describe(self) -> str:
        return self.cell._describe()


@register
@_over(SimpleRNNCell)
class SimpleRNN(_CellLayer):
    """A simple recurrent network: ``h_t = activation(x_t @ kernel + bias + h_{t-1} @ recurrent_kernel)``.

    Args:
        units: size of the state, which is also that of the output.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        kernel_initializer: how the kernel starts.
        recurrent_initializer: how the recurrent kernel starts.
        bias_initializer: how the bias starts.
        kernel_regularizer: penalty on the kernel.
        recurrent_regularizer: penalty on the recurrent kernel.
        bias_regularizer: penalty on the bias.
        dropout: probability of leaving an input out, while training; the same ones at all time steps.
        recurrent_dropout: the same for the entries of the state that go into the product.
        seed: a seed of its own for dropout; None for the global generator.
        return_sequences: return the outputs of all time steps, not only the last.
        return_state: return the last states too.
        go_backwards: go from the last time step to the first; the outputs come in that order.
        stateful: start each batch with the states in which the batch before ended, sequence by sequence.
        unroll: taken for the sake of Keras programs; compiled loops are unrolled as it is useful.
        **common: zero_output_for_mask as for :class:`RNN`; name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, time, features)`` gives ``(batch, units)``, or ``(batch, time, units)`` with ``return_sequences``;
        with ``return_state`` a tuple of that and the states.

    Raises:
        ArgumentError: an argument is out of range, or another number of initial states than there are.
        ShapeError: no time steps, another number of features than the layer was built for, or a mask or an initial
            state that does not fit.

    Example:
        >>> layer = rv.layers.SimpleRNN(1, activation=None, kernel_initializer="ones", recurrent_initializer="ones")
        >>> layer(rv.tensor([[[1.0], [2.0], [3.0]]])).tolist()
        [[6.0]]
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        **common: Any,
    ):
        given = dict(locals())
        super().__init__(SimpleRNNCell, given, **common)


@register
@_over(LSTMCell)
class LSTM(_CellLayer):
    """A long short-term memory: a recurrent network whose gates say what it keeps and what it forgets.

    The formulas of a step are those of :class:`LSTMCell`. The weights are ``kernel`` ``(features, 4 * units)``,
    ``recurrent_kernel`` ``(units, 4 * units)`` and ``bias`` ``(4 * units,)``, with the gates i, f, g and o side by
    side, as in Keras; with ``separate_bias`` there is ``recurrent_bias`` too, and the layer is PyTorch's. The states
    are h and c.

    Args:
        units: size of the state, which is also that of the output.
        activation: name or function; None for none.
        recurrent_activation: name or function of the gates.
        use_bias: whether there are biases.
        kernel_initializer: how the kernel starts.
        recurrent_initializer: how the recurrent kernel starts.
        bias_initializer: how the biases start.
        unit_forget_bias: the forget gate's bias starts at 1, so that memory is kept at first.
        kernel_regularizer: penalty on the kernel.
        recurrent_regularizer: penalty on the recurrent kernel.
        bias_regularizer: penalty on the biases.
        dropout: probability of leaving an input out, while training; the same ones at all time steps.
        recurrent_dropout: the same for the entries of the state that go into the product.
        seed: a seed of its own for dropout; None for the global generator.
        return_sequences: return the outputs of all time steps, not only the last.
        return_state: return the last states too.
        go_backwards: go from the last time step to the first; the outputs come in that order.
        stateful: start each batch with the states in which the batch before ended, sequence by sequence.
        unroll: taken for the sake of Keras programs; compiled loops are unrolled as it is useful.
        separate_bias: a second bias, for the state's product: the six formulas to the letter.
        **common: zero_output_for_mask as for :class:`RNN`; name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, time, features)`` gives ``(batch, units)``, or ``(batch, time, units)`` with ``return_sequences``;
        with ``return_state`` a tuple of that and the states.

    Raises:
        ArgumentError: an argument is out of range, or another number of initial states than there are.
        ShapeError: no time steps, another number of features than the layer was built for, or a mask or an initial
            state that does not fit.

    Example:
        >>> layer = rv.layers.LSTM(8, return_sequences=True, return_state=True)
        >>> outputs, h, c = layer(rv.ones((2, 10, 3)))
        >>> outputs.shape, h.shape, c.shape, bool(rv.all(outputs[:, -1] == h))
        ((2, 10, 8), (2, 8), (2, 8), True)
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        separate_bias: bool = False,
        **common: Any,
    ):
        given = dict(locals())
        super().__init__(LSTMCell, given, **common)


@register
@_over(GRUCell)
class GRU(_CellLayer):
    """A gated recurrent unit: a recurrent network with two gates.

    The formulas of a step are those of :class:`GRUCell`. The weights are ``kernel`` ``(features, 3 * units)``,
    ``recurrent_kernel`` ``(units, 3 * units)`` and ``bias`` ``(2, 3 * units)`` (``(3 * units,)`` without
    ``reset_after``), with z, r and n side by side.

    Args:
        units: size of the state, which is also that of the output.
        activation: name or function; None for none.
        recurrent_activation: name or function of the gates.
        use_bias: whether there are biases.
        kernel_initializer: how the kernel starts.
        recurrent_initializer: how the recurrent kernel starts.
        bias_initializer: how the biases start.
        kernel_regularizer: penalty on the kernel.
        recurrent_regularizer: penalty on the recurrent kernel.
        bias_regularizer: penalty on the biases.
        dropout: probability of leaving an input out, while training; the same ones at all time steps.
        recurrent_dropout: the same for the entries of the state that go into the product.
        seed: a seed of its own for dropout; None for the global generator.
        return_sequences: return the outputs of all time steps, not only the last.
        return_state: return the last states too.
        go_backwards: go from the last time step to the first; the outputs come in that order.
        stateful: start each batch with the states in which the batch before ended, sequence by sequence.
        unroll: taken for the sake of Keras programs; compiled loops are unrolled as it is useful.
        reset_after: whether the reset gate is applied after the product with the state.
        **common: zero_output_for_mask as for :class:`RNN`; name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, time, features)`` gives ``(batch, units)``, or ``(batch, time, units)`` with ``return_sequences``;
        with ``return_state`` a tuple of that and the states.

    Raises:
        ArgumentError: an argument is out of range, or another number of initial states than there are.
        ShapeError: no time steps, another number of features than the layer was built for, or a mask or an initial
            state that does not fit.

    Example:
        >>> layer = rv.layers.GRU(8, return_sequences=True)
        >>> layer(rv.ones((2, 10, 3))).shape
        (2, 10, 8)
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        **common: Any,
    ):
        given = dict(locals())
        super().__init__(GRUCell, given, **common)
