"""Which keys a query may see. Masks are values; they compose with ``&``, ``|`` and ``~``.

    regard.causal() & regard.window(4096, 0)           # a decoder with a sliding window
    regard.causal() & regard.documents(cu_q, cu_k)     # packed sequences (layout="thd"), causal within each

Query i and key j count from 0 in the whole sequence (for packed sequences: in their own document). torch.compile traces ``&`` and ``|``;
it has no ``~`` for objects: make such a mask outside the compiled function.
"""

import torch

# Kinds of records, as include/regard/encoding.h numbers them.
_CAUSAL, _WINDOW, _KEY_LENGTHS, _DOCUMENTS, _TENSOR = 1, 2, 3, 4, 5
_AND, _OR, _NOT = 10, 11, 12


class Mask:
    """A mask expression in postfix order: `ints` are its records, `tensors` what they take, in order."""

    __slots__ = ("code", "ints", "shown", "tensors")

    def __init__(self, ints, tensors, shown, code=-1):
        self.ints = ints
        self.tensors = tensors
        self.shown = shown
        self.code = code  # a number that stands for the whole mask on the shortest way to the kernel (_attend), or -1

    def __and__(self, other):
        return _join(self, other, _AND, "&")

    def __or__(self, other):
        return _join(self, other, _OR, "|")

    def __invert__(self):
        return Mask([*self.ints, _NOT, 0], self.tensors, f"~{self.shown}")

    def __repr__(self):
        return f"regard.{self.shown}" if self.shown[0] not in "(~" else self.shown


def _join(a, b, kind, sign):
    if not isinstance(b, Mask):
        return NotImplemented
    return Mask([*a.ints, *b.ints, kind, 0], [*a.tensors, *b.tensors], f"({a.shown} {sign} {b.shown})")


def _offset(offset):
    return [0, 0] if offset is None else [1, int(offset)]


def _integers(name, values):
    tensor = torch.as_tensor(values)
    if tensor.dtype not in (torch.int32, torch.int64) or tensor.dim() != 1:
        raise ValueError(f"{name}: shape {tuple(tensor.shape)}, {tensor.dtype}; expected one dimension, int32 or int64")
    return tensor


def causal(offset=None):
    """Query i sees keys j <= i + offset. By default offset = len_k - len_q: the last query sees the last key (bottom-right aligned,
    as flash-attention). Offset 0 is top-left aligned, as ``is_causal`` of PyTorch."""
    if offset is None:
        return _BOTTOM_RIGHT
    if offset == 0:
        return _TOP_LEFT
    return Mask([_CAUSAL, 2, *_offset(offset)], [], f"causal({offset})")


def window(left, right, offset=None):
    """Query i sees keys i + offset - left <= j <= i + offset + right, both ends included; -1 leaves a side unbounded."""
    left, right = int(left), int(right)
    if left < -1 or right < -1:
        raise ValueError(f"window: ({left}, {right}); expected sizes from 0, or -1 for unbounded")
    shown = f"window({left}, {right})" if offset is None else f"window({left}, {right}, {offset})"
    return Mask([_WINDOW, 4, left, right, *_offset(offset)], [], shown)


def key_lengths(lengths):
    """Sequence b of the batch has lengths[b] keys; those from there on are neither seen nor read."""
    return Mask([_KEY_LENGTHS, 0], [_integers("lengths", lengths)], "key_lengths(...)")


def documents(cu_q, cu_k=None):
    """Packed sequences: document n holds query rows cu_q[n] to cu_q[n + 1] and key rows cu_k[n] to cu_k[n + 1]; a query sees keys of
    its own document. ``cu_k`` is ``cu_q`` where it is not given."""
    first = _integers("cu_q", cu_q)
    return Mask([_DOCUMENTS, 0], [first, first if cu_k is None else _integers("cu_k", cu_k)], "documents(...)")


def tensor(allowed):
    """An arbitrary boolean tensor, True where attended, that broadcasts to (batch, heads, len_q, len_k)."""
    if not isinstance(allowed, torch.Tensor) or allowed.dtype != torch.bool:
        what = allowed.dtype if isinstance(allowed, torch.Tensor) else type(allowed).__name__
        raise ValueError(f"allowed: {what}; expected a tensor of dtype torch.bool, True where attended")
    return Mask([_TENSOR, 0], [allowed], f"tensor({tuple(allowed.shape)})")


_BOTTOM_RIGHT = Mask([_CAUSAL, 2, 0, 0], [], "causal()", 1)
_TOP_LEFT = Mask([_CAUSAL, 2, 1, 0], [], "causal(0)", 2)
NONE = Mask([], [], "no mask", 0)  # hides nothing; not a value to compose with
BY_CODE = (NONE, _BOTTOM_RIGHT, _TOP_LEFT)
