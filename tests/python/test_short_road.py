# SPDX-License-Identifier: Apache-2.0
"""Calls with masks, modifiers and biases of which no gradient is asked go to the kernels in fewer
steps. They are the same calls: the same bits, and what has a gradient or an error takes the other
roads."""

import pytest
import regard
import torch
from regard._torch import attention as roads

HEADS, LEN_Q, LEN_K = 4, 6, 9
SLOPES = regard.alibi_slopes(HEADS)
ALLOWED = torch.rand(LEN_Q, LEN_K) < 0.7
TAKEN = {
    "window": dict(mask=regard.window(3, 0)),
    "boolean tensor": dict(mask=ALLOWED),
    "composed": dict(mask=regard.causal() & ALLOWED, scale=0.3),
    "key lengths": dict(mask=regard.key_lengths([4, 9])),
    "bias": dict(bias=torch.randn(HEADS, 1, LEN_K)),
    "ALiBi": dict(modifiers=regard.alibi(SLOPES)),
    "ALiBi, causal": dict(modifiers=[regard.alibi(SLOPES)], mask=regard.causal()),
    "several": dict(
        modifiers=(regard.sinks(torch.randn(HEADS)), regard.gaussian(torch.rand(LEN_Q), 2.0)),
        bias=torch.randn(LEN_Q, LEN_K),
        mask=ALLOWED,
        scale=2,
    ),
}


@pytest.fixture
def taken(monkeypatch):
    calls = []
    real = roads.ops.attend_with

    def counted(*arguments):
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(roads.ops, "attend_with", counted)
    return calls


def inputs(layout="bhsd", lengths=(LEN_Q, LEN_K, LEN_K)):
    found = (torch.randn(2, HEADS, n, 8) for n in lengths)
    return [x if layout == "bhsd" else x.transpose(1, 2).contiguous() for x in found]


@pytest.mark.parametrize("layout", ["bhsd", "bshd"])
@pytest.mark.parametrize("name", TAKEN)
def test_the_same_bits(taken, name, layout):
    q, k, v = inputs(layout)
    out = regard.attention(q, k, v, layout=layout, **TAKEN[name])
    assert len(taken) == 1
    torch.testing.assert_close(
        out, roads.general(q, k, v, layout=layout, **TAKEN[name]), rtol=0, atol=0
    )
    assert len(taken) == 1


@pytest.mark.parametrize("name", TAKEN)
def test_keys_of_fewer_dimensions(taken, name):
    if name == "key lengths":
        pytest.skip("lengths of a batch")
    q, k, v = inputs()
    options = TAKEN[name]
    out = regard.attention(q, k[0], v[0], **options)
    expected = regard.attention(q, k[:1].expand_as(k), v[:1].expand_as(v), **options)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)
    assert taken


@pytest.mark.parametrize("learned", ["query", "slopes", "bias"])
def test_gradients_take_another_road(taken, learned):
    q, k, v = inputs()
    slopes, bias = SLOPES.clone(), torch.randn(LEN_Q, LEN_K)
    x = {"query": q, "slopes": slopes, "bias": bias}[learned].requires_grad_()
    regard.attention(q, k, v, modifiers=regard.alibi(slopes), bias=bias).sum().backward()
    assert x.grad.abs().max() > 0
    assert not taken
    with torch.no_grad():
        regard.attention(q, k, v, modifiers=regard.alibi(slopes), bias=bias)
    assert taken


def test_a_mask_of_another_device_says_so():
    q, k, v = inputs()
    with pytest.raises(ValueError, match="on meta; query is on cpu"):
        regard.attention(q, k, v, mask=ALLOWED.to("meta"))


@pytest.mark.parametrize("modifiers", [True, "alibi", {1: 2}, iter(()), (None,)], ids=repr)
def test_modifiers_that_are_none(modifiers):
    with pytest.raises(ValueError, match="modifiers: "):
        regard.attention(*inputs(), modifiers=modifiers)


def test_switched_on(taken):
    q, k, v = inputs()
    for mask in (ALLOWED, torch.randn(LEN_Q, LEN_K)):
        with regard.enabled():
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        name = "mask" if mask.dtype is torch.bool else "bias"
        torch.testing.assert_close(out, roads.general(q, k, v, **{name: mask}), rtol=0, atol=0)
    assert len(taken) == 2
