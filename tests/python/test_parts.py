# SPDX-License-Identifier: Apache-2.0
"""Parts with offsets (a ring's blocks, split keys) against one attention over the whole, from
its formula in float64 autograd."""

import itertools
import math

import oracle
import pytest
import regard
import torch
from dropout_masks import kept
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.t5.modeling_t5 import T5Attention

BATCH, HEADS, DIM, DIM_V = 2, 4, 8, 6
EXACT = {torch.float64: 1e-11, torch.float32: 1e-5}


def edges(length, at):
    return list(itertools.pairwise(sorted({0, length, *(min(x, length) for x in at)})))


def formula(q, k, v, slopes, sinks, allowed, softcap, weights):
    group = HEADS // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    s = q @ k.mT / math.sqrt(DIM)
    if softcap:
        s = softcap * torch.tanh(s / softcap)
    len_q, len_k = s.shape[-2:]
    ahead = torch.arange(len_q)[:, None] + len_k - len_q - torch.arange(len_k)
    s = (s - slopes[:, None, None] * ahead.abs()).masked_fill(~allowed, -math.inf)
    extra = sinks[None, :, None].expand(BATCH, -1, len_q, -1)
    p = torch.softmax(torch.cat([s, extra], -1), -1)[..., :len_k]
    return (p if weights is None else p * weights) @ v, torch.logsumexp(
        torch.cat([s, extra], -1), -1
    )


MASKS = {
    "none": lambda n, m: (None, torch.ones(n, m, dtype=torch.bool)),
    "causal": lambda n, m: (regard.causal(), oracle.causal(n, m)),
    "causal from the top left": lambda n, m: (regard.causal(0), oracle.causal(n, m, 0)),
    "window": lambda n, m: (regard.window(9, 3), oracle.window(n, m, 9, 3)),
    "lengths": lambda n, m: (regard.key_lengths([m // 2, m]), oracle.key_lengths([m // 2, m], m)),
    "causal lengths": lambda n, m: (
        regard.causal() & regard.key_lengths([m - 1, m // 3]),
        oracle.causal(n, m) & oracle.key_lengths([m - 1, m // 3], m),
    ),
    "window or global": lambda n, m: (
        regard.window(4, 4) | regard.global_tokens([0, m - 1]),
        oracle.window(n, m, 4, 4) | oracle.global_tokens(n, m, [0, m - 1]),
    ),
    "hidden keys": lambda n, m: (
        (torch.arange(m) % 3 > 0)[None, None, None],
        (torch.arange(m) % 3 > 0).expand(n, m),
    ),
}


@settings(max_examples=80, deadline=None)
@given(
    mask=st.sampled_from(sorted(MASKS)),
    heads_kv=st.sampled_from([1, 2, 4]),
    len_q=st.integers(2, 50),
    len_k=st.integers(3, 80),
    query_cuts=st.lists(st.integers(0, 50), max_size=3),
    key_cuts=st.lists(st.integers(0, 80), max_size=4),
    softcap=st.sampled_from([0.0, 3.0]),
    dropout=st.sampled_from([0.0, 0.3]),
    dtype=st.sampled_from(sorted(EXACT, key=str)),
)
def test_any_cut_is_the_whole(
    mask, heads_kv, len_q, len_k, query_cuts, key_cuts, softcap, dropout, dtype
):
    mask, allowed = MASKS[mask](len_q, len_k)
    sizes = ((HEADS, len_q, DIM), (heads_kv, len_k, DIM), (heads_kv, len_k, DIM_V))
    q, k, v = inputs = [torch.randn(BATCH, *size).to(dtype).requires_grad_() for size in sizes]
    slopes, sinks = (
        torch.rand(HEADS).to(dtype).requires_grad_(),
        torch.randn(HEADS, 2).to(dtype).requires_grad_(),
    )
    leaves = (*inputs, slopes, sinks)

    rows = []
    for i0, i1 in edges(len_q, query_cuts):
        parts = [
            regard.attention_state(
                q[:, :, i0:i1],
                k[:, :, j0:j1],
                v[:, :, j0:j1],
                mask=mask,
                softcap=softcap,
                modifiers=regard.alibi(slopes),
                dropout_p=dropout,
                seed=5,
                part=regard.part(i0, j0, len_q=len_q, len_k=len_k),
            )
            for j0, j1 in edges(len_k, key_cuts)
        ]
        rows.append(regard.finish(regard.merge(parts), sinks, return_lse=True))
    got = [torch.cat(x, 2) for x in zip(*rows, strict=True)]

    exact = [x.detach().double().requires_grad_() for x in leaves]
    expected = formula(
        *exact, allowed, softcap, kept(dropout, 5, BATCH, HEADS, len_q, len_k) if dropout else None
    )
    d = [torch.randn_like(x) for x in expected]
    found = torch.autograd.grad(got, leaves, [x.to(dtype) for x in d])
    for a, b in zip(
        (*got, *found), (*expected, *torch.autograd.grad(expected, exact, d)), strict=True
    ):
        assert (a.double() - b).abs().max().item() <= EXACT[dtype] * (1 + b.abs().max().item())


def test_a_ring():
    """Each rank holds a block of the queries; blocks of keys and values come round. Narrow
    dtypes are rounded once, at the end."""
    ranks, block = 4, 24
    n = ranks * block
    q, k, v = inputs = [torch.randn(1, 2, n, 16).bfloat16().requires_grad_() for _ in range(3)]
    outs = []
    for rank in range(ranks):
        state = None
        for step in range(rank + 1):
            source = rank - step
            own, other = (
                slice(rank * block, (rank + 1) * block),
                slice(source * block, (source + 1) * block),
            )
            where = regard.part(own.start, other.start, len_q=n, len_k=n)
            met = regard.attention_state(
                q[:, :, own], k[:, :, other], v[:, :, other], mask=regard.causal(), part=where
            )
            state = met if state is None else regard.merge([state, met])
        outs.append(regard.finish(state))
    out = torch.cat(outs, 2)
    allowed = oracle.causal(n, n)
    oracle.check_forward(out, q, k, v, allowed=allowed)
    d_out = torch.randn(out.shape).bfloat16()
    oracle.check_gradients(
        torch.autograd.grad(out, inputs, d_out),
        inputs,
        d_out,
        lambda q, k, v, f: f(q, k, v, allowed=allowed),
    )


def test_gradcheck():
    sizes = ((HEADS, 5, DIM), (2, 9, DIM), (2, 9, DIM_V))
    inputs = [torch.randn(BATCH, *size, dtype=torch.float64).requires_grad_() for size in sizes]
    slopes, sinks = (
        torch.rand(HEADS, dtype=torch.float64).requires_grad_(),
        torch.randn(HEADS, dtype=torch.float64).requires_grad_(),
    )

    def f(q, k, v, slopes, sinks):
        options = dict(mask=regard.causal(), modifiers=regard.alibi(slopes), dropout_p=0.3, seed=2)
        parts = [
            regard.attention_state(
                q, k[:, :, a:b], v[:, :, a:b], part=regard.part(0, a, len_q=5, len_k=9), **options
            )
            for a, b in ((0, 6), (6, 9))
        ]
        return regard.finish(regard.merge(parts), sinks, return_lse=True)

    assert torch.autograd.gradcheck(f, (*inputs, slopes, sinks))


def test_rows_of_an_attention():
    """Some queries over all keys need no state: regard.attention takes a part too, and gives
    those rows' own bits."""
    q, k, v = (torch.randn(2, 4, n, 8) for n in (60, 80, 80))
    options = dict(
        mask=regard.causal() & regard.window(30, 0),
        modifiers=regard.alibi(regard.alibi_slopes(4)),
        dropout_p=0.2,
        seed=1,
    )
    whole = regard.attention(q, k, v, **options)
    some = regard.attention(
        q[:, :, 17:41], k, v, part=regard.part(17, 0, len_q=60, len_k=80), **options
    )
    assert torch.equal(some, whole[:, :, 17:41])


def test_relative_positions():
    """T5's bias in parts: codes are the part's own."""
    q, k, v = (torch.randn(1, 4, n, 8, dtype=torch.float64) for n in (40, 170, 170))
    table = torch.randn(32, 4, dtype=torch.float64).requires_grad_()
    rows = []
    for i0, i1 in ((0, 13), (13, 40)):
        parts = [
            regard.attention_state(
                q[:, :, i0:i1],
                k[:, :, a:b],
                v[:, :, a:b],
                modifiers=regard.t5_bias(
                    table, i1 - i0, b - a, query_offset=130 + i0, key_offset=a
                ),
            )
            for a, b in ((0, 60), (60, 61), (61, 170))
        ]
        rows.append(regard.finish(regard.merge(parts)))
    bucket = T5Attention._relative_position_bucket(
        torch.arange(170) - (130 + torch.arange(40))[:, None],
        True,
        num_buckets=32,
        max_distance=128,
    )
    expected, _ = oracle.attention(q, k, v, bias=table[bucket].permute(2, 0, 1)[None])
    out = torch.cat(rows, 2)
    torch.testing.assert_close(out, expected)
    d_out = torch.randn_like(out)
    torch.testing.assert_close(
        torch.autograd.grad(out, table, d_out), torch.autograd.grad(expected, table, d_out)
    )


def test_documents_cut_anywhere():
    q, k, v = (torch.randn(30, 2, 8, dtype=torch.float64) for _ in range(3))
    cu = [0, 7, 7, 19, 30]
    expected, _ = oracle.attention(
        *(x.transpose(0, 1)[None] for x in (q, k, v)),
        oracle.documents(cu, cu, 30, 30, oracle.causal),
    )
    mask = regard.documents(cu) & regard.causal()
    rows = []
    for i0, i1 in ((0, 11), (11, 30)):
        blocks = ((0, 5), (5, 23), (23, 30))
        where = [regard.part(i0, j0, len_q=30, len_k=30) for j0, _ in blocks]
        parts = [
            regard.attention_state(q[i0:i1], k[a:b], v[a:b], mask=mask, layout="thd", part=p)
            for (a, b), p in zip(blocks, where, strict=True)
        ]
        rows.append(regard.finish(regard.merge(parts)))
    torch.testing.assert_close(torch.cat(rows), expected[0].transpose(0, 1))


def test_compile():
    q, k, v = inputs = [torch.randn(1, 2, 24, 8, requires_grad=True) for _ in range(3)]

    def f(q, k, v):
        parts = [
            regard.attention_state(
                q,
                k[:, :, a:b],
                v[:, :, a:b],
                mask=regard.causal(),
                part=regard.part(0, a, len_q=24, len_k=24),
            )
            for a, b in ((0, 10), (10, 24))
        ]
        return regard.finish(regard.merge(parts))

    out, compiled = f(q, k, v), torch.compile(f, fullgraph=True)(q, k, v)
    torch.testing.assert_close(out, compiled)
    for a, b in zip(
        torch.autograd.grad(out.sum(), inputs),
        torch.autograd.grad(compiled.sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_errors():
    q, k, v = (torch.randn(1, 2, 24, 8) for _ in range(3))
    with pytest.raises(
        ValueError, match="part: 24 queries from 2 on; expected them inside the whole's 25"
    ):
        regard.attention_state(q, k, v, part=regard.part(2, 0, len_q=25, len_k=24))
    with pytest.raises(ValueError, match="part: tuple; expected"):
        regard.attention_state(q, k, v, part=(0, 0, 24, 24))
    with pytest.raises(ValueError, match=r"part: query_begin -1.*expected counts from 0"):
        regard.part(-1, 0, len_q=3, len_k=3)
    with pytest.raises(
        ValueError, match="plan: made for a whole attention, the options ask for a part"
    ):
        regard.attention(
            q,
            k,
            v,
            plan=regard.plan(regard.causal(), heads=2, len_q=24, len_k=24),
            part=regard.part(len_q=24, len_k=24),
        )
    assert (
        repr(regard.part(1, 2, len_q=30, len_k=40))
        == "regard.part(query_begin=1, key_begin=2, len_q=30, len_k=40)"
    )


def test_maps_of_parts():
    """Blocks of the map of the whole, from a part's keys and the whole's statistics."""
    q, k, v = (torch.randn(1, 2, n, 8, dtype=torch.float64) for n in (20, 30, 30))
    centre = torch.linspace(0, 29, 20, dtype=torch.float64)[None, None]
    options = dict(mask=regard.causal() & regard.window(12, 0), dropout_p=0.2, seed=3)
    whole = regard.attention_state(
        q,
        k,
        v,
        modifiers=(regard.alibi(torch.tensor([0.1, 0.4])), regard.gaussian(centre, 9.0)),
        **options,
    )
    state = regard.State(*(x[:, :, 5:17] for x in (whole.out, whole.maximum, whole.log_sum)))
    modifiers = (regard.alibi(torch.tensor([0.1, 0.4])), regard.gaussian(centre[..., 5:17], 9.0))
    blocks = [
        regard.attention_map(
            q[:, :, 5:17],
            k[:, :, a:b],
            modifiers=modifiers,
            state=state,
            part=regard.part(5, a, len_q=20, len_k=30),
            **options,
        )
        for a, b in ((0, 11), (11, 30))
    ]
    torch.testing.assert_close(torch.cat(blocks, -1) @ v, state.out)
