"""RNN: a cell applied to one time step after another.

The loop is :func:`ranvier.scan`, so it is a plain ``for`` eagerly and one native loop when compiled. What does not
depend on the state is taken out of it: the product of the input with the cell's kernel is one contraction over all time
steps, and the cells of a stack run one after another over the whole sequence. Without ``return_sequences`` the loop
keeps no outputs at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ranvier.errors import ArgumentError, ShapeError, describe
from ranvier.layers.base import InputSpec, Layer, _concretely, _context, register
from ranvier.layers.masks import as_mask
from ranvier.layers.recurrent.cell import Cell
from ranvier.layers.recurrent.stacked import StackedRNNCells, call_cell, checked_cell, initial_state, output_size
from ranvier.ops.control import scan
from ranvier.ops.creation import zeros
from ranvier.ops.elementwise import astype, where
from ranvier.ops.shape import flip, moveaxis, reshape
from ranvier.tensor import Tensor, as_tensor
from ranvier.tree import flatten, unflatten
from ranvier.variable import Variable

__all__ = ["RNN"]


class _Held:
    """The states a stateful layer keeps between batches; an object of its own, so that they do not count as weights."""

    def __init__(self) -> None:
        self.states: list[Variable] = []


def _cast(states: Any, dtype: Any) -> Any:
    """A nest of states in a dtype."""
    leaves, structure = flatten(states)
    return unflatten(structure, [astype(as_tensor(s), dtype) for s in leaves])


@register
class RNN(Layer):
    """A recurrent network: ``output_t, states = cell(x_t, states)`` for each time step t.

    At a masked time step (see :class:`Masking`) the states stay as they are and the output before is repeated.

    Args:
        cell: a cell: an object with ``call(inputs, states)``, which returns the output and the new states, and
            ``state_size``, the size of its state or a list of sizes. A list of cells is a stack of them.
        return_sequences: return the outputs of all time steps, not only the last.
        return_state: return the last states too.
        go_backwards: go from the last time step to the first; the outputs come in that order.
        stateful: start each batch with the states in which the batch before ended, sequence by sequence.
        unroll: taken for the sake of Keras programs; compiled loops are unrolled as it is useful.
        zero_output_for_mask: the output at masked time steps is 0.
        **common: name, trainable and dtype, as for every layer.

    Shape:
        ``(batch, time, features)`` gives ``(batch, units)``, or ``(batch, time, units)`` with ``return_sequences``;
        with ``return_state`` a tuple of that and the states.

    Raises:
        ArgumentError: no cell, or another number of initial states than the cell has.
        ShapeError: no time steps, a mask or an initial state that does not fit, or another batch size than before in a
            stateful layer.

    Example:
        >>> class Sum(rv.layers.Layer):
        ...     state_size = 1
        ...     def call(self, inputs, states):
        ...         total = states[0] + rv.sum(inputs, -1, keepdims=True)
        ...         return total, [total]
        >>> rv.layers.RNN(Sum(), return_sequences=True)(rv.ones((1, 4, 1))).tolist()
        [[[1.0], [2.0], [3.0], [4.0]]]
    """

    supports_masking = True

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **common: Any,
    ):
        super().__init__(**common)
        self.cell = checked_cell(type(self).__name__, cell)
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards, self.stateful, self.unroll = bool(go_backwards), bool(stateful), bool(unroll)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.mixes_samples = self.stateful  # rows of a batch are sequences that go on: none may be made up or left out
        self._held = _Held()
        self._freeze_inside()

    # -- shapes ---------------------------------------------------------------------------------------------------

    @property
    def state_size(self) -> list[Any]:
        """The size of each state."""
        sizes = self.cell.state_size
        return list(sizes) if isinstance(sizes, list | tuple) else [sizes]

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 3 or None in input_shape[2:] or 0 in input_shape[2:]:
            raise ShapeError(
                f"{self._who()}: expected input of shape (batch, time, features), got {tuple(input_shape)}. "
                + (
                    "A recurrent layer before this one needs return_sequences=True; for one feature use x[..., None]."
                    if len(input_shape) == 2
                    else "All sizes behind the time must be known."
                )
            )
        if isinstance(self.cell, Layer):
            self.cell.build((input_shape[0], *input_shape[2:]))
        rank = len(input_shape)
        self.input_spec = InputSpec(ndim=rank, axes={a: n for a, n in enumerate(input_shape) if a > 1})

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, size = input_shape[0], output_size(self.cell)
        shape = (batch, input_shape[1], size) if self.return_sequences else (batch, size)
        if not self.return_state:
            return shape
        return (
            shape,
            *([(batch, n) for n in s] if isinstance(s, list | tuple) else (batch, s) for s in self.state_size),
        )

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        mine = (mask[0] if isinstance(mask, list | tuple) else mask) if self.return_sequences else None
        return [mine, *([None] * len(self.state_size))] if self.return_state else mine

    # -- states ---------------------------------------------------------------------------------------------------

    @property
    def states(self) -> list[Variable] | None:
        """The states kept between batches; None while there are none."""
        return list(self._held.states) or None

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """The states a sequence starts with when none are given: the cell's own choice, or zeros.

        Args:
            batch_size: how many sequences.
        """
        found = initial_state(self.cell, batch_size, self.compute_dtype)
        return list(found) if isinstance(found, list | tuple) else [found]

    def reset_state(self) -> None:
        """Forget the states kept between batches: the next batch starts from zeros.

        Raises:
            ArgumentError: the layer keeps none, because it is not stateful.
        """
        if not self.stateful:
            raise ArgumentError(f"{self._who()}: there are no states to forget. Set stateful=True to keep them.")
        for v in self._held.states:
            v.assign(np.zeros(v.shape, v.dtype.numpy))

    def reset_states(self) -> None:
        """The same as :meth:`reset_state`.

        Raises:
            ArgumentError: the layer keeps no states, because it is not stateful.
        """
        self.reset_state()

    def _kept_variables(self) -> list[Variable]:
        return self._held.states

    @property
    def batch_of_states(self) -> int | None:
        """How many sequences the states kept between batches belong to; None while there are none."""
        return self._held.states[0].shape[0] if self._held.states else None

    def _kept_states(self, batch: int) -> list[Variable]:
        """The variables that hold the states between batches, made for the first batch there is."""
        held = self._held.states
        if not held:
            with _concretely():
                start = [as_tensor(s) for s in flatten(self.get_initial_state(batch))[0]]
            held[:] = [Variable(s, f"{self.name}/state_{i}", False, self.compute_dtype) for i, s in enumerate(start)]
        expected = held[0].shape[0]
        if batch != expected:
            raise ShapeError(
                f"{self._who()}: stateful=True keeps the states of {expected} sequences from batch to batch, got a "
                f"batch of {batch}. Use a batch size that divides the number of samples, the same everywhere."
            )
        return held

    def _first_states(self, given: Any, batch: int) -> tuple[list[Any], bool]:
        """The states to start with, in the nest of ``state_size``, and whether they are the cell's own."""
        structure = flatten(self.state_size)[1]
        if given is None:
            if self.stateful and not _context.open_batch:
                return unflatten(structure, [v.value for v in self._kept_states(batch)]), False
            return unflatten(structure, flatten(self.get_initial_state(batch))[0]), True
        sizes = flatten(self.state_size)[0]
        leaves = [given] if hasattr(given, "shape") else flatten(given)[0]
        if len(leaves) != len(sizes) or not all(hasattr(x, "shape") for x in leaves):
            what = ", ".join(f"(batch, {n})" for n in sizes)
            raise ArgumentError(
                f"{self._who()}: expected initial_state to be {len(sizes)} tensor{'s' * (len(sizes) > 1)} of shape "
                f"{what}, got {len(leaves)}: {describe(given)}."
            )
        for x, n in zip(leaves, sizes, strict=True):
            if tuple(x.shape) != (batch, n):
                raise ShapeError(
                    f"{self._who()}: expected an initial state of shape {(batch, n)} for {batch} sequences, got "
                    f"{tuple(x.shape)}."
                )
        return unflatten(structure, leaves), False

    def _checked_mask(self, mask: Any, x: Tensor) -> Tensor | None:
        """The mask, time first and with an axis for the features."""
        mask = as_mask(mask)
        if isinstance(mask, list):
            mask = mask[0]
        if mask is None:
            return None
        if mask.shape not in (x.shape[:2], (*x.shape[:2], 1)):
            raise ShapeError(
                f"{self._who()}: expected a mask of shape (batch, time) = {x.shape[:2]}, got {mask.shape}. It says for "
                "each time step of each sequence whether it counts."
            )
        return reshape(moveaxis(mask, 0, 1), (x.shape[1], x.shape[0], 1))

    # -- the loop -------------------------------------------------------------------------------------------------

    def call(
        self,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Any = None,
        training: bool = False,
        time_order: bool = False,
    ) -> Any:
        """All time steps.

        Args:
            sequences: shape ``(batch, time, features)``.
            initial_state: the states to start with: one tensor ``(batch, units)`` for each state of the cell.
            mask: boolean ``(batch, time)``: False leaves a time step out. By default the mask that came with the input.
            training: whether dropout is on.
            time_order: return the outputs in the order of time also with ``go_backwards``.

        Raises:
            ArgumentError: another number of initial states than the cell has.
            ShapeError: no time steps, or a mask or state that does not fit.
        """
        batch, steps = sequences.shape[:2]
        if steps == 0:
            raise ShapeError(
                f"{self._who()}: expected sequences of at least one time step, got shape {sequences.shape}."
            )
        kept = self._checked_mask(mask, sequences)
        states, fresh = self._first_states(initial_state, batch)
        x = moveaxis(sequences, 0, 1)  # time first, as the loop takes it
        if isinstance(self.cell, StackedRNNCells):
            last, outputs, states = self._stack(self.cell, x, states, kept, training, fresh)
        else:
            last, outputs, states = self._run(self.cell, x, states, kept, training, fresh, self.return_sequences)
        if self.stateful and not _context.open_batch:
            for variable, value in zip(self._kept_states(batch), flatten(states)[0], strict=True):
                variable.assign(value)
        if self.return_sequences:
            last = moveaxis(outputs, 0, 1)
            if self.go_backwards and not time_order:
                last = flip(last, 1)
        last = astype(last, self.compute_dtype)
        return (last, *(_cast(s, self.compute_dtype) for s in states)) if self.return_state else last

    def _stack(
        self, stack: Any, x: Tensor, states: list[Any], kept: Tensor | None, training: bool, fresh: bool
    ) -> tuple[Tensor, Any, list[Any]]:
        """The cells of a stack, one after another over the whole sequence: a masked step changes nothing in any."""
        after: list[Any] = []
        last: Any = None
        for number, cell in enumerate(stack.cells):
            inner = number < len(stack.cells) - 1
            several = isinstance(states[number], list | tuple)
            mine = list(states[number]) if several else [states[number]]
            last, outputs, new = self._run(cell, x, mine, kept, training, fresh, inner or self.return_sequences)
            after.append(new if several else new[0])
            x = outputs
        return last, x, after

    def _run(
        self, cell: Any, x: Tensor, states: list[Any], kept: Tensor | None, training: bool, fresh: bool, sequences: bool
    ) -> tuple[Any, Any, list[Any]]:
        """One cell over all time steps (time first): its last output, all outputs (or None), and its last states."""
        dtype = getattr(cell, "compute_dtype", self.compute_dtype)
        states = _cast(states, dtype)
        xs, step = self._prepared(cell, astype(x, dtype) if x.dtype.is_float else x, training)
        batch, structure = x.shape[1], flatten(states)[1]
        plain = isinstance(cell, Cell) and cell.output_is_state
        fresh = fresh and isinstance(cell, Cell) and type(cell).get_initial_state is Cell.get_initial_state
        # The output before is needed where a masked step repeats it, and at the end. For the cells of this folder it is
        # the first state, unless that started from something else than zeros.
        repeats = kept is not None and not self.zero_output_for_mask
        carried = (repeats and not (plain and fresh)) or (not sequences and not plain)
        init = (states, zeros((batch, output_size(cell)), dtype) if carried else None)

        def turn(carry: Any, slices: Any) -> Any:
            before, previous = carry
            x_t, kept_t = slices
            output, after = step(x_t, before)
            after = self._same_nest(cell, structure, before, after)
            if kept_t is not None:
                old = flatten(before)[0]
                held = [where(kept_t, new, o) for new, o in zip(flatten(after)[0], old, strict=True)]
                after = unflatten(structure, held)
                if not repeats:
                    output = where(kept_t, output, 0) if sequences or carried else output
                else:
                    output = where(kept_t, output, previous) if carried else held[0]
            if carried:
                self._check_output(cell, output, previous)
            return (after, output if carried else None), output if sequences else None

        (states, last), outputs = scan(turn, init, (xs, kept), reverse=self.go_backwards)
        if not carried:
            last = flatten(states)[0][0]
            if kept is not None and not repeats:
                last = where(kept[0 if self.go_backwards else -1], last, 0)
        return last, outputs, states

    def _prepared(self, cell: Any, x: Tensor, training: bool) -> tuple[Tensor, Callable[[Tensor, Any], Any]]:
        """What is looped over, and a step: with a cell of this folder the input's product is taken out of the loop."""
        if isinstance(cell, Cell):
            dropped = cell.kept_states(x.shape[1], training)
            return cell.project(x, training), lambda z, states: cell.step(z, states, dropped)
        return x, lambda x_t, states: call_cell(cell, x_t, states, training)

    def _same_nest(self, cell: Any, structure: Any, before: Any, after: Any) -> Any:
        """The new states in the nest of the old ones."""
        old, new = flatten(before)[0], flatten(after)[0]
        if len(old) != len(new):
            raise ArgumentError(
                f"{self._who()}: the cell {type(cell).__name__} returned {len(new)} states, expected {len(old)}, as "
                "its state_size says."
            )
        for a, b in zip(old, new, strict=True):
            if tuple(a.shape) != tuple(b.shape):
                raise ShapeError(
                    f"{self._who()}: the cell {type(cell).__name__} returned a state of shape {tuple(b.shape)}, "
                    f"expected {tuple(a.shape)}, as its state_size says."
                )
        return unflatten(structure, new)

    def _check_output(self, cell: Any, output: Tensor, previous: Tensor) -> None:
        if output.shape != previous.shape:
            raise ShapeError(
                f"{self._who()}: the cell {type(cell).__name__} returned an output of shape {output.shape}, expected "
                f"{previous.shape}. Say how large its output is with output_size."
            )

    def _describe(self) -> str:
        return repr(self.cell)
