"""Additive scores and the Luong family against their formulas in float64 autograd, and gradcheck
through the real float64 kernels."""

import math

import pytest
import regard
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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


def _both(query, key, value, v, **options):
    """Results and gradients with the key itself, and with what was prepared of it."""
    found = []
    for form in (key, regard.prepare_keys(key)):
        out = regard.attention(query, form, value, score=regard.additive(v), **options)
        d_out = normal(*out.shape, seed=9).detach().to(out.dtype)
        found.append((out, *torch.autograd.grad(out, (query, key, value, v), d_out)))
    return found


def assert_same_bits(pairs):
    for a, b in zip(*pairs, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("len_q", [1, 4, 13])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_prepared_keys_give_the_same_bits(len_q, dtype):
    for dim in (DIM, 64):
        q, v = (
            normal(BATCH, HEADS, len_q, dim, seed=1, dtype=dtype),
            normal(HEADS, dim, seed=4, dtype=dtype),
        )
        k, value = (
            normal(BATCH, 2, LEN_K, dim, seed=2, dtype=dtype),
            normal(BATCH, 2, LEN_K, DIM_V, seed=3, dtype=dtype),
        )
        pairs = _both(
            q, k, value, v, mask=regard.causal() & regard.key_lengths(torch.tensor([LEN_K, 11]))
        )
        assert_same_bits(pairs)


@pytest.mark.parametrize("len_q", [1, 13])
def test_prepared_keys_in_any_layout(len_q):
    q, k, value = inputs()
    q, v = q[:, :, :len_q], normal(DIM, seed=4)
    expected = regard.attention(q, k, value, score=regard.additive(v))
    turned = [x.transpose(1, 2).contiguous() for x in (q, k, value)]
    out = regard.attention(
        turned[0],
        regard.prepare_keys(turned[1]),
        turned[2],
        score=regard.additive(v),
        layout="bshd",
    )
    assert torch.equal(out.transpose(1, 2), expected)
    packed = [x.flatten(0, 1) for x in turned]
    cu_q, cu_k = (torch.arange(BATCH + 1, dtype=torch.int32) * n for n in (len_q, LEN_K))
    options = {"mask": regard.documents(cu_q, cu_k), "layout": "thd", "score": regard.additive(v)}
    out = regard.attention(packed[0], regard.prepare_keys(packed[1]), packed[2], **options)
    assert torch.equal(out.unflatten(0, (BATCH, len_q)).transpose(1, 2), expected)
    two = [x[0, 0] for x in (q, k, value)]
    out = regard.attention(two[0], regard.prepare_keys(two[1]), two[2], score=regard.additive(v))
    assert torch.equal(out, expected[0, 0])


def test_prepared_keys_of_packed_sequences():
    """Sequences with few and with many queries in one call."""
    cu_q, cu_k = (
        torch.tensor(x, dtype=torch.int32) for x in ((0, 1, 12, 15, 15), (0, 7, 30, 160, 170))
    )
    q, v = normal(15, HEADS, DIM, seed=1), normal(HEADS, DIM, seed=4)
    k, value = normal(170, 2, DIM, seed=2), normal(170, 2, DIM_V, seed=3)
    options = {"mask": regard.documents(cu_q, cu_k), "layout": "thd"}
    assert_same_bits(_both(q, k, value, v, **options))
    allowed = torch.zeros(15, 170, dtype=torch.bool)
    for i in range(4):
        allowed[cu_q[i] : cu_q[i + 1], cu_k[i] : cu_k[i + 1]] = True
    expected = formula(*(x.transpose(0, 1) for x in (q, k, value)), v, allowed=allowed).transpose(
        0, 1
    )
    same(
        regard.attention(q, regard.prepare_keys(k), value, score=regard.additive(v), **options),
        expected,
        (q, k, value, v),
    )


def test_prepared_keys_broadcast_and_are_cut():
    q, k, value = inputs()
    v = normal(DIM, seed=4)
    shared = regard.prepare_keys(k[:1])
    out = regard.attention(
        q[None], shared, value[:1], score=regard.additive(v)
    )  # five dimensions meet four
    assert torch.equal(out[0], regard.attention(q, k[:1], value[:1], score=regard.additive(v)))
    part = regard.prepare_keys(k)[:, :, 3:11]
    out = regard.attention(q, part, value[:, :, 3:11], score=regard.additive(v))
    assert torch.equal(
        out, regard.attention(q, k[:, :, 3:11], value[:, :, 3:11], score=regard.additive(v))
    )
    deep = k.reshape(BATCH, 1, 1, 2, LEN_K, DIM)
    out = regard.attention(
        q.reshape(BATCH, 1, 1, HEADS, LEN_Q, DIM),
        regard.prepare_keys(deep),
        value[:, None, None],
        score=regard.additive(v),
    )
    assert torch.equal(out[:, 0, 0], regard.attention(q, k, value, score=regard.additive(v)))


def test_prepared_keys_gradcheck():
    q, k, value, v = (
        normal(1, 2, 2, 3, seed=1),
        normal(1, 1, 5, 3, seed=2),
        normal(1, 1, 5, 2, seed=3),
        normal(2, 3, seed=4),
    )
    assert torch.autograd.gradcheck(
        lambda q, k, value, v: regard.attention(
            q, regard.prepare_keys(k), value, score=regard.additive(v)
        ),
        (q, k, value, v),
    )


def test_prepared_keys_compiled():
    q, k, value = inputs()
    v = normal(DIM, seed=4)

    def steps(q, k, value, v):
        keys = regard.prepare_keys(k)
        return sum(
            regard.attention(q[:, :, i : i + 1], keys, value, score=regard.additive(v))
            for i in range(2)
        )

    keys = regard.prepare_keys(k)  # made outside
    once = torch.compile(
        lambda q, keys, value, v: regard.attention(q, keys, value, score=regard.additive(v)),
        fullgraph=True,
    )
    same(
        once(q, keys, value, v),
        regard.attention(q, k, value, score=regard.additive(v)),
        (q, k, value, v),
        tolerance=0,
    )
    compiled = torch.compile(steps, fullgraph=True)
    same(compiled(q, k, value, v), steps(q, k, value, v), (q, k, value, v), tolerance=0)
    opcheck = torch.library.opcheck(torch.ops.regard.prepare_keys.default, (k.detach(),))
    assert set(opcheck.values()) == {"SUCCESS"}


def test_prepared_keys_under_transforms():
    q, k, value = inputs()
    v = normal(DIM, seed=4)

    def loss(q, k, value, v):
        return (
            regard.attention(q, regard.prepare_keys(k), value, score=regard.additive(v))
            .square()
            .sum()
        )

    found = torch.func.grad(loss, argnums=(0, 1, 2, 3))(q, k, value, v)
    wanted = torch.autograd.grad(loss(q, k, value, v), (q, k, value, v))
    assert_same_bits((found, wanted))
    one_by_one = torch.func.vmap(loss, in_dims=(0, 0, 0, None))(
        *(torch.stack([x, 2 * x]) for x in (q, k, value)), v
    )
    torch.testing.assert_close(
        one_by_one, torch.stack([loss(q, k, value, v), loss(2 * q, 2 * k, 2 * value, v)])
    )


def test_prepared_keys_elsewhere():
    """Maps, states and autocast take them too."""
    q, k, value = (x.detach() for x in inputs(dtype=torch.float32))
    score = regard.additive(normal(DIM, seed=4, dtype=torch.float32).detach())
    keys = regard.prepare_keys(k)
    assert torch.equal(
        regard.attention_map(q, keys, score=score), regard.attention_map(q, k, score=score)
    )
    state = regard.attention_state(q, keys, value, score=score)
    assert torch.equal(regard.finish(state), regard.attention(q, k, value, score=score))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = regard.attention(q, keys, value, score=score)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(
        out.float(), regard.attention(q, k, value, score=score), rtol=3e-2, atol=3e-2
    )


def test_prepared_keys_errors():
    q, k, value = inputs()
    keys = regard.prepare_keys(k)
    with pytest.raises(
        ValueError,
        match=r"key: keys are prepared for an additive score; expected score=regard.additive\(v\)",
    ):
        regard.attention(q, keys, value)
    w = torch.ones(DIM, DIM, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"luong_general: key is PreparedKeys; expected a tensor"):
        regard.luong_general(q, keys, value, w)
    with pytest.raises(ValueError, match=r"luong_concat: key is PreparedKeys; expected a tensor"):
        regard.luong_concat(q, keys, value, w, w[0])
    flat = regard.prepare_keys(torch.ones(5, 3, dtype=torch.float64))
    with pytest.raises(
        ValueError, match=r"key: shape \(5, 3\) has 2 dimensions, too few for layout bshd"
    ):
        regard.attention(q, flat, value, score=regard.additive(w[0]), layout="bshd")
    with pytest.raises(
        ValueError, match=r"prepare_keys: key is list; expected a floating-point tensor"
    ):
        regard.prepare_keys([1.0])
    with pytest.raises(
        ValueError, match=r"prepare_keys: key is torch.int64; expected a floating-point tensor"
    ):
        regard.prepare_keys(torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"prepare_keys: key has shape \(3,\); expected"):
        regard.prepare_keys(torch.ones(3))
    with pytest.raises(
        ValueError, match=r"key: shape \(2, 2, 19, 2049\) has dim 2049; expected 1 to 2048"
    ):
        regard.prepare_keys(torch.ones(2, 2, 19, 2049))
    assert repr(keys) == "regard.PreparedKeys((2, 2, 19, 10), torch.float64)"
