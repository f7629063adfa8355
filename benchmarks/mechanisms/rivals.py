# SPDX-License-Identifier: Apache-2.0
"""What a PyTorch user writes for each mechanism: scaled_dot_product_attention where it can be
said with a mask or a bias, else the formula.

A rival is made from the inputs once, which is where masks and biases without a gradient are
built, and gives the function that is
timed. That function shares no code with Regard: it is also what results are compared with.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F

Call = Callable[[SimpleNamespace], torch.Tensor]


@dataclass(frozen=True)
class Rival:
    against: str  # what it is, in a few words
    make: Callable[[SimpleNamespace], Call]
    learned: tuple[str, ...] = ()  # inputs with a gradient, besides q, k and v
    expected: Callable[[SimpleNamespace], Call] | None = (
        None  # what results are compared with, where that is another function
    )


def _masked(
    build: Callable[[SimpleNamespace], torch.Tensor], against: str = "SDPA, boolean mask"
) -> Rival:
    """`build` gives the dense mask."""

    def make(x):
        mask = build(x)
        return lambda x: F.scaled_dot_product_attention(x.q, x.k, x.v, attn_mask=mask)

    return Rival(against, make)


def _formula(
    *learned: str,
    scores: Callable | None = None,
    weights: Callable | None = None,
    against: str = "softmax(q @ k.T) @ v",
) -> Rival:
    """softmax(scores(x, q k^T / sqrt(d))) v, the weights changed by weights(x, w)."""

    def call(x):
        s = (x.q / math.sqrt(x.q.shape[-1])) @ x.k.transpose(-1, -2)
        w = torch.softmax(scores(x, s) if scores else s, dim=-1)
        return (weights(x, w) if weights else w) @ x.v

    return Rival(against, lambda x: call, learned)


def _direct(call: Call, *learned: str, against: str = "softmax(q @ k.T) @ v") -> Rival:
    return Rival(against, lambda x: call, learned)


def _with_tanh(call: Call, *learned: str, against: str) -> Rival:
    """Results are compared with the formula in float64: on a Xeon, PyTorch's tanh of a large
    float32 tensor was 1e-4 off in some runs."""

    def in_double(x):
        wide = {
            name: v.double() if torch.is_tensor(v) and v.is_floating_point() else v
            for name, v in vars(x).items()
        }
        return call(SimpleNamespace(**wide)).float()

    return Rival(against, lambda x: call, learned, expected=lambda x: in_double)


def _places(x: SimpleNamespace, offset: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """(i, j): a column of the queries' places among the keys, and a row of the keys'."""
    len_q, len_k = x.q.shape[-2], x.k.shape[-2]
    return torch.arange(len_q)[:, None] + (
        len_k - len_q if offset is None else offset
    ), torch.arange(len_k)


def _distance(x: SimpleNamespace) -> torch.Tensor:
    i, j = _places(x)
    return j - i


def _near(x: SimpleNamespace, width: int) -> torch.Tensor:
    return _distance(x).abs() <= width


def _globals(x: SimpleNamespace) -> torch.Tensor:
    i, j = _places(x)
    return torch.isin(i, x.tokens) | torch.isin(j, x.tokens)


# --- scores


def _additive(x):
    return (
        torch.softmax(torch.tanh(x.q[..., :, None, :] + x.k[..., None, :, :]) @ x.w, dim=-1) @ x.v
    )


def _luong_concat(x):
    dim = x.q.shape[-1]
    q, k = x.q @ x.w[:, :dim].t(), x.k @ x.w[:, dim:].t()  # kinder than the concatenation itself
    return torch.softmax(torch.tanh(q[..., :, None, :] + k[..., None, :, :]) @ x.u, dim=-1) @ x.v


# --- modifiers


def _alibi(x):
    bias = -x.slopes[:, None, None] * _distance(x).abs()
    return lambda x: F.scaled_dot_product_attention(x.q, x.k, x.v, attn_mask=bias)


def _t5_bias(x):
    """As transformers writes it, bidirectional: the buckets once, the table's rows at every
    call."""
    half = x.table.shape[0] // 2
    distance = _distance(x)
    exact = half // 2
    far = (
        exact
        + (
            torch.log(distance.abs().clamp(min=1).float() / exact)
            / math.log(128 / exact)
            * (half - exact)
        ).long()
    )
    bucket = torch.where(distance.abs() < exact, distance.abs(), far.clamp(max=half - 1)) + half * (
        distance > 0
    )
    return lambda x: F.scaled_dot_product_attention(
        x.q, x.k, x.v, attn_mask=x.table[bucket].permute(2, 0, 1)[None]
    )


def _swin_bias(x):
    row = torch.arange(x.height).repeat_interleave(x.width)
    column = torch.arange(x.width).repeat(x.height)
    index = (
        (row[:, None] - row + x.height - 1) * (2 * x.width - 1)
        + column[:, None]
        - column
        + x.width
        - 1
    )
    return lambda x: F.scaled_dot_product_attention(
        x.q, x.k, x.v, attn_mask=x.table[index].permute(2, 0, 1)[None]
    )


def _sinks(x):
    """As transformers writes it for gpt-oss: the sinks are columns of scores that are dropped
    again."""
    s = (x.q / math.sqrt(x.q.shape[-1])) @ x.k.transpose(-1, -2)
    columns = x.logits[None, :, None, :].expand(s.shape[0], -1, s.shape[2], -1)
    return torch.softmax(torch.cat([s, columns], dim=-1), dim=-1)[..., : s.shape[-1]] @ x.v


def _bell(x, sigma):
    return torch.exp(-((torch.arange(x.k.shape[-2]) - x.centre[..., None]) ** 2) / (2 * sigma**2))


def _local_p(x):
    hidden = (torch.arange(x.k.shape[-2]) - x.centre[..., None]).abs() > x.width
    s = ((x.q / math.sqrt(x.q.shape[-1])) @ x.k.transpose(-1, -2)).masked_fill(hidden, -math.inf)
    return (torch.softmax(s, dim=-1) * _bell(x, x.width / 2)) @ x.v


def _function(x):
    distance = _distance(x).abs().sqrt() / 4
    return _formula(scores=lambda x, s: 4 * s / (4 + s.abs()) - distance).make(x)


def _dropout(x):
    return F.scaled_dot_product_attention(x.q, x.k, x.v, dropout_p=0.1)


def _dropped_alike(x):
    """Either side draws for itself: here the formula with the weights that Regard drops, which a
    uniform attention of unit values shows."""
    zeros, values = (
        torch.zeros_like(x.q),
        torch.eye(x.k.shape[-2]).split(256, dim=-1),
    )  # a value's dim has a limit
    parts = [
        x.regard.attention(
            zeros, zeros, part.expand(1, x.q.shape[1], -1, -1), dropout_p=0.1, seed=7
        )
        for part in values
    ]
    kept = torch.cat(parts, dim=-1) > 0
    share = kept.float().mean().item()
    if abs(share - 0.9) > 0.001 + 2 / math.sqrt(kept.numel()):
        raise AssertionError(f"dropout: {share:.4f} of the weights are kept; expected 0.9")
    return _formula(weights=lambda x, w: w * kept / 0.9).make(x)


# --- masks


def _documents(x):
    ends = x.cu.tolist()
    bounds = list(itertools.pairwise(ends))

    def call(x):
        """Each document by itself."""
        parts = [[t[a:b].transpose(0, 1)[None] for t in (x.q, x.k, x.v)] for a, b in bounds]
        return torch.cat(
            [F.scaled_dot_product_attention(*part)[0].transpose(0, 1) for part in parts]
        )

    return call


def _blocks(x):
    grown = x.layout.repeat_interleave(x.block, 0).repeat_interleave(x.block, 1)
    return grown[: x.q.shape[-2], : x.k.shape[-2]]


def _bigbird(x):
    """Which blocks are drawn is Regard's choice: read off a uniform attention over the blocks,
    and checked for what BigBird asks."""
    heads, n = x.q.shape[1], x.q.shape[2]
    block = torch.arange(n) // x.block
    blocks = int(block[-1]) + 1
    zeros = torch.zeros(1, heads, n, 8)
    received = x.regard.attention(
        zeros,
        zeros,
        F.one_hot(block, blocks).float().expand(1, heads, -1, -1),
        mask=x.regard.bigbird(x.block),
    )
    layout = received[0, :, :: x.block] > 0
    i, j = torch.arange(blocks)[:, None], torch.arange(blocks)
    asked = ((i - j).abs() <= 1) | (i == 0) | (j == 0) | (i == blocks - 1) | (j == blocks - 1)
    drawn = (layout & ~asked).sum(-1)[:, 1:-1]
    if not layout[:, asked].all() or (drawn != (~asked).sum(-1)[1:-1].clamp(max=3)).any():
        raise AssertionError(
            "bigbird: expected the window, the global blocks, and three random blocks a row"
        )
    return layout.repeat_interleave(x.block, 1).repeat_interleave(x.block, 2)[None, :, :n, :n]


def _prefix(x):
    i, j = _places(x)
    return (j <= i) | (j < x.lengths[:, None, None, None])


def _tree(x):
    nodes = len(x.parents)
    seen = torch.eye(nodes, dtype=torch.bool)
    for node, parent in enumerate(x.parents.tolist()):
        if parent >= 0:
            seen[node] |= seen[parent]
    return torch.cat([torch.ones(nodes, x.k.shape[-2] - nodes, dtype=torch.bool), seen], dim=1)


def _dilated(x):
    distance = _distance(x)
    return (distance % 4 == 0) & (distance >= -4 * x.left) & (distance <= 4 * x.right)


RIVALS = {
    "dot": _direct(lambda x: F.scaled_dot_product_attention(x.q, x.k, x.v), against="SDPA"),
    "additive": _with_tanh(_additive, "w", against="tanh(q[:, None] + k) @ w"),
    "luong_dot": _direct(
        lambda x: F.scaled_dot_product_attention(x.q, x.k, x.v, scale=1.0), against="SDPA"
    ),
    "luong_general": _direct(
        lambda x: F.scaled_dot_product_attention(x.q @ x.w, x.k, x.v, scale=1.0),
        "w",
        against="SDPA",
    ),
    "luong_concat": _with_tanh(_luong_concat, "w", "u", against="tanh(q[:, None] + k) @ u"),
    "luong_location": _direct(
        lambda x: torch.softmax(x.q @ x.w.t(), dim=-1) @ x.v, "w", against="softmax(q @ w.T) @ v"
    ),
    "temperature": _direct(
        lambda x: F.scaled_dot_product_attention(x.q / x.t[:, None, None], x.k, x.v),
        "t",
        against="SDPA of q / t",
    ),
    "softcap": _formula(scores=lambda x, s: x.cap * torch.tanh(s / x.cap)),
    "bias": _direct(
        lambda x: F.scaled_dot_product_attention(x.q, x.k, x.v, attn_mask=x.bias),
        "bias",
        against="SDPA, dense bias",
    ),
    "alibi": Rival("SDPA, dense bias", _alibi),
    "t5_bias": Rival("SDPA, dense bias", _t5_bias, ("table",)),
    "swin_bias": Rival("SDPA, dense bias", _swin_bias, ("table",)),
    "function": Rival("softmax(f(q @ k.T)) @ v", _function),
    "sinks": Rival("softmax(q @ k.T) @ v", lambda x: _sinks, ("logits",)),
    "dropout": Rival("SDPA, dropout_p", lambda x: _dropout, expected=_dropped_alike),
    "multiplier": _formula("g", weights=lambda x, w: w * x.g),
    "gaussian": _formula("centre", weights=lambda x, w: w * _bell(x, x.sigma)),
    "causal": _masked(lambda x: _distance(x) <= 0),
    "causal_top_left": _direct(
        lambda x: F.scaled_dot_product_attention(x.q, x.k, x.v, is_causal=True),
        against="SDPA, is_causal",
    ),
    "window": _masked(lambda x: (_distance(x) <= 0) & (_distance(x) >= -x.left)),
    "local_m": _masked(lambda x: _near(x, x.width)),
    "local_p": Rival("softmax(q @ k.T) @ v", lambda x: _local_p, ("centre",)),
    "dilated": _masked(_dilated),
    "global_tokens": _masked(lambda x: _near(x, x.width) | _globals(x)),
    "blocks": _masked(_blocks),
    "bigbird": _masked(_bigbird),
    "documents": Rival("SDPA, a call per document", _documents),
    "prefix": _masked(_prefix),
    "key_lengths": _masked(lambda x: torch.arange(x.k.shape[-2]) < x.lengths[:, None, None, None]),
    "tree": _masked(_tree),
    "tensor": _masked(lambda x: x.allowed),
    "composition": _masked(lambda x: (_distance(x) <= 0) & (_near(x, x.width) | _globals(x))),
    "complement": _masked(lambda x: ~_near(x, x.width)),
}
