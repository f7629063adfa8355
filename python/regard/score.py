# SPDX-License-Identifier: Apache-2.0
"""How a query and a key become a score: the value that ``score=`` of regard.attention takes.
(The scores of Luong et al.: regard.luong_general, ...)

    regard.attention(W(s), U(h), h, score=regard.additive(v))

Formulas and sources: include/regard/score.h.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._torch import ops_library as ops
from ._torch.record import Record


class Score(Record):
    """What score= takes."""

    __slots__ = ()


def additive(v: Tensor) -> Score:
    """Additive attention (Bahdanau et al. 2014, arXiv 1409.0473): scale * v . tanh(query + key),
    with the projected queries and keys passed as query and key (of the same dim), and a scale of
    1 unless given.

    v: (dim,), or (heads, dim) for one vector a head; floating; it gets a gradient. dim (and the
    value's) may be up to 2048.
    Scores are computed in float32 (float64 for float64), also for bfloat16 and float16 inputs,
    and never stored. Any finite query and key are served.
    """
    if not isinstance(v, torch.Tensor) or not v.is_floating_point():
        what = v.dtype if isinstance(v, torch.Tensor) else type(v).__name__
        raise ValueError(
            f"additive: v is {what}; expected a floating-point tensor (dim,) or (heads, dim)"
        )
    if v.dim() not in (1, 2):
        raise ValueError(f"additive: v has shape {tuple(v.shape)}; expected (dim,) or (heads, dim)")
    return Score(
        "additive",
        tensors=(v.reshape(1, -1, 1, v.shape[-1]),),
        given=(("score.v", tuple(v.shape), "(dim,) or (heads, dim)"),),
    )


class PreparedKeys:
    """Keys that many calls share, and their exponentials, taken once: what prepare_keys made. It
    stands in for the key."""

    __slots__ = ("exponentials", "key")

    def __init__(self, key: Tensor, exponentials: Tensor) -> None:
        self.key = key
        self.exponentials = exponentials

    def __repr__(self) -> str:
        return f"regard.PreparedKeys({tuple(self.key.shape)}, {self.key.dtype})"

    def __getitem__(self, index: Any) -> PreparedKeys:
        """The same part of both, for example prepared[:, :, :length]: all of an axis, or a slice
        of it."""
        return PreparedKeys(self.key[index], self.exponentials[index])

    def detach(self) -> PreparedKeys:
        return PreparedKeys(self.key.detach(), self.exponentials)

    def record(self, order: int) -> Record:
        """What tells the operators about it; `order` is that of the key's axes (AXIS_ORDERS)."""
        turned = (
            order != 0 and self.exponentials.dim() > 2
        )  # a key without heads is refused by itself
        heads_first = self.exponentials.transpose(-3, -2) if turned else self.exponentials
        return Record("prepared_keys", tensors=(heads_first,))


def prepare_keys(key: Tensor) -> PreparedKeys:
    """Prepares keys for many calls with an additive score, as when a decoder takes a step a call
    and looks at the same encoder each time:

        keys = regard.prepare_keys(U(h))
        for s in steps:
            context = regard.attention(W(s), keys, h, score=regard.additive(v))

    key: (..., heads, seq, dim), or as ``layout`` of the calls says; floating, on the CPU. It
    takes e^(2 key) of every element once, in float32 (float64 for float64). Results have the
    same bits as with the key itself, and gradients go to it. What is made does not follow later
    changes of the key in place; under autocast it is that of the key as it was prepared.
    """
    if not isinstance(key, torch.Tensor) or not key.is_floating_point():
        what = key.dtype if isinstance(key, torch.Tensor) else type(key).__name__
        raise ValueError(
            f"prepare_keys: key is {what}; expected a floating-point tensor (..., heads, seq, dim)"
        )
    if key.dim() < 2:
        raise ValueError(
            f"prepare_keys: key has shape {tuple(key.shape)}; expected (..., heads, seq, dim)"
        )
    with torch.no_grad():
        flat = key.detach().flatten(0, -4) if key.dim() > 4 else key.detach()
        return PreparedKeys(key, ops.prepare_keys(flat).view(key.shape))
