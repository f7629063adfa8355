# SPDX-License-Identifier: Apache-2.0
"""Gradients under `torch.func`: transforms may be stacked, so these say how to batch themselves
and give what they save as outputs."""

import torch

from . import ops_library as ops
from .batched import Batched, can_fold, one_by_one
from .gradient import gradients


class Functional(torch.autograd.Function):
    @staticmethod
    def forward(query, key, value, ints, floats, order, *tensors):
        return ops.attention(query, key, value, ints, floats, list(tensors), order)

    @staticmethod
    def setup_context(ctx, inputs, output):
        query, key, value, ints, floats, order, *tensors = inputs
        out, _, statistics = output
        ctx.mark_non_differentiable(statistics)
        ctx.save_for_backward(query, key, value, out, statistics, *tensors)
        ctx.lists = (ints, floats, order)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, d_out, d_lse, _):
        needs = ctx.needs_input_grad
        needs = needs[:3] + needs[6:]
        result = gradients(d_out, d_lse, ctx.saved_tensors, *ctx.lists, 0, needs)
        return (*result[:3], None, None, None, *result[3:])

    @staticmethod
    def vmap(info, in_dims, *inputs):
        return batched_forward(Functional.apply, info, in_dims, *inputs)


def batched_forward(call, info, in_dims, query, key, value, ints, floats, order, *tensors):
    """call(query, ..., *tensors) over a new dimension: a rule of torch.func.vmap."""
    if not can_fold(ints, order, tensors):
        inputs = (query, key, value, ints, floats, order, *tensors)
        results = one_by_one(call, info.batch_size, in_dims, *inputs)
        stacked = (torch.stack(x, at) for x, at in zip(results, (0, 0, 1), strict=True))
        return tuple(stacked), (0, 0, 1)
    batch = Batched(info.batch_size, query, in_dims[0])
    inputs = [batch.rows(x, d) for x, d in zip((query, key, value), in_dims[:3], strict=True)]
    batched = [batch.pairs(x, d) for x, d in zip(tensors, in_dims[6:], strict=True)]
    out, lse, statistics = call(*inputs, ints, floats, order, *batched)
    return (batch.back(out), batch.back(lse), batch.back(statistics, 1)), (0, 0, 1)
