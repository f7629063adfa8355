# SPDX-License-Identifier: Apache-2.0
"""Layouts, ranks, broadcasting, strides and storage offsets: the same numbers however the
tensors lie."""

import oracle
import pytest
import regard
import torch


def test_bshd_is_bhsd_transposed():
    q, k, v = (torch.randn(2, n, h, 16, requires_grad=True) for n, h in ((9, 4), (13, 2), (13, 2)))
    out, lse = regard.attention(q, k, v, layout="bshd", mask=regard.causal(), return_lse=True)
    turned = [x.transpose(1, 2) for x in (q, k, v)]
    expected, expected_lse = regard.attention(*turned, mask=regard.causal(), return_lse=True)
    assert torch.equal(out, expected.transpose(1, 2)) and torch.equal(lse, expected_lse)
    d_out = torch.randn_like(out)
    for a, b in zip(
        torch.autograd.grad(out, (q, k, v), d_out),
        torch.autograd.grad(expected, (q, k, v), d_out.transpose(1, 2)),
        strict=True,
    ):
        assert torch.equal(a, b)


LEADING = [  # query, key, value before (seq, dim)
    ((), (), ()),
    ((3,), (3,), (3,)),
    ((2, 3), (2, 3), (2, 3)),
    ((5, 2, 3), (5, 2, 3), (5, 2, 3)),
    ((4,), (4, 4), (4, 4)),
    ((2, 1, 3), (5, 3), (1, 5, 3)),
    ((2, 3), (1, 3), (2, 3)),
    ((2, 1), (2, 3), (2, 3)),
    ((2, 3), (3,), (2, 1)),
    ((2, 2, 3), (), (3,)),
    ((0, 3), (0, 3), (0, 3)),
]


@pytest.mark.parametrize("leading", LEADING, ids=str)
@pytest.mark.parametrize("grad", [False, True], ids=["no grad", "grad"])
def test_leading_dimensions_broadcast_as_in_pytorch(leading, grad):
    inputs = [
        torch.randn(*lead, n, 8, dtype=torch.float64, requires_grad=grad)
        for lead, n in zip(leading, (6, 7, 7), strict=True)
    ]
    out, lse = regard.attention(*inputs, return_lse=True)
    scores = inputs[0] @ inputs[1].transpose(-1, -2) / 8**0.5
    expected = torch.softmax(scores, -1) @ inputs[2]
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(
        lse.expand(expected.shape[:-1]), scores.logsumexp(-1).expand(expected.shape[:-1])
    )
    torch.testing.assert_close(regard.attention(*inputs), expected)
    if grad:
        d_out = torch.randn_like(out)
        torch.testing.assert_close(
            torch.autograd.grad(out, inputs, d_out), torch.autograd.grad(expected, inputs, d_out)
        )


@pytest.mark.parametrize(
    "shape", [(5, 2, 3, 6, 7), (2, 3, 6, 7), (5, 1, 1, 6, 7), (1, 1, 3, 6, 1), (6, 7)], ids=str
)
def test_bias_beside_many_leading_dimensions(shape):
    inputs = [torch.randn(5, 2, 3, n, 8, dtype=torch.float64) for n in (6, 7, 7)] + [
        torch.randn(shape, dtype=torch.float64)
    ]
    inputs = [x.requires_grad_() for x in inputs]
    q, k, v, bias = inputs
    expected = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5 + bias, -1) @ v
    out = regard.attention(q, k, v, bias=bias)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(
        torch.autograd.grad(out.square().sum(), inputs),
        torch.autograd.grad(expected.square().sum(), inputs),
    )


STRIDED = {
    "heads inside": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "dims outside": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "every other element": lambda x: torch.stack([x, torch.full_like(x, torch.nan)], -1).flatten(
        -2
    )[..., ::2],
    "offset": lambda x: torch.cat([x.new_full((7,), torch.nan), x.flatten()])[7:].view(x.shape),
    "inside a bigger tensor": lambda x: torch.nn.functional.pad(x, (3, 5, 2, 1), value=torch.nan)[
        ..., 2:-1, 3:-5
    ],
    "batch repeated": lambda x: x[:1].expand_as(x),
    "heads repeated": lambda x: x[:, :1].expand_as(x),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", STRIDED)
def test_strides_do_not_change_a_bit(name, dtype):
    lay = STRIDED[name]
    inputs = [lay(torch.randn(2, 3, n, 20).to(dtype)) for n in (21, 34, 34)]
    plain = [x.clone(memory_format=torch.contiguous_format) for x in inputs]
    d_out = torch.randn(2, 3, 21, 20).to(dtype)
    assert torch.equal(regard.attention(*inputs), regard.attention(*plain))
    for a, b in zip(
        oracle.gradients(regard.attention, plain, lay(d_out)),
        _gradients_in_place(inputs, lay(d_out)),
        strict=True,
    ):
        assert torch.equal(a, b)


def _gradients_in_place(inputs, d_out):
    leaves = [x.detach().requires_grad_() for x in inputs]
    return torch.autograd.grad(regard.attention(*leaves), leaves, d_out)


def test_a_summed_output_sends_back_an_expanded_gradient():
    q, k, v = (torch.randn(2, 3, 9, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    actual = torch.autograd.grad(regard.attention(q, k, v).sum(), (q, k, v))
    expected = torch.autograd.grad(oracle.attention(q, k, v)[0].sum(), (q, k, v))
    torch.testing.assert_close(actual, expected)
