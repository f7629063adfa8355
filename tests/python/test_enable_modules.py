# SPDX-License-Identifier: Apache-2.0
"""Under regard.enable(): nn.MultiheadAttention and nn.Transformer*, whose fast path must not
pass it by; every sample of PyTorch's own tests of scaled_dot_product_attention."""

import math

import pytest
import regard
import torch
import torch.nn.functional as F
from dropout_masks import drawn_seed, kept
from kernel_calls import kernel_calls
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils.checkpoint import checkpoint_sequential


def _padding():
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[1, 4:] = True
    return mask


def _mha(**options):
    module = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    return module, lambda x: module(x, x, x, need_weights=False, **options)[0]


def _encoder(**options):
    layer = torch.nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, batch_first=True)
    module = torch.nn.TransformerEncoder(layer, 2)
    return module, lambda x: module(x, **options)


def _decoder():
    layer = torch.nn.TransformerDecoderLayer(16, 4, 24, dropout=0.0, batch_first=True)
    module = torch.nn.TransformerDecoder(layer, 2)
    return module, lambda x: module(
        x,
        x.flip(1),
        tgt_mask=torch.nn.Transformer.generate_square_subsequent_mask(7, dtype=x.dtype),
    )


def _transformer():
    module = torch.nn.Transformer(16, 4, 1, 1, 24, dropout=0.0, batch_first=True)
    return module, lambda x: module(x, x.sin())


CAUSAL = torch.ones(7, 7, dtype=torch.bool).triu(1)
MODULES = {  # the module, and how many attentions one call makes
    "attention": (_mha, 1),
    "attention, padded": (lambda: _mha(key_padding_mask=_padding()), 1),
    "attention, causal": (lambda: _mha(attn_mask=CAUSAL, is_causal=True), 1),
    "encoder": (_encoder, 2),
    "encoder, padded": (lambda: _encoder(src_key_padding_mask=_padding()), 2),
    "encoder, causal": (lambda: _encoder(mask=CAUSAL), 2),
    "decoder": (_decoder, 4),
    "transformer": (_transformer, 3),
}


@pytest.mark.parametrize("mode", ["train", "eval", "eval, no grad"])
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_module(name, mode):
    make, count = MODULES[name]
    module, function = make()
    module.double().train(mode == "train")
    x = torch.randn(2, 7, 16, dtype=torch.float64, requires_grad=True)
    leaves = [x, *module.parameters()]
    gradients = mode != "eval, no grad"

    def run():
        with torch.set_grad_enabled(gradients):
            out = function(x)
        # rows of padding: PyTorch's fast path fills them with zeros
        out = out.masked_fill(_padding()[..., None], 0.0) if "padded" in name else out
        return out, torch.autograd.grad(out.square().sum(), leaves) if gradients else ()

    expected = run()
    regard.report(reset=True)
    with regard.enabled(), kernel_calls() as calls:
        actual = run()
    assert regard.report() == (count, {})
    assert calls.forward >= count and calls.pytorch == 0
    torch.testing.assert_close(actual, expected)


def test_weights_that_are_asked_for_come_from_pytorch():
    module = torch.nn.MultiheadAttention(16, 4, batch_first=True).double().eval()
    x = torch.randn(2, 7, 16, dtype=torch.float64)
    expected = module(x, x, x, need_weights=True)
    with regard.enabled():
        torch.testing.assert_close(module(x, x, x, need_weights=True), expected)


def test_dropout_of_multihead_attention_in_training():
    """Against its formula under the mask that the seed stands for."""
    module = torch.nn.MultiheadAttention(16, 4, dropout=0.4, batch_first=True).double()
    x = torch.randn(2, 7, 16, dtype=torch.float64, requires_grad=True)
    leaves = [x, *module.parameters()]
    torch.manual_seed(3)
    mask = kept(0.4, drawn_seed(), 2, 4, 7, 7)
    torch.manual_seed(3)
    regard.report(reset=True)
    with regard.enabled(), kernel_calls() as calls:
        out = module(x, x, x, need_weights=False)[0]
        gradients = torch.autograd.grad(out.square().sum(), leaves)
    assert regard.report() == (1, {})
    assert calls.forward == 1 and calls.backward == 1 and calls.pytorch == 0
    q, k, v = (
        x.unflatten(-1, (4, 4)).transpose(1, 2)
        for x in F.linear(x, module.in_proj_weight, module.in_proj_bias).chunk(3, -1)
    )
    weights = torch.softmax(q @ k.mT / math.sqrt(4), -1) * mask
    expected = module.out_proj((weights @ v).transpose(1, 2).flatten(-2))
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected.square().sum(), leaves))
    with regard.enabled():
        module.eval()
        torch.testing.assert_close(
            module(x, x, x, need_weights=False)[0], module(x, x, x, need_weights=True)[0]
        )


@pytest.mark.parametrize("reentrant", [False, True])
def test_dropout_of_encoder_layers_in_training(reentrant):
    """Attention and PyTorch's other dropouts draw from one generator: a seed replays a whole
    model, under checkpoints too."""
    layer = torch.nn.TransformerEncoderLayer(16, 4, 24, dropout=0.3, batch_first=True)
    module = torch.nn.TransformerEncoder(layer, 2).double()
    x = torch.randn(2, 7, 16, dtype=torch.float64, requires_grad=True)
    leaves = [x, *module.parameters()]

    def run(function, seed):
        torch.manual_seed(seed)
        module.zero_grad()
        x.grad = None
        out = function(x)
        out.square().sum().backward()
        return [out.detach(), *(leaf.grad.clone() for leaf in leaves)]

    regard.report(reset=True)
    with regard.enabled(), kernel_calls() as calls:
        first = run(module, 5)
        assert regard.report() == (2, {})
        again = run(
            lambda x: checkpoint_sequential(list(module.layers), 2, x, use_reentrant=reentrant), 5
        )
        other = run(module, 6)
    assert not regard.report().declined and calls.backward == 6 and calls.pytorch == 0
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert all(g.abs().max() > 0 for g in first)


SDPA = next(op for op in op_db if op.name == "nn.functional.scaled_dot_product_attention")


def _formula(
    q, k, v, mask=None, attn_mask=None, is_causal=False, scale=None, enable_gqa=False, dropout_p=0.0
):
    """What PyTorch documents, with the dropout mask given."""
    if enable_gqa:
        k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    scores = q @ k.mT * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        scores = scores.masked_fill(
            torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -math.inf
        )
    elif attn_mask is not None:
        scores = (
            scores.masked_fill(~attn_mask, -math.inf)
            if attn_mask.dtype is torch.bool
            else scores + attn_mask
        )
    weights = torch.softmax(scores, -1)
    return (weights if mask is None else weights * mask.to(weights.dtype)) @ v


def _steps(function, inputs, d_out):
    leaves = [x.detach().requires_grad_() for x in inputs]
    out = function(*leaves)
    return out, *torch.autograd.grad(out, leaves, d_out.to(out.dtype))


def _check_sample(sample, dtype):
    options, p = sample.kwargs, sample.kwargs.get("dropout_p", 0.0)
    inputs = [
        x * 0.1 for x in (sample.input, *sample.args)
    ]  # from up to 9 to where scores do not magnify roundings
    wide = {
        name: x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
        for name, x in options.items()
    }
    shape = _formula(*inputs, **options).shape
    torch.manual_seed(11)
    mask = kept(p, drawn_seed(), *shape[:-1], inputs[1].shape[-2]) if p else None
    d_out = torch.randn(shape).to(dtype)
    exact = _steps(
        lambda q, k, v: _formula(q, k, v, mask, **wide), [x.double() for x in inputs], d_out
    )
    usual = _steps(lambda q, k, v: _formula(q, k, v, mask, **options), inputs, d_out)
    torch.manual_seed(11)
    regard.report(reset=True)
    with regard.enabled():
        actual = _steps(
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options), inputs, d_out
        )
    assert regard.report() == (1, {}), sample
    for a, u, e in zip(actual, usual, exact, strict=True):
        size = max(1.0, e.abs().max().item(), *(x.abs().max().item() for x in inputs))
        bar = max(3 * (u.double() - e).abs().max().item(), 12 * torch.finfo(dtype).eps * size)
        assert (a.double() - e).abs().max().item() <= bar, sample


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_samples_of_pytorchs_own_tests(dtype):
    """At most three times the error of the formula in the sample's dtype against itself in
    float64, or a few roundings of the largest element. Samples with dropout are held against the
    formula under Regard's own mask."""
    samples = list(SDPA.sample_inputs("cpu", dtype))
    assert (
        len(samples) == 25
        and sum(sample.kwargs.get("dropout_p", 0.0) > 0 for sample in samples) >= 12
    )
    for sample in samples:
        _check_sample(sample, dtype)
