# SPDX-License-Identifier: Apache-2.0
"""regard.attention beside the oracle: dtypes, shapes, scale, softcap, lse, bias, and their
gradients."""

import oracle
import pytest
import regard
import torch

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
SHAPES = {  # batch, heads_q, heads_kv, len_q, len_k, dim, dim_v
    "square": (2, 4, 4, 37, 37, 32, 32),
    "grouped": (2, 6, 2, 19, 70, 24, 24),
    "one key head": (1, 8, 1, 33, 33, 16, 40),
    "one query": (3, 2, 2, 1, 130, 64, 64),
    "one pair": (1, 1, 1, 1, 1, 1, 1),
    "long": (1, 2, 1, 300, 515, 80, 96),
}


def draw(shape, dtype):
    batch, heads_q, heads_kv, len_q, len_k, dim, dim_v = shape
    return (
        torch.randn(batch, heads_q, len_q, dim).to(dtype),
        torch.randn(batch, heads_kv, len_k, dim).to(dtype),
        torch.randn(batch, heads_kv, len_k, dim_v).to(dtype),
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(shape, dtype):
    q, k, v = draw(shape, dtype)
    oracle.check_forward(regard.attention(q, k, v), q, k, v)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradients(shape, dtype):
    inputs = draw(shape, dtype)
    d_out = torch.randn(*inputs[0].shape[:-1], inputs[2].shape[-1]).to(dtype)
    allowed = oracle.causal(shape[3], shape[4])
    actual = oracle.gradients(lambda *x: regard.attention(*x, mask=regard.causal()), inputs, d_out)
    oracle.check_gradients(actual, inputs, d_out, lambda q, k, v, f: f(q, k, v, allowed=allowed))


@pytest.mark.parametrize(
    "options", [dict(scale=0.3), dict(softcap=1.5), dict(scale=2.0, softcap=0.7)], ids=str
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scale_and_softcap(options, dtype):
    inputs = draw(SHAPES["grouped"], dtype)
    oracle.check_forward(regard.attention(*inputs, **options), *inputs, **options)
    d_out = torch.randn_like(inputs[0])
    actual = oracle.gradients(lambda *x: regard.attention(*x, **options), inputs, d_out)
    oracle.check_gradients(actual, inputs, d_out, lambda q, k, v, f: f(q, k, v, **options))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_lse_and_the_gradient_through_it(dtype):
    inputs = draw(SHAPES["grouped"], dtype)
    allowed = oracle.causal(19, 70, 0)
    out, lse = regard.attention(*inputs, mask=regard.causal(0), return_lse=True)
    oracle.check_forward(out, *inputs, allowed=allowed)
    expected = oracle.attention(*inputs, allowed=allowed)[1]
    assert lse.shape == (2, 6, 19) and lse.dtype == dtype
    torch.testing.assert_close(lse.double(), expected, rtol=1e-6, atol=1e-6)

    d_out, d_lse = torch.randn_like(out), torch.randn_like(lse)

    def weighed(pair):
        return (pair[0] * d_out).sum() + (pair[1] * d_lse).sum()

    one = torch.ones((), dtype=dtype)
    actual = oracle.gradients(
        lambda *x: weighed(regard.attention(*x, mask=regard.causal(0), return_lse=True)),
        inputs,
        one,
    )
    wanted = oracle.gradients(
        lambda *x: weighed(oracle.attention(*x, allowed=allowed)), inputs, one, torch.float64
    )
    for a, e in zip(actual, wanted, strict=True):
        torch.testing.assert_close(a.double(), e, rtol=1e-4, atol=1e-5)


def test_gradient_through_lse_alone():
    inputs = draw(SHAPES["square"], torch.float64)
    d_lse = torch.randn(2, 4, 37, dtype=torch.float64)
    q, k, v = (x.requires_grad_() for x in inputs)
    _, lse = regard.attention(q, k, v, return_lse=True)
    dq, dk, dv = torch.autograd.grad(lse, (q, k, v), d_lse)
    expected = torch.autograd.grad(oracle.attention(q, k, v)[1], (q, k), d_lse)
    torch.testing.assert_close((dq, dk), expected)
    assert dv.abs().max() == 0


def test_half_precision_gives_float32_lse():
    q, k, v = draw(SHAPES["square"], torch.bfloat16)
    _, lse = regard.attention(q, k, v, return_lse=True)
    assert lse.dtype == torch.float32
    torch.testing.assert_close(lse.double(), oracle.attention(q, k, v)[1], rtol=1e-2, atol=1e-2)


BIASES = [
    (2, 6, 19, 70),
    (1, 6, 19, 70),
    (2, 1, 19, 70),
    (6, 1, 1),
    (19, 70),
    (70,),
    (2, 1, 1, 70),
    (1, 1, 19, 1),
    (1,),
    (),
]


@pytest.mark.parametrize("shape", BIASES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_bias_of_any_broadcastable_shape_and_its_gradient(shape, dtype):
    inputs = (*draw(SHAPES["grouped"], dtype), torch.randn(shape).to(dtype))
    q, k, v, bias = inputs
    oracle.check_forward(regard.attention(q, k, v, bias=bias), q, k, v, bias=bias)
    d_out = torch.randn_like(q)
    actual = oracle.gradients(lambda q, k, v, b: regard.attention(q, k, v, bias=b), inputs, d_out)
    assert actual[3].shape == bias.shape
    oracle.check_gradients(actual, inputs, d_out, lambda q, k, v, b, f: f(q, k, v, bias=b))


def test_bias_alone_may_need_a_gradient():
    q, k, v = draw(SHAPES["square"], torch.float64)
    bias = torch.randn(4, 37, 37, dtype=torch.float64, requires_grad=True)
    actual = torch.autograd.grad(regard.attention(q, k, v, bias=bias).square().sum(), bias)
    expected = torch.autograd.grad(oracle.attention(q, k, v, bias=bias)[0].square().sum(), bias)
    torch.testing.assert_close(actual, expected)


def test_finite_bias_however_low_is_no_mask():
    q, k, v = draw((1, 1, 1, 3, 5, 8, 8), torch.float32)
    bias = torch.full((3, 5), torch.finfo(torch.float32).min)
    torch.testing.assert_close(
        regard.attention(q, k, v, bias=bias), v.mean(-2, keepdim=True).expand(1, 1, 3, 8)
    )


@pytest.mark.parametrize("needs", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1)], ids=str)
@pytest.mark.parametrize("options", [{}, dict(softcap=2.0)], ids=str)
def test_only_the_gradients_that_are_needed(needs, options):
    inputs = [
        x.requires_grad_(bool(need))
        for x, need in zip(draw(SHAPES["square"], torch.float64), needs, strict=True)
    ]
    wanted = [x for x in inputs if x.requires_grad]
    actual = torch.autograd.grad(regard.attention(*inputs, **options).square().sum(), wanted)
    expected = torch.autograd.grad(oracle.attention(*inputs, **options)[0].square().sum(), wanted)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("lengths", [(0, 5), (5, 0), (0, 0)], ids=str)
def test_empty_lengths(lengths):
    q = torch.randn(2, 3, lengths[0], 8, requires_grad=True)
    k, v = (torch.randn(2, 3, lengths[1], 8, requires_grad=True) for _ in range(2))
    out, lse = regard.attention(q, k, v, return_lse=True)
    assert out.shape == q.shape and not out.any()
    assert (lse == -torch.inf).all()
    for gradient in torch.autograd.grad(out.sum(), (q, k, v)):
        assert not gradient.any()


def test_output_lies_in_memory_as_the_query_does():
    x = torch.randn(2, 7, 4, 8)
    out = regard.attention(*(x.transpose(1, 2),) * 3)
    assert out.transpose(1, 2).is_contiguous()
    assert regard.attention(*(x,) * 3).is_contiguous()
