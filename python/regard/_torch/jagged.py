# SPDX-License-Identifier: Apache-2.0
"""Nested tensors of layout torch.jagged under regard.enable(): packed sequences, which is what they
are in memory. PyTorch sends them past its dispatcher (torch.nested._internal), so this road is
taken there."""

import torch
from torch.nested._internal import ops as nested_ops
from torch.nested._internal.nested_tensor import NestedTensor, nested_view_from_values_offsets

from ..masks import causal, documents
from . import enable, switch
from .attention import general

_top_left = causal(0)


@switch.at_first_use
def _register():
    original = nested_ops.jagged_scaled_dot_product_attention

    def route(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **options):
        if switch.on():
            gqa, scale = options.get("enable_gqa", False), options.get("scale")
            reason = _why_not(query, key, value, attn_mask, dropout_p, gqa)
            if reason is None:
                enable.count_served()
                return _packed(query, key, value, dropout_p, is_causal, scale)
            enable.count_declined(reason)
        return original(query, key, value, attn_mask, dropout_p, is_causal, **options)

    nested_ops.jagged_scaled_dot_product_attention = route


def _why_not(query, key, value, attn_mask, dropout_p, enable_gqa):
    tensors = (query, key, value)
    if not all(isinstance(x, NestedTensor) for x in tensors) or attn_mask is not None:
        return "nested tensors with dense ones or a mask"
    # (batch, heads, sequences of different lengths, dim), without holes
    if any(x.dim() != 4 or x._ragged_idx != 2 or x.lengths() is not None for x in tensors):
        return "nested tensors whose lengths are not those of sequences"
    if len({x.dtype for x in tensors}) > 1 or query.dtype not in enable.DTYPES:
        return "dtype"
    if any(x.device.type != "cpu" for x in tensors):
        return "tensors on several devices"
    heads = [x.size(1) for x in tensors]
    shapes_fit = (
        query.size(0) == key.size(0) == value.size(0)
        and key.shape[2] == value.shape[2]
        and query.size(3) == key.size(3)
        and 1 <= query.size(3) <= 512
        and 1 <= value.size(3) <= 2048
        and heads[1] == heads[2]
        and (heads[0] == heads[1] or (enable_gqa and heads[1] and heads[0] % heads[1] == 0))
    )
    if not shapes_fit or not 0.0 <= dropout_p <= 1.0:
        return "shapes that do not fit"
    if not torch._C._get_flash_sdp_enabled():
        return "torch.nn.attention.sdpa_kernel without FLASH_ATTENTION"
    return None


def _packed(query, key, value, dropout_p, is_causal, scale):
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    mask = documents(query.offsets(), key.offsets())
    if is_causal:  # position by position from each sequence's first, as for dense tensors
        mask = _top_left & mask
    rows = general(
        *(x.values() for x in (query, key, value)),
        mask=mask,
        dropout_p=dropout_p,
        scale=scale,
        layout="thd",
    )
    lengths = dict(min_seqlen=query._maybe_min_seqlen, max_seqlen=query._maybe_max_seqlen)
    return nested_view_from_values_offsets(rows, query.offsets(), **lengths).transpose(1, 2)
