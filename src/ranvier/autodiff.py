"""Differentiation: one iterative walk, seen from several sides.

Every op records how its result was made. :func:`gradients` sorts the recorded graph from the outputs back, then visits
it once in reverse, asking each op's record for its vector-Jacobian product. Cotangents live in a dictionary of that
call, so nothing is left on the graph and a second call gives the same answer. There is no recursion, so depth is
bounded only by memory.

Forward mode needs no rules of its own: a VJP is linear in its cotangent, and the derivative of a linear map along a
direction is the map applied to it, so ``jvp`` differentiates the VJP with respect to its cotangent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ranvier import dtypes
from ranvier.errors import ArgumentError, DTypeError, GradientError, InternalError
from ranvier.ops.elementwise import stop_gradient
from ranvier.ops.shape import sum_to_shape
from ranvier.ops.table import Aval, Op, apply, no_grad, state
from ranvier.tensor import Node, Tensor, as_tensor
from ranvier.tree import flatten, unflatten
from ranvier.variable import Variable

__all__ = [
    "backward",
    "check_gradients",
    "custom_gradient",
    "grad",
    "gradients",
    "hessian",
    "jacobian",
    "jvp",
    "value_and_grad",
    "vjp",
]

# The same value under a new identity: what a transform differentiates with respect to.
alias = Op(
    "alias",
    lambda x: x,
    lambda inputs: Aval(inputs[0].shape, inputs[0].dtype),
    (lambda g, out, x: g,),
    family="elementwise",
    doc="The same value under a new identity.",
)


# -- the walk -----------------------------------------------------------------------------------------------------


def _sorted_graph(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Every recorded tensor the outputs depend on, inputs before users (iterative depth-first post-order)."""
    order: list[Tensor] = []
    seen: set[int] = set()
    stack: list[tuple[Tensor, bool]] = [(t, False) for t in outputs if t._node is not None]
    while stack:
        t, done = stack.pop()
        if done:
            order.append(t)
        elif id(t) not in seen:
            seen.add(id(t))
            stack.append((t, True))
            stack.extend((i, False) for i in t._node.inputs if i._node is not None and id(i) not in seen)  # type: ignore[union-attr]
    return order


def _dependent(order: Sequence[Tensor], wrt: Sequence[Tensor]) -> set[int]:
    """Ids of the tensors in ``order`` that depend on one of ``wrt``."""
    found = {id(t) for t in wrt}
    for t in order:
        if id(t) not in found and any(id(i) in found for i in t._node.inputs):  # type: ignore[union-attr]
            found.add(id(t))
    return found


def _input_cotangent(t: Tensor, g: Tensor, index: int) -> Tensor | None:
    """What ``t``'s cotangent ``g`` means for its input ``index``; None where the op passes no gradient on."""
    node = t._node
    op, x = node.op, node.inputs[index]  # type: ignore[union-attr]
    rule = op.vjp_rule(index)  # type: ignore[union-attr]
    if rule is None:
        if not op.no_gradient:  # type: ignore[union-attr]
            raise GradientError(f"op {op.name!r} has no gradient rule for input {index}.")  # type: ignore[union-attr]
        return None
    extra = {"index": index} if op.arity < 0 else {}  # type: ignore[union-attr]
    result = rule(g, t, *node.inputs, **node.attrs, **extra)  # type: ignore[union-attr]
    if result is None:
        return None
    if op.broadcasts:  # type: ignore[union-attr]
        result = sum_to_shape(result, x.shape)
    if result.shape != x.shape or result.dtype is not x.dtype:
        raise InternalError(
            f"gradient of op {op.name!r} for input {index}: expected {x.shape} {x.dtype}, "  # type: ignore[union-attr]
            f"got {result.shape} {result.dtype}"
        )
    return result


def _walk(
    order: Sequence[Tensor], outputs: Sequence[Tensor], cotangents: Sequence[Tensor], wrt: Sequence[Tensor]
) -> list[Tensor | None]:
    wanted = _dependent(order, wrt)
    pending: dict[int, Tensor] = {}

    def accumulate(t: Tensor, g: Tensor) -> None:
        before = pending.get(id(t))
        pending[id(t)] = g if before is None else before + g

    for t, g in zip(outputs, cotangents, strict=True):
        if id(t) in wanted:
            accumulate(t, g)
    kept = {id(t) for t in wrt}
    for t in reversed(order):
        g = pending.get(id(t)) if id(t) in kept else pending.pop(id(t), None)
        if g is None or t._node.op is None:  # type: ignore[union-attr]
            continue
        for index, x in enumerate(t._node.inputs):  # type: ignore[union-attr]
            if id(x) in wanted and x.dtype.is_float:
                part = _input_cotangent(t, g, index)
                if part is not None:
                    accumulate(x, part)
    return [pending.get(id(t)) for t in wrt]


def gradients(
    outputs: Sequence[Tensor],
    wrt: Sequence[Tensor],
    cotangents: Sequence[Tensor] | None = None,
    create_graph: bool | None = None,
) -> list[Tensor | None]:
    """Vector-Jacobian products of ``outputs`` with respect to ``wrt``; None where nothing flows.

    Args:
        outputs: tensors to differentiate.
        wrt: tensors to differentiate by.
        cotangents: one for each output, of its shape; ones by default.
        create_graph: record the backward pass so that it can be differentiated again. By default that happens when
            the graph also depends on something else that is being watched (an outer transform).
    """
    seeds = list(cotangents) if cotangents is not None else [_ones_like(t) for t in outputs]
    order = _sorted_graph(outputs)
    if create_graph is None:
        mine = {id(t) for t in wrt}
        create_graph = any(t._node.op is None and id(t) not in mine for t in order) or any(  # type: ignore[union-attr]
            t._node is not None for t in seeds
        )
    if create_graph or state.trace is not None:
        return _walk(order, outputs, seeds, wrt)
    with no_grad():
        return _walk(order, outputs, seeds, wrt)


def _ones_like(t: Tensor) -> Tensor:
    return Tensor._wrap(np.ones(t.shape, t.dtype.numpy), t.dtype)


# -- transforms ---------------------------------------------------------------------------------------------------


def _watch(x: Tensor) -> Tensor:
    """A fresh identity for ``x`` that gradients can be taken by."""
    if x._data is None or x._node is not None:
        return alias(x)
    leaf = Tensor._wrap(x._data, x._dtype)
    leaf._node = Node(None, (), {})
    return leaf


def _scalar_output(name: str, out: Tensor) -> Tensor:
    if out.shape != () and out.size != 1:
        raise GradientError(
            f"{name}: expected the function to return a scalar, got shape {out.shape}. "
            "Reduce it first (rv.sum, rv.mean), or use rv.vjp or rv.jacobian."
        )
    if not out.dtype.is_float:
        raise GradientError(f"{name}: expected a floating output, got {out.dtype}.")
    return out


def _run_watched(function: Callable[..., Any], args: tuple[Any, ...], argnums: Sequence[int]) -> tuple[Any, list[Any], Any]:
    """Call ``function`` with the leaves of the chosen arguments watched."""
    chosen, structure = flatten([args[i] for i in argnums])
    tensors = [as_tensor(x) for x in chosen]
    for t in tensors:
        if not t.dtype.is_float:
            raise DTypeError(f"gradients exist for floating tensors only, got {t.dtype}. Convert with astype('float32').")
    before, state.recording = state.recording, True
    try:
        leaves = [_watch(t) for t in tensors]
        replaced = list(args)
        for i, value in zip(argnums, unflatten(structure, leaves), strict=True):
            replaced[i] = value
        return function(*replaced), leaves, structure
    finally:
        state.recording = before


def _fill(name: str, results: Sequence[Tensor | None], wrt: Sequence[Tensor], labels: Sequence[str]) -> list[Tensor]:
    for g, label in zip(results, labels, strict=True):
        if g is None:
            raise GradientError(
                f"{name}: the output does not depend differentiably on {label}. It may be unused, behind "
                "rv.stop_gradient, or reached only through integer, boolean or piecewise-constant ops."
            )
    return list(results)  # type: ignore[arg-type]


def value_and_grad(
    function: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    wrt: Sequence[Variable] | None = None,
    has_aux: bool = False,
    create_graph: bool | None = None,
) -> Callable[..., Any]:
    """A function that returns ``function``'s value and its gradient.

    Args:
        function: returns a scalar (with ``has_aux``: a pair of a scalar and anything).
        argnums: which positional arguments to differentiate by; an argument may be a nest of tensors.
        wrt: variables to differentiate by, instead of arguments.
        has_aux: the function returns ``(scalar, extra)``.
        create_graph: record the backward pass for further differentiation; by default only when nested.

    Raises:
        GradientError: the output is no scalar, or does not depend on what it is differentiated by.

    Example:
        >>> import ranvier as rv
        >>> value, slope = rv.value_and_grad(lambda x: rv.sum(x**2))(rv.tensor([1.0, 3.0]))
        >>> value.item(), slope.tolist()
        (10.0, [2.0, 6.0])
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def wrapped(*args: Any) -> Any:
        picked = () if wrt is not None else numbers
        if any(not -len(args) <= i < len(args) for i in picked):
            raise ArgumentError(f"value_and_grad: argnums {argnums} but only {len(args)} arguments were given.")
        out, leaves, structure = _run_watched(function, args, picked)
        value, aux = out if has_aux else (out, None)
        value = _scalar_output("grad", as_tensor(value))
        if wrt is not None:
            leaves = [v._read() for v in wrt]
            labels = [f"variable {v.name!r}" for v in wrt]
        else:
            labels = [f"argument {i}" if len(leaves) == len(numbers) else f"leaf {k}" for k, i in enumerate(_cycle(numbers, leaves))]
        found = _fill("grad", gradients([value], leaves, None, create_graph), leaves, labels)
        if wrt is not None:
            result: Any = found
        else:
            result = unflatten(structure, found)
            result = result[0] if isinstance(argnums, int) else tuple(result)
        if create_graph is None and value._node is not None and value._data is not None and _only(value, leaves):
            value = Tensor._wrap(value._data, value._dtype)  # nothing outside watches: let the graph go
        return ((value, aux) if has_aux else value), result

    return wrapped


def _cycle(numbers: Sequence[int], leaves: Sequence[Any]) -> list[int]:
    return [numbers[min(k, len(numbers) - 1)] for k in range(len(leaves))]


def _only(value: Tensor, leaves: Sequence[Tensor]) -> bool:
    mine = {id(t) for t in leaves}
    return all(t._node.op is not None or id(t) in mine for t in _sorted_graph([value]))  # type: ignore[union-attr]


def grad(
    function: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    wrt: Sequence[Variable] | None = None,
    create_graph: bool | None = None,
) -> Callable[..., Any]:
    """A function that returns the gradient of ``function``. See :func:`value_and_grad`.

    Args:
        function: returns a scalar.
        argnums: which positional arguments to differentiate by.
        wrt: variables to differentiate by, instead of arguments.
        create_graph: record the backward pass for further differentiation; by default only when nested.

    Example:
        >>> import ranvier as rv
        >>> cube = lambda x: x * x * x
        >>> rv.grad(rv.grad(cube))(rv.tensor(2.0)).item()
        12.0
    """
    both = value_and_grad(function, argnums, wrt=wrt, create_graph=create_graph)
    return lambda *args: both(*args)[1]


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """The value of ``function`` and its vector-Jacobian product: cotangent of the output to cotangents of the inputs.

    Args:
        function: any function of floating tensors that returns a tensor or a nest of them.
        *primals: its arguments.

    Example:
        >>> import ranvier as rv
        >>> y, back = rv.vjp(lambda x: x * x, rv.tensor([1.0, 2.0]))
        >>> back(rv.tensor([1.0, 10.0]))[0].tolist()
        [2.0, 40.0]
    """
    out, leaves, structure = _run_watched(function, primals, range(len(primals)))
    outputs, out_structure = flatten(out)
    outputs = [as_tensor(t) for t in outputs]

    def back(cotangent: Any) -> tuple[Any, ...]:
        seeds = [as_tensor(c) for c in flatten(cotangent)[0]]
        for t, c in zip(outputs, seeds, strict=True):
            if c.shape != t.shape:
                raise GradientError(f"vjp: expected a cotangent of shape {t.shape}, got {c.shape}.")
        seeds = [c if c.dtype is t.dtype else c.astype(t.dtype) for c, t in zip(seeds, outputs, strict=True)]
        found = gradients(outputs, leaves, seeds)
        zeros = [g if g is not None else as_tensor(np.zeros(t.shape, t.dtype.numpy)) for g, t in zip(found, leaves, strict=True)]
        return tuple(unflatten(structure, zeros))

    return unflatten(out_structure, outputs), back


def jvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """The value of ``function`` and its derivative along ``tangents`` (forward mode).

    Args:
        function: any function of floating tensors that returns one tensor.
        primals: its arguments.
        tangents: the direction, shaped like the arguments.

    Example:
        >>> import ranvier as rv
        >>> y, dy = rv.jvp(rv.sin, [rv.tensor(0.0)], [rv.tensor(2.0)])
        >>> dy.item()
        2.0
    """
    if len(primals) != len(tangents):
        raise ArgumentError(f"jvp: expected one tangent for each of the {len(primals)} primals, got {len(tangents)}.")
    out, leaves, _ = _run_watched(function, tuple(primals), range(len(primals)))
    out = as_tensor(out)
    before, state.recording = state.recording, True
    try:
        dual = _watch(as_tensor(np.zeros(out.shape, out.dtype.numpy)))
        pulled = gradients([out], leaves, [dual], create_graph=True)
        pairs = [(p, as_tensor(t)) for p, t in zip(pulled, tangents, strict=True) if p is not None]
        (pushed,) = gradients([p for p, _ in pairs], [dual], [t.astype(p.dtype) for p, t in pairs])
    finally:
        state.recording = before
    zero = as_tensor(np.zeros(out.shape, out.dtype.numpy))
    return out, zero if pushed is None else pushed


def jacobian(function: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
    """A function that returns the full Jacobian, ``J[out..., in...]``, one reverse pass for each output element.

    Args:
        function: from one floating tensor to one tensor.

    Example:
        >>> import ranvier as rv
        >>> rv.jacobian(lambda x: x * x)(rv.tensor([1.0, 2.0])).tolist()
        [[2.0, 0.0], [0.0, 4.0]]
    """

    def wrapped(x: Any) -> Tensor:
        from ranvier.ops.shape import reshape, stack

        t = as_tensor(x)
        out, back = vjp(function, t)
        basis = np.eye(out.size, dtype=out.dtype.numpy).reshape(out.size, *out.shape)
        rows = [back(Tensor._wrap(basis[i], out.dtype))[0] for i in range(out.size)]
        return reshape(stack(rows), out.shape + t.shape)

    return wrapped


def hessian(function: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
    """A function that returns the Hessian of a scalar function: the Jacobian of its gradient.

    Args:
        function: from one floating tensor to a scalar.

    Example:
        >>> import ranvier as rv
        >>> rv.hessian(lambda x: rv.sum(x**3))(rv.tensor([1.0, 2.0])).tolist()
        [[6.0, 0.0], [0.0, 12.0]]
    """
    return jacobian(grad(function))


def backward(loss: Tensor) -> None:
    """Add the gradients of a scalar to ``grad`` of every trainable variable it depends on; see ``Tensor.backward``."""
    _scalar_output("backward", loss)
    leaves = [t for t in _sorted_graph([loss]) if t._node.op is None and "variable" in t._node.attrs]  # type: ignore[union-attr]
    if not leaves:
        raise GradientError("backward: this tensor does not depend on any trainable variable (rv.Variable).")
    for leaf, g in zip(leaves, gradients([loss], leaves, create_graph=False), strict=True):
        variable = leaf._node.attrs["variable"]  # type: ignore[union-attr]
        if g is not None:
            variable.grad = g if variable.grad is None else variable.grad + g


# -- user rules ---------------------------------------------------------------------------------------------------


def _custom_vjp(g: Tensor, out: Tensor, *inputs: Tensor, rule: Callable[..., Any], index: int) -> Tensor | None:
    if index == 0:
        return None
    found = rule(g)
    found = found if isinstance(found, tuple | list) else (found,)
    if len(found) != len(inputs) - 1:
        raise GradientError(
            f"custom_gradient: the rule returned {len(found)} gradients for {len(inputs) - 1} inputs."
        )
    part = found[index - 1]
    if part is None:
        return None
    part = as_tensor(part)
    if part.shape != inputs[index].shape:
        raise GradientError(
            f"custom_gradient: expected a gradient of shape {inputs[index].shape} for input {index - 1}, got {part.shape}."
        )
    return part if part.dtype is inputs[index].dtype else part.astype(inputs[index].dtype)


custom_op = Op(
    "custom_gradient",
    lambda y, *inputs, rule: y,
    lambda inputs, rule: Aval(inputs[0].shape, inputs[0].dtype),
    (_custom_vjp,),
    family="elementwise",
    arity=-1,
    no_gradient="the user's rule replaces it",
)


def custom_gradient(function: Callable[..., tuple[Any, Callable[..., Any]]]) -> Callable[..., Tensor]:
    """Give a function its own gradient.

    Args:
        function: returns ``(value, rule)``, where ``rule(g)`` returns the gradient for each tensor argument (a tuple
            for several).

    Example:
        >>> import ranvier as rv
        >>> @rv.custom_gradient
        ... def clipped_identity(x):
        ...     return x, lambda g: rv.clip(g, -1, 1)
        >>> rv.grad(lambda x: 5 * clipped_identity(x))(rv.tensor(3.0)).item()
        1.0
    """

    def wrapped(*args: Any) -> Tensor:
        inputs = tuple(as_tensor(a) for a in args)
        out, rule = function(*(stop_gradient(t) for t in inputs))
        return apply(custom_op, (stop_gradient(as_tensor(out)), *inputs), {"rule": rule})

    wrapped.__doc__ = function.__doc__
    return wrapped


# -- checking -----------------------------------------------------------------------------------------------------


def check_gradients(
    function: Callable[..., Any], *args: Any, order: int = 1, eps: float = 1e-5, rtol: float = 1e-5, atol: float = 1e-7,
    seed: int = 0,
) -> float:  # fmt: skip
    """Compare gradients with central differences in float64; the notes' numerical check.

    The function's output is projected on a random direction ``u`` and moved along random directions ``v``, so one
    pair of evaluations checks every entry of the Jacobian at once: ``(f(x + eps v) - f(x - eps v)) / (2 eps) . u``
    against ``v . J^T u``.

    Args:
        function: from floating tensors to a tensor (or a nest of them).
        *args: where to check; converted to float64.
        order: 1 for gradients, 2 to check the gradients' gradients too.
        eps: step of the difference quotient.
        rtol: relative tolerance.
        atol: absolute tolerance.
        seed: seed of the random directions.

    Returns:
        The largest difference found.

    Raises:
        GradientError: analytic and numerical derivatives disagree; the message gives both.

    Example:
        >>> import ranvier as rv
        >>> error = rv.check_gradients(lambda x: rv.tanh(x) ** 2, rv.tensor([0.3, -1.2]))
        >>> error < 1e-8
        True
    """
    rng = np.random.default_rng(seed)
    points = [np.asarray(as_tensor(a).numpy(), np.float64) for a in args]

    def projected(*values: Any) -> Tensor:
        total = None
        draw = np.random.default_rng(seed + 1)
        for out in flatten(function(*values))[0]:
            weights = Tensor._wrap(np.asarray(draw.normal(size=out.shape)), dtypes.float64)
            part = (out.astype(dtypes.float64) * weights).sum()
            total = part if total is None else total + part
        return total  # type: ignore[return-value]

    worst = _check_once(projected, points, rng, eps, rtol, atol, "gradient")
    if order >= 2:

        def slope(*values: Any) -> Any:
            return grad(projected, tuple(range(len(values))))(*values)

        def projected_slope(*values: Any) -> Tensor:
            draw = np.random.default_rng(seed + 2)
            parts = [(g * Tensor._wrap(np.asarray(draw.normal(size=g.shape)), dtypes.float64)).sum() for g in slope(*values)]
            total = parts[0]
            for p in parts[1:]:
                total = total + p
            return total

        if _depends(projected_slope, points):
            worst = max(worst, _check_once(projected_slope, points, rng, eps, rtol, atol, "second-order gradient"))
    return worst


def _depends(function: Callable[..., Tensor], points: list[np.ndarray]) -> bool:
    """Whether the output depends on the arguments at all (the slope of a linear function does not)."""
    out, leaves, _ = _run_watched(function, tuple(as_tensor(p) for p in points), range(len(points)))
    return out._node is not None and any(g is not None for g in gradients([out], leaves))


def _check_once(
    function: Callable[..., Tensor], points: list[np.ndarray], rng: np.random.Generator, eps: float, rtol: float,
    atol: float, what: str,
) -> float:  # fmt: skip
    directions = [np.asarray(rng.normal(size=p.shape)) for p in points]

    def moved(step: float) -> float:
        return function(*(as_tensor(p + step * d) for p, d in zip(points, directions, strict=True))).item()

    numeric = (moved(eps) - moved(-eps)) / (2 * eps)
    out, leaves, _ = _run_watched(function, tuple(as_tensor(p) for p in points), range(len(points)))
    found = gradients([out], leaves)
    if all(g is None for g in found):
        raise GradientError(f"check_gradients: no {what} flows from the output to any argument.")
    analytic = float(sum((g.numpy() * d).sum() for g, d in zip(found, directions, strict=True) if g is not None))
    difference = abs(numeric - analytic)
    scale = max(abs(numeric), abs(analytic))
    if not difference <= atol + rtol * scale:
        raise GradientError(
            f"check_gradients: the {what} is wrong: analytic {analytic:.12g}, numerical {numeric:.12g} "
            f"(difference {difference:.3g}, allowed {atol + rtol * scale:.3g})."
        )
    return difference
