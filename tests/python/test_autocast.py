# SPDX-License-Identifier: Apache-2.0
"""Autocast reaches every road: eager, with gradients, torch.func and enable()."""

import pytest
import regard
import torch


@pytest.mark.parametrize("needs_grad", [False, True])
@pytest.mark.parametrize("options", [{}, dict(softcap=2.0)], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(dtype, options, needs_grad):
    inputs = [torch.randn(1, 2, 9, 8, requires_grad=needs_grad) for _ in range(3)]
    with torch.autocast("cpu", dtype):
        out = regard.attention(*inputs, **options)
    assert out.dtype == dtype
    lowered = [x.detach().to(dtype).requires_grad_(needs_grad) for x in inputs]
    expected = regard.attention(*lowered, **options)
    assert torch.equal(out, expected)
    if needs_grad:
        d_out = torch.randn_like(out)
        for x, a, b in zip(
            inputs,
            torch.autograd.grad(out, inputs, d_out),
            torch.autograd.grad(expected, lowered, d_out),
            strict=True,
        ):
            assert a.dtype == x.dtype and torch.equal(a, b.float())


def test_the_operator_itself_is_cast():
    inputs = [torch.randn(1, 2, 9, 8) for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16):
        out, lse, _ = torch.ops.regard.attention(*inputs, [], [], [], 0)
    assert out.dtype == torch.bfloat16 and lse.dtype == torch.float32


def test_float64_is_left_alone():
    inputs = [torch.randn(1, 2, 9, 8, dtype=torch.float64) for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16):
        assert regard.attention(*inputs).dtype == torch.float64


def test_through_enable():
    inputs = [torch.randn(1, 2, 9, 8) for _ in range(3)]
    regard.report(reset=True)
    with regard.enabled(), torch.autocast("cpu", torch.bfloat16):
        assert torch.nn.functional.scaled_dot_product_attention(*inputs).dtype == torch.bfloat16
    assert regard.report().served == 1
