# SPDX-License-Identifier: Apache-2.0
"""flash-attention 2's functions for packed sequences of many lengths."""

from itertools import pairwise

import torch
from torch.nn.functional import pad

from ..masks import documents
from ._options import (
    answer,
    check_heads,
    integers,
    mask_of,
    packed,
    slopes_of,
    tensor_of,
    window_of,
)
from ._pages import rows_of_pages
from ._probabilities import shown_probabilities
from .dense import flash_attn_func


def flash_attn_varlen_func(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
    block_table=None,
):
    """Attention within packed sequences: q (total_q, heads, dim), k and v (total_k, heads_k, dim).

    cu_seqlens_q, cu_seqlens_k: int32 (batch + 1,); sequence n has query rows cu_seqlens_q[n] to
    cu_seqlens_q[n + 1]. max_seqlen_q, max_seqlen_k: the longest of each; they size S_dmask alone.
    block_table: int32 (batch, blocks); k and v are then pages (num_blocks, page_size, heads_k,
    dim), and sequence n's keys lie in pages block_table[n], one after the other. Other arguments:
    those of flash_attn_func, whose positions count within each sequence.

    Returns (total_q, heads, dim), or with return_attn_probs (out, softmax_lse (heads, total_q),
    S_dmask (batch, heads, max_seqlen_q, max_seqlen_k)). Gradients and errors as flash_attn_func.
    """
    batch = integers("cu_seqlens_q", cu_seqlens_q, None).shape[0] - 1
    integers("cu_seqlens_k", cu_seqlens_k, batch + 1)
    tensor_of("q", q, "(total_q, heads, dim)")
    for name, x in (("k", k), ("v", v)):
        paged = "(num_blocks, page_size, heads, dim)"
        tensor_of(name, x, "(total_k, heads, dim)" if block_table is None else paged)
    check_heads(q, k, v)
    modifiers = slopes_of(alibi_slopes, batch, q.shape[1])
    if block_table is not None:
        integers("block_table", block_table, batch, None)
        lengths = cu_seqlens_k.diff().tolist()
        k, v = (
            torch.cat(
                [rows_of_pages(x, row, n) for row, n in zip(block_table, lengths, strict=True)]
            )
            for x in (k, v)
        )
    window = window_of(window_size, causal, k.shape[0])
    sizes = (int(max_seqlen_q), int(max_seqlen_k)) if return_attn_probs else None
    if alibi_slopes is not None and alibi_slopes.dim() == 2:
        options = (dropout_p, softmax_scale, False, window, softcap)
        places = _places(cu_seqlens_q, cu_seqlens_k)
        return _one_by_one(q, k, v, places, options, alibi_slopes, sizes)
    sequences, inner = documents(cu_seqlens_q, cu_seqlens_k), mask_of(*window)
    options = dict(
        mask=sequences if inner is None else inner & sequences,
        modifiers=modifiers,
        scale=softmax_scale,
        softcap=softcap,
        layout="thd",
    )

    def show(seed):
        shown = [
            shown_probabilities(q, k, dropout_p, seed, options, rows, cols)
            for rows, cols in _places(cu_seqlens_q, cu_seqlens_k)
        ]
        return _padded(shown, sizes)

    return answer(q, k, v, dropout_p, options, show if return_attn_probs else None)


def _places(cu_q, cu_k):
    """The query rows and the key rows of each sequence, as slices."""
    rows, cols = ([slice(*ends) for ends in pairwise(cu.tolist())] for cu in (cu_q, cu_k))
    return list(zip(rows, cols, strict=True))


def _padded(shown, sizes):
    """(batch, heads, *sizes) of one (heads, rows, cols) a sequence, with zeros."""
    len_q, len_k = sizes
    return torch.stack([pad(x, (0, len_k - x.shape[-1], 0, len_q - x.shape[-2])) for x in shown])


def _one_by_one(q, k, v, places, options, slopes, sizes):
    """A pass for each sequence: slopes of their own are (batch, heads), and packed sequences are
    one batch entry."""
    parts = [
        flash_attn_func(
            q[None, rows], k[None, cols], v[None, cols], *options, slopes[n : n + 1], False, True
        )
        for n, (rows, cols) in enumerate(places)
    ]
    rest = q.shape[0] - (places[-1][0].stop if places else 0)
    out = pad(torch.cat([out[0] for out, _, _ in parts]), (0, 0, 0, 0, 0, rest))
    if sizes is None:
        return out
    lse = pad(torch.cat([lse[0] for _, lse, _ in parts], 1), (0, rest), value=torch.inf)
    dropped = options[0] > 0
    return out, lse, _padded([x[0] for _, _, x in parts], sizes) if dropped else q.new_empty(0)


def flash_attn_varlen_qkvpacked_func(
    qkv,
    cu_seqlens,
    max_seqlen,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
):
    """flash_attn_varlen_func of qkv (total, 3, heads, dim); the gradient is of that shape."""
    return flash_attn_varlen_func(
        *packed("qkv", qkv, 3, "(total, 3, heads, dim)"),
        cu_seqlens,
        cu_seqlens,
        max_seqlen,
        max_seqlen,
        dropout_p,
        softmax_scale,
        causal,
        window_size,
        softcap,
        alibi_slopes,
        deterministic,
        return_attn_probs,
    )


def flash_attn_varlen_kvpacked_func(
    q,
    kv,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
):
    """flash_attn_varlen_func of q (total_q, heads, dim) and kv (total_k, 2, heads_k, dim)."""
    return flash_attn_varlen_func(
        q,
        *packed("kv", kv, 2, "(total_k, 2, heads_k, dim)"),
        cu_seqlens_q,
        cu_seqlens_k,
        max_seqlen_q,
        max_seqlen_k,
        dropout_p,
        softmax_scale,
        causal,
        window_size,
        softcap,
        alibi_slopes,
        deterministic,
        return_attn_probs,
    )
