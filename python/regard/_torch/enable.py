# SPDX-License-Identifier: Apache-2.0
"""Under regard.enable(), every `torch.nn.functional.scaled_dot_product_attention` on CPU tensors
runs here.

A kernel of that operator is registered at two keys of the dispatcher, once (see switch.py):
AutogradCPU, which nearly every call passes, and BackendSelect, which those of inference mode pass.
At CPU, PyTorch's exporter would take it for an operator that has no decomposition. What is not
covered goes to PyTorch's own kernel, and report() says what and why. A graph that was compiled
before keeps the kernel it was compiled with.
"""

import collections

import torch
from torch._C import DispatchKey
from torch.autograd import forward_ad

from ..masks import causal, tensor
from . import ops_library as ops
from . import switch
from .attention import _grad_enabled, _transforms, by_operator, general, with_gradients
from .options import short_lists

_sdpa = torch.ops.aten.scaled_dot_product_attention.default
_below_python = _sdpa._op_dk
_top_left = causal(0)
_fused_allowed = torch._C._get_flash_sdp_enabled  # what torch.nn.attention.sdpa_kernel sets
_on = switch.on
_served: collections.Counter = collections.Counter()
_declined: collections.Counter = collections.Counter()


class Report(collections.namedtuple("Report", "served declined")):
    """`served`: calls that ran here. `declined`: {reason: calls that PyTorch's own kernel ran}."""

    __slots__ = ()

    def __str__(self):
        lines = [f"{self.served} calls ran in Regard"]
        lines += [
            f"{count} calls ran in PyTorch: {reason}"
            for reason, count in sorted(self.declined.items())
        ]
        return "\n".join(lines)


def report(reset: bool = False) -> Report:
    """What became of the calls of scaled_dot_product_attention while Regard was enabled, since
    the start or the last reset."""
    result = Report(_served["calls"], dict(_declined))
    if reset:
        _served.clear()
        _declined.clear()
    return result


@switch.at_first_use
def _register():
    library = torch.library.Library("aten", "IMPL")
    for key in ("AutogradCPU", "BackendSelect"):
        library.impl("scaled_dot_product_attention", _route, key)
    kept.append(library)


kept: list = []  # a library takes its kernels with it when it is freed


def count_served():
    _served["calls"] += 1


def count_declined(reason):
    _declined[reason] += 1


def _pytorch(*arguments, **keywords):
    return _below_python(DispatchKey.CompositeImplicitAutograd, *arguments, **keywords)


def _route(
    query,
    key,
    value,
    attn_mask=None,
    dropout_p=0.0,
    is_causal=False,
    *,
    scale=None,
    enable_gqa=False,
):
    arguments = (query, key, value, attn_mask, dropout_p, is_causal)
    if not _on():
        return _pytorch(*arguments, scale=scale, enable_gqa=enable_gqa)
    kind = type(query)
    plain = kind is torch.Tensor and type(key) is kind and type(value) is kind
    if (
        plain
        and not dropout_p
        and not _transforms()
        and forward_ad._current_level < 0
        and _fused_allowed()
    ):
        # The shortest way, for what most calls are. What the operators refuse finds its reason
        # below.
        a, b = query.shape, key.shape
        if (
            len(a) == 4
            and len(b) == 4
            and (a[1] == b[1] or (enable_gqa and b[1] == value.size(-3)))
        ):
            try:
                result = _plain_call(query, key, value, attn_mask, is_causal, scale, a, b)
            except ValueError:
                result = None
            if result is not None:
                count_served()
                return result
    reason = _why_not(*arguments, scale, enable_gqa)
    if reason is not None:
        count_declined(reason)
        return _pytorch(*arguments, scale=scale, enable_gqa=enable_gqa)
    count_served()
    run = by_operator if _transforms() else None
    if attn_mask is not None:
        return _masked(query, key, value, attn_mask, is_causal, scale, dropout_p, run)
    mask = _top_left if is_causal else None
    return general(query, key, value, mask=mask, scale=scale, dropout_p=dropout_p, run=run)


def _plain_call(query, key, value, attn_mask, is_causal, scale, a, b):
    """The result for plain tensors of rank 4, or None where something has to broadcast or to be
    looked at."""
    recorded = _grad_enabled()
    gradients = recorded and (query.requires_grad or key.requires_grad or value.requires_grad)
    if attn_mask is None:
        attend = with_gradients if gradients else ops.attend
        return attend(query, key, value, 2 if is_causal else 0, scale)
    if type(attn_mask) is torch.Tensor and _mask_dtype_fits(attn_mask.dtype, query.dtype):
        sizes = attn_mask.shape
        if 2 <= len(sizes) <= 4 and all(
            m in (1, n) for m, n in zip(reversed(sizes), (b[2], a[2], a[1], a[0]), strict=False)
        ):
            if not (gradients or is_causal):
                pair = (attn_mask, None) if attn_mask.dtype is torch.bool else (None, attn_mask)
                lists = short_lists(pair[0], scale, pair[1], (), recorded)
                if lists is not None:
                    return ops.attend_with(query, key, value, *lists, 0)
            return _masked(query, key, value, attn_mask, is_causal, scale)
    return None


def _masked(query, key, value, attn_mask, is_causal, scale, dropout_p=0.0, run=None):
    """PyTorch's CPU kernel takes a mask together with is_causal: a key has to pass both."""
    mask, bias = (tensor(attn_mask), None) if attn_mask.dtype is torch.bool else (None, attn_mask)
    if is_causal:
        mask = _top_left if mask is None else _top_left & mask
    options = dict(mask=mask, bias=bias, scale=scale, dropout_p=dropout_p, run=run)
    return general(query, key, value, **options)


DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def _mask_dtype_fits(mask, query):
    """PyTorch's rule."""
    return mask is torch.bool or mask is torch.float32 or mask is query


def _covered(query, key, value, a, b, c):
    """None, or why these tensors are not Regard's."""
    dtype = query.dtype
    if dtype not in DTYPES or key.dtype is not dtype or value.dtype is not dtype:
        return "dtype"
    if not 1 <= a[-1] <= 512:
        return "head dim outside 1 to 512"
    if not 1 <= c[-1] <= 2048:
        return "value's head dim outside 1 to 2048"
    if a[-1] != b[-1] or b[-2] != c[-2]:
        return "shapes that do not fit"
    return None


def _why_not(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa):
    if not _fused_allowed():
        return "torch.nn.attention.sdpa_kernel without FLASH_ATTENTION"
    if forward_ad._current_level >= 0:
        return "inside forward-mode differentiation"
    if not 0.0 <= dropout_p <= 1.0:
        return "dropout_p outside 0 to 1"
    if (
        scale is not None
        and not abs(scale)
        <= torch.finfo(torch.float64 if query.dtype is torch.float64 else torch.float32).max
    ):
        return "scale that is not finite"
    inputs = [x for x in (query, key, value, attn_mask) if x is not None]
    if any(x.is_nested or x.layout is not torch.strided for x in inputs):
        return "nested or sparse tensors"
    if any(x.device.type != "cpu" for x in inputs):
        return "tensors on several devices"
    if any(x.dim() < 2 for x in (query, key, value)):
        return "shapes that do not fit"
    reason = _covered(query, key, value, query.shape, key.shape, value.shape)
    if reason is not None:
        return reason
    if attn_mask is not None:
        if not _mask_dtype_fits(attn_mask.dtype, query.dtype):
            return "dtype of attn_mask"
        if attn_mask.dim() < 2:
            return "shapes that do not fit"
    return _heads_and_batch(query, key, value, attn_mask, enable_gqa)


def _heads_and_batch(query, key, value, attn_mask, enable_gqa):
    """PyTorch repeats heads only on request, and otherwise broadcasts every leading dimension
    alike."""
    heads = [x.shape[-3] if x.dim() > 2 else 1 for x in (query, key, value)]
    if enable_gqa:
        if (
            min(x.dim() for x in (query, key, value)) < 3
            or heads[1] != heads[2]
            or heads[1] == 0
            or heads[0] % heads[1]
        ):
            return "heads that do not divide"
        batches = [x.shape[:-3] for x in (query, key, value)]
    else:
        batches = [x.shape[:-2] for x in (query, key, value)]
    try:
        batch = torch.broadcast_shapes(*batches)
        full = (*batch, heads[0]) if enable_gqa else batch
        if attn_mask is not None:
            pairs = (*full, query.shape[-2], key.shape[-2])
            if torch.broadcast_shapes(attn_mask.shape, pairs) != torch.Size(pairs):
                return "attn_mask with more dimensions than the scores"
    except RuntimeError:
        return "shapes that do not fit"
    return None
