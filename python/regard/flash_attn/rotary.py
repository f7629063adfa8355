# SPDX-License-Identifier: Apache-2.0
"""Rotary position embeddings (Su et al. 2021, arXiv 2104.09864), as flash_attn.layers.rotary."""

import torch


def rotate_half(x, interleaved=False):
    """(-x2, x1) of the two halves of the last axis, or of its even and odd elements."""
    if not interleaved:
        first, second = x.chunk(2, dim=-1)
        return torch.cat((-second, first), dim=-1)
    return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)


def apply_rotary_emb(
    x,
    cos,
    sin,
    interleaved=False,
    inplace=False,
    seqlen_offsets=0,
    cu_seqlens=None,
    max_seqlen=None,
):
    """x (batch, seqlen, heads, dim), or (total, heads, dim) with cu_seqlens, turned by its
    position.

    cos, sin: (seqlen_rotary, rotary_dim / 2); the first rotary_dim elements of a head are turned.
    interleaved: pairs are elements 0 and 1, 2 and 3, ..., else the two halves. inplace: x itself
    is turned, and returned. seqlen_offsets: the position of the first token, an int or one for
    each sequence, (batch,). Computed in float32 (float64 for float64); differentiable.
    """
    half = cos.shape[-1]
    if sin.shape != cos.shape or cos.dim() != 2:
        raise ValueError(
            f"cos, sin: shapes {tuple(cos.shape)}, {tuple(sin.shape)}; expected two of"
            " (seqlen_rotary, rotary_dim / 2)"
        )
    if 2 * half > x.shape[-1]:
        raise ValueError(f"cos: rotary_dim {2 * half}; expected at most {x.shape[-1]}, that of x")
    positions = _positions(x, seqlen_offsets, cu_seqlens)
    if positions.numel() and not 0 <= int(positions.min()) <= int(positions.max()) < len(cos):
        raise ValueError(
            f"cos, sin: {len(cos)} positions; x has {int(positions.min())} to"
            f" {int(positions.max())}"
        )
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    cos, sin = (t.to(wide)[positions].unsqueeze(-2) for t in (cos, sin))
    turned = x[..., : 2 * half].to(wide)
    pairs = (
        (slice(0, None, 2), slice(1, None, 2))
        if interleaved
        else (slice(0, half), slice(half, None))
    )
    first, second = (turned[..., pair] for pair in pairs)
    both = (first * cos - second * sin, first * sin + second * cos)
    turned = torch.stack(both, -1).flatten(-2) if interleaved else torch.cat(both, -1)
    turned = turned.to(x.dtype)
    if inplace:
        x[..., : 2 * half] = turned
        return x
    return torch.cat((turned, x[..., 2 * half :]), -1)


def _positions(x, offsets, cu_seqlens):
    """Of the tokens: (batch or 1, seqlen), or (total,)."""
    offsets = torch.as_tensor(offsets, device=x.device).long().reshape(-1, 1)
    if cu_seqlens is None:
        return torch.arange(x.shape[1], device=x.device) + offsets
    lengths = cu_seqlens.diff().long()
    begins = cu_seqlens[:-1].long() - offsets[:, 0]
    return torch.arange(x.shape[0], device=x.device) - begins.repeat_interleave(lengths)
