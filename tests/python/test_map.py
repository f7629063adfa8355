# SPDX-License-Identifier: Apache-2.0
"""Looking at attention: every answer against the dense float64 matrix of weights, made here from
the formula."""

import math

import oracle
import pytest
import regard
import torch

BATCH, HEADS, LEN_Q, LEN_K, DIM = 2, 4, 37, 53, 16


def tensors(dtype=torch.float32, len_q=LEN_Q, len_k=LEN_K, heads_kv=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [
        torch.randn(BATCH, h, n, DIM, generator=g).to(dtype)
        for h, n in ((HEADS, len_q), (heads_kv, len_k))
    ]


def dense(q, k, allowed=None, bias=None, sinks=None, softcap=0.0):
    q, k = q.double(), k.double().repeat_interleave(q.shape[-3] // k.shape[-3], -3)
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if softcap:
        s = softcap * torch.tanh(s / softcap)
    if bias is not None:
        s = s + bias.double()
    if allowed is not None:
        s = s.masked_fill(~allowed, -math.inf)
    if sinks is not None:
        s = torch.cat([s, sinks.double()[:, None, None].expand(*s.shape[:-1], 1)], -1)
    p = torch.softmax(s, -1).nan_to_num(0.0)
    return p if sinks is None else p[..., :-1]


def close(actual, expected, dtype=torch.float32):
    assert actual.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert not actual.requires_grad
    assert actual.shape == expected.shape
    tolerance = 1e-13 if dtype == torch.float64 else 5e-6
    torch.testing.assert_close(
        actual.double(), expected.double(), rtol=tolerance, atol=tolerance / 100
    )


DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights(dtype):
    q, k = tensors(dtype)
    bias, sinks = (
        torch.randn(*shape, requires_grad=True) for shape in ((HEADS, LEN_Q, LEN_K), (HEADS,))
    )  # gradients end here
    options = dict(mask=regard.causal(), bias=bias, softcap=3.0, modifiers=regard.sinks(sinks))
    p = dense(q, k, oracle.causal(LEN_Q, LEN_K), bias, sinks, 3.0)
    close(regard.attention_map(q, k, **options), p, dtype)
    close(
        regard.attention_map(q, k, rows=slice(3, 30), cols=slice(-20, None), heads=2, **options),
        p[:, 2:3, 3:30, -20:],
        dtype,
    )
    close(
        regard.attention_map(q, k, rows=-1, heads=slice(1, 3), mean_heads=True, **options),
        p[:, 1:3, -1:].mean(1, keepdim=True),
        dtype,
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_made_of_weights(dtype):
    q, k = tensors(dtype)
    p = dense(q, k, oracle.causal(LEN_Q, LEN_K))
    mask = regard.causal()
    close(regard.attention_entropy(q, k, mask=mask), -torch.special.xlogy(p, p).sum(-1), dtype)
    close(regard.attention_received(q, k, mask=mask), p.sum(-2), dtype)
    close(
        regard.attention_received(q, k, rows=slice(5, 9), mean_heads=True, mask=mask),
        p[..., 5:9, :].sum(-2).mean(1, keepdim=True),
        dtype,
    )
    weights, keys = regard.attention_top(q, k, 5, mask=mask)
    close(weights, p.topk(5, -1).values, dtype)
    assert torch.equal(keys, p.topk(5, -1).indices)
    for pooling in ("max", "mean", "sum"):
        cells = p[..., :36, :50].reshape(BATCH, HEADS, 9, 4, 10, 5)
        expected = cells.amax((3, 5)) if pooling == "max" else getattr(cells, pooling)((3, 5))
        close(
            regard.attention_picture(
                q, k, (9, 10), pooling=pooling, rows=slice(0, 36), cols=slice(0, 50), mask=mask
            ),
            expected,
            dtype,
        )


def test_keys_that_are_not_seen_are_none():
    q, k = tensors()
    weights, keys = regard.attention_top(q, k, 20, rows=slice(0, 2), mask=regard.causal(0))
    assert (
        (keys[..., 0, 1:] == -1).all()
        and (weights[..., 0, 1:] == 0).all()
        and (keys[..., 0, 0] == 0).all()
    )
    assert (keys[..., 1, 2:] == -1).all() and set(keys[..., 1, :2].flatten().tolist()) == {0, 1}


def test_layouts():
    q, k = tensors()
    p = dense(q, k)
    close(regard.attention_map(q.transpose(1, 2), k.transpose(1, 2), layout="bshd"), p)
    close(regard.attention_map(q[0], k[0]), p[0])
    close(regard.attention_map(q[0, 0], k[0, 0]), p[0, 0])
    close(regard.attention_entropy(q[0, 0], k[0, 0]), -torch.special.xlogy(p, p)[0, 0].sum(-1))
    deep_q, deep_k = q.expand(3, *q.shape), k[None]
    close(regard.attention_map(deep_q, deep_k), p.expand(3, *p.shape))
    lse = regard.attention(deep_q, deep_k, deep_k, return_lse=True)[1]
    close(regard.attention_map(deep_q, deep_k, state=lse), p.expand(3, *p.shape))


def test_packed_documents():
    cu_q, cu_k = [0, 10, 10, 37], [0, 20, 23, 53]
    q, k = (x[0].transpose(0, 1) for x in tensors())
    allowed = oracle.documents(cu_q, cu_k, LEN_Q, LEN_K, oracle.causal)
    p = dense(q.transpose(0, 1), k.transpose(0, 1), allowed)
    options = dict(
        layout="thd",
        mask=regard.documents(torch.tensor(cu_q), torch.tensor(cu_k)) & regard.causal(),
    )
    close(regard.attention_map(q, k, **options), p)
    close(regard.attention_received(q, k, **options), p.sum(-2))
    pooled = torch.stack([part.amax(-2) for part in p.split([13, 12, 12], -2)], -2)
    close(regard.attention_picture(q, k, (3, LEN_K), **options), pooled)


def test_statistics_of_a_forward_pass():
    q, k = tensors()
    _, lse = regard.attention(q, k, k, mask=regard.causal(), return_lse=True)
    p = dense(q, k, oracle.causal(LEN_Q, LEN_K))
    close(regard.attention_map(q, k, mask=regard.causal(), state=lse), p)
    close(regard.attention_map(q, k, mask=regard.causal(), state=(lse, torch.zeros_like(lse))), p)
    close(
        regard.attention_map(
            q, k, mask=regard.causal(), state=regard.attention_state(q, k, k, mask=regard.causal())
        ),
        p,
    )
    # Of a longer attention: its part.
    close(
        regard.attention_map(q, k[:, :, :20], state=regard.attention(q, k, k, return_lse=True)[1]),
        dense(q, k)[..., :20],
    )


def test_dropout_is_that_of_the_forward_pass():
    q, k = tensors(torch.float64)
    v = torch.eye(LEN_K, dtype=torch.float64).expand(BATCH, 2, -1, -1)
    close(
        regard.attention_map(q, k, dropout_p=0.4, seed=3),
        regard.attention(q, k, v, dropout_p=0.4, seed=3),
        torch.float64,
    )


def test_additive_scores():
    q, k = tensors()
    v = torch.randn(HEADS, DIM)
    s = (
        torch.tanh(
            q[..., :, None, :].double() + k.repeat_interleave(2, 1)[..., None, :, :].double()
        )
        @ v[:, None, :, None].double()
    )
    close(regard.attention_map(q, k, score=regard.additive(v)), torch.softmax(s[..., 0], -1))


def test_a_map_with_a_plan_is_one_with_its_mask():
    q, k = tensors()
    plan = regard.plan(regard.window(9, 2), batch=BATCH, heads=HEADS, len_q=LEN_Q, len_k=LEN_K)
    assert torch.equal(
        regard.attention_map(q, k, plan=plan), regard.attention_map(q, k, mask=regard.window(9, 2))
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rollout(dtype):
    layers = [tensors(dtype, 41, 41, seed=seed) for seed in range(3)]
    whole = torch.eye(41, dtype=torch.float64).expand(BATCH, -1, -1)
    for q, k in layers:
        whole = (
            0.3 * torch.eye(41, dtype=torch.float64)
            + 0.7 * dense(q, k, oracle.causal(41, 41)).mean(1)
        ) @ whole
    options = dict(residual=0.3, mask=regard.causal())
    close(regard.attention_rollout(layers, slice(None), **options), whole, dtype)
    close(regard.attention_rollout(layers, [7, -1], **options), whole[:, [7, -1]], dtype)
    close(
        regard.attention_rollout([(q[0], k[0]) for q, k in layers], 5, **options),
        whole[0, 5:6],
        dtype,
    )
    lse = [regard.attention(q, k, k, mask=regard.causal(), return_lse=True)[1] for q, k in layers]
    close(
        regard.attention_rollout(
            [(q, k, dict(state=x)) for (q, k), x in zip(layers, lse, strict=True)],
            [7, -1],
            **options,
        ),
        whole[:, [7, -1]],
        dtype,
    )


def test_threads_do_not_change_bits():
    q, k = (
        torch.randn(1, 2, 1500, 32, generator=torch.Generator().manual_seed(n)) for n in range(2)
    )
    answers = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        answers.append(
            [
                regard.attention_map(q, k, rows=slice(700, 1400), cols=slice(0, 300)),
                regard.attention_picture(q, k, (70, 90), pooling="sum", mask=regard.causal()),
                *regard.attention_top(q, k, 7),
                regard.attention_entropy(q, k, mean_heads=True),
                regard.attention_received(q, k, mask=regard.window(200, 200)),
                regard.attention_rollout([(q, k)] * 2, [3, 900]),
            ]
        )
    for other in answers[1:]:
        assert all(torch.equal(a, b) for a, b in zip(answers[0], other, strict=True))


def test_inside_a_compiled_function():
    q, k = tensors()
    mask = regard.causal()

    def look(q, k):
        weights, keys = regard.attention_top(q * 2, k, 3, mask=mask)
        return (
            regard.attention_map(q * 2, k, rows=slice(2, 9), mask=mask).sum(-1),
            weights + 1,
            keys,
            regard.attention_received(q, k, mean_heads=True),
        )

    for actual, expected in zip(
        torch.compile(look, fullgraph=True, backend="aot_eager")(q, k), look(q, k), strict=True
    ):
        torch.testing.assert_close(actual, expected)


def test_errors():
    q, k = tensors()
    for expected, call in {
        r"rows: 40; expected a slice, or an int": lambda: regard.attention_map(q, k, rows=40),
        r"cols: slice\(0, 9, 2\); expected a slice of step 1": lambda: regard.attention_map(
            q, k, cols=slice(0, 9, 2)
        ),
        r"heads: 'x'; expected a slice": lambda: regard.attention_map(q, k, heads="x"),
        r"layout: 'hbsd'": lambda: regard.attention_map(q, k, layout="hbsd"),
        r"pooling: 'median'; expected one of 'max', 'mean', 'sum'": lambda: (
            regard.attention_picture(q, k, (3, 3), pooling="median")
        ),
        r"picture: .* height 38; expected 1 to 37": lambda: regard.attention_picture(q, k, (38, 3)),
        r"keys: .* asks for 54 keys; expected 1 to 53": lambda: regard.attention_top(q, k, 54),
        r"key: .* has dim 15; query has 16": lambda: regard.attention_map(q, k[..., :15]),
        r"maximum: shape": lambda: regard.attention_map(
            q, k, state=torch.zeros(BATCH, HEADS, LEN_Q - 1)
        ),
        r"layers: none given": lambda: regard.attention_rollout([], 0),
        r"layers\[1\]: batch 2, lengths \(37, 37\)": lambda: regard.attention_rollout(
            [(k, k), (q, q)], 0
        ),
        r"layers\[0\]: list; expected \(query, key\)": lambda: regard.attention_rollout([[q]], 0),
        r"rows: slice\(0, 2, None\); expected": lambda: regard.attention_rollout(
            [(q, q)], [slice(0, 2)]
        ),
        r"rows: True; expected": lambda: regard.attention_map(q, k, rows=True),
        r"plan: str; expected what regard.plan": lambda: regard.attention_map(q, k, plan="x"),
        r"state: int; expected what regard.attention_state": lambda: regard.attention_map(
            q, k, state=5
        ),
        r"state: tuple of 3; expected": lambda: regard.attention_map(q, k, state=(q, q, q)),
        r"size: 4; expected \(height, width\)": lambda: regard.attention_picture(q, k, 4),
        r"size: 2.5; expected a whole number": lambda: regard.attention_picture(q, k, (2.5, 3)),
        r"count: 2.7; expected a whole number": lambda: regard.attention_top(q, k, 2.7),
        r"residual: 2": lambda: regard.attention_rollout([(q, q)], 0, residual=2),
    }.items():
        with pytest.raises(ValueError, match=expected):
            call()
    with pytest.raises(TypeError, match="pooling, sise: no such option"):
        regard.attention_map(q, k, pooling="max", sise=3)
    with pytest.raises(NotImplementedError, match=r"torch\.func"):
        torch.func.vmap(regard.attention_map)(q, k)
    assert torch.equal(
        regard.attention_map(q, k, rows=torch.tensor(3)), regard.attention_map(q, k, rows=3)
    )


def test_huge_scores_need_both_halves_of_lse():
    """A bias of finfo.min on all keys, as Hugging Face pads whole rows: lse has no room for
    ln(len_k)."""
    q, k = tensors()
    options = dict(bias=torch.full((1, LEN_K), torch.finfo(torch.float32).min))
    close(
        regard.attention_map(q, k, state=regard.attention_state(q, k, k, **options), **options),
        dense(q, k, bias=options["bias"]),
    )


def test_top_keys_of_many_equal_weights():
    """Few different weights, more of them at the bound than are wanted: the first keys are kept."""
    for seed in range(300):
        random = torch.Generator().manual_seed(seed)
        n, count, values = (
            int(torch.randint(low, high, (), generator=random))
            for low, high in ((200, 900), (1, 200), (2, 40))
        )
        scores = torch.randint(values, (n,), generator=random) * (2.0 / values)
        q, k = torch.ones(1, 1, 1, 1), scores.reshape(1, 1, n, 1)
        keys = regard.attention_top(q, k, count, scale=1.0)[1].flatten()
        expected = scores.sort(descending=True, stable=True).indices[:count]
        assert torch.equal(keys, expected), (seed, n, count, values)


@pytest.mark.parametrize("count", [1, 40, 700])
@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled", "equal", "three values"])
def test_top_keys_in_every_order_of_scores(order, count):
    """More keys than a row has room for, however they come; of equal weights the first."""
    n = 3000
    scores = {
        "ascending": torch.linspace(-2, 2, n),
        "descending": torch.linspace(2, -2, n),
        "shuffled": torch.linspace(-2, 2, n)[torch.randperm(n)],
        "equal": torch.zeros(n),
        "three values": torch.randint(3, (n,)).float(),
    }[order]
    q, k = torch.ones(1, 1, 1, 1), scores.reshape(1, 1, n, 1)
    weights, keys = regard.attention_top(q, k, count, scale=1.0)
    expected = scores.double().sort(descending=True, stable=True).indices[:count]
    assert torch.equal(keys.flatten(), expected)
    exact = scores.double().softmax(0)[expected]
    torch.testing.assert_close(weights.flatten().double(), exact, rtol=1e-5, atol=0)
