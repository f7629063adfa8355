# SPDX-License-Identifier: Apache-2.0
"""regard::nn::attention against the formula in float64: every mask, modifier and score, gradients
of everything that has one. Masks are boolean matrices made here from their definitions."""

import math

import pytest
import torch
from harness import ProgramError, close, compare, run

BATCH, HEADS, LEN_Q, LEN_K, DIM = 2, 4, 13, 21, 8


def inputs(len_q=LEN_Q, len_k=LEN_K, kv_heads=HEADS, dtype=torch.float32):
    shapes = {
        "q": (BATCH, HEADS, len_q, DIM),
        "k": (BATCH, kv_heads, len_k, DIM),
        "v": (BATCH, kv_heads, len_k, 6),
    }
    return {name: torch.randn(shape, dtype=dtype) for name, shape in shapes.items()}


def doubles(tensors):
    return {
        name: x.double().requires_grad_() if x.is_floating_point() else x
        for name, x in tensors.items()
    }


def formula(x, allowed=None, change=lambda s: s, weigh=lambda p: p, scale=None, sinks=None, v=None):
    """(out, lse). `change` acts on scores before the mask, `weigh` on weights."""
    group = x["q"].shape[1] // x["k"].shape[1]
    key, value = (x[n].repeat_interleave(group, 1) for n in "kv")
    if v is not None:
        scores = (torch.tanh(x["q"][:, :, :, None] + key[:, :, None]) * v).sum(-1)
    else:
        scores = x["q"] @ key.transpose(-1, -2) * (scale or 1 / math.sqrt(DIM))
    scores = change(scores)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    every = scores
    if sinks is not None:
        more = sinks[None, :, None].expand(*scores.shape[:3], -1)
        every = torch.cat([scores, more], -1)
    lse = torch.logsumexp(every, -1)
    weights = torch.exp(scores - torch.where(lse.isinf(), 0.0, lse)[..., None])
    return weigh(weights) @ value, lse


i, j = torch.arange(LEN_Q)[:, None], torch.arange(LEN_K)
SHIFT = LEN_K - LEN_Q
LENGTHS = torch.tensor([21, 7])
CENTRES = torch.rand(BATCH, HEADS, LEN_Q) * LEN_K
SOME = torch.rand(BATCH, 1, LEN_Q, LEN_K) < 0.5
BLOCKS = torch.rand(1, HEADS, 4, 6) < 0.6
TOKENS = torch.tensor([3, 9])
TREE = torch.tensor([-1, 0, 0, 1, 2])
PREFIX = torch.tensor([10, 4])
DILATIONS = torch.tensor([1, 2, 3, 1])


def tree_mask():
    first = LEN_K - len(TREE)
    allowed = (j <= i + SHIFT) & (j < first)
    for n, parent in enumerate(TREE.tolist()):
        row = LEN_Q - len(TREE) + n
        allowed[row, first + n] = True
        while parent >= 0:
            allowed[row, first + parent] = True
            parent = TREE[parent].item()
    return allowed


def dilated_mask():
    steps = (i + SHIFT - j)[None]
    d = DILATIONS[:, None, None]
    return ((steps % d == 0) & (steps >= -2 * d) & (steps <= 3 * d))[None]


MASKS = {
    "causal": (["causal", None], lambda: j <= i + SHIFT),
    "causal, top left": (["causal", 0], lambda: j <= i),
    "window": (["window", 3, 2, None], lambda: ((j - i - SHIFT) >= -3) & ((j - i - SHIFT) <= 2)),
    "key_lengths": (["key_lengths", "lengths"], lambda: j < LENGTHS[:, None, None, None]),
    "tensor": (["tensor", "some"], lambda: SOME),
    "blocks": (["blocks", "blocks", 4, 4], lambda: BLOCKS[:, :, i // 4, j // 4]),
    "global_tokens": (
        ["global_tokens", "tokens", None],
        lambda: torch.isin(j, TOKENS) | torch.isin(i + SHIFT, TOKENS),
    ),
    "prefix": (
        ["prefix", "prefix", None],
        lambda: (j < PREFIX[:, None, None, None]) | (j <= i + SHIFT),
    ),
    "tree": (["tree", "tree"], tree_mask),
    "dilated": (["dilated", 3, 2, "dilations", None], dilated_mask),
    "around": (["around", "centres", 4], lambda: (j - CENTRES[..., None]).abs() <= 4),
    "not": (["not", ["causal", 0]], lambda: j > i),
    "or and": (
        ["or", ["and", ["causal", None], ["key_lengths", "lengths"]], ["tensor", "some"]],
        lambda: ((j <= i + SHIFT) & (j < LENGTHS[:, None, None, None])) | SOME,
    ),
}
TENSORS = {
    "lengths": LENGTHS,
    "some": SOME,
    "blocks": BLOCKS,
    "tokens": TOKENS,
    "tree": TREE,
    "prefix": PREFIX,
    "dilations": DILATIONS,
    "centres": CENTRES,
}


def ask(folder, request, given, extra=None, d_out=None):
    tensors = {**given, **(extra or {})}
    if d_out is not None:
        tensors["d_out"] = d_out
    return run(folder, {"command": "attention", **request}, tensors)


@pytest.mark.parametrize("name", MASKS)
def test_masks(tmp_path, name):
    described, allowed = MASKS[name]
    given = inputs()
    exact = doubles(given)
    out, _ = formula(exact, allowed())
    d_out = torch.randn(out.shape)
    answers = ask(tmp_path, {"mask": described}, given, TENSORS, d_out)
    compare(answers, out, d_out, exact)


def test_bigbird_is_that_of_python(tmp_path):
    """Its random blocks have no other definition than ours: the two doors must agree."""
    regard = pytest.importorskip("regard")
    given = inputs(96, 96)
    mask = regard.bigbird(16, window=1, global_blocks=1, random_blocks=1, seed=5)
    answers = ask(tmp_path, {"mask": ["bigbird", 16, 1, 1, 1, 5]}, given)
    assert torch.equal(answers["out"], regard.attention(*given.values(), mask=mask))


def test_documents(tmp_path):
    cu = torch.tensor([0, 5, 5, 13])
    given = {name: torch.randn(13, 2, DIM) for name in "qkv"}
    exact = doubles(given)
    n = torch.arange(13)
    document = (n[:, None] >= cu[1:]).sum(-1)
    allowed = (document[:, None] == document) & (n <= n[:, None])
    out, _ = formula({name: x.transpose(0, 1)[None] for name, x in exact.items()}, allowed)
    out = out[0].transpose(0, 1)
    d_out = torch.randn(out.shape)
    described = ["and", ["causal", None], ["documents", "cu", "cu"]]
    answers = ask(tmp_path, {"mask": described, "layout": 2}, given, {"cu": cu}, d_out)
    compare(answers, out, d_out, exact)


def modifiers():
    """By name: the modifier, its tensor, and what it does to scores s."""
    distance = (i + SHIFT - j).abs()
    codes = torch.arange(LEN_K) - torch.arange(LEN_Q)[:, None] + LEN_Q - 1

    def plus(s, m):
        return s + m

    return {
        "bias": (["bias", "m"], torch.randn(1, HEADS, LEN_Q, LEN_K), plus),
        "bias of one row": (["bias", "m"], torch.randn(BATCH, 1, 1, LEN_K), plus),
        "alibi": (
            ["alibi", "m"],
            torch.rand(HEADS),
            lambda s, m: s - m[:, None, None] * distance,
        ),
        "temperature": (
            ["temperature", "m"],
            torch.rand(HEADS) + 0.5,
            lambda s, m: s / m[:, None, None],
        ),
        "relative_bias": (
            ["relative_bias", "m", "buckets", "codes_q", "codes_k", 0],
            torch.randn(9, HEADS),
            lambda s, m: s + m[codes % 9].permute(2, 0, 1),
        ),
    }


@pytest.mark.parametrize("name", modifiers())
def test_modifiers_of_scores(tmp_path, name):
    described, m, change = modifiers()[name]
    given = {**inputs(), "m": m}
    exact = doubles(given)
    out, _ = formula(exact, change=lambda s: change(s, exact["m"]))
    d_out = torch.randn(out.shape)
    extra = {
        "buckets": torch.arange(LEN_Q + LEN_K) % 9,
        "codes_q": torch.arange(LEN_Q) - (LEN_Q - 1),
        "codes_k": torch.arange(LEN_K),
    }
    compare(ask(tmp_path, {"modifiers": [described]}, given, extra, d_out), out, d_out, exact)


def test_modifiers_of_weights_sinks_and_softcap(tmp_path):
    given = {
        **inputs(),
        "w": torch.rand(BATCH, 1, LEN_Q, LEN_K),
        "logits": torch.randn(HEADS, 2),
        "c": CENTRES,
    }
    exact = doubles(given)
    out, _ = formula(
        exact,
        j <= i + SHIFT,
        change=lambda s: 3 * torch.tanh(s / 3),
        weigh=lambda p: p * exact["w"] * torch.exp(-((j - exact["c"][..., None]) ** 2) / (2 * 25)),
        sinks=exact["logits"],
        scale=0.5,
    )
    d_out = torch.randn(out.shape)
    request = {
        "mask": ["causal", None],
        "softcap": 3.0,
        "scale": 0.5,
        "modifiers": [["multiplier", "w"], ["gaussian", "c", 5.0], ["sinks", "logits"]],
    }
    compare(ask(tmp_path, request, given, None, d_out), out, d_out, exact)


def test_a_function_of_ones_own(tmp_path):
    given = inputs()
    exact = doubles(given)
    out, _ = formula(exact, j <= i + SHIFT, change=lambda s: s**3 / 10)
    d_out = torch.randn(out.shape)
    request = {"mask": ["causal", None], "modifiers": [["cube"]]}
    compare(ask(tmp_path, request, given, None, d_out), out, d_out, exact)


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("len_q", [1, LEN_Q])
def test_additive_score(tmp_path, prepare, len_q):
    given = {**inputs(len_q), "additive_v": torch.randn(DIM)}
    exact = doubles(given)
    out, _ = formula(exact, j < LENGTHS[:, None, None, None], v=exact["additive_v"])
    d_out = torch.randn(out.shape)
    request = {"mask": ["key_lengths", "lengths"], "prepare": prepare}
    answers = ask(tmp_path, request, given, {"lengths": LENGTHS}, d_out)
    compare(answers, out, d_out, exact)


def test_lse_and_its_gradient(tmp_path):
    given = inputs()
    exact = doubles(given)
    out, lse = formula(exact, j <= i + SHIFT)
    through = torch.randn(lse.shape)
    request = {"mask": ["causal", None], "lse": True}
    answers = ask(tmp_path, request, given, {"through": through}, torch.ones(lse.shape))
    close(answers["lse"], lse, "lse")
    compare(answers, (out.sum(-1) + lse) * through, torch.ones(lse.shape), exact)


def test_grouped_heads_and_maps(tmp_path):
    given = inputs(kv_heads=2)
    exact = doubles(given)
    allowed = j <= i + SHIFT
    out, _ = formula(exact, allowed)
    d_out = torch.randn(out.shape)
    answers = ask(tmp_path, {"mask": ["causal", None], "map": True}, given, None, d_out)
    compare(answers, out, d_out, exact)
    identity = torch.eye(LEN_K, dtype=torch.float64).expand(BATCH, 2, -1, -1)
    close(answers["map"], formula({**exact, "v": identity}, allowed)[0], "map")


def test_dropout_is_that_of_python(tmp_path):
    regard = pytest.importorskip("regard")
    given = inputs()
    answers = ask(tmp_path, {"dropout_p": 0.3, "seed": 7}, given)
    expected = regard.attention(*given.values(), dropout_p=0.3, seed=7)
    assert torch.equal(answers["out"], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtypes(tmp_path, dtype):
    given = inputs(dtype=dtype)
    exact = doubles(given)
    out, _ = formula(exact)
    d_out = torch.randn(out.shape, dtype=dtype)
    bar = {torch.bfloat16: 1e-2, torch.float16: 2e-3, torch.float64: 1e-12}[dtype]
    compare(ask(tmp_path, {}, given, None, d_out), out, d_out.double(), exact, bar)


@pytest.mark.parametrize(
    "request_, change, message",
    [
        ({}, {"k": torch.randn(BATCH, 3, LEN_K, DIM)}, "heads"),
        ({}, {"k": torch.randn(BATCH, HEADS, LEN_K, DIM + 1)}, "k"),
        ({"mask": ["key_lengths", "lengths"]}, {"lengths": torch.tensor([5, 99])}, "lengths"),
        ({"mask": ["key_lengths", "lengths"]}, {"lengths": torch.ones(2, 2).long()}, "lengths"),
        ({"softcap": -1.0}, {}, "softcap"),
        ({"dropout_p": 1.5}, {}, "dropout_p"),
        ({"prepare": True}, {}, "prepared_keys"),
    ],
)
def test_errors_name_the_argument(tmp_path, request_, change, message):
    with pytest.raises(ProgramError, match=message):
        ask(tmp_path, request_, {**inputs(), **change})
