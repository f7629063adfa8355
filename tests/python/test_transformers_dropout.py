# SPDX-License-Identifier: Apache-2.0
"""Dropout of attention in training, attn_implementation="regard" beside "eager": eager is made
to drop the weights that Regard drops, so that outputs and gradients must be equal, whatever it
meets: softcap, sinks, windows, padding, a position bias."""

import pytest
import torch
import torch.nn.functional as F
from dropout_masks import drop_alike
from kernel_calls import kernel_calls

pytest.importorskip("transformers")

import regard.transformers  # noqa: F401
from tiny_models import CASES, cast, meaningful, result, twins

P = 0.3
NAMES = [
    "bert",
    "bert-padded",
    "gemma2",
    "gemma2-left-padded",
    "gpt2",
    "gpt-oss",
    "gpt-oss-packed",
    "gpt-oss-left-padded",
    "llama-left-padded",
    "mistral",
    "mistral-packed",
    "t5",
    "t5-padded",
    "vit",
    "whisper",
]


def _steps(model, inputs, weight):
    """The output and each parameter's gradient."""
    torch.manual_seed(9)
    out = result(model, inputs) * weight
    out.square().sum().backward()
    return out.detach(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients_are_those_of_the_same_mask(name, monkeypatch):
    make, draw = CASES[name]
    dtype = (
        torch.float32 if name.endswith("left-padded") else torch.float64
    )  # as in test_transformers.py, and so are the tolerances
    rtol, atol = (1e-3, 2e-5) if dtype is torch.float32 else (1e-4, 2e-6)
    eager, ours = twins(lambda: make(P), dtype)
    inputs = cast(draw(), dtype)
    with torch.no_grad():
        whole = result(ours.eval(), inputs)
    weight = meaningful(inputs, whole)
    out, gradients = _steps(ours.train(), inputs, weight)
    monkeypatch.setattr(F, "dropout", drop_alike)
    expected, wanted = _steps(eager, inputs, weight)
    assert (out - whole * weight).abs().max() > 1e-3
    torch.testing.assert_close(out, expected, rtol=rtol, atol=atol)
    for where, gradient in gradients.items():
        if gradient is None:
            assert wanted[where] is None, where
            continue
        size = max(1.0, wanted[where].abs().max().item())
        torch.testing.assert_close(
            gradient,
            wanted[where],
            rtol=rtol,
            atol=atol * size,
            msg=lambda text, where=where: f"{where}: {text}",
        )


@pytest.mark.parametrize("name", ["gemma2", "gpt-oss"])
def test_it_runs_here_and_follows_the_generator(name):
    make, draw = CASES[name]
    _, ours = twins(lambda: make(P))
    inputs = draw()
    with kernel_calls() as calls:
        first, gradients = _steps(ours, inputs, 1)
    assert calls.forward == 2 and calls.backward == 2 and calls.pytorch == 0
    assert not torch.equal(result(ours, inputs), first)
    ours.zero_grad()
    ours.activation_checkpointing_enable()
    with kernel_calls() as calls:
        again, replayed = _steps(ours, dict(inputs, use_cache=False), 1)
    assert calls.forward == 4 and calls.backward == 2
    assert torch.equal(again, first)
    assert all(torch.equal(replayed[where], gradient) for where, gradient in gradients.items())


@pytest.mark.parametrize("name", ["gemma2", "gpt-oss", "t5"])
def test_compiled_models_drop_what_eager_ones_drop(name):
    make, draw = CASES[name]
    _, ours = twins(lambda: make(P), torch.float32)
    inputs = dict(draw(), use_cache=False)
    expected, wanted = _steps(ours, inputs, 1)
    torch._dynamo.reset()
    compiled = torch.compile(ours, backend="aot_eager")
    result(compiled, inputs)
    ours.zero_grad()
    with kernel_calls() as calls:
        actual, gradients = _steps(compiled, inputs, 1)
    assert calls.forward >= 2 and calls.backward >= 2 and calls.pytorch == 0
    torch.testing.assert_close(actual, expected)
    for where, gradient in wanted.items():
        torch.testing.assert_close(gradients[f"_orig_mod.{where}"], gradient)
