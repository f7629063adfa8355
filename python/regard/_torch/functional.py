"""Gradients under `torch.func`: transforms may be stacked, so these say how to batch themselves
and give what they save as outputs."""

import torch

from . import ops_library as ops
from .autograd import DOUBLE_BACKWARD, spread, wanted_bits
from .record import KINDS, kinds


class Functional(torch.autograd.Function):
    @staticmethod
    def forward(query, key, value, ints, floats, order, *tensors):
        return ops.attention(query, key, value, ints, floats, list(tensors), order)

    @staticmethod
    def setup_context(ctx, inputs, output):
        query, key, value, ints, floats, order, *tensors = inputs
        out, _, statistics = output
        ctx.mark_non_differentiable(statistics)
        ctx.save_for_backward(query, key, value, out, statistics, *tensors)
        ctx.lists = (ints, floats, order)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, d_out, d_lse, _):
        needs = ctx.needs_input_grad
        needs = needs[:3] + needs[6:]
        query, key, value, out, statistics, *tensors = ctx.saved_tensors
        if d_out is None:
            d_out = torch.zeros_like(out)
        ints, floats, order = ctx.lists
        gradients = FunctionalBackward.apply(
            d_out,
            d_lse,
            query,
            key,
            value,
            out,
            statistics,
            ints,
            floats,
            order,
            wanted_bits(needs),
            *tensors,
        )
        gradients = spread(gradients, needs)
        return (*gradients[:3], None, None, None, *gradients[3:])

    @staticmethod
    def vmap(info, in_dims, query, key, value, ints, floats, order, *tensors):
        if not _fold(ints, order, tensors):
            results = _one_by_one(
                Functional,
                info.batch_size,
                in_dims,
                query,
                key,
                value,
                ints,
                floats,
                order,
                *tensors,
            )
            return tuple(torch.stack(x, at) for x, at in zip(results, (0, 0, 1), strict=True)), (
                0,
                0,
                1,
            )
        call = _Batched(info.batch_size, query, in_dims[0])
        inputs = [call.rows(x, d) for x, d in zip((query, key, value), in_dims[:3], strict=True)]
        batched = [call.pairs(x, d) for x, d in zip(tensors, in_dims[6:], strict=True)]
        out, lse, statistics = Functional.apply(*inputs, ints, floats, order, *batched)
        return (call.back(out), call.back(lse), call.back(statistics, 1)), (0, 0, 1)


class FunctionalBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        d_out, d_lse, query, key, value, out, statistics, ints, floats, order, wanted, *tensors
    ):
        return tuple(
            ops.attention_backward(
                d_out,
                d_lse,
                query,
                key,
                value,
                out,
                statistics,
                ints,
                floats,
                list(tensors),
                order,
                0,
                wanted,
            )
        )

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError(DOUBLE_BACKWARD)

    @staticmethod
    def vmap(
        info,
        in_dims,
        d_out,
        d_lse,
        query,
        key,
        value,
        out,
        statistics,
        ints,
        floats,
        order,
        wanted,
        *tensors,
    ):
        if not _fold(ints, order, tensors):
            inputs = (
                d_out,
                d_lse,
                query,
                key,
                value,
                out,
                statistics,
                ints,
                floats,
                order,
                wanted,
                *tensors,
            )
            results = _one_by_one(FunctionalBackward, info.batch_size, in_dims, *inputs)
            return tuple(torch.stack(x) for x in results), (0,) * len(results)
        call = _Batched(info.batch_size, query, in_dims[2])
        rows = [
            call.rows(x, d)
            for x, d in zip(
                (d_out, query, key, value, out), (in_dims[0], *in_dims[2:6]), strict=True
            )
        ]
        d_lse = None if d_lse is None else call.lead(d_lse, in_dims[1])
        statistics = call.lead(statistics, in_dims[6], 1)
        batched = [call.pairs(x, d) for x, d in zip(tensors, in_dims[11:], strict=True)]
        gradients = FunctionalBackward.apply(
            rows[0], d_lse, *rows[1:], statistics, ints, floats, order, wanted, *batched
        )
        back = [
            call.back(g) if i < 3 else call.back_pairs(g, tensors[i - 3], in_dims[8 + i])
            for i, g in zip(_bits(wanted), gradients, strict=True)
        ]
        return tuple(back), (0,) * len(back)


def _bits(wanted):
    return [i for i in range(wanted.bit_length()) if wanted >> i & 1]


def _fold(ints, order, tensors):
    """Whether a new dimension can become part of the batch: sinks and temperature are the same
    in all of it, integers count its entries, packed sequences have none."""
    if order == 2 or any(x.dtype in (torch.int32, torch.int64) for x in tensors):
        return False
    return not any(kind in (KINDS["temperature"], KINDS["sinks"]) for kind in kinds(ints))


def _one_by_one(function, size, in_dims, *inputs):
    """For each of the function's results, those of every index of the new dimension."""
    results = []
    for i in range(size):
        own = [
            x if d is None or not isinstance(x, torch.Tensor) else x.select(d, i)
            for x, d in zip(inputs, in_dims, strict=True)
        ]
        results.append(function.apply(*own))
    return list(zip(*results, strict=True))


class _Batched:
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
