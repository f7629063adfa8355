# SPDX-License-Identifier: Apache-2.0
"""Which keys a query may see. Masks are values; they compose with ``&``, ``|`` and ``~``.

    regard.causal() & regard.window(4096, 0)           # a decoder with a sliding window
    regard.causal() & regard.documents(cu_q, cu_k)     # packed sequences (layout="thd"), causal
                                                       # within each

Boolean tensors and numpy arrays, True where attended, join them: ``regard.causal() & allowed``.
Two masks are equal where they are made alike, in the same order, of equal numbers and tensors.

Query i and key j count from 0 in the whole sequence (for packed sequences: in their own
document). torch.compile traces ``&`` and ``|``; it has no ``~`` for objects: make such a mask
outside the compiled function.
"""

from __future__ import annotations

from types import EllipsisType
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

from ._torch.axes import kind_of
from ._torch.numbers import whole
from ._torch.record import KINDS
from ._torch.types import Integers

# Masks, and what joins them: boolean tensors and arrays.
MaskLike: TypeAlias = Any


class Mask:
    """A mask expression in postfix order: `ints` are its records, `tensors` what they take, in
    order. `shown` says how it was made: (its name, its arguments) or (&, |, ~ and what stands
    beside), as text only when someone looks: numbers in compiled code have none."""

    __slots__ = ("code", "ints", "shown", "tensors")

    def __init__(
        self, ints: list[Any], tensors: list[Tensor], shown: tuple, code: int = -1
    ) -> None:
        self.ints = ints
        self.tensors = tensors
        self.shown = shown
        # a number that stands for the whole mask on the shortest way to the kernel (_attend), or -1
        self.code = code

    # numpy's arrays leave ``array & mask`` to __rand__ instead of looking into the mask.
    __array_ufunc__ = None

    def __and__(self, other: MaskLike) -> Mask:
        return _join(self, other, KINDS["and"], "&")

    def __rand__(self, other: MaskLike) -> Mask:
        return _join(other, self, KINDS["and"], "&")

    def __or__(self, other: MaskLike) -> Mask:
        return _join(self, other, KINDS["or"], "|")

    def __ror__(self, other: MaskLike) -> Mask:
        return _join(other, self, KINDS["or"], "|")

    def __invert__(self) -> Mask:
        return Mask([*self.ints, KINDS["not"], 0], self.tensors, ("~", self.shown))

    def __bool__(self) -> bool:
        raise TypeError(
            f"{self!r} has no truth value, which `and`, `or`, `not` and `if` ask for; write"
            " a & b, a | b or ~a (and `mask is None` to see whether there is one)"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return self is other or (
            self.ints == other.ints
            and len(self.tensors) == len(other.tensors)
            and all(map(_same, self.tensors, other.tensors))
        )

    def __hash__(self) -> int:
        # Not of the tensors' values: those may change in place.
        return hash((*self.ints, *(tuple(x.shape) for x in self.tensors)))

    def __repr__(self) -> str:
        text = _text(self.shown)
        return f"regard.{text}" if text[0] not in "(~" else text


def _text(shown):
    sign, *rest = shown
    if sign == "~":
        return f"~{_text(rest[0])}"
    if sign in ("&", "|"):
        return f"({_text(rest[0])} {sign} {_text(rest[1])})"
    return f"{sign}({', '.join(map(_argument, rest))})" if rest else sign


def _argument(x):
    """A number, a shape, or (name, number)."""
    return f"{x[0]}={x[1]}" if isinstance(x, tuple) and isinstance(x[0], str) else str(x)


def _same(a, b):
    if a is b:
        return True
    return a.shape == b.shape and a.device == b.device and not a.is_meta and bool((a == b).all())


def _join(a, b, kind, sign):
    if not isinstance(a, Mask):
        a = _from_booleans(a)
    if not isinstance(b, Mask):
        b = _from_booleans(b)
    if a is None or b is None:
        return NotImplemented
    return Mask([*a.ints, *b.ints, kind, 0], [*a.tensors, *b.tensors], (sign, a.shown, b.shown))


def as_tensor(values):
    """numpy's arrays as tensors over the same memory; the rest as it is."""
    return torch.as_tensor(values) if hasattr(values, "__array_interface__") else values


def _from_booleans(values):
    """What stands beside a mask in ``&`` and ``|``: a mask, or None for what is no array at all."""
    values = as_tensor(values)
    return tensor(values) if isinstance(values, torch.Tensor) else None


def _offset(name, offset):
    return [0, 0] if offset is None else [1, whole(f"{name}: offset", offset)]


def _numbers(values):
    """A list of numbers as a tensor. Compiled code may leave them open, and torch.as_tensor would
    make constants of them."""
    if is_dynamo_compiling() and all(isinstance(x, int) for x in values):
        return torch.stack([torch.full((), x, dtype=torch.int64) for x in values])
    return torch.as_tensor(values)


def _integers(name, values, dims=(1,)):
    try:
        if not isinstance(values, list | tuple):
            tensor = torch.as_tensor(values)
        else:
            tensor = _numbers(values) if values else torch.empty(0, dtype=torch.int64)
    except (
        TypeError,
        ValueError,
        RuntimeError,
    ):  # None, texts, rows of different lengths, numbers beyond 64 bits
        raise ValueError(
            f"{name}: {values!r}; expected int32 or int64 numbers, or a tensor of them"
        ) from None
    if tensor.dtype not in (torch.int32, torch.int64) or tensor.dim() not in dims:
        expected = " or ".join(("one dimension", "two dimensions")[n - 1] for n in dims)
        raise ValueError(
            f"{name}: shape {tuple(tensor.shape)}, {tensor.dtype}; expected {expected}, int32 or"
            " int64"
        )
    return tensor


def _counts(name, **counts):
    """The counts as whole numbers, in order; -1 or None, where a window's side may have it, is
    unbounded."""
    found = []
    for what, count in counts.items():
        side = what in ("left", "right")
        count = -1 if side and count is None else count
        found.append(whole(f"{name}: {what}", count, -1 if side else 0))
    return found


def causal(offset: int | None = None) -> Mask:
    """Query i sees keys j <= i + offset. By default offset = len_k - len_q: the last query sees
    the last key (bottom-right aligned, as
    flash-attention). Offset 0 is top-left aligned, as ``is_causal`` of PyTorch."""
    if offset is None:
        return _BOTTOM_RIGHT
    shift = _offset("causal", offset)
    if not is_dynamo_compiling() and shift[1] == 0:  # to compiled code, 0 is like other numbers
        return _TOP_LEFT
    return Mask([KINDS["causal"], 2, *shift], [], ("causal", shift[1]))


def window(
    left: int | None, right: int | EllipsisType | None = ..., offset: int | None = None
) -> Mask:
    """Query i sees keys i + offset - left <= j <= i + offset + right, both ends included; -1
    or None leaves a side unbounded. Both sides have to be given."""
    if right is ...:
        raise TypeError(
            f"window: right: not given; write window({left}, 0) for keys up to the query's own,"
            f" window({left}, {left}) for as many on both sides"
        )
    left, right = _counts("window", left=left, right=right)
    shift = _offset("window", offset)
    shown = ("window", left, right) if offset is None else ("window", left, right, offset)
    return Mask([KINDS["window"], 4, left, right, *shift], [], shown)


def key_lengths(lengths: Integers) -> Mask:
    """Sequence b of the batch has lengths[b] keys; those from there on are neither seen nor
    read."""
    return Mask([KINDS["key_lengths"], 0], [_integers("lengths", lengths)], ("key_lengths", "..."))


def documents(cu_q: Integers, cu_k: Integers | None = None) -> Mask:
    """Packed sequences: document n holds query rows cu_q[n] to cu_q[n + 1] and key rows cu_k[n]
    to cu_k[n + 1]; a query sees keys of
    its own document. ``cu_k`` is ``cu_q`` where it is not given."""
    first = _integers("cu_q", cu_q)
    return Mask(
        [KINDS["documents"], 0],
        [first, first if cu_k is None else _integers("cu_k", cu_k)],
        ("documents", "..."),
    )


def tensor(allowed: Tensor) -> Mask:
    """An arbitrary boolean tensor or numpy array, True where attended, that broadcasts to (batch,
    heads, len_q, len_k)."""
    allowed = as_tensor(allowed)
    if not isinstance(allowed, torch.Tensor) or allowed.dtype != torch.bool:
        what = allowed.dtype if isinstance(allowed, torch.Tensor) else type(allowed).__name__
        raise ValueError(
            f"allowed: {what}; expected a tensor of dtype torch.bool, True where attended"
        )
    kind = kind_of(allowed)
    if kind is not None:
        raise ValueError(f"allowed: {kind}; expected a dense one")
    return Mask([KINDS["tensor"], 0], [allowed], ("tensor", tuple(allowed.shape)))


def dilated(left: int, right: int, dilation: int | Integers, offset: int | None = None) -> Mask:
    """A window of every dilation-th key (Longformer, arXiv 2004.05150): query i sees keys j = i
    + offset - n * dilation for whole n from -right to left; -1 or None leaves a side
    unbounded. `dilation` is one number, or one for each query head."""
    sides = _counts("dilated", left=left, right=right)
    one = isinstance(dilation, int) or not hasattr(dilation, "__len__")
    each = _integers("dilation", [whole("dilation", dilation)] if one else dilation)
    shown = dilation if one else "..."
    return Mask(
        [KINDS["dilated"], 4, *sides, *_offset("dilated", offset)],
        [each],
        ("dilated", *sides, shown),
    )


def global_tokens(tokens: Integers, offset: int | None = None) -> Mask:
    """Every query sees the keys in `tokens`, and a query that is one of them (i + offset is)
    sees every key (Longformer). `tokens` has one dimension, or two, a row for each batch entry,
    filled up with -1. Usually joined to a window: ``regard.window(w, w) | ...``."""
    return Mask(
        [KINDS["global_tokens"], 2, *_offset("global_tokens", offset)],
        [_integers("tokens", tokens, dims=(1, 2))],
        ("global_tokens", "..."),
    )


def blocks(layout: Tensor, block_size: int) -> Mask:
    """Block-sparse: queries and keys in blocks of `block_size` (one number, or (queries, keys));
    a block is seen where the boolean tensor `layout`, (len_q / block, len_k / block) rounded up,
    with or without leading (batch, heads) of which each may be 1, is True."""
    layout = as_tensor(layout)
    if (
        not isinstance(layout, torch.Tensor)
        or layout.dtype != torch.bool
        or layout.dim() not in (2, 3, 4)
    ):
        what = (
            f"{layout.dtype}, shape {tuple(layout.shape)}"
            if isinstance(layout, torch.Tensor)
            else type(layout).__name__
        )
        raise ValueError(f"layout: {what}; expected a boolean tensor of 2 to 4 dimensions")
    sizes = list(block_size) if isinstance(block_size, list | tuple) else [block_size] * 2
    if len(sizes) != 2:
        raise ValueError(
            f"block_size: {block_size!r}; expected a number of rows from 1, or two (queries, keys)"
        )
    sizes = [whole("block_size", size, 1) for size in sizes]
    return Mask([KINDS["blocks"], 2, *sizes], [layout], ("blocks", tuple(layout.shape), block_size))


def bigbird(
    block_size: int = 64,
    *,
    window: int = 3,
    global_blocks: int = 2,
    random_blocks: int = 3,
    seed: int = 0,
) -> Mask:
    """BigBird (arXiv 2007.14062): each block of queries sees `window` blocks around its own,
    `global_blocks` that see all and are seen by all (half of them, rounded up, at the front, the
    rest at the back), and `random_blocks` others, drawn from (seed, head, block)."""
    counts = _counts(
        "bigbird", window=window, global_blocks=global_blocks, random_blocks=random_blocks
    )
    block_size, seed = whole("bigbird: block_size", block_size, 1), whole("bigbird: seed", seed)
    names = ("window", "global_blocks", "random_blocks", "seed")
    shown = ("bigbird", block_size, *zip(names, (*counts, seed), strict=True))
    return Mask([KINDS["bigbird"], 5, block_size, *counts, seed], [], shown)


def prefix(lengths: Integers, offset: int | None = None) -> Mask:
    """Prefix language model (arXiv 1910.10683): all queries of batch entry b see its first
    lengths[b] keys; beyond, they are causal."""
    return Mask(
        [KINDS["prefix"], 2, *_offset("prefix", offset)],
        [_integers("lengths", lengths)],
        ("prefix", "..."),
    )


def tree(parents: Integers) -> Mask:
    """Tree attention of speculative decoding (SpecInfer, arXiv 2305.09781; Medusa, arXiv
    2401.10774): the last keys are the nodes of a tree of drafted tokens, which see themselves,
    their ancestors, and all keys before the tree. parents[n] is an earlier node, or -1. One
    dimension, or two, a tree for each batch entry. The last query is the last node."""
    return Mask([KINDS["tree"], 0], [_integers("parents", parents, dims=(1, 2))], ("tree", "..."))


def around(centres: Tensor, width: int) -> Mask:
    """Local attention (Luong et al. 2015, arXiv 1508.04025, local-p): query i sees keys within
    `width` of its centre, any real number. The tensor `centres` broadcasts to (batch, heads,
    len_q), and gets no gradient: the edges of a window have none. Local-m, where the centre is
    the query's own place, is ``regard.window(width, width, 0)``."""
    if not isinstance(centres, torch.Tensor) or not centres.is_floating_point():
        what = (
            f"{centres.dtype}, shape {tuple(centres.shape)}"
            if isinstance(centres, torch.Tensor)
            else type(centres).__name__
        )
        raise ValueError(
            f"centres: {what}; expected a floating-point tensor that broadcasts to (batch, heads,"
            " len_q)"
        )
    (width,) = _counts("around", width=width)
    return Mask(
        [KINDS["around"], 1, width],
        [centres.detach()[..., None]],
        ("around", tuple(centres.shape), width),
    )


_BOTTOM_RIGHT = Mask([KINDS["causal"], 2, 0, 0], [], ("causal()",), 1)
_TOP_LEFT = Mask([KINDS["causal"], 2, 1, 0], [], ("causal", 0), 2)
NONE = Mask([], [], ("no mask",), 0)  # hides nothing; not a value to compose with
BY_CODE = (NONE, _BOTTOM_RIGHT, _TOP_LEFT)
