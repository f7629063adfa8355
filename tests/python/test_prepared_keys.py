# SPDX-License-Identifier: Apache-2.0
"""Keys that are prepared once for additive scores (regard.prepare_keys): the same bits, gradients
and errors as with the keys themselves."""

import pytest
import regard
import torch
from additive_formula import BATCH, DIM, DIM_V, HEADS, LEN_K, LEN_Q, formula, inputs, normal, same


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
