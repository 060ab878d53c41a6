"""The three cells: SimpleRNNCell, LSTMCell and GRUCell, each written as its formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ranvier import activations, initializers
from ranvier.layers.base import register
from ranvier.layers.recurrent.cell import Cell, columns, state_list
from ranvier.ops.shape import concatenate
from ranvier.tensor import Tensor, as_tensor
from ranvier.variable import Variable

__all__ = ["GRUCell", "LSTMCell", "SimpleRNNCell"]

NAMES = ("i", "f", "g", "o")  # the gates of an LSTM in the order of their columns


def _product(h: Tensor, kept: Tensor | None, kernel: Any) -> Tensor:
    return (h if kept is None else h * kept) @ kernel


@register
class SimpleRNNCell(Cell):
    """One step of a simple recurrent network: ``h' = activation(x @ kernel + bias + h @ recurrent_kernel)``.

    Args:
        units: size of the state h, which is also the output.
        activation: name or function; None for none.
        use_bias: whether there is a bias.
        kernel_initializer: how the kernel starts.
        recurrent_initializer: how the recurrent kernel starts.
        bias_initializer: how the bias starts.
        kernel_regularizer: penalty on the kernel.
        recurrent_regularizer: penalty on the recurrent kernel.
        bias_regularizer: penalty on the bias.
        dropout: probability of leaving an input out, while training.
        recurrent_dropout: probability of leaving an entry of the state out of the product, while training.
        seed: a seed of its own for dropout; None for the global generator.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        input ``(batch, features)`` and states ``[(batch, units)]`` give output ``(batch, units)`` and states.

    Raises:
        ArgumentError: units is no positive integer, or a rate is outside [0, 1).
        ShapeError: another number of features than the cell was built for.

    Example:
        >>> cell = rv.layers.SimpleRNNCell(2, kernel_initializer="ones", recurrent_initializer="ones", activation=None)
        >>> output, states = cell(rv.tensor([[1.0, 2.0]]), [rv.ones((1, 2))])
        >>> output.tolist()
        [[5.0, 5.0]]
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
        **common: Any,
    ):
        given = dict(locals())
        super().__init__(units, 1, given, **common)

    def step(self, z: Tensor, states: Sequence[Tensor], kept: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        h = self.activation(z + _product(states[0], kept, self.recurrent_kernel))
        return h, [h]


@register
class LSTMCell(Cell):
    """One step of a long short-term memory (Hochreiter and Schmidhuber, 1997).

    With s for ``recurrent_activation`` and tanh for ``activation``::

        i = s(W_ii x + b_ii + W_hi h + b_hi)      input gate: how much of the new goes in
        f = s(W_if x + b_if + W_hf h + b_hf)      forget gate: how much of the old is kept
        o = s(W_io x + b_io + W_ho h + b_ho)      output gate: how much is shown
        g = tanh(W_ig x + b_ig + W_hg h + b_hg)   what is new
        c' = f * c + i * g                        the memory
        h' = o * tanh(c')                         the output

    ``kernel`` holds W_ii, W_if, W_ig, W_io side by side (each transposed), ``recurrent_kernel`` the W_h*, and ``bias``
    one bias for each gate. With ``separate_bias`` ``bias`` holds the b_i* and ``recurrent_bias`` the b_h*: the six
    formulas to the letter, and PyTorch's. :meth:`gate_weights` gives them by the names above.

    Args:
        units: size of h and of c; h is also the output.
        activation: name or function of g and of c'.
        recurrent_activation: name or function of the gates.
        use_bias: whether there is a bias.
        kernel_initializer: how the kernel starts.
        recurrent_initializer: how the recurrent kernel starts.
        bias_initializer: how the biases start.
        unit_forget_bias: the forget gate's bias starts at 1, so that memory is kept at first.
        kernel_regularizer: penalty on the kernel.
        recurrent_regularizer: penalty on the recurrent kernel.
        bias_regularizer: penalty on the biases.
        dropout: probability of leaving an input out, while training.
        recurrent_dropout: probability of leaving an entry of h out of the product, while training.
        seed: a seed of its own for dropout; None for the global generator.
        separate_bias: a second bias, for the state's product.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        input ``(batch, features)`` and states ``[h, c]``, each ``(batch, units)``, give output h' and ``[h', c']``.

    Raises:
        ArgumentError: units is no positive integer, or a rate is outside [0, 1).
        ShapeError: another number of features than the cell was built for.

    Example:
        >>> cell = rv.layers.LSTMCell(3)
        >>> output, (h, c) = cell(rv.ones((2, 5)), cell.get_initial_state(2))
        >>> output.shape, c.shape, [w.shape for w in cell.weights]
        ((2, 3), (2, 3), [(5, 12), (3, 12), (12,)])
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
        separate_bias: bool = False,
        **common: Any,
    ):
        given = dict(locals())
        super().__init__(units, 4, given, **common)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias, self.separate_bias = bool(unit_forget_bias), bool(separate_bias)
        self.state_size = [self.units, self.units]
        self.recurrent_bias: Variable | None = None

    def _build_bias(self, width: int) -> None:
        def first(shape: Any, dtype: Any) -> Tensor:
            plain, ones = self.bias_initializer, initializers.Ones()
            i, f, rest = ((self.units,),) * 2 + ((2 * self.units,),)
            return concatenate([as_tensor(plain(i, dtype)), ones(f, dtype), as_tensor(plain(rest, dtype))])

        start = first if self.unit_forget_bias else self.bias_initializer
        self.bias = self.add_weight("bias", (width,), start, regularizer=self.bias_regularizer)
        if self.separate_bias:
            self.recurrent_bias = self.add_weight(
                "recurrent_bias", (width,), self.bias_initializer, regularizer=self.bias_regularizer
            )

    def _input_bias(self) -> Any:
        # Both biases are added to the same sum, so the second need not be added in every step of the loop.
        return self.bias if self.recurrent_bias is None else self.bias + self.recurrent_bias

    def _gates_of(self, z: Tensor, h: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        s = z + _product(h, kept, self.recurrent_kernel)
        gate, new = self.recurrent_activation, self.activation
        return (
            gate(columns(s, 0, of=4)),
            gate(columns(s, 1, of=4)),
            new(columns(s, 2, of=4)),
            gate(columns(s, 3, of=4)),
        )

    def step(self, z: Tensor, states: Sequence[Tensor], kept: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        h, c = states
        i, f, g, o = self._gates_of(z, h, kept)
        c = f * c + i * g
        h = o * self.activation(c)
        return h, [h, c]

    def gates(self, inputs: Any, states: Any) -> dict[str, Tensor]:
        """What happens inside one step: i, f, g, o, and the new c and h.

        Args:
            inputs: shape ``(batch, features)``.
            states: h and c before.

        Raises:
            ArgumentError: not two states.

        Example:
            >>> cell = rv.layers.LSTMCell(3)
            >>> inside = cell.gates(rv.ones((1, 2)), cell.get_initial_state(1))
            >>> sorted(inside), bool(rv.all((inside["f"] > 0) & (inside["f"] < 1)))
            (['c', 'f', 'g', 'h', 'i', 'o'], True)
        """
        x = self._converted(as_tensor(inputs))
        if not self.built:
            self.build((None, *x.shape[1:]))
        h, c = state_list(self._who(), states, 2)
        i, f, g, o = self._gates_of(self.project(x), h, None)
        c = f * c + i * g
        return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": o * self.activation(c)}

    def gate_weights(self) -> dict[str, Tensor]:
        """The weights by the names of the formulas: W_ii, W_hi, b_ii, b_hi and so on, for i, f, g and o.

        W multiplies a column x from the left, so it has shape ``(units, features)``. There is no b_h* without
        ``separate_bias``, and no bias at all without ``use_bias``.

        Example:
            >>> cell = rv.layers.LSTMCell(3, separate_bias=True)
            >>> cell.build((None, 2))
            >>> weights = cell.gate_weights()
            >>> weights["W_if"].shape, weights["W_hf"].shape, weights["b_if"].tolist(), weights["b_hf"].tolist()
            ((3, 2), (3, 3), [1.0, 1.0, 1.0], [0.0, 0.0, 0.0])
        """
        found: dict[str, Tensor] = {}
        for number, name in enumerate(NAMES):
            found[f"W_i{name}"] = columns(self.kernel.value, number, of=4).T
            found[f"W_h{name}"] = columns(self.recurrent_kernel.value, number, of=4).T
            if self.bias is not None:
                found[f"b_i{name}"] = columns(self.bias.value, number, of=4)
            if self.recurrent_bias is not None:
                found[f"b_h{name}"] = columns(self.recurrent_bias.value, number, of=4)
        return found


@register
class GRUCell(Cell):
    """One step of a gated recurrent unit (Cho et al., 2014).

    With s for ``recurrent_activation`` and tanh for ``activation``::

        z = s(W_z x + b_z + U_z h + d_z)              update gate: how much of the old is kept
        r = s(W_r x + b_r + U_r h + d_r)              reset gate: how much of the old the new looks at
        n = tanh(W_n x + b_n + r * (U_n h + d_n))     with reset_after, as in PyTorch
        n = tanh(W_n x + b_n + U_n (r * h))           without
        h' = z * h + (1 - z) * n                      the output

    Args:
        units: size of h, which is also the output.
        activation: name or function of n.
        recurrent_activation: name or function of the gates.
        use_bias: whether there are biases.
        kernel_initializer: how the kernel starts.
        recurrent_initializer: how the recurrent kernel starts.
        bias_initializer: how the biases start.
        kernel_regularizer: penalty on the kernel.
        recurrent_regularizer: penalty on the recurrent kernel.
        bias_regularizer: penalty on the biases.
        dropout: probability of leaving an input out, while training.
        recurrent_dropout: probability of leaving an entry of h out of the products, while training.
        reset_after: whether the reset gate is applied after the product; then the bias is ``(2, 3 * units)``: b and d.
        seed: a seed of its own for dropout; None for the global generator.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        input ``(batch, features)`` and states ``[h]``, ``(batch, units)``, give output h' and ``[h']``.

    Raises:
        ArgumentError: units is no positive integer, or a rate is outside [0, 1).
        ShapeError: another number of features than the cell was built for.

    Example:
        >>> cell = rv.layers.GRUCell(3)
        >>> output, states = cell(rv.ones((2, 5)), cell.get_initial_state(2))
        >>> output.shape, [w.shape for w in cell.weights]
        ((2, 3), [(5, 9), (3, 9), (2, 9)])
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
        reset_after: bool = True,
        seed: int | None = None,
        **common: Any,
    ):
        given = dict(locals())
        super().__init__(units, 3, given, **common)
        self.recurrent_activation, self.reset_after = activations.get(recurrent_activation), bool(reset_after)

    def _build_bias(self, width: int) -> None:
        shape = (2, width) if self.reset_after else (width,)
        self.bias = self.add_weight("bias", shape, self.bias_initializer, regularizer=self.bias_regularizer)

    def _input_bias(self) -> Any:
        return self.bias if self.bias is None or not self.reset_after else self.bias[0]

    def step(self, z: Tensor, states: Sequence[Tensor], kept: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        h, kernel, gate = states[0], self.recurrent_kernel, self.recurrent_activation
        if self.reset_after:
            s = _product(h, kept, kernel)
            s = s if self.bias is None else s + self.bias[1]
            update = gate(columns(z, 0, of=3) + columns(s, 0, of=3))
            reset = gate(columns(z, 1, of=3) + columns(s, 1, of=3))
            inner = reset * columns(s, 2, of=3)
        else:
            s = columns(z, 0, 2, of=3) + _product(h, kept, columns(kernel, 0, 2, of=3))
            update, reset = gate(columns(s, 0, of=2)), gate(columns(s, 1, of=2))
            inner = _product(reset * h, kept, columns(kernel, 2, of=3))
        new = self.activation(columns(z, 2, of=3) + inner)
        h = update * h + (1 - update) * new
        return h, [h]
