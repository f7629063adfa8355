# SPDX-License-Identifier: Apache-2.0
"""regard::attention_state and regard::merge_states as autograd, compilers and opcheck see them.
States have one way only: a part is never so small that the operator's own cost shows."""

import torch
from torch._C import DispatchKey, DispatchKeySet, _ExcludeDispatchKeyGuard

from . import ops_library as ops
from .autocast import lowered
from .gradient import spread, wanted_bits
from .public_op import fake_attention

DOUBLE_BACKWARD = (
    "regard.attention_state, regard.merge: double backward (a gradient of their gradient) is not"
    " supported"
)


def _fake_state(query, key, value, ints, floats, tensors, order):
    out, row, _ = fake_attention(query, key, value, ints, floats, tensors, order)
    return torch.empty_like(out, dtype=row.dtype), row, torch.empty_like(row)


def _setup_state(ctx, inputs, output):
    query, key, value, ints, floats, tensors, order = inputs
    ctx.save_for_backward(query, key, value, *output, *tensors)
    ctx.lists = (ints, floats, order)
    ctx.needs = (*ctx.needs_input_grad[:3], *(x.requires_grad for x in tensors))
    ctx.set_materialize_grads(False)


def _state_backward(ctx, d_out, _, d_log_sum):
    query, key, value, out, maximum, log_sum, *tensors = ctx.saved_tensors
    ints, floats, order = ctx.lists
    if d_out is None:
        d_out = torch.zeros_like(out)
    statistics = torch.stack((maximum, log_sum))
    gradients = ops.attention_backward(
        d_out,
        d_log_sum,
        query,
        key,
        value,
        out,
        statistics,
        ints,
        floats,
        tensors,
        order,
        0,
        wanted_bits(ctx.needs),
    )
    gradients = spread(gradients, ctx.needs)
    # PyTorch takes an empty list for one of tensors, and wants it back.
    no_ints, no_floats = ([] if not x else None for x in ctx.lists[:2])
    return (*gradients[:3], no_ints, no_floats, list(gradients[3:]), None)


def _autocast_state(query, key, value, ints, floats, tensors, order):
    inputs = lowered(query, key, value)
    with _ExcludeDispatchKeyGuard(DispatchKeySet(DispatchKey.AutocastCPU)):
        return ops.attention_state(*inputs, ints, floats, tensors, order)


def _contiguous_like(x):
    return x.new_empty(x.shape)


def _fake_merge(outs, maxima, log_sums, order):
    return _contiguous_like(outs[0]), _contiguous_like(maxima[0]), _contiguous_like(log_sums[0])


def _fake_merge_backward(d_out, d_log_sum, outs, maxima, log_sums, whole, order, wanted):
    return [_contiguous_like(x) for n, x in enumerate([*outs, *log_sums]) if wanted >> n & 1]


def _setup_merge(ctx, inputs, output):
    outs, maxima, log_sums, order = inputs
    ctx.save_for_backward(*outs, *maxima, *log_sums, *output)
    ctx.count, ctx.order = len(outs), order
    ctx.needs = [x.requires_grad for x in (*outs, *log_sums)]
    ctx.set_materialize_grads(False)


def _merge_backward(ctx, d_out, _, d_log_sum):
    n = ctx.count
    saved = ctx.saved_tensors
    outs, maxima, log_sums, whole = (
        saved[:n],
        saved[n : 2 * n],
        saved[2 * n : 3 * n],
        saved[3 * n :],
    )
    if d_out is None:
        d_out = torch.zeros_like(whole[0])
    gradients = ops.merge_states_backward(
        d_out,
        d_log_sum,
        list(outs),
        list(maxima),
        list(log_sums),
        list(whole),
        ctx.order,
        wanted_bits(ctx.needs),
    )
    gradients = spread(gradients, ctx.needs)
    return list(gradients[:n]), [None] * n, list(gradients[n:]), None


def _no_double_backward(ctx, *_):
    raise RuntimeError(DOUBLE_BACKWARD)


torch.library.register_fake("regard::attention_state", _fake_state)
torch.library.register_fake("regard::merge_states", _fake_merge)
torch.library.register_fake("regard::merge_states_backward", _fake_merge_backward)
torch.library.register_autograd(
    "regard::attention_state", _state_backward, setup_context=_setup_state
)
torch.library.register_autograd("regard::merge_states", _merge_backward, setup_context=_setup_merge)
torch.library.register_autograd("regard::merge_states_backward", _no_double_backward)

_library = torch.library.Library("regard", "IMPL")
_library.impl("attention_state", _autocast_state, "AutocastCPU")
