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
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    promote,
    uint8,
)
from ranvier.jit import Jitted, jit
from ranvier.layers import Input
from ranvier.models import Model, Sequential, load_model
from ranvier.ops.contraction import dot, matmul, outer, tensordot
from ranvier.ops.control import cond, scan, while_loop
from ranvier.ops.creation import arange, eye, full, linspace, ones, zeros
from ranvier.ops.elementwise import (
    abs, add, astype, atan2, bitcast, bitwise_and, bitwise_not, bitwise_or, bitwise_xor, ceil, clip, cos, divide, equal,
    erf, exp, expm1, floor, floor_divide, greater, greater_equal, isfinite, isinf, isnan, left_shift, less, less_equal,
    log, log1p, logical_and, logical_not, logical_or, logical_xor, maximum, minimum, multiply, negative, not_equal,
    power, reciprocal, relu, remainder, right_shift, round, rsqrt, sigmoid, sign, sin, sqrt, square, stop_gradient,
    subtract, tanh, trunc, where,
)  # fmt: skip
from ranvier.ops.index import add_along_axis, one_hot, scatter_add, take, take_along_axis
from ranvier.ops.reduce import all, any, argmax, argmin, logsumexp, max, mean, min, prod, std, sum, var
from ranvier.ops.shape import (
    broadcast_to, concatenate, embed, expand_dims, flip, full_like, moveaxis, ones_like, pad, repeat, reshape, split,
    squeeze, stack, swapaxes, tile, transpose, zeros_like,
)  # fmt: skip
from ranvier.ops.table import no_grad
from ranvier.random import set_random_seed
from ranvier.tensor import Tensor, tensor
from ranvier.variable import Variable
from ranvier.version import __version__


