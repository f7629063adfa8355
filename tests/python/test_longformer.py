# SPDX-License-Identifier: Apache-2.0
"""examples/longformer.py against transformers' LongformerSelfAttention with random weights:
outputs, gradients of inputs and weights."""

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import LongformerConfig
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention as Theirs

HEADS, DIM, WINDOW = 4, 32, 8

_path = Path(__file__).parents[2] / "examples" / "longformer.py"
_spec = importlib.util.spec_from_file_location("longformer_example", _path)
example = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(example)

CASES = {  # lengths of the batch, places of the global tokens
    "a token in front": ([64, 64], [[0], [0]]),
    "some tokens": ([64, 64], [[0, 1, 5, 40], [3, 63, 17, 18]]),
    "not the same count": ([64, 64, 64], [[0, 9], [20, -1], [-1, -1]]),
    "padded": ([64, 41], [[0, 50], [7, 40]]),
    "padded, not the same count": ([37, 64], [[36, -1, -1], [1, 2, 30]]),
}


@pytest.mark.parametrize("name", CASES)
def test_is_the_authors(name):
    lengths, tokens = (torch.tensor(x) for x in CASES[name])
    length = 64  # theirs wants a multiple of the window's two sides
    theirs = Theirs(
        LongformerConfig(hidden_size=DIM, num_attention_heads=HEADS, attention_window=[2 * WINDOW]),
        0,
    ).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=DIM**-0.5)
    ours = example.LongformerSelfAttention(DIM, HEADS, WINDOW)
    ours.load_state_dict(theirs.state_dict())

    kind = torch.zeros(len(tokens), length)
    for row, own, size in zip(kind, tokens, lengths, strict=True):
        row[own[own >= 0]] = 10000
        row[size:] = -10000
    hidden = torch.randn(len(tokens), length, DIM)
    results = []
    for call in (
        lambda x: ours(x, tokens, None if (lengths == length).all() else lengths),
        lambda x: theirs(x, kind, kind < 0, kind > 0, True)[0],
    ):
        model = ours if not results else theirs
        x = hidden.clone().requires_grad_()
        out = call(x)
        names = sorted(dict(model.named_parameters()))
        weights = [dict(model.named_parameters())[n] for n in names]
        torch.manual_seed(1)
        results.append([out, *torch.autograd.grad(out, [x, *weights], torch.randn(out.shape))])
    for what, a, b in zip(["out", "hidden", *names], *results, strict=True):
        size = b.abs().max().item()
        assert (a - b).abs().max().item() <= 1e-5 * max(size, 1.0), what
