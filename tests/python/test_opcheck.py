# SPDX-License-Identifier: Apache-2.0
"""torch.library.opcheck on the public operator, with inputs that require gradients: schema,
autograd, shapes, ahead-of-time tracing."""

import pytest
import regard
import torch
from regard._torch.options import encode
from regard._torch.record import KINDS
from regard.masks import NONE
from torch.library import opcheck

TESTS = (
    "test_schema",
    "test_autograd_registration",
    "test_faketensor",
    "test_aot_dispatch_static",
    "test_aot_dispatch_dynamic",
)

CASES = {  # mask, scale, softcap, shape of the bias
    "plain": (NONE, None, 0.0, None),
    "causal, scaled": (regard.causal(), 0.7, 0.0, None),
    "window, softcap": (regard.causal(0) & ~regard.window(2, 1), None, 1.5, None),
    "key lengths": (regard.key_lengths(torch.tensor([7, 3])), None, 0.0, None),
    "bias": (NONE, None, 2.0, (4, 5, 7)),
    "boolean mask and bias": (regard.tensor(torch.rand(5, 7) > 0.2), None, 0.0, (2, 1, 1, 7)),
}


@pytest.mark.parametrize("requires_grad", [True, False], ids=["grad", "no grad"])
@pytest.mark.parametrize(
    "name,dtype",
    [
        *((name, torch.float64) for name in CASES),
        ("plain", torch.float32),
        ("bias", torch.bfloat16),
    ],
)
def test_attention(name, dtype, requires_grad):
    mask, scale, softcap, shape = CASES[name]
    bias = None if shape is None else torch.randn(shape).to(dtype).requires_grad_(requires_grad)
    inputs = [
        torch.randn(2, h, n, 6).to(dtype).requires_grad_(requires_grad)
        for h, n in ((4, 5), (2, 7), (2, 7))
    ]
    result = opcheck(
        torch.ops.regard.attention.default,
        (*inputs, *encode(mask, scale, softcap, bias), 0),
        test_utils=TESTS,
    )
    assert set(result.values()) == {"SUCCESS"}


@pytest.mark.parametrize(
    "shape,order",
    [((5, 6), 0), ((3, 5, 6), 0), ((5, 3, 6), 1), ((2, 5, 3, 6), 1), ((5, 3, 6), 2)],
    ids=str,
)
def test_layouts(shape, order):
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    opcheck(torch.ops.regard.attention.default, (*inputs, [], [], [], order), test_utils=TESTS)


def test_heads_inside():
    """A query that came from a projection: the output's memory lies likewise, and the fake one's
    too."""
    inputs = [
        torch.randn(2, 5, 3, 6, dtype=torch.float64).transpose(1, 2).requires_grad_()
        for _ in range(3)
    ]
    opcheck(torch.ops.regard.attention.default, (*inputs, [], [], [], 0), test_utils=TESTS)


@pytest.mark.parametrize("op", ["_attend", "_attend_for_gradients"])
def test_private_operators(op):
    inputs = [torch.randn(2, 3, 5, 6) for _ in range(3)]
    opcheck(
        getattr(torch.ops.regard, op).default,
        (*inputs, 2, 0.5),
        test_utils=("test_schema", "test_faketensor"),
    )


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("floats", [None, [0.5]])
def test_private_operator_with_options(order, floats):
    inputs = [torch.randn(2, 3, 3, 6) for _ in range(3)]
    ints = [*regard.alibi(torch.ones(3)).ints, *([KINDS["scale"], 0] if floats else [])]
    opcheck(
        torch.ops.regard._attend_with.default,
        (*inputs, ints, floats, [torch.rand(1, 3, 1, 1)], order),
        test_utils=("test_schema", "test_faketensor"),
    )
