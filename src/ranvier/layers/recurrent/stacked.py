"""Several cells that count as one: the output of each is the input of the next."""

from __future__ import annotations

from typing import Any

from ranvier.errors import ArgumentError, describe
from ranvier.layers.base import Layer, get, register
from ranvier.ops.creation import zeros
from ranvier.tensor import Tensor
from ranvier.tree import flatten

__all__ = ["StackedRNNCells", "call_cell", "checked_cell", "output_size"]


def checked_cell(who: str, cell: Any) -> Any:
    """A cell: an object with ``call(x, states)`` and ``state_size``, the configuration of one, or a list of cells.

    Args:
        who: the layer it is for, for the message.
        cell: what was given.

    Raises:
        ArgumentError: no cell.
    """
    if isinstance(cell, list | tuple):
        return StackedRNNCells(cell)
    found = get(cell) if isinstance(cell, dict) else cell
    if isinstance(found, type) or not callable(getattr(found, "call", None)) or not hasattr(found, "state_size"):
        raise ArgumentError(
            f"{who}: expected a cell with call(inputs, states) and state_size, such as rv.layers.LSTMCell(8), got "
            f"{describe(cell)}."
        )
    sizes = flatten(found.state_size)[0]
    if not sizes or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sizes):
        raise ArgumentError(
            f"{who}: expected the cell's state_size to be a positive integer or a list of them, got "
            f"{describe(found.state_size)}."
        )
    return found


def output_size(cell: Any) -> int:
    """The size of a cell's output: ``cell.output_size``, or the size of its first state.

    Args:
        cell: the cell.
    """
    size = getattr(cell, "output_size", None)
    return int(flatten(cell.state_size)[0][0] if size is None else size)


def call_cell(cell: Any, inputs: Tensor, states: Any, training: bool) -> tuple[Any, Any]:
    """One step of any cell.

    Args:
        cell: a layer, or another object with ``call``.
        inputs: one time step.
        states: a list of states.
        training: whether this is a training step, for cells that are layers.

    Raises:
        ArgumentError: the cell does not return an output and states.
    """
    out = cell(inputs, states, training=training) if isinstance(cell, Layer) else cell.call(inputs, states)
    if not isinstance(out, tuple | list) or len(out) != 2:
        raise ArgumentError(
            f"{type(cell).__name__}: expected call(inputs, states) to return (output, new states), got {describe(out)}."
        )
    return out[0], out[1]


@register
class StackedRNNCells(Layer):
    """Cells on top of one another, as one cell: ``x = cell_1(x), x = cell_2(x), ...``.

    ``RNN(StackedRNNCells(cells))`` computes the same as one recurrent layer after another that return sequences, and
    is computed that way.

    Args:
        cells: the cells, the lowest first.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        input ``(batch, features)`` and a list of the cells' states give the last cell's output and all states.

    Raises:
        ArgumentError: there is no cell, or something is none.

    Example:
        >>> cell = rv.layers.StackedRNNCells([rv.layers.GRUCell(3), rv.layers.LSTMCell(2)])
        >>> cell.state_size, cell.output_size
        ([3, [2, 2]], 2)
        >>> rv.layers.RNN(cell)(rv.ones((4, 7, 5))).shape
        (4, 2)
    """

    def __init__(self, cells: Any, **common: Any):
        super().__init__(**common)
        if not isinstance(cells, list | tuple) or not cells:
            raise ArgumentError(f"StackedRNNCells: expected a list of cells, got {describe(cells)}.")
        self.cells = [checked_cell("StackedRNNCells", cell) for cell in cells]
        self._freeze_inside()

    @property
    def state_size(self) -> list[Any]:
        """The state sizes of the cells."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> int:
        """The output size of the last cell."""
        return output_size(self.cells[-1])

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape)
        for cell in self.cells:
            if isinstance(cell, Layer):
                cell.build(shape)
            shape = (shape[0], output_size(cell))

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """States of zeros for all cells.

        Args:
            batch_size: how many sequences.
        """
        return [initial_state(cell, batch_size, self.compute_dtype) for cell in self.cells]

    def call(self, inputs: Tensor, states: Any, training: bool = False) -> Any:  # type: ignore[override]
        """One time step.

        Args:
            inputs: shape ``(batch, features)``.
            states: the states of each cell.
            training: whether dropout is on.
        """
        after = []
        for cell, before in zip(self.cells, states, strict=True):
            several = isinstance(before, list | tuple)
            inputs, new = call_cell(cell, inputs, list(before) if several else [before], training)
            after.append(new if several or not isinstance(new, list | tuple) else new[0])
        return inputs, after

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.output_size)

    def _describe(self) -> str:
        return ", ".join(map(repr, self.cells))


def initial_state(cell: Any, batch: int, dtype: Any) -> Any:
    """The states a cell starts with, in the nest of its ``state_size``: its own choice, or zeros."""
    own = getattr(cell, "get_initial_state", None)
    if own is not None:
        found = own(batch_size=batch)
        single = isinstance(cell.state_size, int) and isinstance(found, list | tuple)
        return found[0] if single else found
    if isinstance(cell.state_size, int):
        return zeros((batch, cell.state_size), dtype)
    return [zeros((batch, n), dtype) for n in cell.state_size]
