"""Ranvier: deep learning whose whole training step is one native call."""

from ranvier import (
    activations,
    callbacks,
    config,
    dtypes,
    errors,
    initializers,
    layers,
    losses,
    metrics,
    ops,
    optimizers,
    random,
    regularizers,
)
from ranvier.autodiff import (
    check_gradients,
    custom_gradient,
    grad,
    hessian,
    jacobian,
    jvp,
    value_and_grad,
    vjp,
)
from ranvier.dtypes import (
    DType,
    as_dtype,
    bfloat16,
    bool_,
    finfo,
    float32,
    float64,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    isdtype,
    promote,
    result_type,
    uint8,
)
from ranvier.jit import Jitted, jit
from ranvier.layers import Input
from ranvier.models import Model, Sequential, load_model
from ranvier.ops.contraction import dot, matmul, outer, tensordot, vecdot
from ranvier.ops.control import cond, scan, while_loop
from ranvier.ops.convolution import conv, conv_transpose
from ranvier.ops.creation import (
    arange,
    asarray,
    e,
    empty,
    empty_like,
    eye,
    from_dlpack,
    full,
    inf,
    linspace,
    nan,
    newaxis,
    ones,
    pi,
    zeros,
)  # fmt: skip
from ranvier.ops.cumulative import cumulative_max, cumulative_prod, cumulative_sum
from ranvier.ops.elementwise import (
    abs,
    add,
    astype,
    atan2,
    bitcast,
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    ceil,
    clip,
    cos,
    divide,
    equal,
    erf,
    exp,
    expm1,
    floor,
    floor_divide,
    greater,
    greater_equal,
    isfinite,
    isinf,
    isnan,
    left_shift,
    less,
    less_equal,
    log,
    log1p,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    positive,
    pow,
    power,
    reciprocal,
    relu,
    remainder,
    right_shift,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sqrt,
    square,
    stop_gradient,
    subtract,
    tanh,
    trunc,
    where,
)  # fmt: skip
from ranvier.ops.index import add_along_axis, one_hot, scatter_add, take, take_along_axis
from ranvier.ops.reduce import all, any, argmax, argmin, logsumexp, max, mean, min, prod, std, sum, var
from ranvier.ops.resize import pad, resize
from ranvier.ops.shape import (
    broadcast_arrays,
    broadcast_to,
    concat,
    concatenate,
    embed,
    expand_dims,
    flip,
    full_like,
    matrix_transpose,
    moveaxis,
    ones_like,
    permute_dims,
    repeat,
    reshape,
    split,
    squeeze,
    stack,
    swapaxes,
    tile,
    transpose,
    zeros_like,
)  # fmt: skip
from ranvier.ops.sorting import argsort, sort, top_k
from ranvier.ops.table import no_grad
from ranvier.ops.window import average_pool, max_pool
from ranvier.random import set_random_seed
from ranvier.tensor import Tensor, tensor
from ranvier.variable import Variable
from ranvier.version import __version__

__all__ = [
    "DType", "Input", "Jitted", "Model", "Sequential", "Tensor", "Variable", "__version__", "abs", "activations",
    "add", "add_along_axis", "all", "any", "arange", "argmax", "argmin", "argsort", "as_dtype", "asarray", "astype",
    "atan2", "average_pool", "bfloat16", "bitcast", "bitwise_and", "bitwise_invert", "bitwise_left_shift",
    "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "bool_", "broadcast_arrays", "broadcast_to",
    "callbacks", "ceil", "check_gradients", "clip", "concat", "concatenate", "cond", "config", "conv",
    "conv_transpose", "cos", "cumulative_max", "cumulative_prod", "cumulative_sum", "custom_gradient", "divide", "dot",
    "dtypes", "e", "embed", "empty", "empty_like", "equal", "erf", "errors", "exp", "expand_dims", "expm1", "eye",
    "finfo", "flip", "float32", "float64", "floor", "floor_divide", "from_dlpack", "full", "full_like", "grad",
    "greater", "greater_equal", "hessian", "iinfo", "inf", "initializers", "int8", "int16", "int32", "int64",
    "isdtype", "isfinite", "isinf", "isnan", "jacobian", "jit", "jvp", "layers", "left_shift", "less", "less_equal",
    "linspace", "load_model", "log", "log1p", "logical_and", "logical_not", "logical_or", "logical_xor", "logsumexp",
    "losses", "matmul", "matrix_transpose", "max", "max_pool", "maximum", "mean", "metrics", "min", "minimum",
    "moveaxis", "multiply", "nan", "negative", "newaxis", "no_grad", "not_equal", "one_hot", "ones", "ones_like",
    "ops", "optimizers", "outer", "pad", "permute_dims", "pi", "positive", "pow", "power", "prod", "promote", "random",
    "reciprocal", "regularizers", "relu", "remainder", "repeat", "reshape", "resize", "result_type", "right_shift",
    "round", "rsqrt", "scan", "scatter_add", "set_random_seed", "sigmoid", "sign", "sin", "sort", "split", "sqrt",
    "square", "squeeze", "stack", "std", "stop_gradient", "subtract", "sum", "swapaxes", "take", "take_along_axis",
    "tanh", "tensor", "tensordot", "tile", "top_k", "transpose", "trunc", "uint8", "value_and_grad", "var", "vecdot",
    "vjp", "where", "while_loop", "zeros", "zeros_like",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """``rv.datasets`` and ``rv.diagnose`` load when they are first used."""
    if name == "datasets":
        import ranvier.datasets as room
    elif name == "diagnose":
        import ranvier.diagnose as room  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module 'ranvier' has no attribute {name!r}")
    return room
