"""regard::attention as compilers, opcheck and tracers see it: shapes, autograd and autocast. Eager
code takes the shorter way of autograd.py; both end in the same kernels."""

import torch
from torch._C import DispatchKey, DispatchKeySet, _ExcludeDispatchKeyGuard

from . import ops_library as ops
from .autocast import lowered
from .axes import agree
from .double_backward import DoubleGradient
from .gradient import spread, wanted_bits


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


def _check_alike(query, key, value):
    """What broadcasts takes the longer way (see attention()), on the meta device too; and what is
    there in part gets its error there."""
    if not agree(query, key, value, 0) or not query.device == key.device == value.device:
        raise ValueError("query, key, value: shapes or devices differ")


def _fake_attend(query, key, value, mask, scale):
    _check_alike(query, key, value)
    return fake_attention(query, key, value, [], [], [], 0)[0]


def _fake_attend_for_gradients(query, key, value, mask, scale):
    _check_alike(query, key, value)
    return _fake_forward(query, key, value, [], [], [], 0, 0, False)


def _fake_attend_backward(d_out, query, key, value, out, statistics, mask, scale, wanted):
    return _fake_backward(d_out, None, query, key, value, out, statistics, [], [], [], 0, 0, wanted)


def _setup_context(ctx, inputs, output):
    query, key, value, ints, floats, tensors, order = inputs
    out, _, statistics = output
    ctx.save_for_backward(query, key, value, out, statistics, *tensors)
    ctx.lists = (ints, floats, order)
    ctx.needs = (*ctx.needs_input_grad[:3], *(x.requires_grad for x in tensors))
    ctx.set_materialize_grads(False)


def _backward(ctx, d_out, d_lse, _):
    query, key, value, out, statistics, *tensors = ctx.saved_tensors
    ints, floats, order = ctx.lists
    if d_out is None:
        d_out = torch.zeros_like(out)
    gradients = ops.attention_backward(
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
        0,
        wanted_bits(ctx.needs),
    )
    gradients = spread(gradients, ctx.needs)
    # PyTorch takes an empty list for one of tensors, and wants it back.
    no_ints, no_floats = ([] if not x else None for x in ctx.lists[:2])
    return (*gradients[:3], no_ints, no_floats, list(gradients[3:]), None)


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


def _setup_second(ctx, inputs, output):
    d_out, d_lse, query, key, value, _, _, ints, floats, tensors, order, _, wanted = inputs
    ctx.save_for_backward(d_out, d_lse, query, key, value, *tensors)
    ctx.lists = (ints, floats, order, wanted)
    ctx.needs = (*ctx.needs_input_grad[:5], *(x.requires_grad for x in tensors))


def _second(ctx, arriving):
    second = DoubleGradient.apply(
        *ctx.lists, wanted_bits(ctx.needs), len(arriving), *arriving, *ctx.saved_tensors
    )
    second = spread(second, ctx.needs)
    no_ints, no_floats = ([] if not x else None for x in ctx.lists[:2])
    nothing = (None, None)
    return (*second[:5], *nothing, no_ints, no_floats, list(second[5:]), *nothing, None)


torch.library.register_fake("regard::attention", fake_attention)
torch.library.register_fake("regard::attention_backward", _fake_backward)
torch.library.register_fake("regard::prepare_keys", _fake_prepare_keys)
torch.library.register_vmap("regard::prepare_keys", _vmap_prepare_keys)
# The private operators have shapes too, for tensors on the meta device.
torch.library.register_fake("regard::_forward", _fake_forward)
torch.library.register_fake("regard::_infer", _fake_infer)
torch.library.register_fake("regard::_attend", _fake_attend)
torch.library.register_fake("regard::_attend_for_gradients", _fake_attend_for_gradients)
torch.library.register_fake("regard::_attend_backward", _fake_attend_backward)
torch.library.register_autograd("regard::attention", _backward, setup_context=_setup_context)
torch.library.register_autograd("regard::attention_backward", _second, setup_context=_setup_second)

_library = torch.library.Library("regard", "IMPL")
_library.impl("attention", _autocast, "AutocastCPU")
