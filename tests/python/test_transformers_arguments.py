# SPDX-License-Identifier: Apache-2.0
"""What models hand over beside query, key and value: served, harmless, refused by name, or named
once."""

import warnings

import pytest
import torch

pytest.importorskip("transformers")

from regard._hf import arguments
from regard.transformers import regard_attention

B, H, N, D = 2, 4, 6, 8


def _inputs(dtype=torch.float64):
    torch.manual_seed(0)
    return [torch.randn(B, heads, N, D, dtype=dtype) for heads in (H, 2, 2)]


def _call(**keywords):
    return regard_attention(torch.nn.Module(), *_inputs(), None, **keywords)[0]


def _by_formula(allowed, extra=None):
    """(batch, seq, heads, dim), with a logit for each row that takes its part of the sum."""
    query, key, value = _inputs()
    key, value = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
    scores = (query @ key.transpose(-1, -2) / D**0.5).masked_fill(~allowed, -torch.inf)
    if extra is None:
        return (scores.softmax(-1) @ value).transpose(1, 2)
    whole = torch.cat([scores, extra.expand(B, H, N, 1)], -1).softmax(-1)[..., :-1]
    return (whole @ value).transpose(1, 2)


@pytest.mark.parametrize("name", sorted(arguments.REFUSED))
def test_what_would_change_the_result_is_refused(name):
    with pytest.raises(NotImplementedError) as error:
        _call(**{name: torch.zeros(4)})
    expected = f'attn_implementation="regard": {arguments.REFUSED[name]} ({name}) are not supported'
    assert expected in str(error.value)
    _call(**{name: None})


def test_what_is_not_known_is_named_once(monkeypatch):
    monkeypatch.setattr(arguments, "_named", set())
    with pytest.warns(UserWarning, match="the argument made_up is not known"):
        _call(made_up=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _call(made_up=2)
        _call(another=None)
        for name in arguments.HARMLESS:
            _call(**{name: torch.zeros(1)})


def test_keys_chosen_for_each_query():
    """Beside causality, which they do not replace."""
    indices = torch.stack([torch.randperm(N)[:3] for _ in range(B * N)]).view(B, N, 3)
    indices[:, :, 0] = 0  # each row sees something
    chosen = torch.zeros(B, 1, N, N, dtype=torch.bool)
    chosen.scatter_(-1, indices[:, None], True)
    causal = torch.ones(N, N, dtype=torch.bool).tril()
    torch.testing.assert_close(_call(indices=indices), _by_formula(chosen & causal))
    torch.testing.assert_close(_call(indices=indices, is_causal=False), _by_formula(chosen))
    with pytest.raises(ValueError, match=r"indices: shape \(4,\)"):
        _call(indices=torch.zeros(4))


def test_sinks_of_a_rows_own():
    sinks = torch.randn(B, H, N, 1, dtype=torch.float64, requires_grad=True)
    twin = sinks.detach().clone().requires_grad_()
    causal = torch.ones(N, N, dtype=torch.bool).tril()
    out, expected = _call(sinks=sinks), _by_formula(causal, twin)
    torch.testing.assert_close(out, expected)
    direction = torch.randn_like(out)
    (actual,) = torch.autograd.grad((out * direction).sum(), sinks)
    (wanted,) = torch.autograd.grad((expected * direction).sum(), twin)
    torch.testing.assert_close(actual, wanted)


def test_weights_are_built_when_they_are_asked_for():
    query, key, value = _inputs()
    module = torch.nn.Module()
    sinks = torch.randn(B, H, N, 1, dtype=torch.float64)
    for keywords in ({}, {"sinks": sinks}, {"softcap": 3.0}, {"is_causal": False}):
        out, none = regard_attention(module, query, key, value, None, **keywords)
        assert none is None
        same, weights = regard_attention(
            module, query, key, value, None, output_attentions=True, **keywords
        )
        assert torch.equal(out, same) and weights.shape == (B, H, N, N)
        made = (weights @ value.repeat_interleave(2, 1)).transpose(1, 2)
        torch.testing.assert_close(made, out)


def test_weights_are_those_after_dropout():
    query, key, value = _inputs()
    torch.manual_seed(5)
    out, weights = regard_attention(
        torch.nn.Module(), query, key, value, None, dropout=0.5, output_attentions=True
    )
    assert (weights == 0).sum() > B * H * N * (N - 1) // 2
    made = (weights @ value.repeat_interleave(2, 1)).transpose(1, 2)
    torch.testing.assert_close(made, out)
