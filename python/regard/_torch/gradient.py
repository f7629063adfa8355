# SPDX-License-Identifier: Apache-2.0
"""The gradients of an attention, as a function that can be transformed and differentiated again:
what every road's backward ends in."""

import torch
from torch.compiler import is_dynamo_compiling

from . import ops_library as ops
from .batched import Batched, can_fold, legacy, one_by_one, over_legacy_batch
from .double_backward import DoubleGradient

_transforms = torch._C._are_functorch_transforms_active


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


def gradients(d_out, d_lse, saved, ints, floats, order, plan, needs, public=False):
    """For (query, key, value, *tensors): what `needs` asks for, None for the rest. `saved` is
    (query, key, value, out, statistics, *tensors), `plan` its number, or 0. public: always by the
    public operator, which tracers see."""
    query, key, value, out, statistics, *tensors = saved
    if d_out is None:
        d_out = torch.zeros_like(out)
    wanted = wanted_bits(needs)

    def compute(d_out, d_lse):
        first = (d_out, d_lse, query, key, value, out, statistics, ints, floats)
        if public or is_dynamo_compiling():  # compiled autograd traces the backward pass
            return ops.attention_backward(*first, tensors, order, plan, wanted)
        if torch.is_grad_enabled() or _transforms():
            return Gradient.apply(*first, order, plan, wanted, *tensors)
        return ops.backward(*first, tensors, order, plan, wanted)

    if not public and not is_dynamo_compiling() and legacy(d_out, d_lse):
        return spread(over_legacy_batch(compute, d_out, d_lse), needs)
    return spread(compute(d_out, d_lse), needs)


# A Function takes tensors of any number last: d_out, d_lse, query, key, value, out, statistics,
# ints, floats, order, plan, wanted, *tensors. The operators take them as a list before `order`.


def as_operators_take(inputs):
    """The inputs of a Function in the operators' order."""
    *first, order, plan, wanted = inputs[:12]
    return (*first, list(inputs[12:]), order, plan, wanted)


def keep(ctx, inputs):
    """What second_gradients() needs of a Function's inputs: out and statistics are functions of
    the others."""
    d_out, d_lse, query, key, value, _, _, ints, floats, order, _, wanted, *tensors = inputs
    ctx.save_for_backward(d_out, d_lse, query, key, value, *tensors)
    ctx.lists = (ints, floats, order, wanted)
    ctx.set_materialize_grads(False)


def second_gradients(ctx, arriving, needs):
    """With respect to the inputs of a Function that keep() was given; `needs` of each."""
    if all(x is None for x in arriving):
        return (None,) * len(needs)
    own = (*needs[:5], *needs[12:])

    def compute(*arriving):
        return DoubleGradient.apply(
            *ctx.lists, wanted_bits(own), len(arriving), *arriving, *ctx.saved_tensors
        )

    batched = not is_dynamo_compiling() and legacy(*arriving)
    found = over_legacy_batch(compute, *arriving) if batched else compute(*arriving)
    found = spread(found, own)
    return (*found[:5], *(None,) * 7, *found[5:])


class Gradient(torch.autograd.Function):
    @staticmethod
    def forward(*inputs):
        return tuple(ops.backward(*as_operators_take(inputs)))

    @staticmethod
    def setup_context(ctx, inputs, output):
        keep(ctx, inputs)

    @staticmethod
    def backward(ctx, *arriving):
        return second_gradients(ctx, arriving, ctx.needs_input_grad)

    @staticmethod
    def vmap(info, in_dims, *inputs):
        return batched_gradient(Gradient.apply, info, in_dims, *inputs)


def batched_gradient(
    call,
    info,
    in_dims,
    d_out,
    d_lse,
    query,
    key,
    value,
    out,
    statistics,
    ints,
    floats,
    order,
    plan,
    wanted,
    *tensors,
):
    """call(d_out, ..., *tensors) over a new dimension: a rule of torch.func.vmap."""
    lists = (ints, floats, order)
    if not can_fold(ints, order, tensors):
        inputs = (d_out, d_lse, query, key, value, out, statistics, *lists, plan, wanted, *tensors)
        results = one_by_one(call, info.batch_size, in_dims, *inputs)
        return tuple(torch.stack(x) for x in results), (0,) * len(results)
    batch = Batched(info.batch_size, query, in_dims[2])
    rows = [
        batch.rows(x, d)
        for x, d in zip((d_out, query, key, value, out), (in_dims[0], *in_dims[2:6]), strict=True)
    ]
    d_lse = None if d_lse is None else batch.lead(d_lse, in_dims[1])
    statistics = batch.lead(statistics, in_dims[6], 1)
    batched = [batch.pairs(x, d) for x, d in zip(tensors, in_dims[12:], strict=True)]
    # A plan is that of one batch entry's mask and sizes, which a larger batch does not have.
    results = call(rows[0], d_lse, *rows[1:], statistics, *lists, 0, wanted, *batched)
    back = [
        batch.back(g) if i < 3 else batch.back_pairs(g, tensors[i - 3], in_dims[9 + i])
        for i, g in zip(_bits(wanted), results, strict=True)
    ]
    return tuple(back), (0,) * len(back)


def _bits(wanted):
    return [i for i in range(wanted.bit_length()) if wanted >> i & 1]
