# SPDX-License-Identifier: Apache-2.0
"""Nested tensors of layout torch.jagged under regard.enable(): against each sequence alone, with
gradients; fused, where PyTorch has a kernel and where it has none."""

import pytest
import regard
import torch
import torch.nn.functional as F
from kernel_calls import kernel_calls


def _jagged(lengths, heads, dim, like=None):
    """(batch, sequences, heads, dim)."""
    rows = torch.randn(sum(lengths), heads, dim, dtype=torch.float64)
    offsets = torch.tensor([0, *lengths]).cumsum(0) if like is None else like.offsets()
    return torch.nested.nested_tensor_from_jagged(rows, offsets).requires_grad_()


def _attention(q, k, v, **options):
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, **options)


def _one_by_one(q, k, v, **options):
    return [
        F.scaled_dot_product_attention(*(x.transpose(0, 1)[None] for x in parts), **options)[0]
        for parts in zip(q.unbind(), k.unbind(), v.unbind(), strict=True)
    ]


LENGTHS = (3, 5, 1)
CALLS = {  # heads of the keys, the value's dim, options
    "plain": (4, 8, {}),
    "causal": (4, 8, dict(is_causal=True)),
    "scale, value dim": (4, 6, dict(scale=0.3)),
    "grouped": (2, 8, dict(enable_gqa=True, is_causal=True)),
}


@pytest.mark.parametrize("name", CALLS)
def test_self_attention(name):
    heads, dim, options = CALLS[name]
    q = _jagged(LENGTHS, 4, 8)
    k, v = _jagged(LENGTHS, heads, 8, q), _jagged(LENGTHS, heads, dim, q)
    expected = _one_by_one(q, k, v, **options)
    wanted = torch.autograd.grad(sum(x.square().sum() for x in expected), (q, k, v))
    regard.report(reset=True)
    with regard.enabled(), kernel_calls() as calls:
        out = _attention(q, k, v, **options)
        gradients = torch.autograd.grad(out.values().square().sum(), (q, k, v))
    assert regard.report() == (1, {}) and calls.forward == 1 and calls.backward == 1
    assert calls.pytorch == 0
    torch.testing.assert_close(list(out.unbind()), expected)
    for g, w in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(g.unbind(), w.unbind())
    assert out.shape[2] == q.shape[1]  # of the same lengths: it may be added to what q came from


def test_keys_of_other_lengths():
    q, k = _jagged(LENGTHS, 4, 8), _jagged((2, 4, 6), 4, 8)
    v = _jagged((2, 4, 6), 4, 8, k)
    with regard.enabled():
        out = _attention(q, k, v)
    torch.testing.assert_close(list(out.unbind()), _one_by_one(q, k, v))


def test_dropout():
    q = _jagged(LENGTHS, 4, 8)
    v = torch.nested.nested_tensor_from_jagged(torch.ones_like(q.values()), q.offsets())
    regard.report(reset=True)
    with regard.enabled():
        torch.manual_seed(1)
        out = _attention(q, q, v, dropout_p=0.5)
        torch.manual_seed(1)
        assert torch.equal(out.values(), _attention(q, q, v, dropout_p=0.5).values())
    assert regard.report() == (2, {})
    assert (out.values() == 0).any() and not (out.values() == 1).all()


def test_compiled():
    q = _jagged(LENGTHS, 4, 8)
    with regard.enabled():
        compiled = torch.compile(_attention, backend="aot_eager", fullgraph=True)
        compiled(q, q, q)
        with kernel_calls() as calls:
            out = compiled(q, q, q)
    assert calls.forward == 1 and calls.pytorch == 0
    torch.testing.assert_close(list(out.unbind()), _one_by_one(q, q, q))


def test_a_mask_is_pytorchs_to_refuse():
    q = _jagged(LENGTHS, 4, 8)
    mask = torch.ones(3, 1, 5, 5, dtype=torch.bool)
    with pytest.raises(Exception) as expected:
        _attention(q, q, q, attn_mask=mask)
    regard.report(reset=True)
    with regard.enabled(), pytest.raises(type(expected.value)) as actual:
        _attention(q, q, q, attn_mask=mask)
    assert str(actual.value) == str(expected.value)
    assert regard.report() == (0, {"nested tensors with dense ones or a mask": 1})
