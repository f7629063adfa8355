# SPDX-License-Identifier: Apache-2.0
"""All weights of an attention as a tensor with gradients, for those who ask for them
(regard.nn.MultiheadAttention with need_weights=True). The kernels of attention_map make it, heads
averaged as it is made; its gradient is that of the formula (plain.py), tile by tile."""

from collections.abc import Sequence

import torch
from torch import Tensor

from . import ops_library as ops
from .attention import prepared
from .gradient import spread, wanted_bits
from .plain import Formula, as_given, canonical, differentiable


def attention_weights(query, key, *, mean_heads=False, **options):
    """(batch, heads, len_q, len_k) of query and key (batch, heads, seq, dim), or (batch, len_q,
    len_k) with mean_heads; differentiable. Options as regard.attention's; no plan."""
    *inputs, _ = prepared(query, key, key, **options)
    query, key, _, ints, floats, tensors, order = inputs
    weights = _weights(query, key, ints, floats, tensors, order, mean_heads)
    return weights.squeeze(1) if mean_heads else weights


@torch.library.custom_op("regard::attention_weights", mutates_args=())
def _weights(
    query: Tensor,
    key: Tensor,
    ints: Sequence[int],
    floats: Sequence[float],
    tensors: Sequence[Tensor],
    order: int,
    mean_heads: bool,
) -> Tensor:
    batch, heads, len_q, len_k = _sizes(query, key, order)
    region = (0, batch, 0, heads, 0, len_q, 0, len_k)
    lists = (ints, floats, list(tensors), order, 0)
    (weights,) = ops.attention_map(
        query, key, None, None, None, *lists, "weights", region, mean_heads, (), "max"
    )
    return weights.to(query.dtype)


@_weights.register_fake
def _(query, key, ints, floats, tensors, order, mean_heads):
    batch, heads, len_q, len_k = _sizes(query, key, order)
    return query.new_empty(batch, 1 if mean_heads else heads, len_q, len_k)


def _sizes(query, key, order):
    query, key = canonical(query, order), canonical(key, order)
    return (query.shape[0], query.shape[1], query.shape[2], key.shape[2])


@torch.library.custom_op("regard::attention_weights_backward", mutates_args=())
def _weights_backward(
    arriving: Tensor,
    query: Tensor,
    key: Tensor,
    ints: Sequence[int],
    floats: Sequence[float],
    tensors: Sequence[Tensor],
    order: int,
    mean_heads: bool,
    wanted: int,
) -> list[Tensor]:
    inputs = [canonical(query, order), canonical(key, order), *tensors]
    formula = Formula(ints, floats, tensors, *inputs[:2])
    places = [n for n in range(len(inputs)) if wanted >> n & 1]
    sums = [torch.zeros(inputs[n].shape, dtype=formula.wide) for n in places]

    def part(n, x, begin, end):
        cut = n == 0 or (n >= 2 and formula.by_rows(n - 2))
        return formula.rows_of(x, begin, end) if cut else x

    for begin, end in formula.blocks:
        leaves = [
            part(n, x, begin, end).detach().requires_grad_(n in places)
            for n, x in enumerate(inputs)
        ]
        with differentiable():
            weights, _ = formula.weights(leaves[0], leaves[1], leaves[2:], begin, end)
            if mean_heads:
                weights = weights.mean(1, keepdim=True)
            found = torch.autograd.grad(
                weights,
                [leaves[n] for n in places],
                arriving[..., begin:end, :].to(weights.dtype),
                allow_unused=True,
            )
        for n, total, g in zip(places, sums, found, strict=True):
            if g is not None:
                part(n, total, begin, end).add_(g)
    given = [query, key, *tensors]
    return [
        (as_given(total, order, given[n].shape) if n < 2 else total).to(given[n].dtype)
        for n, total in zip(places, sums, strict=True)
    ]


@_weights_backward.register_fake
def _(arriving, query, key, ints, floats, tensors, order, mean_heads, wanted):
    inputs = [query, key, *tensors]
    return [x.new_empty(x.shape) for n, x in enumerate(inputs) if wanted >> n & 1]


def _setup(ctx, inputs, output):
    query, key, ints, floats, tensors, order, mean_heads = inputs
    ctx.save_for_backward(query, key, *tensors)
    ctx.lists = (ints, floats)
    ctx.rest = (order, mean_heads)
    ctx.needs = (*ctx.needs_input_grad[:2], *(x.requires_grad for x in tensors))


def _backward(ctx, arriving):
    query, key, *tensors = ctx.saved_tensors
    found = _weights_backward(
        arriving, query, key, *ctx.lists, tensors, *ctx.rest, wanted_bits(ctx.needs)
    )
    found = spread(found, ctx.needs)
    no_ints, no_floats = ([] if not x else None for x in ctx.lists)
    return *found[:2], no_ints, no_floats, list(found[2:]), None, None


_weights.register_autograd(_backward, setup_context=_setup)
