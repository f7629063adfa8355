# SPDX-License-Identifier: Apache-2.0
"""Modules against torch.nn's own, or against a plain script written from the paper, in float64 with
the same weights: outputs and every gradient."""

import math

import pytest
import torch
from harness import ProgramError, close, compare, run
from torch import nn

BATCH, LEN_Q, LEN_K, DIM = 3, 7, 11, 24
LENGTHS = torch.tensor([11, 4, 1])


def ask(folder, module, request, tensors, parameters, d_out=None):
    if d_out is not None:
        tensors = {**tensors, "d_out": d_out}
    return run(folder, {"command": "module", "module": module, **request}, tensors, parameters)


def exact(tensors):
    return {n: x.double().requires_grad_() for n, x in tensors.items() if x.is_floating_point()}


def parameters_of(module):
    """Of a float64 module, rounded to what the program is given, so that both have the same."""
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn_like(p) * 0.3)
            p.copy_(p.float())
    return {n: p.float() for n, p in module.named_parameters()}


def leaves(x, module):
    return {**x, **{f"p.{n}": p for n, p in module.named_parameters()}}


MASKS = {
    "none": (None, {}),
    "causal": (["causal", 0], {"attn_mask": torch.ones(LEN_K, LEN_K).triu(1).bool()}),
    "padding": (
        ["key_lengths", "lengths"],
        {"key_padding_mask": torch.arange(LEN_K) >= LENGTHS[:, None]},
    ),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("bias", [True, False])
def test_self_attention(tmp_path, mask, bias):
    module = nn.MultiheadAttention(DIM, 4, bias=bias, batch_first=True).double()
    weights = parameters_of(module)
    given = {"query": torch.randn(BATCH, LEN_K, DIM)}
    x = exact(given)
    described, arguments = MASKS[mask]
    out, _ = module(x["query"], x["query"], x["query"], need_weights=False, **arguments)
    d_out = torch.randn(out.shape)
    request = {"dim": DIM, "heads": 4, "mask": described, "bias": bias}
    answers = ask(
        tmp_path, "multihead_attention", request, {**given, "lengths": LENGTHS}, weights, d_out
    )
    compare(answers, out, d_out, leaves(x, module))


@pytest.mark.parametrize("dims", [(DIM, DIM), (10, 14)])
def test_cross_attention(tmp_path, dims):
    key_dim, value_dim = dims
    module = nn.MultiheadAttention(DIM, 3, kdim=key_dim, vdim=value_dim, batch_first=True).double()
    weights = parameters_of(module)
    given = {
        "query": torch.randn(BATCH, LEN_Q, DIM),
        "key": torch.randn(BATCH, LEN_K, key_dim),
        "value": torch.randn(BATCH, LEN_K, value_dim),
    }
    x = exact(given)
    hidden = torch.arange(LEN_K) >= LENGTHS[:, None]
    out, maps = module(*x.values(), key_padding_mask=hidden, average_attn_weights=False)
    d_out = torch.randn(out.shape)
    request = {"dim": DIM, "heads": 3, "key_dim": key_dim, "value_dim": value_dim, "weights": True}
    request["mask"] = ["key_lengths", "lengths"]
    tensors = {**given, "lengths": LENGTHS}
    answers = ask(tmp_path, "multihead_attention", request, tensors, weights, d_out)
    close(answers["weights"], maps, "weights")
    compare(answers, out, d_out, leaves(x, module))


def grouped(x, p, heads, kv_heads, allowed):
    """Multi-head attention with fewer heads of keys and values, from the formula."""
    dim = DIM // heads
    sizes = [DIM, kv_heads * dim, kv_heads * dim]
    projected = nn.functional.linear(x, p["in_proj_weight"], p["in_proj_bias"]).split(sizes, -1)
    q, k, v = (part.unflatten(-1, (-1, dim)).transpose(1, 2) for part in projected)
    k, v = (part.repeat_interleave(heads // kv_heads, 1) for part in (k, v))
    scores = (q @ k.transpose(-1, -2) / math.sqrt(dim)).masked_fill(~allowed, -math.inf)
    out = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    return nn.functional.linear(out, p["out_proj.weight"], p["out_proj.bias"])


def grouped_case():
    rows = DIM + 2 * 2 * 4
    weights = {
        "in_proj_weight": torch.randn(rows, DIM) * 0.3,
        "in_proj_bias": torch.randn(rows),
        "out_proj.weight": torch.randn(DIM, DIM) * 0.3,
        "out_proj.bias": torch.randn(DIM),
    }
    return weights, {"query": torch.randn(BATCH, LEN_K, DIM)}


def test_grouped_heads(tmp_path):
    weights, given = grouped_case()
    x, p = exact(given), exact(weights)
    out = grouped(x["query"], p, 6, 2, torch.ones(LEN_K, LEN_K).tril().bool())
    d_out = torch.randn(out.shape)
    request = {"dim": DIM, "heads": 6, "kv_heads": 2, "mask": ["causal", None]}
    answers = ask(tmp_path, "multihead_attention", request, given, weights, d_out)
    compare(answers, out, d_out, {**x, **{f"p.{n}": v for n, v in p.items()}})


@pytest.mark.parametrize("steps", [[1] * LEN_K, [4, 1, 6]])
def test_incremental_attention_is_causal_attention(tmp_path, steps):
    weights, given = grouped_case()
    out = grouped(
        given["query"].double(), exact(weights), 6, 2, torch.ones(LEN_K, LEN_K).tril().bool()
    )
    request = {"dim": DIM, "heads": 6, "kv_heads": 2, "steps": steps}
    close(ask(tmp_path, "multihead_attention", request, given, weights)["out"], out, "out")
    request["room"] = LEN_K - 1
    with pytest.raises(ProgramError, match="cache: room for 10 positions"):
        ask(tmp_path, "multihead_attention", request, given, weights)


def test_additive_attention(tmp_path):
    """Bahdanau et al. 2014: e = v . tanh(W s + U h)."""
    weights = {
        "query.weight": torch.randn(10, DIM) * 0.3,
        "key.weight": torch.randn(10, 14) * 0.3,
        "v": torch.randn(10),
    }
    given = {"query": torch.randn(BATCH, LEN_Q, DIM), "source": torch.randn(BATCH, LEN_K, 14)}
    x, p = exact(given), exact(weights)
    hidden = x["query"] @ p["query.weight"].t()
    hidden = torch.tanh(hidden[:, :, None] + (x["source"] @ p["key.weight"].t())[:, None])
    scores = (hidden @ p["v"]).masked_fill(torch.arange(LEN_K) >= LENGTHS[:, None, None], -math.inf)
    alpha = scores.softmax(-1)
    out = alpha @ x["source"]
    d_out = torch.randn(out.shape)
    tensors = {**given, "lengths": LENGTHS}
    answers = ask(tmp_path, "additive_attention", {"dim": 10}, tensors, weights, d_out)
    close(answers["weights"], alpha, "weights")
    compare(answers, out, d_out, {**x, **{f"p.{n}": v for n, v in p.items()}})


SCORES, REACHES = ["dot", "general", "concat", "location"], ["global", "local-m", "local-p"]


def luong(x, p, score, reach, window):
    """Luong et al. 2015, section 3. (attentional vectors, weights)."""
    h, s = x["query"], x["source"]
    if score == "dot":
        scores = h @ s.transpose(1, 2)
    elif score == "general":
        scores = h @ (s @ p["weight"].t()).transpose(1, 2)
    elif score == "concat":
        pairs = torch.cat(
            [
                h[:, :, None].expand(-1, -1, LEN_K, -1),
                s[:, None].expand(-1, LEN_Q, -1, -1),
            ],
            -1,
        )
        scores = torch.tanh(pairs @ p["weight"].t()) @ p["v"]
    else:
        scores = (h @ p["weight"].t())[..., :LEN_K]
    place = torch.arange(LEN_K)
    seen = (place < LENGTHS[:, None, None]).expand(-1, LEN_Q, -1)
    gauss = 1.0
    if reach == "local-m":
        seen = seen & ((place - torch.arange(LEN_Q)[:, None]).abs() <= window)
    if reach == "local-p":
        centre = LENGTHS[:, None] * torch.sigmoid(
            torch.tanh(h @ p["place.weight"].t()) @ p["place_v"]
        )
        away = place - centre[..., None]
        seen = seen & (away.abs() <= window)
        gauss = torch.exp(-(away**2) / (2 * (window / 2) ** 2))
    scores = scores.masked_fill(~seen, -math.inf)
    weights = torch.where(seen.any(-1, keepdim=True), scores, 0.0).softmax(-1) * seen * gauss
    return torch.tanh(torch.cat([weights @ s, h], -1) @ p["output.weight"].t()), weights


@pytest.mark.parametrize("reach", REACHES)
@pytest.mark.parametrize("score", SCORES)
def test_luong_attention(tmp_path, score, reach):
    source_dim = DIM if score == "dot" else 14
    shapes = {"output.weight": (DIM, source_dim + DIM)}
    if score != "dot":
        shapes["weight"] = {
            "general": (DIM, source_dim),
            "concat": (DIM, DIM + source_dim),
            "location": (LEN_K + 4, DIM),
        }[score]
    if score == "concat":
        shapes["v"] = (DIM,)
    if reach == "local-p":
        shapes |= {"place.weight": (DIM, DIM), "place_v": (DIM,)}
    weights = {n: torch.randn(s) * 0.3 for n, s in shapes.items()}
    given = {
        "query": torch.randn(BATCH, LEN_Q, DIM),
        "source": torch.randn(BATCH, LEN_K, source_dim),
    }
    x, p = exact(given), exact(weights)
    out, maps = luong(x, p, score, reach, 3)
    d_out = torch.randn(out.shape)
    request = {
        "score": SCORES.index(score),
        "reach": REACHES.index(reach),
        "window": 3,
        "positions": LEN_K + 4,
    }
    tensors = {**given, "lengths": LENGTHS}
    answers = ask(tmp_path, "luong_attention", request, tensors, weights, d_out)
    close(answers["weights"], maps, "weights")
    compare(answers, out, d_out, {**x, **{f"p.{n}": v for n, v in p.items()}})


def test_location_refuses_longer_sources(tmp_path):
    weights = {"weight": torch.randn(5, DIM), "output.weight": torch.randn(DIM, 2 * DIM)}
    given = {"query": torch.randn(1, 2, DIM), "source": torch.randn(1, 6, DIM)}
    request = {"score": 3, "reach": 0, "window": 3, "positions": 5}
    with pytest.raises(ProgramError, match="source: 6 positions; the location score has weights"):
        ask(tmp_path, "luong_attention", request, given, weights)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent(tmp_path, cell, bidirectional):
    module = cell(5, 6, 2, bidirectional=bidirectional, batch_first=True).double()
    weights = {f"rnn.{n}": p for n, p in parameters_of(module).items()}
    given = {"input": torch.randn(BATCH, LEN_K, 5)}
    x = exact(given)
    packed = nn.utils.rnn.pack_padded_sequence(
        x["input"], LENGTHS, batch_first=True, enforce_sorted=False
    )
    out, _ = nn.utils.rnn.pad_packed_sequence(
        module(packed)[0], batch_first=True, total_length=LEN_K
    )
    d_out = torch.randn(out.shape)
    request = {
        "cell": [nn.RNN, nn.GRU, nn.LSTM].index(cell),
        "hidden": 6,
        "layers": 2,
        "bidirectional": bidirectional,
    }
    named = {**x, **{f"p.rnn.{n}": p for n, p in module.named_parameters()}}
    tensors = {**given, "lengths": LENGTHS}
    answers = ask(tmp_path, "recurrent", request, tensors, weights, d_out)
    compare(answers, out, d_out, named)
    if bidirectional:
        return
    out, _ = module(x["input"])
    answers = ask(tmp_path, "recurrent", {**request, "steps": True}, given, weights, d_out)
    compare(answers, out, d_out, named)


@pytest.mark.parametrize("halves", [True, False])
def test_sinusoidal_positions(tmp_path, halves):
    """Vaswani et al. 2017, section 3.5, element by element."""
    request = {"positions": 40, "dim": 6, "halves": halves}
    found = ask(tmp_path, "positions", request, {}, {})["out"]
    for p in range(40):
        for n in range(3):
            angle = p / 10000 ** (2 * n / 6)
            sin, cos = (n, 3 + n) if halves else (2 * n, 2 * n + 1)
            assert abs(found[p, sin].item() - math.sin(angle)) < 1e-6
            assert abs(found[p, cos].item() - math.cos(angle)) < 1e-6
