# SPDX-License-Identifier: Apache-2.0
"""Leading dimensions, as PyTorch's attention broadcasts them: everything here is views (and
copies where a view cannot say it), so that gradients find their way back through autograd."""

import torch

LOWEST_RANK = {0: 2, 1: 3, 2: 3}
_HEADS = {0: -3, 1: -2, 2: -2}  # where the heads are, by axis order


def _broadcast(shapes):
    try:
        return torch.broadcast_shapes(*shapes)
    except RuntimeError:
        raise ValueError(
            f"query, key, value: leading dimensions {', '.join(str(tuple(s)) for s in shapes)} do"
            " not broadcast"
        ) from None


class Leading:
    """Brings query, key, value, bias and mask tensors to ranks that the operators take, and
    results back."""

    def __init__(self, query, key, value, order):
        self.order = order
        for name, x in (("query", query), ("key", key), ("value", value)):
            if x.dim() < LOWEST_RANK[order] or (order == 2 and x.dim() > 3):
                layout = ("bhsd", "bshd", "thd")[order]
                raise ValueError(
                    f"{name}: shape {tuple(x.shape)} has {x.dim()} dimensions, too"
                    f" {'many' if x.dim() > 3 else 'few'} for layout {layout}"
                )
        self.inner = 2 if order == 0 and max(query.dim(), key.dim(), value.dim()) == 2 else 3
        self.batch = _broadcast([x.shape[: -self.inner] for x in (query, key, value)])
        self.deep = len(self.batch) > 1

    def inputs(self, query, key, value):
        if self.inner == 3:
            query, key, value = (x.unsqueeze(0) if x.dim() == 2 else x for x in (query, key, value))
            query, key, value = self._heads(query, key, value)
        return tuple(
            self._flat(x.expand(*self.batch, *x.shape[-self.inner :])) for x in (query, key, value)
        )

    def _heads(self, query, key, value):
        at = _HEADS[self.order]
        heads_kv = key.shape[at] if key.shape[at] != 1 else value.shape[at]

        def repeat(x):
            if x.shape[at] != 1 or heads_kv == 1:
                return x
            sizes = list(x.shape)
            sizes[at] = heads_kv
            return x.expand(sizes)

        return repeat(query), repeat(key), repeat(value)

    def _flat(self, x):
        return x.flatten(0, len(self.batch) - 1) if self.deep else x

    def pairs(self, x):
        """A tensor that broadcasts to (..., heads, len_q, len_k): a bias or a boolean mask."""
        if not self.deep or x.dim() <= 3:
            return x
        leading = x.shape[:-3]
        if all(size == 1 for size in leading):
            return x.reshape(1, *x.shape[-3:])
        try:
            return x.expand(*self.batch, *x.shape[-3:]).flatten(0, len(self.batch) - 1)
        except RuntimeError:
            raise ValueError(
                f"bias or mask: shape {tuple(x.shape)} does not broadcast to batch"
                f" {tuple(self.batch)}"
            ) from None

    def output(self, x):
        return x.unflatten(0, self.batch) if self.deep else x


def kind_of(tensor):
    """How to call a tensor whose elements do not lie in rows; None of others."""
    if tensor.is_nested:
        return "a nested tensor"
    return None if tensor.layout is torch.strided else f"a tensor of layout {tensor.layout}"


def check_tensors(query, key, value):
    for name, x in (("query", query), ("key", key), ("value", value)):
        if not isinstance(x, torch.Tensor):
            hint = " (torch.from_numpy)" if hasattr(x, "__array_interface__") else ""
            raise ValueError(f"{name}: {type(x).__name__}; expected a tensor{hint}")
        if x.device != query.device:
            raise ValueError(f"{name}: on {x.device}; query is on {query.device}")


def agree(query, key, value, order):
    """Whether the operators can take these as they are, and autograd too: same rank, same batch,
    heads that need no repeating."""
    a, b, c = query.shape, key.shape, value.shape
    rank = len(a)
    if rank > 4 or rank < LOWEST_RANK[order] or len(b) != rank or len(c) != rank:
        return False
    if rank == 2:
        return True
    at = _HEADS[order]
    heads = b[at]
    if heads != c[at] or (heads != 1 and a[at] == 1):
        return False
    return rank == 3 or a[0] == b[0] == c[0]
