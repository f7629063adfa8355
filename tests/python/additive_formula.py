# SPDX-License-Identifier: Apache-2.0
"""Additive scores by their formula in PyTorch, and inputs for it."""

import math

import torch

BATCH, HEADS, LEN_Q, LEN_K, DIM, DIM_V = 2, 4, 13, 19, 10, 6


def normal(*shape, seed=0, dtype=torch.float64):
    return (
        torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        .to(dtype)
        .requires_grad_()
    )


def inputs(heads_kv=2, dtype=torch.float64):
    return (
        normal(BATCH, HEADS, LEN_Q, DIM, seed=1, dtype=dtype),
        normal(BATCH, heads_kv, LEN_K, DIM, seed=2, dtype=dtype),
        normal(BATCH, heads_kv, LEN_K, DIM_V, seed=3, dtype=dtype),
    )


def causal(len_q=LEN_Q, len_k=LEN_K):
    return torch.ones(len_q, len_k, dtype=torch.bool).tril(len_k - len_q)


def weigh(scores, value, allowed=None):
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    return torch.softmax(scores, -1) @ value


def formula(query, key, value, v, *, scale=1.0, softcap=0.0, bias=None, allowed=None):
    group = query.shape[-3] // key.shape[-3]
    key, value = key.repeat_interleave(group, -3), value.repeat_interleave(group, -3)
    v = v if v.dim() == 1 else v[:, None, None, :]
    scores = scale * (torch.tanh(query[..., :, None, :] + key[..., None, :, :]) * v).sum(-1)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    return weigh(scores if bias is None else scores + bias, value, allowed)


def same(actual, expected, parameters, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
    d_out = normal(*expected.shape, seed=9).detach()
    found = torch.autograd.grad(actual, parameters, d_out.to(actual.dtype))
    wanted = torch.autograd.grad(expected, parameters, d_out.to(expected.dtype))
    for name, a, b in zip(
        ["query", "key", "value", "and", "the", "rest"] + ["more"] * 5, found, wanted, strict=False
    ):
        torch.testing.assert_close(
            a,
            b,
            rtol=tolerance,
            atol=10 * tolerance,
            msg=lambda m, name=name: f"gradient of {name}: {m}",
        )
