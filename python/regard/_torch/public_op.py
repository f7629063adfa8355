# SPDX-License-Identifier: Apache-2.0
"""regard::attention as compilers, opcheck and tracers see it: shapes, autograd and autocast. Eager
code takes the shorter way of autograd.py; both end in the same kernels."""

import torch
from torch._C import DispatchKey, DispatchKeySet, _ExcludeDispatchKeyGuard

from . import ops_library as ops
from .autocast import lowered
from .axes import agree
from .functional import batched_forward
from .gradient import as_operators_take, batched_gradient, gradients, keep, second_gradients
from .one_level import OneLevel, below_autograd


def fake_attention(query, key, value, ints, floats, tensors, order):
    sizes = list(query.shape)
    rank = query.dim()
    heads, seq = (-2, -3) if order else (-3, -2)
    sizes[-1] = value.shape[-1]
    if not order and rank >= 3 and query.stride(-3) < query.stride(-2):
        # The memory order of the query, as Problem::make_output has it.
        inside = [*sizes[:-3], sizes[-2], sizes[-3], sizes[-1]]
        out = query.new_empty(inside).transpose(-3, -2)
    else:
        out = query.new_empty(sizes)
    statistic = torch.float64 if query.dtype == torch.float64 else torch.float32
    rows = [query.shape[seq]] if rank == 2 else [query.shape[heads], query.shape[seq]]
    if rank == 4:
        rows.insert(0, query.shape[0])
    return out, query.new_empty(rows, dtype=statistic), query.new_empty([2, *rows], dtype=statistic)


def _fake_backward(
    d_out, d_lse, query, key, value, out, statistics, ints, floats, tensors, order, plan, wanted
):
    inputs = [query, key, value, *tensors]
    return [x.new_empty(x.shape) for i, x in enumerate(inputs) if wanted >> i & 1]


def _fake_forward(query, key, value, ints, floats, tensors, order, plan, lse):
    out, row, _ = fake_attention(query, key, value, ints, floats, tensors, order)
    return out, row.new_empty([3 if lse else 2, *row.shape])


def _fake_infer(query, key, value, ints, floats, tensors, order, plan, lse):
    out, row, _ = fake_attention(query, key, value, ints, floats, tensors, order)
    return out, row.new_empty([1 if lse else 0, *row.shape])


def _check_alike(query, key, value, *tensors, order=0):
    """What broadcasts takes the longer way (see attention()), on the meta device too; and what is
    there in part gets its error there."""
    devices = (x.device == query.device for x in (key, value, *tensors))
    if not agree(query, key, value, order) or not all(devices):
        raise ValueError("query, key, value: shapes or devices differ")


def _fake_attend(query, key, value, mask, scale):
    _check_alike(query, key, value)
    return fake_attention(query, key, value, [], [], [], 0)[0]


def _fake_attend_with(query, key, value, ints, floats, tensors, order):
    _check_alike(query, key, value, *tensors, order=order)
    return fake_attention(query, key, value, ints, floats or [], tensors, order)[0]


def _fake_attend_for_gradients(query, key, value, mask, scale):
    _check_alike(query, key, value)
    return _fake_forward(query, key, value, [], [], [], 0, 0, False)


def _fake_attend_backward(d_out, query, key, value, out, statistics, mask, scale, wanted):
    return _fake_backward(d_out, None, query, key, value, out, statistics, [], [], [], 0, 0, wanted)


class _Attention(OneLevel):
    @staticmethod
    def forward(ctx, place, query, key, value, ints, floats, order, *tensors):
        result = below_autograd(
            ops.attention, place, query, key, value, ints, floats, list(tensors), order
        )
        out, _, statistics = result
        ctx.mark_non_differentiable(statistics)
        ctx.save_for_backward(query, key, value, out, statistics, *tensors)
        ctx.lists = (ints, floats, order)
        ctx.set_materialize_grads(False)
        return result

    @staticmethod
    def backward(ctx, d_out, d_lse, _):
        needs = (*ctx.needs_input_grad[1:4], *ctx.needs_input_grad[7:])
        found = gradients(d_out, d_lse, ctx.saved_tensors, *ctx.lists, 0, needs, public=True)
        return (None, *found[:3], None, None, None, *found[3:])


def _autograd(keyset, query, key, value, ints, floats, tensors, order):
    return _Attention.one_level(keyset, query, key, value, ints, floats, order, *tensors)


class _AttentionBackward(OneLevel):
    @staticmethod
    def forward(ctx, place, *inputs):
        keep(ctx, inputs)
        return tuple(below_autograd(ops.attention_backward, place, *as_operators_take(inputs)))

    @staticmethod
    def backward(ctx, *arriving):
        return (None, *second_gradients(ctx, arriving, ctx.needs_input_grad[1:]))


def _backward_autograd(keyset, *arguments):
    *first, tensors, order, plan, wanted = arguments
    return list(_AttentionBackward.one_level(keyset, *first, order, plan, wanted, *tensors))


def _flat(in_dims, place):
    """The dims of a list of tensors at `place` behind those of the other arguments."""
    dims = in_dims[place]
    dims = dims if isinstance(dims, list | tuple) else ()
    return (*in_dims[:place], *in_dims[place + 1 :], *dims)


def _vmap(info, in_dims, query, key, value, ints, floats, tensors, order):
    def call(query, key, value, ints, floats, order, *tensors):
        return ops.attention(query, key, value, ints, floats, list(tensors), order)

    lists = (ints, floats, order)
    return batched_forward(call, info, _flat(in_dims, 5), query, key, value, *lists, *tensors)


def _vmap_backward(info, in_dims, *arguments):
    def call(*inputs):
        return ops.attention_backward(*as_operators_take(inputs))

    *first, tensors, order, plan, wanted = arguments
    inputs = (*first, order, plan, wanted, *tensors)
    found, dims = batched_gradient(call, info, _flat(in_dims, 9), *inputs)
    return list(found), list(dims)


# torch.library.register_autocast fixes the dtype when it registers; this asks for the region's own
# on each call.
def _autocast(query, key, value, ints, floats, tensors, order):
    inputs = lowered(query, key, value)
    with _ExcludeDispatchKeyGuard(DispatchKeySet(DispatchKey.AutocastCPU)):
        return ops.attention(*inputs, ints, floats, tensors, order)


def _fake_prepare_keys(key):
    return torch.empty(
        key.shape,
        dtype=torch.float64 if key.dtype == torch.float64 else torch.float32,
        device=key.device,
    )


def _vmap_prepare_keys(info, in_dims, key):
    key = key.movedim(in_dims[0], 0)
    flat = (
        key.flatten(0, 1) if key.dim() > 4 else key
    )  # element by element: which axis is which does not matter
    return ops.prepare_keys(flat).view(key.shape), 0


torch.library.register_fake("regard::attention", fake_attention)
torch.library.register_fake("regard::attention_backward", _fake_backward)
torch.library.register_fake("regard::prepare_keys", _fake_prepare_keys)
torch.library.register_vmap("regard::prepare_keys", _vmap_prepare_keys)
# The private operators have shapes too, for tensors on the meta device.
torch.library.register_fake("regard::_forward", _fake_forward)
torch.library.register_fake("regard::_infer", _fake_infer)
torch.library.register_fake("regard::_attend", _fake_attend)
torch.library.register_fake("regard::_attend_with", _fake_attend_with)
torch.library.register_fake("regard::_attend_for_gradients", _fake_attend_for_gradients)
torch.library.register_fake("regard::_attend_backward", _fake_attend_backward)
torch.library.register_vmap("regard::attention", _vmap)
torch.library.register_vmap("regard::attention_backward", _vmap_backward)

_library = torch.library.Library("regard", "IMPL")
_library.impl("attention", _autocast, "AutocastCPU")
_library.impl("attention", _autograd, "Autograd", with_keyset=True)
_library.impl("attention_backward", _backward_autograd, "Autograd", with_keyset=True)
