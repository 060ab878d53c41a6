"""Differentiation: one iterative walk, seen from several sides.

Every op records how its result was made. :func:`gradients` sorts the recorded graph from the outputs back, then visits
it once in reverse, asking each op's record for its vector-Jacobian product. Cotangents live in a dictionary of that
call, so nothing is left on the graph and a second call gives the same answer. There is no recursion, so depth is
bounded only by memory.

Forward mode needs no rules of its own: a VJP is linear in its cotangent, and the derivative of a linear map along a
direction is the map applied to it, so ``jvp`` differentiates the VJP with respect to its cotangent.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ranvier.errors import ArgumentError, DTypeError, GradientError, InternalError, describe
from ranvier.ops.elementwise import stop_gradient
from ranvier.ops.shape import sum_to_shape
from ranvier.ops.table import Aval, Op, apply, no_grad, origin, same_aval, state
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
    same_aval,
    (lambda g, out, x: g,),
    family="elementwise",
    doc="The same value under a new identity.",
    samples=lambda rng: [((rng.normal(size=(3, 4)),), {})],
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


def _input_cotangents(t: Tensor, node: Node, g: Tensor, wanted: set[int]) -> list[tuple[Tensor, Tensor]]:
    """Each wanted input of ``t`` through which gradient flows, with what ``t``'s cotangent ``g`` means for it."""
    op, inputs, attrs = node.op, node.inputs, node.attrs
    assert op is not None
    joint = op.vjps[0](g, t, *inputs, **attrs) if op.joint else None  # type: ignore[misc]
    found = []
    for index, x in enumerate(inputs):
        if id(x) not in wanted or not x._dtype.is_float:
            continue
        if joint is not None:
            result = joint[index]
        else:
            rule = op.vjp_rule(index)
            if rule is None and not op.no_gradient:
                raise GradientError(f"op {op.name!r} has no gradient rule for input {index}.")
            extra = {"index": index} if op.arity < 0 else {}
            result = rule(g, t, *inputs, **attrs, **extra) if rule is not None else None
        if result is None:
            continue
        if op.broadcasts:
            result = sum_to_shape(result, x._shape)
        if result._shape != x._shape or result._dtype is not x._dtype:
            raise InternalError(
                f"gradient of op {op.name!r} for input {index}: expected {x.shape} {x.dtype}, "
                f"got {result.shape} {result.dtype}"
            )
        found.append((x, result))
    return found


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
        found = pending.get(id(t)) if id(t) in kept else pending.pop(id(t), None)
        if found is not None and t._node.op is not None:  # type: ignore[union-attr]
            with origin(t._node):  # type: ignore[arg-type]
                for x, part in _input_cotangents(t, t._node, found, wanted):  # type: ignore[arg-type]
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


def _zeros_like(t: Tensor) -> Tensor:
    return Tensor._wrap(np.zeros(t.shape, t.dtype.numpy), t.dtype)


# -- transforms ---------------------------------------------------------------------------------------------------


def _watch(x: Tensor) -> Tensor:
    """A fresh identity for ``x`` that gradients can be taken by."""
    if x._data is None or x._node is not None:
        return alias(x)
    leaf = Tensor._wrap(x._data, x._dtype)
    leaf._node = Node(None, (), {})
    return leaf


def _floating_output(name: str, out: Any) -> Tensor:
    try:
        t = as_tensor(out)
    except DTypeError:
        raise GradientError(f"{name}: expected the function to return a tensor, got {describe(out)}.") from None
    if not t.dtype.is_float:
        raise GradientError(f"{name}: expected a floating output, got {t.dtype}.")
    return t


def _scalar_output(name: str, out: Any) -> Tensor:
    t = _floating_output(name, out)
    if t.size != 1:
        raise GradientError(
            f"{name}: expected the function to return a scalar, got shape {t.shape}. "
            "Reduce it first (rv.sum, rv.mean), or use rv.vjp or rv.jacobian."
        )
    return t


def _run_watched(
    function: Callable[..., Any], args: tuple[Any, ...], argnums: Sequence[int], named: dict[str, Any] | None = None
) -> tuple[Any, list[Any], Any]:
    """Call ``function`` with the leaves of the chosen arguments watched."""
    chosen, structure = flatten([args[i] for i in argnums])
    tensors = [as_tensor(x) for x in chosen]
    for t in tensors:
        if not t.dtype.is_float:
            raise DTypeError(
                f"gradients exist for floating tensors only, got {t.dtype}. Convert with astype('float32')."
            )
    before, state.recording = state.recording, True
    try:
        leaves = [_watch(t) for t in tensors]
        replaced = list(args)
        for i, value in zip(argnums, unflatten(structure, leaves), strict=True):
            replaced[i] = value
        return function(*replaced, **(named or {})), leaves, structure
    finally:
        state.recording = before


def _released(nest: Any, leaves: Sequence[Tensor]) -> Any:
    """``nest`` without the recorded graph of tensors that depend on ``leaves`` only: nothing else can ask for it."""
    mine = {id(t) for t in leaves}
    found, structure = flatten(nest)

    def release(t: Any) -> Any:
        if not isinstance(t, Tensor) or t._node is None or t._data is None:
            return t
        if any([n._node.op is None and id(n) not in mine for n in _sorted_graph([t])]):  # type: ignore[union-attr]
            return t
        return Tensor._wrap(t._data, t._dtype)

    return unflatten(structure, [release(t) for t in found])


def _fill(name: str, results: Sequence[Tensor | None], labels: Sequence[str]) -> list[Tensor]:
    for g, label in zip(results, labels, strict=True):
        if g is None:
            raise GradientError(
                f"{name}: the output does not depend differentiably on {label}. It may be unused, behind "
                "rv.stop_gradient, or reached only through integer, boolean or piecewise-constant ops."
            )
    return list(results)  # type: ignore[arg-type]


def _labels(args: Sequence[Any], numbers: Sequence[int]) -> list[str]:
    """What to call each leaf of the chosen arguments in an error."""
    out = []
    for i in numbers:
        count = len(flatten(args[i])[0])
        out += [f"argument {i}"] if count == 1 else [f"leaf {k} of argument {i}" for k in range(count)]
    return out


def _read_trainable(variables: Sequence[Variable]) -> list[Tensor]:
    for v in variables:
        if not isinstance(v, Variable):
            raise ArgumentError(f"grad: expected wrt to be a list of variables, got {describe(v)} in it.")
        if not v.trainable:
            reason = "set trainable=True first" if v.dtype.is_float else f"it holds {v.dtype} numbers"
            raise GradientError(f"grad: variable {v.name!r} is not trainable: {reason}.")
    return [v._read() for v in variables]


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
        DTypeError: an argument to differentiate by holds no floating numbers.
        ArgumentError: there is no such argument.

    Example:
        >>> import ranvier as rv
        >>> value, slope = rv.value_and_grad(lambda x: rv.sum(x**2))(rv.tensor([1.0, 3.0]))
        >>> value.item(), slope.tolist()
        (10.0, [2.0, 6.0])
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if not callable(function):
        raise ArgumentError(f"grad: expected a function, got {describe(function)}.")
    if isinstance(wrt, Variable):
        raise ArgumentError(f"grad: expected wrt to be a list of variables, got {wrt!r}: write wrt=[{wrt.name}].")

    @functools.wraps(function)
    def wrapped(*args: Any, **named: Any) -> Any:
        picked = () if wrt is not None else numbers
        if any([not -len(args) <= i < len(args) for i in picked]):
            raise ArgumentError(f"grad: argnums {argnums}, but only {len(args)} positional arguments were given.")
        read = _read_trainable(wrt) if wrt is not None else []
        out, leaves, structure = _run_watched(function, args, picked, named)
        if has_aux and not (isinstance(out, tuple | list) and len(out) == 2):
            raise GradientError(
                f"grad: with has_aux=True the function must return (scalar, extra), got {describe(out)}."
            )
        value, aux = out if has_aux else (out, None)
        value = _scalar_output("grad", value)
        labels = [f"variable {v.name!r}" for v in wrt] if wrt is not None else _labels(args, picked)
        leaves = read if wrt is not None else leaves
        found = _fill("grad", gradients([value], leaves, None, create_graph), labels)
        result: Any = found
        if wrt is None:
            result = unflatten(structure, found)
            result = result[0] if isinstance(argnums, int) else tuple(result)
        if create_graph is None:
            value, aux = _released(value, leaves), _released(aux, leaves)
        return ((value, aux) if has_aux else value), result

    return wrapped


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

    @functools.wraps(function)
    def wrapped(*args: Any, **named: Any) -> Any:
        return both(*args, **named)[1]

    return wrapped


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """The value of ``function`` and its vector-Jacobian product: cotangent of the output to cotangents of the inputs.

    Args:
        function: any function of floating tensors that returns a tensor or a nest of them.
        *primals: its arguments.

    Raises:
        GradientError: an output is no floating tensor, or a cotangent has another shape than its output.

    Example:
        >>> import ranvier as rv
        >>> y, back = rv.vjp(lambda x: x * x, rv.tensor([1.0, 2.0]))
        >>> back(rv.tensor([1.0, 10.0]))[0].tolist()
        [2.0, 40.0]
    """
    out, leaves, structure = _run_watched(function, primals, range(len(primals)))
    found, out_structure = flatten(out)
    outputs = [_floating_output("vjp", t) for t in found]

    def back(cotangent: Any) -> tuple[Any, ...]:
        given, given_structure = flatten(cotangent)
        if given_structure != out_structure:
            raise GradientError(
                f"vjp: expected a cotangent nested like the output, {len(outputs)} tensors, got {len(given)}."
            )
        seeds = [as_tensor(c, t.dtype) for c, t in zip(given, outputs, strict=True)]
        for t, c in zip(outputs, seeds, strict=True):
            if c.shape != t.shape:
                raise GradientError(f"vjp: expected a cotangent of shape {t.shape}, got {c.shape}.")
        found = gradients(outputs, leaves, [c.astype(t.dtype) for c, t in zip(seeds, outputs, strict=True)])
        filled = [g if g is not None else _zeros_like(t) for g, t in zip(found, leaves, strict=True)]
        return tuple(unflatten(structure, filled))

    return unflatten(out_structure, _released(outputs, leaves)), back


def _nested_like(structure: Any, given: Any) -> list[Any] | None:
    """The leaves of ``given``, which may be lists of numbers where the structure has a tensor; None if they differ."""
    if structure == flatten(0)[1]:
        return [given]
    leaves, found = flatten(given)
    return leaves if found == structure else None


def jvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """The value of ``function`` and its derivative along ``tangents`` (forward mode).

    Args:
        function: any function of floating tensors that returns one tensor.
        primals: its arguments.
        tangents: the direction, shaped like the arguments.

    Raises:
        ArgumentError: tangents that are not shaped like the arguments.
        GradientError: the output is no floating tensor.

    Example:
        >>> import ranvier as rv
        >>> y, dy = rv.jvp(rv.sin, [rv.tensor(0.0)], [rv.tensor(2.0)])
        >>> dy.item()
        2.0
    """
    if len(primals) != len(tangents):
        raise ArgumentError(f"jvp: expected one tangent for each of the {len(primals)} primals, got {len(tangents)}.")
    given: list[Any] = []
    for i, (p, t) in enumerate(zip(primals, tangents, strict=True)):
        parts = _nested_like(flatten(p)[1], t)
        if parts is None:
            raise ArgumentError(f"jvp: expected tangent {i} to be nested like its primal.")
        given += parts
    out, leaves, _ = _run_watched(function, tuple(primals), range(len(primals)))
    out = _floating_output("jvp", out)
    directions = [as_tensor(t, p.dtype) for t, p in zip(given, leaves, strict=True)]
    for t, p in zip(directions, leaves, strict=True):
        if t.shape != p.shape:
            raise ArgumentError(f"jvp: expected a tangent of shape {p.shape}, got {t.shape}.")
    before, state.recording = state.recording, True
    try:
        dual = _watch(_zeros_like(out))
        pulled = gradients([out], leaves, [dual], create_graph=True)
        pairs = [(p, t.astype(p.dtype)) for p, t in zip(pulled, directions, strict=True) if p is not None]
        (pushed,) = gradients([p for p, _ in pairs], [dual], [t for _, t in pairs])
    finally:
        state.recording = before
    released: list[Tensor] = _released([out, _zeros_like(out) if pushed is None else pushed], [*leaves, dual])
    return released[0], released[1]


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
        out = _floating_output("jacobian", out)
        if out.size == 0:
            return Tensor._wrap(np.zeros(out.shape + t.shape, t.dtype.numpy), t.dtype)
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
    sources = [(t, t._node.attrs.get("variable")) for t in _sorted_graph([loss]) if t._node.op is None]  # type: ignore[union-attr]
    pairs = [(t, v) for t, v in sources if v is not None and v.trainable]
    if not pairs:
        raise GradientError("backward: this tensor does not depend on any trainable variable (rv.Variable).")
    for (_, v), g in zip(pairs, gradients([loss], [t for t, _ in pairs], create_graph=False), strict=True):
        if g is not None:
            v.grad = g if v.grad is None else v.grad + g


# -- user rules ---------------------------------------------------------------------------------------------------


def _custom_vjp(g: Tensor, out: Tensor, *inputs: Tensor, rule: Callable[..., Any]) -> list[Tensor | None]:
    """Cotangents of (value, arguments...): none for the value, for the arguments what the user's rule says."""
    found = rule(g)
    parts = list(found) if isinstance(found, tuple | list) else [found]
    if len(parts) != len(inputs) - 1:
        raise GradientError(f"custom_gradient: the rule returned {len(parts)} gradients for {len(inputs) - 1} inputs.")
    result: list[Tensor | None] = [None]
    for i, (part, x) in enumerate(zip(parts, inputs[1:], strict=True)):
        t = None if part is None else as_tensor(part, x.dtype)
        if t is not None and t.shape != x.shape:
            raise GradientError(
                f"custom_gradient: expected a gradient of shape {x.shape} for input {i}, got {t.shape}."
            )
        result.append(None if t is None else t.astype(x.dtype))
    return result


custom_op = Op(
    "custom_gradient",
    lambda y, *inputs, rule: y,
    lambda inputs, rule: Aval(inputs[0].shape, inputs[0].dtype),
    (_custom_vjp,),
    family="elementwise",
    arity=-1,
    joint=True,
    no_gradient="the user's rule replaces it",
    doc="A value computed from the other inputs, whose gradient a rule of the user's gives.",
    samples=lambda rng: [_custom_sample(rng)],
)


def _custom_sample(rng: np.random.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x = rng.normal(size=(3, 4))
    return (x, x), {"rule": lambda g: g}


def custom_gradient(function: Callable[..., tuple[Any, Callable[..., Any]]]) -> Callable[..., Tensor]:
    """Give a function its own gradient.

    Args:
        function: returns ``(value, rule)``, where ``rule(g)`` returns the gradient for each tensor argument (a tuple
            for several; None for none). Second derivatives are those of the rule. Keyword arguments are passed on and
            not differentiated.

    Example:
        >>> import ranvier as rv
        >>> @rv.custom_gradient
        ... def clipped_identity(x):
        ...     return x, lambda g: rv.clip(g, -1, 1)
        >>> rv.grad(lambda x: 5 * clipped_identity(x))(rv.tensor(3.0)).item()
        1.0
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **named: Any) -> Tensor:
        inputs = tuple([as_tensor(a) for a in args])
        found = function(*inputs, **named)
        if not isinstance(found, tuple | list) or len(found) != 2 or not callable(found[1]):
            raise GradientError(
                f"custom_gradient: expected the function to return (value, rule), got {describe(found)}."
            )
        return apply(custom_op, (stop_gradient(as_tensor(found[0])), *inputs), {"rule": found[1]})

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
        *args: where to check; floating ones are converted to float64 and moved, others stay as they are.
        order: 1 for gradients, 2 to check the gradients' gradients too.
        eps: step of the difference quotient.
        rtol: relative tolerance.
        atol: absolute tolerance.
        seed: seed of the random directions.

    Returns:
        The largest difference found.

    Raises:
        GradientError: analytic and numerical derivatives disagree; the message gives both.
        ArgumentError: another order.

    Example:
        >>> import ranvier as rv
        >>> error = rv.check_gradients(lambda x: rv.tanh(x) ** 2, rv.tensor([0.3, -1.2]))
        >>> error < 1e-8
        True
    """
    if order not in (1, 2):
        raise ArgumentError(f"check_gradients: expected order 1 or 2, got {describe(order)}.")
    given = [as_tensor(a) for a in args]
    moving = [i for i, t in enumerate(given) if t.dtype.is_float]
    points = [np.asarray(given[i].numpy(), np.float64) for i in moving]

    def outputs(*values: Any) -> list[Tensor]:
        filled: list[Any] = list(given)
        for i, v in zip(moving, values, strict=True):
            filled[i] = v
        return [_floating_output("check_gradients", t) for t in flatten(function(*filled))[0]]

    def slopes(*values: Any) -> list[Tensor]:
        found, leaves, _ = _run_watched(outputs, values, range(len(values)))
        pulled = gradients(found, leaves, _directions(found, seed + 1), create_graph=True)
        return [g for g in pulled if g is not None]

    worst = _check_once("gradient", outputs, points, seed, eps, rtol, atol)
    if order == 2:
        worst = max(worst, _check_once("second-order gradient", slopes, points, seed + 2, eps, rtol, atol, linear=True))
    return worst


def _directions(tensors: Sequence[Tensor], seed: int) -> list[Tensor]:
    """Random cotangents for the tensors, in their dtypes."""
    rng = np.random.default_rng(seed)
    return [as_tensor(np.asarray(rng.normal(size=t.shape))).astype(t.dtype) for t in tensors]


def _check_once(
    what: str, function: Callable[..., list[Tensor]], points: list[np.ndarray], seed: int, eps: float, rtol: float,
    atol: float, linear: bool = False,
) -> float:  # fmt: skip
    """Compare both derivatives of one function; with ``linear`` it may also not depend on its arguments at all.

    The projection is done in NumPy and by the cotangents: ops used for it here could hide their own wrong rules.
    """
    out, leaves, _ = _run_watched(function, tuple([as_tensor(p) for p in points]), range(len(points)))
    seeds = _directions(out, seed + 1)
    found = gradients(out, leaves, seeds, create_graph=False)
    if all([g is None for g in found]) and not linear:
        raise GradientError(f"check_gradients: no {what} flows from the output to any argument.")
    rng = np.random.default_rng(seed)
    steps = [np.asarray(rng.normal(size=p.shape)) for p in points]

    def moved(step: float) -> list[np.ndarray]:
        values = function(*[as_tensor(p + step * d) for p, d in zip(points, steps, strict=True)])
        return [t.numpy().astype(np.float64) for t in values]

    ends = zip(moved(eps), moved(-eps), seeds, strict=True)
    numeric = float(sum([np.sum((a - b) * u.numpy()) for a, b, u in ends]) / (2 * eps))
    analytic = float(sum([np.sum(g.numpy() * d) for g, d in zip(found, steps, strict=True) if g is not None]))
    difference = abs(numeric - analytic)
    scale = max(abs(numeric), abs(analytic))
    if not difference <= atol + rtol * scale:
        raise GradientError(
            f"check_gradients: the {what} is wrong: analytic {analytic:.12g}, numerical {numeric:.12g} "
            f"(difference {difference:.3g}, allowed {atol + rtol * scale:.3g})."
        )
    return difference
