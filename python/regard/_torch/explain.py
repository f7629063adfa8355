# SPDX-License-Identifier: Apache-2.0
"""Errors in the user's terms. The core knows views of (batch, heads, seq, dim); what it says about
them is turned into the shapes, axes and dtypes that the caller gave. Only a call that has failed
comes here, so that none of it costs a call that is served."""

import re

import torch

from ..masks import Mask, tensor
from .axes import kind_of
from .record import Record

_FLOATING = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
FLOATING = "torch.float32, torch.bfloat16, torch.float16 or torch.float64"
_SHAPE = re.compile(r"\((?:\d+, ){3}\d+\)")
_MODIFIER = re.compile(r"(?P<name>\w+)(\[(?P<which>\d+)\])?(?P<part>\.\w+)?: shape \(")
_SCORES = "broadcasts to (batch, heads, len_q, len_k)"
_MASKS = (  # how an error begins, the dtypes of the tensor that it is about, how it goes on
    ("mask tensor: shape", (torch.bool,), f"expected one that {_SCORES}"),
    (
        "around: centres of shape",
        _FLOATING,
        "expected one that broadcasts to (batch, heads, len_q)",
    ),
    (
        "blocks: layout of shape",
        (torch.bool,),
        "expected (blocks of queries, blocks of keys), with or without (batch, heads) in front",
    ),
)


def explained(
    error,
    query,
    key,
    value,
    *,
    mask=None,
    score=None,
    modifiers=(),
    bias=None,
    layout="bhsd",
    plan=None,
    **_,
):
    """What to raise instead of `error` of a call with these arguments: it may be itself."""
    mask = plan.mask if hasattr(plan, "mask") else mask
    if isinstance(mask, torch.Tensor) and mask.dtype is torch.bool:
        mask = tensor(mask)
    key = getattr(key, "key", key)  # of prepared keys
    named = (("query", query), ("key", key), ("value", value))
    if not all(isinstance(x, torch.Tensor) for _, x in named):
        return error
    for name, x in named:
        kind = kind_of(x)
        if kind is not None:
            hint = (
                ': its rows packed to (total, heads, dim), with layout="thd" and'
                " mask=regard.documents(cu_q, cu_k)"
                if x.is_nested
                else ""
            )
            return ValueError(f"{name}: {kind}; expected a dense one{hint}")
        if x.dtype not in _FLOATING:
            return ValueError(f"{name}: {x.dtype}; expected {FLOATING}")
        if x.dtype != query.dtype:
            return ValueError(f"{name}: {x.dtype}; expected {query.dtype}, as query")
    if not isinstance(error, ValueError):
        return error
    message = str(error)
    for name, x in named:
        if message.startswith(f"{name}: shape ("):
            return ValueError(_in_axes(message, x, layout))
    pairs = f", for query {tuple(query.shape)} and key {tuple(key.shape)}"
    if bias is not None and message.startswith("bias: shape "):
        return ValueError(f"bias: shape {tuple(bias.shape)}; expected one that {_SCORES}{pairs}")
    found = _MODIFIER.match(message)
    if found:
        name, which = found["name"] + (found["part"] or ""), int(found["which"] or 0)
        several = modifiers if isinstance(modifiers, tuple | list) else (modifiers,)
        records = [x for x in (score, *several) if isinstance(x, Record)]
        alike = [given for record in records for given in record.given if given[0] == name]
        if which < len(alike):
            _, shape, meaning = alike[which]
            begin = message.partition(": shape ")[0]
            return ValueError(f"{begin}: shape {shape}; expected {meaning}{pairs}")
    for begin, dtypes, end in _MASKS:
        if message.startswith(f"{begin} (") and isinstance(mask, Mask):
            shape = _users_shape(message, [x for x in mask.tensors if x.dtype in dtypes])
            shape = shape[:-1] if dtypes is _FLOATING else shape  # around() has added an axis
            return ValueError(f"{begin} {shape}; {end}{pairs}")
    return error


def _in_axes(message, x, layout):
    """`message` about x, with its shape as it is, and every other one in its axes."""
    rank = x.dim()

    def turned(match):
        b, h, s, d = match.group(0)[1:-1].split(", ")
        return f"({', '.join(((b, s, h, d) if layout != 'bhsd' else (b, h, s, d))[-rank:])})"

    first, _, rest = message.partition(")")
    return f"{first.partition('(')[0]}{tuple(x.shape)}" + _SHAPE.sub(turned, rest)


def _users_shape(message, tensors):
    """Of the one among `tensors` that `message` shows with sizes of 1 in front."""
    shown = tuple(int(n) for n in _SHAPE.search(message).group(0)[1:-1].split(", "))
    for x in tensors:
        if (1,) * (4 - x.dim()) + tuple(x.shape) == shown:
            return tuple(x.shape)
    return tuple(tensors[0].shape) if len(tensors) == 1 else shown
