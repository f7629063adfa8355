"""Under regard.enable(): nn.MultiheadAttention and nn.Transformer*, whose fast path must not pass it by; every sample of PyTorch's own
tests of scaled_dot_product_attention."""

import pytest
import regard
import torch
import torch.nn.functional as F
from kernel_calls import kernel_calls
from torch.testing._internal.common_methods_invocations import op_db


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
    return module, lambda x: module(x, x.flip(1), tgt_mask=torch.nn.Transformer.generate_square_subsequent_mask(7, dtype=x.dtype))


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


SDPA = next(op for op in op_db if op.name == "nn.functional.scaled_dot_product_attention")


def _steps(inputs, options, d_out):
    leaves = [x.detach().requires_grad_() for x in inputs]
    out = F.scaled_dot_product_attention(*leaves, **options)
    return out, *torch.autograd.grad(out, leaves, d_out.to(out.dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_samples_of_pytorchs_own_tests(dtype):
    """At most three times PyTorch's own error against itself in float64, or a few roundings of the largest element."""
    served = 0
    for sample in SDPA.sample_inputs("cpu", dtype):
        if sample.kwargs.get("dropout_p"):
            continue
        inputs = [x * 0.1 for x in (sample.input, *sample.args)]  # from up to 9 to where scores do not magnify roundings
        d_out = torch.randn(F.scaled_dot_product_attention(*inputs, **sample.kwargs).shape)
        options = {name: x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for name, x in sample.kwargs.items()}
        exact = _steps([x.double() for x in inputs], options, d_out.to(dtype))
        usual = _steps(inputs, sample.kwargs, d_out)
        regard.report(reset=True)
        with regard.enabled():
            actual = _steps(inputs, sample.kwargs, d_out)
        assert regard.report() == (1, {}), sample
        served += 1
        for a, u, e in zip(actual, usual, exact, strict=True):
            size = max(1.0, e.abs().max().item(), *(x.abs().max().item() for x in inputs))
            bar = max(3 * (u.double() - e).abs().max().item(), 12 * torch.finfo(dtype).eps * size)
            assert (a.double() - e).abs().max().item() <= bar, sample
    assert served >= 10
