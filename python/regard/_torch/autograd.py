"""Gradients in eager code: the shortest way through PyTorch's autograd. torch.func has its own
(functional.py), compilers see the operator of public_op.py."""

import torch

from ..masks import BY_CODE
from . import ops_library as ops
from .options import encode

DOUBLE_BACKWARD = "regard.attention: double backward (a gradient of its gradient) is not supported"


# torch.autograd.Function without its apply(), which asks about torch.func once more: a microsecond.
# attention() has asked already.
_Function = torch.autograd.Function.__mro__[1]


class _Once(torch.autograd.Function):
    """backward() as a function of its own, so that differentiating it again is an error with a
    name and not a wrong number."""

    @staticmethod
    def forward(
        ctx, d_out, d_lse, query, key, value, out, statistics, lists, order, plan, wanted, *tensors
    ):
        ints, floats = lists
        return tuple(
            ops.backward(
                d_out,
                d_lse,
                query,
                key,
                value,
                out,
                statistics,
                ints,
                floats,
                list(tensors),
                order,
                plan,
                wanted,
            )
        )

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError(DOUBLE_BACKWARD)


def wanted_bits(needs):
    bits = 0
    for i, need in enumerate(needs):
        bits |= need << i
    return bits


def spread(gradients, needs):
    """One gradient per input that needs one, None for the others."""
    if all(needs):
        return gradients
    left = iter(gradients)
    return [next(left) if need else None for need in needs]


def _gradients(d_out, d_lse, saved, ints, floats, order, plan, needs):
    query, key, value, out, statistics, *tensors = saved
    if d_out is None:
        d_out = torch.zeros_like(out)
    if torch.is_grad_enabled():
        result = _Once.apply(
            d_out,
            d_lse,
            query,
            key,
            value,
            out,
            statistics,
            (ints, floats),
            order,
            plan,
            wanted_bits(needs),
            *tensors,
        )
    else:
        result = ops.backward(
            d_out,
            d_lse,
            query,
            key,
            value,
            out,
            statistics,
            ints,
            floats,
            tensors,
            order,
            plan,
            wanted_bits(needs),
        )
    return spread(result, needs)


class Common(_Function):
    """The commonest options (see _attend in src/torch_ops): no lists, no lse, no bias."""

    @staticmethod
    def forward(ctx, query, key, value, code, scale):
        out, statistics = ops.attend_for_gradients(query, key, value, code, scale)
        ctx.save_for_backward(query, key, value, out, statistics)
        ctx.options = (code, scale)
        return out

    @staticmethod
    def backward(ctx, d_out):
        code, scale = ctx.options
        first, second, third, _, _ = needs = ctx.needs_input_grad
        if torch.is_grad_enabled():
            query, key, value, out, statistics = ctx.saved_tensors
            lists = _lists(code, scale)
            result = _Once.apply(
                d_out,
                None,
                query,
                key,
                value,
                out,
                statistics,
                lists,
                0,
                0,
                wanted_bits(needs),
            )
        else:
            result = ops.attend_backward(
                d_out, *ctx.saved_tensors, code, scale, first + 2 * second + 4 * third
            )
        if len(result) == 3:
            return (*result, None, None)
        return (*spread(result, needs[:3]), None, None)


def _lists(code, scale):
    ints, floats, _ = encode(BY_CODE[code], scale, 0.0, None)
    return ints, floats


class Eager(_Function):
    """Any options."""

    @staticmethod
    def forward(ctx, query, key, value, ints, floats, order, plan, want_lse, *tensors):
        handle = 0 if plan is None else plan.handle
        out, statistics = ops.forward(
            query, key, value, ints, floats, tensors, order, handle, want_lse
        )
        ctx.save_for_backward(query, key, value, out, statistics, *tensors)
        ctx.lists = (ints, floats, order)
        ctx.plan = plan  # keeps it alive
        ctx.set_materialize_grads(False)
        return (out, statistics[2]) if want_lse else out

    @staticmethod
    def backward(ctx, d_out, d_lse=None):
        needs = ctx.needs_input_grad
        needs = needs[:3] + needs[8:]
        ints, floats, order = ctx.lists
        handle = 0 if ctx.plan is None else ctx.plan.handle
        gradients = _gradients(d_out, d_lse, ctx.saved_tensors, ints, floats, order, handle, needs)
        return (*gradients[:3], None, None, None, None, None, *gradients[3:])
