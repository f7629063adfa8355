# SPDX-License-Identifier: Apache-2.0
"""Gradients in eager code: the shortest way through PyTorch's autograd. torch.func has its own
(functional.py), compilers see the operator of public_op.py; all end in gradient.py."""

from typing import Any

import torch
from torch.compiler import is_dynamo_compiling

from ..masks import BY_CODE
from . import ops_library as ops
from .batched import legacy
from .gradient import gradients, spread
from .options import encode

_transforms = torch._C._are_functorch_transforms_active

# torch.autograd.Function without its apply(), which asks about torch.func once more: a microsecond.
# attention() has asked already.
_Base: Any = torch.autograd.Function.__mro__[1]


class _Function(_Base):
    @staticmethod
    def _compiled_autograd_key(ctx):
        """What torch.autograd.Function answers; compiled autograd asks every node."""
        return (ctx._autograd_function_id,)


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
        if is_dynamo_compiling() or torch.is_grad_enabled() or _transforms() or legacy(d_out):
            ints, floats, _ = encode(BY_CODE[code], scale, 0.0, None)
            result = gradients(d_out, None, ctx.saved_tensors, ints, floats, 0, 0, needs[:3])
            return (*result, None, None)
        result = ops.attend_backward(
            d_out, *ctx.saved_tensors, code, scale, first + 2 * second + 4 * third
        )
        if len(result) == 3:
            return (*result, None, None)
        return (*spread(result, needs[:3]), None, None)


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
        handle = 0 if ctx.plan is None else ctx.plan.handle
        result = gradients(d_out, d_lse, ctx.saved_tensors, *ctx.lists, handle, needs)
        return (*result[:3], None, None, None, None, None, *result[3:])
