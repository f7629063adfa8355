# SPDX-License-Identifier: Apache-2.0
"""flash-attention 2's functions for sequences of one length."""

from ._options import (
    answer,
    check_heads,
    mask_of,
    packed,
    slopes_of,
    tensor_of,
    window_of,
)
from ._probabilities import shown_probabilities


def flash_attn_func(
    q,
    k,
    v,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
):
    """Attention of q (batch, seqlen_q, heads, dim) over k, v (batch, seqlen_k, heads_k, dim).

    heads is a multiple of heads_k. dropout_p: 0 in evaluation. softmax_scale: 1 / sqrt(dim) unless
    given. causal: query i sees keys up to i + seqlen_k - seqlen_q (bottom-right aligned).
    window_size: (left, right) keys around that one, both ends included; -1 is unbounded.
    softcap: above 0, scores are softcap * tanh(score / softcap). alibi_slopes: (heads,) or
    (batch, heads): -slope * |i + seqlen_k - seqlen_q - j| is added to the scores; no gradient.
    deterministic: results always are, bit by bit. return_attn_probs: returns (out, softmax_lse,
    S_dmask): softmax_lse (batch, heads, seqlen_q) in float32, +inf where a row sees no key, and,
    with dropout only, S_dmask (batch, heads, seqlen_q, seqlen_k), the weights before dropout,
    negative where one was dropped; for tests, since it is as large as the matrix of scores.

    Returns (batch, seqlen_q, heads, dim). Gradients go to q, k and v. Errors: ValueError for what
    does not fit, by argument name.
    """
    for name, x in (("q", q), ("k", k), ("v", v)):
        tensor_of(name, x, "(batch, seqlen, heads, dim)")
    check_heads(q, k, v)
    batch, _, heads, _ = q.shape
    if k.shape[0] != batch:
        raise ValueError(f"k: shape {tuple(k.shape)} has batch size {k.shape[0]}; q has {batch}")
    options = dict(
        mask=mask_of(*window_of(window_size, causal, k.shape[1])),
        modifiers=slopes_of(alibi_slopes, batch, heads),
        scale=softmax_scale,
        softcap=softcap,
        layout="bshd",
    )

    def show(seed):
        return shown_probabilities(q, k, dropout_p, seed, options)

    return answer(q, k, v, dropout_p, options, show if return_attn_probs else None)


def flash_attn_qkvpacked_func(
    qkv,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
):
    """flash_attn_func of qkv (batch, seqlen, 3, heads, dim); the gradient is of that shape."""
    return flash_attn_func(
        *packed("qkv", qkv, 3, "(batch, seqlen, 3, heads, dim)"),
        dropout_p,
        softmax_scale,
        causal,
        window_size,
        softcap,
        alibi_slopes,
        deterministic,
        return_attn_probs,
    )


def flash_attn_kvpacked_func(
    q,
    kv,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
):
    """flash_attn_func of q (batch, seqlen_q, heads, dim) and kv (batch, seqlen_k, 2, heads_k,
    dim)."""
    return flash_attn_func(
        q,
        *packed("kv", kv, 2, "(batch, seqlen_k, 2, heads_k, dim)"),
        dropout_p,
        softmax_scale,
        causal,
        window_size,
        softcap,
        alibi_slopes,
        deterministic,
        return_attn_probs,
    )
