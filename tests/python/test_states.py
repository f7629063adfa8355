# SPDX-License-Identifier: Apache-2.0
"""Attention over parts of the keys, merged, against one over all of them from its formula in
float64 (oracle.py, and sinks below)."""

import itertools
import math

import oracle
import pytest
import regard
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.library import opcheck

SHAPES = {  # axis order -> shape, axis of the positions
    "bhsd": (lambda b, h, n, d: (b, h, n, d), -2),
    "bshd": (lambda b, h, n, d: (b, n, h, d), -3),
}


def random_inputs(
    dtype=torch.float64,
    layout="bhsd",
    batch=2,
    heads=4,
    heads_kv=2,
    len_q=13,
    len_k=19,
    dim=8,
    dim_v=6,
):
    shape = SHAPES[layout][0]
    sizes = ((heads, len_q, dim), (heads_kv, len_k, dim), (heads_kv, len_k, dim_v))
    return [
        torch.randn(shape(batch, *size), dtype=torch.float64).to(dtype).requires_grad_()
        for size in sizes
    ]


def cuts(length, at):
    edges = sorted({0, length, *(min(x, length) for x in at)})
    return list(itertools.pairwise(edges))


def with_sinks(q, k, v, sinks, **options):
    """The oracle, with logits (heads, m) in every row's denominator."""
    out, lse = oracle.attention(q, k, v, **options)
    whole = torch.logsumexp(
        torch.cat(
            [lse[..., None], sinks[None, :, None].expand(*lse.shape[:1], -1, lse.shape[2], -1)], -1
        ),
        -1,
    )
    share = torch.where(
        lse == -math.inf, 0.0, torch.exp(torch.where(lse == -math.inf, 0.0, lse) - whole)
    )
    return out * share[..., None], whole


def states_of(q, k, v, pieces, axis=-2, **options):
    bias = options.pop("bias", None)
    return [
        regard.attention_state(
            q,
            k.narrow(axis, begin, end - begin),
            v.narrow(axis, begin, end - begin),
            bias=(
                None
                if bias is None
                else bias.narrow(-1, begin, end - begin)
                if bias.shape[-1] > 1
                else bias
            ),
            **options,
        )
        for begin, end in pieces
    ]


def error(actual, expected):
    finite = torch.isfinite(expected)
    assert torch.equal(torch.isfinite(actual), finite)
    gap = (actual.double() - expected).where(finite, 0.0).abs().max().item()
    return gap / (1 + expected.where(finite, 0.0).abs().max().item())


@settings(max_examples=60, deadline=None)
@given(
    layout=st.sampled_from(["bhsd", "bshd"]),
    heads_kv=st.sampled_from([1, 2, 4]),
    len_q=st.integers(1, 40),
    len_k=st.integers(1, 60),
    at=st.lists(st.integers(0, 60), max_size=4),
    softcap=st.sampled_from([0.0, 3.0]),
    biased=st.booleans(),
    sinks=st.sampled_from([0, 1, 3]),
    order=st.permutations(range(5)),
    dtype=st.sampled_from([(torch.float64, 1e-12), (torch.float32, 2e-6)]),
)
def test_cut_keys(layout, heads_kv, len_q, len_k, at, softcap, biased, sinks, order, dtype):
    dtype, tolerance = dtype
    axis = SHAPES[layout][1]
    q, k, v = random_inputs(dtype, layout, heads_kv=heads_kv, len_q=len_q, len_k=len_k)
    bias = torch.randn(2, 1, len_q, len_k, dtype=dtype).requires_grad_() if biased else None
    logits = torch.randn(4, sinks, dtype=dtype).requires_grad_() if sinks else None
    parts = states_of(q, k, v, cuts(len_k, at), axis, layout=layout, softcap=softcap, bias=bias)
    parts = [parts[n] for n in order if n < len(parts)]
    got = regard.finish(regard.merge(parts), logits, return_lse=True)

    extra = [x for x in (bias, logits) if x is not None]
    leaves = [x.detach().double().requires_grad_() for x in (q, k, v, *extra)]
    heads_first = [x.transpose(1, 2) if layout == "bshd" else x for x in leaves[:3]]
    options = dict(softcap=softcap, bias=leaves[3] if biased else None)
    out, lse = (
        with_sinks(*heads_first, leaves[-1], **options)
        if sinks
        else oracle.attention(*heads_first, **options)
    )
    expected = (out.transpose(1, 2) if layout == "bshd" else out, lse)
    d = [torch.randn(x.shape, dtype=torch.float64) for x in expected]
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == dtype and error(a, b) <= tolerance
    found = torch.autograd.grad(got, (q, k, v, *extra), [x.to(dtype) for x in d])
    for a, b in zip(found, torch.autograd.grad(expected, leaves, d), strict=True):
        assert a.dtype == dtype and error(a, b) <= 5 * tolerance


def test_memory_and_context():
    """A memory that all queries see, and a context that they see causally: one softmax over
    both."""
    q, k, v = random_inputs(len_q=24, len_k=24)
    k_memory, v_memory = random_inputs(len_k=7)[1:]
    memory = regard.attention_state(q, k_memory, v_memory)
    context = regard.attention_state(q, k, v, mask=regard.causal())
    out = regard.finish(regard.merge([memory, context]))
    allowed = torch.cat([torch.ones(24, 7, dtype=torch.bool), oracle.causal(24, 24)], 1)
    inputs = (q, k_memory, v_memory, k, v)
    expected, _ = oracle.attention(
        q, torch.cat([k_memory, k], 2), torch.cat([v_memory, v], 2), allowed
    )
    assert error(out, expected) <= 1e-12
    d_out = torch.randn_like(out)
    for a, b in zip(
        torch.autograd.grad(out, inputs, d_out),
        torch.autograd.grad(expected, inputs, d_out),
        strict=True,
    ):
        assert error(a, b) <= 1e-12


def test_merging_twice_is_merging_once():
    q, k, v = random_inputs()
    a, b, c = states_of(q, k, v, [(0, 5), (5, 6), (6, 19)])
    nested = regard.finish(regard.merge([regard.merge([a, b]), c]))
    flat = regard.finish(regard.merge([a, b, c]))
    d_out = torch.randn_like(flat)
    assert error(nested, flat) <= 1e-14
    for x, y in zip(
        torch.autograd.grad(nested, (q, k, v), d_out, retain_graph=True),
        torch.autograd.grad(flat, (q, k, v), d_out),
        strict=True,
    ):
        assert error(x, y) <= 1e-13


def test_more_states_than_the_operator_takes():
    q, k, v = random_inputs(len_k=70)
    out = regard.finish(regard.merge(states_of(q, k, v, [(n, n + 1) for n in range(70)])))
    expected, _ = oracle.attention(q, k, v)
    assert error(out, expected) <= 1e-12
    for a, b in zip(
        torch.autograd.grad(out.sum(), (q, k, v)),
        torch.autograd.grad(expected.sum(), (q, k, v)),
        strict=True,
    ):
        assert error(a, b) <= 1e-12


def test_gradcheck():
    q, k, v = random_inputs(len_q=5, len_k=9)
    sinks, slopes = (
        torch.randn(4, 2, dtype=torch.float64).requires_grad_(),
        torch.rand(4, dtype=torch.float64).requires_grad_(),
    )

    def f(q, k, v, sinks, slopes):
        options = dict(modifiers=regard.temperature(slopes + 0.5), softcap=2.0)
        return regard.finish(
            regard.merge(states_of(q, k, v, [(0, 4), (4, 9)], **options)), sinks, return_lse=True
        )

    assert torch.autograd.gradcheck(f, (q, k, v, sinks, slopes))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_dtypes_are_rounded_once(dtype):
    q, k, v = random_inputs(dtype, len_q=40, len_k=90)
    parts = states_of(q, k, v, [(0, 30), (30, 31), (31, 90)])
    assert all(s.out.dtype == torch.float32 and s.dtype == dtype for s in parts)
    out = regard.finish(regard.merge(parts))
    oracle.check_forward(out, q, k, v)
    d_out = torch.randn(out.shape).to(dtype)
    oracle.check_gradients(
        torch.autograd.grad(out, (q, k, v), d_out), (q, k, v), d_out, lambda q, k, v, f: f(q, k, v)
    )


def test_rows_that_see_nothing():
    q, k, v = random_inputs()
    hidden = torch.ones(2, 1, 13, 19, dtype=torch.bool)
    hidden[0, 0, 3] = False
    hidden[1, 0, 5, :10] = False
    sinks = torch.randn(4, 1, dtype=torch.float64).requires_grad_()
    parts = [
        regard.attention_state(q, k[:, :, a:b], v[:, :, a:b], mask=hidden[..., a:b])
        for a, b in ((0, 10), (10, 19))
    ]
    out, lse = (x.detach() for x in regard.finish(regard.merge(parts), return_lse=True))
    assert not out[0, :, 3].any() and (lse[0, :, 3] == -math.inf).all()
    expected, expected_lse = with_sinks(q, k, v, sinks, allowed=hidden)
    out, lse = regard.finish(regard.merge(parts), sinks, return_lse=True)
    assert error(out, expected) <= 1e-12 and error(lse, expected_lse) <= 1e-12
    assert not out[0, :, 3].any()
    d = torch.randn_like(out), torch.randn_like(lse)
    leaves = (q, k, v, sinks)
    for a, b in zip(
        torch.autograd.grad((out, lse), leaves, d),
        torch.autograd.grad((expected, expected_lse), leaves, d),
        strict=True,
    ):
        assert error(a, b) <= 1e-12


@pytest.mark.parametrize("shape", [(9, 8), (3, 9, 8), (2, 3, 9, 8), (5, 2, 3, 9, 8)], ids=str)
def test_ranks(shape):
    q, k, v = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(3))
    out, lse = regard.finish(
        regard.merge(states_of(q, k, v, [(0, 4), (4, 9)])),
        torch.zeros(shape[-3] if len(shape) > 2 else 1),
        return_lse=True,
    )
    whole = [x.reshape(-1, *((1,) if len(shape) == 2 else ()), *shape[-3:]) for x in (q, k, v)]
    expected, expected_lse = with_sinks(
        *whole, torch.zeros(whole[0].shape[1], 1, dtype=torch.float64)
    )
    assert (
        error(out, expected.reshape(shape)) <= 1e-12
        and error(lse, expected_lse.reshape(shape[:-1])) <= 1e-12
    )
    torch.autograd.grad(out.sum() + lse.sum(), (q, k, v))


def test_packed():
    q, k, v = (torch.randn(12, 2, 8, dtype=torch.float64) for _ in range(3))
    documents = regard.documents([0, 5, 12])
    parts = [
        regard.attention_state(q, k, x, mask=mask, layout="thd")
        for x, mask in ((v, documents & regard.causal()), (v, documents & ~regard.causal()))
    ]
    first, second = (x.transpose(0, 1)[None] for x in (q, k))
    expected, _ = oracle.attention(
        first, second, v.transpose(0, 1)[None], oracle.documents([0, 5, 12], [0, 5, 12], 12, 12)
    )
    assert error(regard.finish(regard.merge(parts)), expected[0].transpose(0, 1)) <= 1e-12


def test_compile_checkpoint_and_autocast():
    from torch.utils.checkpoint import checkpoint

    q, k, v = random_inputs(torch.float32)
    sinks = torch.randn(4, requires_grad=True)

    def f(q, k, v, sinks):
        return regard.finish(regard.merge(states_of(q, k, v, [(0, 4), (4, 19)])), sinks)

    def gradients(call):
        out = call(q, k, v, sinks)
        return out, *torch.autograd.grad(out.square().sum(), (q, k, v, sinks))

    plain = gradients(f)
    assert all(
        map(torch.equal, plain, gradients(lambda *x: checkpoint(f, *x, use_reentrant=False)))
    )
    for a, b in zip(plain, gradients(torch.compile(f, fullgraph=True)), strict=True):
        torch.testing.assert_close(a, b)
    with torch.autocast("cpu", torch.bfloat16):
        state = regard.attention_state(q, k, v)
    assert state.dtype == torch.bfloat16 and state.out.dtype == torch.float32
    assert torch.equal(state.out, regard.attention_state(*(x.bfloat16() for x in (q, k, v))).out)


@pytest.mark.parametrize("order,shape", [(0, (2, 3, 5, 6)), (1, (2, 5, 3, 6)), (0, (5, 6))])
def test_opcheck(order, shape):
    tests = (
        "test_schema",
        "test_autograd_registration",
        "test_faketensor",
        "test_aot_dispatch_static",
        "test_aot_dispatch_dynamic",
    )
    inputs = [torch.randn(shape, requires_grad=True) for _ in range(3)]
    opcheck(
        torch.ops.regard.attention_state.default, (*inputs, [], [], [], order), test_utils=tests
    )
    states = [
        [
            x.detach().requires_grad_()
            for x in torch.ops.regard.attention_state(q, *inputs[1:], [], [], [], order)
        ]
        for q in inputs
    ]
    outs, maxima, log_sums = ([s[n] for s in states] for n in range(3))
    opcheck(
        torch.ops.regard.merge_states.default,
        (outs, [x.detach() for x in maxima], log_sums, order),
        test_utils=tests,
    )


def test_states_from_elsewhere():
    """Sent and received as tensors, as between the processes of a ring."""
    q, k, v = random_inputs(torch.bfloat16)
    parts = states_of(q, k, v, [(0, 4), (4, 19)])
    received = [
        regard.State(s.out.clone(), s.maximum.clone(), s.log_sum.clone(), dtype=s.dtype)
        for s in parts
    ]
    assert torch.equal(regard.finish(regard.merge(received)), regard.finish(regard.merge(parts)))


def test_double_backward_is_an_error():
    q, k, v = random_inputs()
    out = regard.finish(regard.merge(states_of(q, k, v, [(0, 4), (4, 19)])))
    (first,) = torch.autograd.grad(out.sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        first.sum().backward()


def test_sinks_of_minus_infinity_are_none():
    q, k, v = random_inputs()
    sinks = torch.full((4, 2), -torch.inf, dtype=torch.float64, requires_grad=True)
    mask = regard.window(0, 0, -40)  # the rows see nothing
    for options in ({}, {"mask": mask}):
        out, lse = regard.finish(regard.attention_state(q, k, v, **options), sinks, return_lse=True)
        expected, expected_lse = regard.attention(q, k, v, return_lse=True, **options)
        torch.testing.assert_close((out, lse), (expected, expected_lse))
        assert not torch.autograd.grad(
            out.sum() + lse.masked_fill(lse == -torch.inf, 0).sum(), sinks
        )[0].any()


def test_errors():
    q, k, v = random_inputs()
    state = regard.attention_state(q, k, v)
    with pytest.raises(ValueError, match=r"modifiers: sinks join once.*regard\.finish"):
        regard.attention_state(q, k, v, modifiers=regard.sinks(torch.zeros(4)))
    with pytest.raises(ValueError, match="states: State; expected a list"):
        regard.merge(state)
    with pytest.raises(
        ValueError,
        match=r"maximum: shape \(2, 4, 12\); expected \(2, 4, 13\), a number for each row of out",
    ):
        regard.State(state.out, state.maximum[..., :-1], state.log_sum)
    with pytest.raises(ValueError, match="states: none"):
        regard.merge([])
    with pytest.raises(ValueError, match=r"states\[1\]: Tensor; expected"):
        regard.merge([state, q])
    with pytest.raises(
        ValueError, match=r"states\[1\]: out of shape \(2, 4, 5, 6\); expected \(2, 4, 13, 6\)"
    ):
        regard.merge([state, regard.attention_state(q[:, :, :5], k, v)])
    with pytest.raises(
        ValueError, match=r"states\[1\]: dtype torch.float32; expected torch.float64"
    ):
        regard.merge([state, regard.attention_state(*(x.float() for x in (q, k, v)))])
    with pytest.raises(
        ValueError,
        match=(
            r"sinks: torch.float32, shape \(3,\); expected a floating-point tensor \(4, m\) or"
            r" \(4,\)"
        ),
    ):
        regard.finish(state, torch.zeros(3))
    with pytest.raises(ValueError, match="state: Tensor; expected"):
        regard.finish(q)
    with pytest.raises(NotImplementedError, match=r"regard\.attention_state.*torch\.func"):
        torch.func.grad(lambda q: regard.attention_state(q, k, v).out.sum())(q)
