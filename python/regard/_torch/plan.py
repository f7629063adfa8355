# SPDX-License-Identifier: Apache-2.0
"""Plans: which tiles of the score matrix exist, made once for a mask and lengths, reused by many
calls, and looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from . import ops_library as ops
from .numbers import whole
from .options import as_mask

if TYPE_CHECKING:
    from ..masks import Mask


class Plan:
    """Immutable. `density` is the share of all pairs that lies in tiles that exist: what a call
    costs; `picture()` draws them."""

    __slots__ = ("batch", "handle", "heads", "len_k", "len_q", "mask")

    def __init__(self, mask: Mask | Tensor, batch: int, heads: int, len_q: int, len_k: int) -> None:
        self.mask = as_mask(mask)
        sizes = dict(batch=batch, heads=heads, len_q=len_q, len_k=len_k)
        batch, heads, len_q, len_k = (whole(name, size, 0) for name, size in sizes.items())
        self.batch, self.heads, self.len_q, self.len_k = batch, heads, len_q, len_k
        self.handle = ops.make_plan(self.mask.ints, self.mask.tensors, batch, heads, len_q, len_k)

    def __del__(self, free=ops.free_plan):  # at the interpreter's end the module may be gone
        if getattr(self, "handle", 0):  # an argument may have been refused before there was one
            free(self.handle)

    # It never changes: copies share it. Elsewhere it is made again.
    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return Plan, (self.mask, self.batch, self.heads, self.len_q, self.len_k)

    @property
    def density(self) -> float:
        return ops.plan_density(self.handle)

    def picture(self, batch: int = 0, head: int = 0, width: int = 64) -> str:
        """One head's tiles, `width` columns wide: '#' full, '+' partial, '.' absent."""
        batch, head = (
            whole("batch", batch, 0, self.batch - 1),
            whole("head", head, 0, self.heads - 1),
        )
        return ops.plan_picture(self.handle, batch, head, whole("width", width, 1))

    def __repr__(self) -> str:
        shape = f"batch={self.batch}, heads={self.heads}, len_q={self.len_q}, len_k={self.len_k}"
        return f"regard.plan({self.mask!r}, {shape}, density={self.density:.3g})"


def plan(mask: Mask | Tensor, *, batch: int = 1, heads: int = 1, len_q: int, len_k: int) -> Plan:
    """The tiles that `mask` leaves of `heads` query heads in each of `batch` sequences; found
    from the mask's parameters, not from n x n."""
    return Plan(mask, batch, heads, len_q, len_k)
