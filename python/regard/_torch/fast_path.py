# SPDX-License-Identifier: Apache-2.0
"""The fast path of nn.MultiheadAttention and nn.TransformerEncoderLayer under regard.enable().

In eval without gradients those modules call `aten::_native_multi_head_attention`, which multiplies
the whole matrix of weights and never asks for scaled_dot_product_attention. Under the flag it runs
here: dense and nested (strided) tensors alike, no matrix unless its weights are asked for. The flag
of torch.backends.mha stays its owner's."""

import torch
from torch._C import DispatchKey
from torch.nn.functional import linear

from ..masks import documents, tensor
from . import enable, switch
from .attention import general
from .map import attention_map

_native = torch.ops.aten._native_multi_head_attention.default
_after = torch._C._dispatch_keyset_full_after(DispatchKey.BackendSelect)
_OF_PAIRS, _OF_KEYS, _OF_HEADS = range(3)  # mask_type: (L, L), (B, L), (B, heads, L, L)


@switch.at_first_use
def _register():
    library = torch.library.Library("aten", "IMPL")
    library.impl("_native_multi_head_attention", _route, "BackendSelect", with_keyset=True)
    enable.kept.append(library)


def _route(
    keyset,
    query,
    key,
    value,
    embed_dim,
    num_head,
    qkv_weight,
    qkv_bias,
    proj_weight,
    proj_bias,
    mask=None,
    need_weights=True,
    average_attn_weights=True,
    mask_type=None,
):
    if switch.on():
        reason = _why_not(query, key, value, qkv_weight, mask, need_weights)
        if reason is None:
            enable.count_served()
            project = (qkv_weight, qkv_bias, proj_weight, proj_bias)
            if query.is_nested:
                return _nested(query, num_head, *project), None
            weights = average_attn_weights if need_weights else None
            return _dense(query, num_head, *project, mask, mask_type, weights)
        enable.count_declined(reason)
    return _native.redispatch(
        keyset & _after,
        query,
        key,
        value,
        embed_dim,
        num_head,
        qkv_weight,
        qkv_bias,
        proj_weight,
        proj_bias,
        mask,
        need_weights,
        average_attn_weights,
        mask_type,
    )


def _why_not(query, key, value, qkv_weight, mask, need_weights):
    if any(x.device.type != "cpu" for x in (query, key, value)):
        return "tensors on several devices"
    if not (query is key or query.is_set_to(key)) or not (key is value or key.is_set_to(value)):
        return "fast path of nn.MultiheadAttention with different query, key and value"
    if query.dtype not in enable.DTYPES or query.dtype is not qkv_weight.dtype:
        return "dtype"
    if query.is_nested and (need_weights or mask is not None):
        return "nested tensors with a mask, or whose weights are asked for"
    if query.is_nested and (query.layout is not torch.strided or query.dim() != 3):
        return "nested or sparse tensors"
    return None


def _dense(query, num_head, qkv_weight, qkv_bias, proj_weight, proj_bias, mask, mask_type, average):
    heads = linear(query, qkv_weight, qkv_bias).unflatten(-1, (3, num_head, -1))
    q, k, v = (x.transpose(1, 2) for x in heads.unbind(2))
    if mask is not None:
        hidden = mask if mask.dtype is torch.bool else mask.to(torch.bool)
        mask = tensor(~(hidden[:, None, None] if mask_type == _OF_KEYS else hidden))
    out = general(q, k, v, mask=mask)
    out = linear(out.transpose(1, 2).flatten(2), proj_weight, proj_bias)
    if average is None:
        return out, None
    return out, _weights(q, k, mask, average)


def _weights(q, k, mask, average):
    weights = attention_map(q, k, mask=mask, mean_heads=average).to(q.dtype)
    return weights.squeeze(1) if average else weights


def _nested(query, num_head, qkv_weight, qkv_bias, proj_weight, proj_bias):
    """All sequences as one packed one; each sees itself."""
    rows = query.unbind()
    ends = torch.tensor([0, *(len(x) for x in rows)]).cumsum(0)
    heads = linear(torch.cat(rows), qkv_weight, qkv_bias).unflatten(-1, (3, num_head, -1))
    out = general(*heads.unbind(1), mask=documents(ends), layout="thd")
    out = linear(out.flatten(1), proj_weight, proj_bias)
    return torch.nested.as_nested_tensor(list(out.split([len(x) for x in rows])))
