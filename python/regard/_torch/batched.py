# SPDX-License-Identifier: Apache-2.0
"""A dimension more than the operators know: those of torch.func.vmap, and those of the older vmap
behind is_grads_batched=True."""

import torch

from .record import KINDS, kinds

_is_legacy = torch._C._functorch.is_legacy_batchedtensor


def can_fold(ints, order, tensors):
    """Whether a new dimension can become part of the batch: sinks and temperature are the same in
    all of it, integers count its entries, packed sequences have none."""
    if order == 2 or any(x.dtype in (torch.int32, torch.int64) for x in tensors):
        return False
    return not any(kind in (KINDS["temperature"], KINDS["sinks"]) for kind in kinds(ints))


def one_by_one(call, size, in_dims, *inputs):
    """For each of the call's results, those of every index of the new dimension."""
    results = []
    for i in range(size):
        own = [
            x if d is None or not isinstance(x, torch.Tensor) else x.select(d, i)
            for x, d in zip(inputs, in_dims, strict=True)
        ]
        results.append(call(*own))
    return list(zip(*results, strict=True))


def legacy(*tensors):
    """Whether any carries a dimension of torch._vmap_internals: that of is_grads_batched=True,
    torch.autograd.functional with vectorize=True, gradcheck(check_batched_grad=True)."""
    return any(x is not None and _is_legacy(x) for x in tensors)


def over_legacy_batch(compute, *tensors):
    """compute(*tensors), a list of tensors, for each index of their hidden dimensions."""
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    return _over_level(level, compute, tensors)


def _over_level(level, compute, tensors):
    if not legacy(*tensors):
        return compute(*tensors)
    # Where a tensor has no dimension of this level, one of size 1 is put in front.
    front = [None if x is None else torch._remove_batch_dim(x, level, 1, 0) for x in tensors]
    size = max(x.shape[0] for x in front if x is not None)
    results = [
        _over_level(
            level - 1,
            compute,
            [None if x is None else x[min(i, x.shape[0] - 1)] for x in front],
        )
        for i in range(size)
    ]
    return [torch._add_batch_dim(torch.stack(x), 0, level) for x in zip(*results, strict=True)]


class Batched:
    """A new dimension of `size` in front, folded into the batch (which may not exist yet)."""

    def __init__(self, size, query, in_dim):
        self.size = size
        self.rank = query.dim() - (in_dim is not None)
        sizes = [n for i, n in enumerate(query.shape) if i != in_dim]
        self.batch = sizes[0] if self.rank == 4 else 1

    def _moved(self, x, in_dim, at=0):
        if in_dim is None:
            return x.unsqueeze(at).expand(*x.shape[:at], self.size, *x.shape[at:])
        return x.movedim(in_dim, at)

    def rows(self, x, in_dim):
        """(size, [batch,] ...) -> (size * batch, heads, seq, dim); rank 2 gets heads of 1."""
        x = self._moved(x, in_dim)
        if self.rank == 4:
            return x.flatten(0, 1)
        return x.unsqueeze(1) if self.rank == 2 else x

    def lead(self, x, in_dim, at=0):
        """lse (size, [batch,] [heads,] seq), or statistics with `at` = 1."""
        x = self._moved(x, in_dim, at)
        if self.rank == 4:
            return x.flatten(at, at + 1)
        return x.unsqueeze(at + 1) if self.rank == 2 else x

    def pairs(self, x, in_dim):
        """A bias or mask: (size * batch, heads, len_q, len_k)."""
        x = self._moved(x, in_dim)
        x = x.reshape(self.size, *(1,) * (5 - x.dim()), *x.shape[1:])
        return x.expand(-1, self.batch, -1, -1, -1).flatten(0, 1)

    def back_pairs(self, gradient, x, in_dim):
        """The gradient of a bias that pairs() made: of its own shape for each of `size`."""
        shape = list(x.shape)
        if in_dim is not None:
            del shape[in_dim]
        gradient = gradient.unflatten(0, (self.size, self.batch))
        if len(shape) < 4 or shape[0] == 1:
            gradient = gradient.sum(1, keepdim=True)
        return gradient.reshape(self.size, *shape)

    def back(self, x, at=0):
        if self.rank == 4:
            return x.unflatten(at, (self.size, -1))
        return x.squeeze(at + 1) if self.rank == 2 else x
