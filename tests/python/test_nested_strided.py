# SPDX-License-Identifier: Apache-2.0
"""Nested (strided) tensors, and what the fast path of PyTorch's modules makes of padding, under
regard.enable(): as without."""

import pytest
import regard
import torch
from kernel_calls import kernel_calls

PADDING = torch.tensor([[False, False, False, True, True], [False] * 5])
LATER = torch.ones(5, 5).triu(1).bool()


def _module(name):
    torch.manual_seed(2)
    layer = torch.nn.TransformerEncoderLayer(16, 4, 24, batch_first=True)
    made = {
        "attention": torch.nn.MultiheadAttention(16, 4, batch_first=True),
        "layer": layer,
        "encoder": torch.nn.TransformerEncoder(layer, 2),
    }
    return made[name].double().eval()


def _run(name, module, x, **options):
    if name == "attention":
        return module(x, x, x, need_weights=False, **options)[0]
    return module(x, **options)


def _compare(function, count):
    with torch.no_grad():
        expected = function()
        regard.report(reset=True)
        with regard.enabled(), kernel_calls() as calls:
            actual = function()
    assert calls.forward == count and regard.report() == (count, {})
    return actual, expected


@pytest.mark.parametrize("name", ["attention", "layer", "encoder"])
def test_nested(name):
    module = _module(name)
    parts = [torch.randn(n, 16, dtype=torch.float64) for n in (3, 5, 1)]
    x = torch.nested.nested_tensor(parts)
    actual, expected = _compare(lambda: _run(name, module, x), 2 if name == "encoder" else 1)
    assert actual.is_nested and actual.layout is torch.strided
    torch.testing.assert_close(actual.unbind(), expected.unbind())


@pytest.mark.parametrize("name", ["layer", "encoder"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_padded_rows_come_out_as_pytorchs(name, norm_first):
    module = _module(name)
    for layer in module.modules():
        if isinstance(layer, torch.nn.TransformerEncoderLayer):
            layer.norm_first = norm_first
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    actual, expected = _compare(
        lambda: module(x, src_key_padding_mask=PADDING), 2 if name == "encoder" else 1
    )
    torch.testing.assert_close(actual, expected)


MASKS = {
    "none": {},
    "padding": dict(key_padding_mask=PADDING),
    "causal": dict(attn_mask=LATER),
    "both": dict(key_padding_mask=PADDING, attn_mask=LATER),
}


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("masks", MASKS)
def test_weights_of_the_fast_path(masks, average):
    module = _module("attention")
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    actual, expected = _compare(
        lambda: module(x, x, x, average_attn_weights=average, **MASKS[masks]), 1
    )
    torch.testing.assert_close(actual, expected)
