# SPDX-License-Identifier: Apache-2.0
"""Corners: shapes and masks whose ratio to PyTorch says more about bookkeeping than about
arithmetic. Top keys, documents of a token, calls with next to nothing to compute, blocks of one,
steps of sequences whose lengths differ."""

from statistics import median

import regard
import torch
import torch.nn.functional as F
from harness.rows import Group, Row
from harness.timing import Contender, interleave, ratios

from groups.settings import Settings

_HEADS, _DIM = 8, 64


def _tensors(n: int, heads: int = _HEADS):
    return tuple(torch.randn(1, heads, n, _DIM) for _ in range(3))


def _top(order: str, count: int, n: int):
    """The keys with the largest weights of 256 rows, against softmax and topk."""
    if order == "random":
        q, k = torch.randn(1, 1, 256, _DIM), torch.randn(1, 1, n, _DIM)
    else:
        q, k = torch.ones(1, 1, 256, 1), torch.linspace(-2, 2, n).reshape(1, 1, n, 1)
    scale = q.shape[-1] ** -0.5
    return (
        lambda: regard.attention_top(q, k, count),
        lambda: torch.topk(torch.softmax(q @ k.transpose(-1, -2) * scale, -1), count),
    )


def _documents(count: int, length: int):
    """Packed documents of one length, against a batch of them."""
    q, k, v = _tensors(count * length)
    mask = regard.documents(torch.arange(count + 1) * length)

    def batch():
        parts = (
            x.view(_HEADS, count, length, _DIM).transpose(0, 1) for x in (q, k, v)
        )  # (documents, heads, length, dim)
        out = F.scaled_dot_product_attention(*parts)
        return out.transpose(0, 1).reshape(1, _HEADS, count * length, _DIM)

    return lambda: regard.attention(q, k, v, mask=mask), batch


def _alibi(len_q: int, len_k: int):
    """Slopes, against a bias that is made once and used by every call."""
    q, _, _ = _tensors(len_q)
    _, k, v = _tensors(len_k)
    slopes = regard.alibi_slopes(_HEADS)
    distance = (torch.arange(len_q)[:, None] + (len_k - len_q) - torch.arange(len_k)).abs()
    bias = (-slopes[:, None, None] * distance)[None]
    alibi = regard.alibi(slopes)
    return (
        lambda: regard.attention(q, k, v, modifiers=alibi),
        lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=bias),
    )


def _masked(mask, allowed, n: int):
    q, k, v = _tensors(n)
    return (
        lambda: regard.attention(q, k, v, mask=mask),
        lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=allowed),
    )


def _tiny_window(n: int):
    offset = torch.arange(n)[:, None] - torch.arange(n)
    return _masked(regard.window(3, 0), (offset >= 0) & (offset <= 3), n)


def _tiny_tensor(n: int):
    allowed = torch.ones(n, n, dtype=torch.bool).tril()
    return _masked(allowed, allowed, n)


def _blocks(n: int, density: float):
    allowed = (torch.rand(n, n) < density) | torch.eye(n, dtype=torch.bool)
    return _masked(regard.blocks(allowed, 1), allowed, n)


def _step(batch: int, longest: int, what: str):
    """One query of each of some sequences of 16 to `longest` keys, right-padded, against a mask or
    a bias of the whole batch."""
    lengths = torch.linspace(16, longest, batch).long()[torch.randperm(batch)]
    q = torch.randn(batch, _HEADS, 1, _DIM)
    k, v = (torch.randn(batch, _HEADS, longest, _DIM) for _ in range(2))
    place = torch.arange(longest)
    back = lengths[:, None, None, None] - 1 - place  # how far behind a sequence's last key
    if what == "ALiBi":
        slopes = regard.alibi_slopes(_HEADS)
        bias = (-slopes[:, None, None] * back).masked_fill(back < 0, -torch.inf)
        # A row's distances from another place differ by one number: its weights are the same.
        ours = dict(mask=regard.key_lengths(lengths), modifiers=regard.alibi(slopes))
    else:
        bias = (back >= 0) & (back < 64)
        cache = regard.KVCache(batch, _HEADS, longest, _DIM)
        cache.append(k, v, counts=lengths)
        window = regard.window(63, 0)
        return (
            lambda: cache.attend(q, mask=window),
            lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=bias),
        )
    return (
        lambda: regard.attention(q, k, v, **ours),
        lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=bias),
    )


def _cases(settings: Settings) -> dict:
    keys, documents = settings.pick(1024, 4096), settings.pick(1000, 10000)
    return {
        f"top {keys // 8} of {keys} keys, ascending scores": _top("ascending", keys // 8, keys),
        f"top {keys // 8} of {keys} keys": _top("random", keys // 8, keys),
        f"top {keys // 2} of {keys} keys": _top("random", keys // 2, keys),
        f"{documents} documents of 1 token": _documents(documents, 1),
        f"{documents // 4} documents of 4 tokens": _documents(documents // 4, 4),
        "8 tokens, ALiBi": _alibi(8, 8),
        "16 tokens, ALiBi": _alibi(16, 16),
        "8 tokens, a window": _tiny_window(8),
        "8 tokens, a boolean tensor": _tiny_tensor(8),
        "256 tokens, blocks of 1, half of them": _blocks(256, 0.5),
        "256 tokens, blocks of 1, a tenth": _blocks(256, 0.1),
        "a step, 16 sequences of 16 to 128 keys, ALiBi": _step(16, 128, "ALiBi"),
        "a step, 16 sequences of 16 to 128 keys, a window": _step(16, 128, "window"),
        "a step, 16 sequences of 16 to 1024 keys, ALiBi": _step(16, 1024, "ALiBi"),
        "a step, 16 sequences of 16 to 1024 keys, a window": _step(16, 1024, "window"),
    }


def corners(settings: Settings) -> Group:
    rows = []
    with torch.no_grad():
        for name, (ours, theirs) in _cases(settings).items():
            settings.say(name)
            pair = [Contender("regard", ours, 1), Contender("PyTorch", theirs, 1)]
            mine, other = interleave(pair, settings.pick(5, 15, 40), settings.peak, peak_each=False)
            times = median(ratios(other, mine))
            rows.append(
                Row("corners", name, mine.time, other.time, "PyTorch", goal="1x",
                    reached=f"{times:.2f}x", met=times >= 1, values={"ratio": times})
            )  # fmt: skip
    return Group(
        "corners",
        f"float32, {_HEADS} heads (1 for top keys), d={_DIM}, 1 thread: what a person would write"
        " with PyTorch, its masks and biases made beforehand",
        rows,
    )
