# SPDX-License-Identifier: Apache-2.0
"""regard.nn.MultiheadAttention against torch.nn's, which it stands in for: outputs, weights and
gradients of every argument, with one state dict."""

import itertools
import subprocess
import sys
import textwrap

import pytest
import regard
import torch

BATCH, LEN_Q, LEN_K = 3, 5, 7
PADDING = torch.zeros(BATCH, LEN_K, dtype=torch.bool)
PADDING[0, 3:] = True
LATER = torch.ones(LEN_Q, LEN_K).triu(1).bool()
SOME = torch.arange(BATCH * 2 * LEN_Q * LEN_K).reshape(BATCH * 2, LEN_Q, LEN_K) % 5 == 3
SOME[..., 0] = False

MASKS = {
    "none": {},
    "padding": dict(key_padding_mask=PADDING),
    "causal": dict(attn_mask=LATER),
    "causal, said to be": dict(attn_mask=LATER, is_causal=True),
    "causal, padding": dict(attn_mask=LATER, key_padding_mask=PADDING, is_causal=True),
    "added": dict(attn_mask=LATER.double() * 0.7),
    "added by head, padding": dict(attn_mask=SOME.double(), key_padding_mask=PADDING.double()),
    "of every head, padding": dict(attn_mask=SOME, key_padding_mask=PADDING),
}
MODULES = {
    "usual": dict(batch_first=True),
    "sequence first": dict(),
    "no bias": dict(batch_first=True, bias=False),
    "extra keys": dict(batch_first=True, add_bias_kv=True, add_zero_attn=True),
    "other dims": dict(kdim=6, vdim=10, add_zero_attn=True),
}


def _pair(**options):
    theirs = torch.nn.MultiheadAttention(8, 2, **options).double()
    ours = regard.nn.MultiheadAttention(8, 2, **options).double()
    assert ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def _step(module, inputs, **options):
    out, weights = module(*inputs, **options)
    loss = out.square().sum()
    if weights is not None:
        loss = loss + (weights * torch.arange(weights.numel()).reshape(weights.shape)).sum()
    leaves = [*dict.fromkeys(inputs), *module.parameters()]
    return out, weights, *torch.autograd.grad(loss, leaves, allow_unused=True)


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("name", MODULES)
def test_as_torch(name, masks):
    theirs, ours = _pair(**MODULES[name])
    first = theirs.batch_first
    inputs = [
        torch.randn((BATCH, n, d) if first else (n, BATCH, d)).double().requires_grad_()
        for n, d in ((LEN_Q, 8), (LEN_K, theirs.kdim), (LEN_K, theirs.vdim))
    ]
    for weights, average in itertools.product((True, False), repeat=2):
        options = dict(need_weights=weights, average_attn_weights=average, **MASKS[masks])
        expected = _step(theirs, inputs, **options)
        actual = _step(ours, inputs, **options)
        for a, e in zip(actual, expected, strict=True):
            assert (a is None) == (e is None)
            if a is not None:
                torch.testing.assert_close(a, e)


def test_self_attention_without_a_batch():
    theirs, ours = _pair()
    x = torch.randn(LEN_Q, 8, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(_step(ours, [x] * 3), _step(theirs, [x] * 3))


def test_dropout_is_of_the_weights_that_are_returned():
    _, ours = _pair(batch_first=True, dropout=0.4, bias=False)
    torch.nn.init.eye_(ours.in_proj_weight[16:])
    torch.nn.init.eye_(ours.out_proj.weight)
    x = torch.randn(BATCH, LEN_Q, 8, dtype=torch.float64)
    out, weights = ours(x, x, x, average_attn_weights=False)
    assert (weights == 0).any()
    values = x.unflatten(-1, (2, 4)).transpose(1, 2)
    torch.testing.assert_close(out, (weights @ values).transpose(1, 2).flatten(2))
    ours.eval()
    assert (ours(x, x, x)[1] > 0).all()


def test_compiled():
    _, ours = _pair(batch_first=True)
    x = torch.randn(BATCH, LEN_Q, 8, dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(_step(compiled, [x] * 3), _step(ours, [x] * 3))
    torch._dynamo.reset()


def test_in_a_transformer():
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).double()
    x = torch.randn(BATCH, LEN_K, 8, dtype=torch.float64)
    expected = layer(x, src_key_padding_mask=PADDING)
    ours = regard.nn.MultiheadAttention(8, 2, batch_first=True).double()
    ours.load_state_dict(layer.self_attn.state_dict())
    layer.self_attn = ours
    torch.testing.assert_close(layer(x, src_key_padding_mask=PADDING), expected)


def test_nested():
    theirs, ours = _pair(batch_first=True)
    x = torch.nested.nested_tensor([torch.randn(n, 8, dtype=torch.float64) for n in (3, 5)])
    with torch.no_grad():
        expected = theirs.eval()(x, x, x, need_weights=False)[0]
        actual = ours.eval()(x, x, x, need_weights=False)[0]
    torch.testing.assert_close(actual.unbind(), expected.unbind())


WRONG = {
    "attn_mask: torch.int64": dict(attn_mask=torch.ones(LEN_Q, LEN_Q, dtype=torch.int64)),
    "key_padding_mask: torch.int32": dict(
        key_padding_mask=torch.ones(BATCH, LEN_Q, dtype=torch.int32)
    ),
    "attn_mask: None": dict(is_causal=True),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_named(message):
    _, ours = _pair(batch_first=True)
    x = torch.randn(BATCH, LEN_Q, 8, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        ours(x, x, x, **WRONG[message])
    with pytest.raises(ValueError, match="query, key, value: shapes"):
        ours(x, x[0], x[0])


# 8 heads of 2,048 positions: one matrix of weights is 16 MiB, those of all heads 128.
AVERAGED = """
    import resource
    import torch
    import regard

    torch.set_num_threads(1)
    module = regard.nn.MultiheadAttention(64, 8, batch_first=True)
    x = torch.randn(1, 2048, 64)
    module(x[:, :64], x[:, :64], x[:, :64])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.no_grad():
        assert module(x, x, x)[1].shape == (1, 2048, 2048)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_averaged_weights_are_all_that_is_built():
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(AVERAGED)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert int(run.stdout) < 64 << 10  # KiB
