# SPDX-License-Identifier: Apache-2.0
"""Additive scores and the Luong family against their formulas in float64 autograd, and gradcheck
through the real float64 kernels."""

import pytest
import regard
import torch
from additive_formula import (
    BATCH,
    DIM,
    HEADS,
    LEN_K,
    LEN_Q,
    causal,
    formula,
    inputs,
    normal,
    same,
    weigh,
)
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("shape", [(DIM,), (HEADS, DIM)])
@pytest.mark.parametrize("heads_kv", [1, 2, 4])
def test_additive(shape, heads_kv):
    q, k, value = inputs(heads_kv)
    v = normal(*shape, seed=4)
    same(
        regard.attention(q, k, value, score=regard.additive(v)),
        formula(q, k, value, v),
        (q, k, value, v),
    )


@settings(max_examples=25, deadline=None)
@given(
    per_head=st.booleans(),
    masked=st.booleans(),
    softcap=st.sampled_from([0.0, 2.0]),
    biased=st.booleans(),
    scale=st.sampled_from([None, 0.3, -2.0]),
)
def test_additive_composes(per_head, masked, softcap, biased, scale):
    q, k, value = inputs()
    v = normal(*((HEADS, DIM) if per_head else (DIM,)), seed=4)
    bias = normal(1, HEADS, 1, LEN_K, seed=5) if biased else None
    mask = regard.causal() if masked else None
    actual = regard.attention(
        q, k, value, score=regard.additive(v), mask=mask, softcap=softcap, bias=bias, scale=scale
    )
    expected = formula(
        q,
        k,
        value,
        v,
        scale=scale or 1.0,
        softcap=softcap,
        bias=bias,
        allowed=causal() if masked else None,
    )
    same(actual, expected, (q, k, value, v) if bias is None else (q, k, value, v, bias))


def test_additive_with_modifiers():
    q, k, value = inputs()
    v, slopes = normal(DIM, seed=4), normal(HEADS, seed=5)
    distance = (torch.arange(LEN_Q)[:, None] + LEN_K - LEN_Q - torch.arange(LEN_K)).abs()
    actual = regard.attention(
        q, k, value, score=regard.additive(v), modifiers=(regard.alibi(slopes),)
    )
    same(
        actual,
        formula(q, k, value, v, bias=-slopes[:, None, None] * distance),
        (q, k, value, v, slopes),
    )


def test_additive_gradcheck():
    q, k, value = normal(1, 2, 4, 3, seed=1), normal(1, 1, 5, 3, seed=2), normal(1, 1, 5, 2, seed=3)
    v = normal(2, 3, seed=4)

    def function(q, k, value, v):
        return regard.attention(
            q,
            k,
            value,
            score=regard.additive(v),
            mask=regard.causal(),
            softcap=1.5,
            return_lse=True,
        )

    assert torch.autograd.gradcheck(function, (q, k, value, v))


@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float32, 2e-5), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)]
)
def test_dtypes(dtype, tolerance):
    q, k, value = inputs(dtype=dtype)
    for v in (
        normal(DIM, seed=4, dtype=dtype),
        normal(DIM, seed=4, dtype=torch.float32),
    ):  # a float32 parameter serves narrow inputs
        actual = regard.attention(q, k, value, score=regard.additive(v))
        assert actual.dtype == dtype
        wide = [x.detach().double().requires_grad_() for x in (q, k, value, v)]
        expected = formula(*wide)
        torch.testing.assert_close(actual.double(), expected, rtol=tolerance, atol=tolerance)
        d_out = normal(*expected.shape, seed=9).detach().to(dtype)
        found = torch.autograd.grad(actual, (q, k, value, v), d_out)
        for a, b in zip(found, torch.autograd.grad(expected, wide, d_out.double()), strict=True):
            torch.testing.assert_close(
                a.double(), b, rtol=tolerance, atol=4 * tolerance * max(1, b.abs().max().item())
            )


def test_saturated_and_cancelling():
    q, k, value = inputs(dtype=torch.float32)
    v = normal(DIM, seed=4, dtype=torch.float32)
    with torch.no_grad():
        q[:, :, ::2] *= 1e4
        k[:, :, ::3] = -q[:, ::2, :7] + k[:, :, ::3]
    expected = formula(*(x.double() for x in (q, k, value, v)))
    torch.testing.assert_close(
        regard.attention(q, k, value, score=regard.additive(v)).double(),
        expected,
        rtol=2e-5,
        atol=2e-5,
    )


def test_layouts_and_leading_dimensions():
    q, k, value = inputs()
    v = normal(HEADS, DIM, seed=4)
    expected = formula(q, k, value, v)
    turned = [x.transpose(1, 2) for x in (q, k, value)]
    same(
        regard.attention(*turned, score=regard.additive(v), layout="bshd").transpose(1, 2),
        expected,
        (q, k, value, v),
    )
    deep = [x[None].expand(3, *x.shape) for x in (q, k, value)]
    torch.testing.assert_close(
        regard.attention(*deep, score=regard.additive(v)), expected.expand(3, *expected.shape)
    )
    torch.testing.assert_close(
        regard.attention(q[0], k[0], value[0], score=regard.additive(v)), expected[0]
    )
    lengths = torch.tensor([0, 8, LEN_K])
    packed = regard.attention(
        *(x[0].transpose(0, 1) for x in (k.repeat_interleave(2, 1), k, value)),
        score=regard.additive(v),
        mask=regard.documents(lengths, lengths),
        layout="thd",
    )
    for a, b in ((0, 8), (8, LEN_K)):
        one = formula(k.repeat_interleave(2, 1)[:1, :, a:b], k[:1, :, a:b], value[:1, :, a:b], v)[
            0
        ].transpose(0, 1)
        torch.testing.assert_close(packed[a:b], one)


def test_transforms_and_compile():
    q, k, value = (x.detach() for x in inputs(heads_kv=4))
    v = normal(DIM, seed=4).detach()

    def loss(f):
        return lambda q, k, value, v: f(q, k, value, v).square().sum()

    def ours(q, k, value, v):
        return regard.attention(q, k, value, score=regard.additive(v))

    expected = torch.func.grad(loss(formula), argnums=(0, 1, 2, 3))(q, k, value, v)
    for a, b in zip(
        torch.func.grad(loss(ours), argnums=(0, 1, 2, 3))(q, k, value, v), expected, strict=True
    ):
        torch.testing.assert_close(a, b)
    many = torch.stack([v, -v, 2 * v])
    found = torch.func.vmap(torch.func.grad(loss(ours), argnums=3), in_dims=(None, None, None, 0))(
        q, k, value, many
    )
    torch.testing.assert_close(
        found,
        torch.stack([torch.func.grad(loss(formula), argnums=3)(q, k, value, x) for x in many]),
    )
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    leaves = [x.clone().requires_grad_() for x in (q, k, value, v)]
    for a, b in zip(torch.autograd.grad(loss(compiled)(*leaves), leaves), expected, strict=True):
        torch.testing.assert_close(a, b)


def test_decoder_steps():
    """A decoder's loop: each step looks at the same keys, whose gradients add up."""
    k, value = normal(3, 1, 40, 16, seed=2), normal(3, 1, 40, 8, seed=3)
    v, weight, start = normal(16, seed=4), normal(16, 8, seed=5), normal(3, 1, 1, 16, seed=6)

    def decode(attend):
        state, contexts = start, []
        for _ in range(4):
            contexts.append(attend(state, k, value, v))
            state = torch.tanh(state + contexts[-1] @ weight.t())
        return torch.cat(contexts, 2)

    same(
        decode(lambda q, k, value, v: regard.attention(q, k, value, score=regard.additive(v))),
        decode(formula),
        (start, k, value, v, weight),
        1e-11,
    )


def test_luong_general():
    q, k, value = inputs(heads_kv=4)
    query, weight = normal(BATCH, HEADS, LEN_Q, 7, seed=6), normal(7, DIM, seed=5)
    same(
        regard.luong_general(query, k, value, weight),
        weigh(query @ (k @ weight.t()).mT, value),
        (query, k, value, weight),
    )
    masked = regard.luong_general(
        q, k, value, weight=torch.eye(DIM, dtype=torch.float64), mask=regard.causal()
    )
    same(masked, weigh(q @ k.mT, value, causal()), (q, k, value))


def test_luong_concat():
    q, k, value = inputs(heads_kv=4)
    weight, v = normal(12, 2 * DIM, seed=5), normal(12, seed=6)

    def scores():
        pairs = torch.cat(
            [
                q[..., :, None, :].expand(-1, -1, -1, LEN_K, -1),
                k[..., None, :, :].expand(-1, -1, LEN_Q, -1, -1),
            ],
            -1,
        )
        return torch.tanh(pairs @ weight.t()) @ v

    same(
        regard.luong_concat(q, k, value, weight, v),
        weigh(scores(), value),
        (q, k, value, weight, v),
    )
    same(
        regard.luong_concat(q, k, value, weight, v, mask=regard.causal()),
        weigh(scores(), value, causal()),
        (q, k, value, weight, v),
    )


def test_luong_location():
    q, _, value = inputs(heads_kv=4)
    weight = normal(LEN_K + 5, DIM, seed=5)
    same(
        regard.luong_location(q, value, weight),
        weigh((q @ weight.t())[..., :LEN_K], value),
        (q, value, weight),
    )


def test_errors():
    q, k, value = inputs()
    with pytest.raises(ValueError, match=r"score: str; expected None"):
        regard.attention(q, k, value, score="additive")
    with pytest.raises(ValueError, match=r"score: Modifier"):
        regard.attention(q, k, value, score=regard.alibi(torch.ones(HEADS)))
    with pytest.raises(ValueError, match=r"modifiers: Score"):
        regard.attention(q, k, value, modifiers=(regard.additive(torch.ones(DIM)),))
    with pytest.raises(ValueError, match=r"additive: v is torch.int64"):
        regard.additive(torch.ones(DIM, dtype=torch.int64))
    with pytest.raises(
        ValueError,
        match=r"score.v: shape \(11,\); expected \(dim,\) or \(heads, dim\), for query \(2, 4, ",
    ):
        regard.attention(
            q, k, value, score=regard.additive(torch.ones(DIM + 1, dtype=torch.float64))
        )
    with pytest.raises(
        ValueError, match=r"luong_general: weight has shape \(3, 10\); expected \(10, 10\)"
    ):
        regard.luong_general(q, k, value, torch.ones(3, DIM, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"too few positions for 19"):
        regard.luong_location(q, value, torch.ones(5, DIM, dtype=torch.float64))
