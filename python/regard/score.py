"""How a query and a key become a score: the value that ``score=`` of regard.attention takes. (The scores of Luong et al.:
regard.luong_general, ...)

    regard.attention(W(s), U(h), h, score=regard.additive(v))

Formulas and sources: include/regard/score.h.
"""

import torch

from ._record import Record

_ADDITIVE = 40  # as include/regard/encoding.h numbers it


class Score(Record):
    """What score= takes."""

    __slots__ = ()


def additive(v):
    """Additive attention (Bahdanau et al. 2014, arXiv 1409.0473): scale * v . tanh(query + key), with the projected queries and keys passed
    as query and key (of the same dim), and a scale of 1 unless given.

    v: (dim,), or (heads, dim) for one vector a head; floating; it gets a gradient. dim (and the value's) may be up to 2048.
    Scores are computed in float32 (float64 for float64), also for bfloat16 and float16 inputs, and never stored. Any finite query and key
    are served.
    """
    if not isinstance(v, torch.Tensor) or not v.is_floating_point():
        what = v.dtype if isinstance(v, torch.Tensor) else type(v).__name__
        raise ValueError(f"additive: v is {what}; expected a floating-point tensor (dim,) or (heads, dim)")
    if v.dim() not in (1, 2):
        raise ValueError(f"additive: v has shape {tuple(v.shape)}; expected (dim,) or (heads, dim)")
    return Score("additive", _ADDITIVE, tensors=(v.reshape(1, -1, 1, v.shape[-1]),))
