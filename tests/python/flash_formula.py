# SPDX-License-Identifier: Apache-2.0
"""flash-attention 2's results from their definition, for its tests: dense boolean masks and biases
that are written down here, the float64 formula of oracle.py, and flash-attention's own bars."""

import random

import oracle
import torch


def allowed(len_q, len_k, causal, window):
    """Query i looks around key i + len_k - len_q."""
    left, right = window
    right = 0 if causal else right
    ahead = torch.arange(len_k) - torch.arange(len_q)[:, None] - (len_k - len_q)
    seen = torch.ones(len_q, len_k, dtype=torch.bool)
    if left >= 0:
        seen &= ahead >= -left
    if right >= 0:
        seen &= ahead <= right
    return seen


def alibi(slopes, len_q, len_k):
    """(batch or 1, heads, len_q, len_k) of slopes (heads,) or (batch, heads)."""
    if slopes is None:
        return None
    distance = torch.arange(len_k) - torch.arange(len_q)[:, None] - (len_k - len_q)
    return -slopes.double().reshape(-1, slopes.shape[-1], 1, 1) * distance.abs()


def sequence(q, k, v, *, causal, window, slopes=None, softcap=0.0, kept=None, scale=None, how=None):
    """(out, lse) or out of (batch, seqlen, heads, dim) tensors, by oracle.attention or `how`."""
    len_q, len_k = q.shape[1], k.shape[1]
    result = (how or oracle.attention)(
        *(x.transpose(1, 2) for x in (q, k, v)),
        allowed=allowed(len_q, len_k, causal, window),
        bias=alibi(slopes, len_q, len_k),
        softcap=softcap,
        kept=kept,
        scale=scale,
    )
    if how is not None:
        return result.transpose(1, 2)
    out, lse = result
    return out.transpose(1, 2), lse.masked_fill(lse == -torch.inf, torch.inf)


def with_gradients(q, k, v, g, **what):
    """(out, lse, gradients of q, k and v), all float64."""
    wide = [x.detach().double().requires_grad_() for x in (q, k, v)]
    out, lse = sequence(*wide, **what)
    return out.detach(), lse.detach(), torch.autograd.grad(out, wide, g.double())


def sampled(count, grid, seed=0):
    """`count` points of a grid {name: values}, every value among them."""
    draw = random.Random(seed)
    columns = []
    for values in grid.values():
        column = [values[i % len(values)] for i in range(count)]
        draw.shuffle(column)
        columns.append(column)
    return [dict(zip(grid, row, strict=True)) for row in zip(*columns, strict=True)]


def heads_of(kind):
    return {"mha": (4, 4), "mqa": (6, 1), "gqa": (6, 2)}[kind]


def slopes_of(kind, batch, heads):
    shape = {"no": None, "heads": (heads,), "batch": (batch, heads)}[kind]
    return None if shape is None else torch.rand(shape) * 0.3


def close(name, actual, exact, usual, times):
    """flash-attention's bar: `times` the error of attention as one writes it in the same dtype,
    and a floor for float32, whose errors are roundings."""
    assert actual.shape == exact.shape, name
    error, bar = ((x.double() - exact).abs().max().item() for x in (actual, usual))
    assert error <= times * bar + 1e-5, f"{name}: error {error:.3g}, the usual one is {bar:.3g}"


def check_lse(actual, exact, dtype):
    seen = exact != torch.inf
    assert torch.equal(actual == torch.inf, ~seen)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(
        actual[seen].double(), exact[seen], rtol=1e-5, atol=1e-5 if dtype == torch.float32 else 2e-3
    )
