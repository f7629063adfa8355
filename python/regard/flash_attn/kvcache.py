# SPDX-License-Identifier: Apache-2.0
"""flash-attention 2's function for decoding with a cache."""

import torch

from ._cache import Cache
from ._options import check_heads, mask_of, slopes_of, softmax_lse, tensor_of, window_of
from .rotary import apply_rotary_emb


@torch.no_grad()
def flash_attn_with_kvcache(
    q,
    k_cache,
    v_cache,
    k=None,
    v=None,
    rotary_cos=None,
    rotary_sin=None,
    cache_seqlens=None,
    cache_batch_idx=None,
    cache_leftpad=None,
    block_table=None,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    rotary_interleaved=True,
    alibi_slopes=None,
    num_splits=0,
    return_softmax_lse=False,
):
    """Attention of q (batch, seqlen_q, heads, dim) over what caches hold, after k and v have been
    written to them in place.

    k_cache, v_cache: (batch_cache, seqlen_cache, heads_k, dim), or with block_table pages
    (num_blocks, page_size, heads_k, dim) of any page size. k, v: (batch, seqlen_new, heads_k, dim),
    which go behind the cache_seqlens keys of each sequence; where they do not fit, an error comes
    before anything is written. rotary_cos, rotary_sin: (seqlen_rotary, rotary_dim / 2); k is turned
    from position cache_seqlens on, q too if causal or windowed, else all of it at cache_seqlens.
    cache_seqlens: how many keys each sequence has, an int or int32 (batch,); seqlen_cache unless
    given. cache_batch_idx: int32 (batch,), which entry of the cache is each sequence's.
    cache_leftpad: int32 (batch,), the first key of each. block_table: int32 (batch, blocks).
    num_splits: what is cut depends on the lengths alone; ignored. Other arguments: those of
    flash_attn_func, with the keys of a sequence counted from its first.

    Returns (batch, seqlen_q, heads, dim), or with return_softmax_lse also (batch, heads, seqlen_q)
    in float32, +inf where a row sees no key. No gradients. Errors: ValueError by argument name.
    """
    tensor_of("q", q, "(batch, seqlen_q, heads, dim)")
    cache = Cache(q, k_cache, v_cache, cache_seqlens, cache_batch_idx, cache_leftpad, block_table)
    slopes_of(alibi_slopes, q.shape[0], q.shape[2])  # before anything is written
    window = window_of(window_size, causal, cache.room)
    if k is None and (v is not None or rotary_cos is not None):
        given = "v" if v is not None else "rotary_cos"
        raise ValueError(f"{given}: given without k; expected k and v, the keys and values to add")
    if k is not None:
        q, k = _checked_and_turned(
            q, k, v, cache, rotary_cos, rotary_sin, rotary_interleaved, window != (-1, -1)
        )
        cache.append(k, v)
    options = dict(scale=softmax_scale, softcap=softcap, return_lse=return_softmax_lse)
    found = cache.attend(q, mask_of(*window), alibi_slopes, options)
    return (found[0], softmax_lse(found[1])) if return_softmax_lse else found


def _checked_and_turned(q, k, v, cache, cos, sin, interleaved, in_order):
    """q and k as they are looked at and kept."""
    tensor_of("k", k, "(batch, seqlen_new, heads_k, dim)")
    tensor_of("v", v, "(batch, seqlen_new, heads_k, dim)")
    check_heads(q, k, v)
    if (k.shape[0], k.shape[2], v.shape[3]) != (q.shape[0], *cache.v.shape[2:]):
        raise ValueError(
            f"k: shape {tuple(k.shape)}; expected batch size {q.shape[0]}, as q, and"
            f" {cache.v.shape[2]} heads, as k_cache"
        )
    cache.check_room(k.shape[1])
    if cos is None:
        return q, k
    if sin is None:
        raise ValueError("rotary_sin: not given; rotary_cos is, and the two belong together")
    at = torch.tensor(cache.lengths)
    turn = dict(cos=cos, sin=sin, interleaved=interleaved, seqlen_offsets=at)
    turned = q if in_order else q.flatten(1, 2)[:, None]  # all of a sequence at one position
    return apply_rotary_emb(turned, **turn).view(q.shape), apply_rotary_emb(k, **turn)
