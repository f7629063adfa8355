# SPDX-License-Identifier: Apache-2.0
"""The formula of attention in PyTorch's own operators, for some rows of the queries at a time: what
derivatives that the kernels do not have are made of (double_backward.py, weights.py). Memory is
that of a few tiles of (rows, len_k), whatever the length.

Which pairs are seen and which weights dropout keeps is asked of the kernels, so that every mask is
served; scores, modifiers and the softmax are written out (include/regard/modifier.h)."""

import contextlib
import math

import torch
from torch._C import DispatchKey

from . import ops_library as ops
from .record import KINDS, parsed

_ELEMENTS = 1 << 19  # of one tile, over batch and heads: 2 MiB of float32


def canonical(x, order):
    """(batch, heads, seq, dim) of a query, key, value, output or gradient."""
    if order == 2:
        x = x.unsqueeze(0)
    if order and x.dim() >= 3:
        x = x.transpose(-3, -2)
    return x[(None,) * (4 - x.dim())]


def as_given(x, order, shape):
    """A gradient in the layout that canonical() came from."""
    if order and len(shape) >= 3:
        x = x.transpose(1, 2)
    return x.reshape(shape)


_AUTOGRAD = (
    DispatchKey.AutogradFunctionality,
    DispatchKey.AutogradOther,
    DispatchKey.AutogradNestedTensor,
    DispatchKey.ADInplaceOrView,
)


@contextlib.contextmanager
def differentiable():
    """Autograd records within, also where an operator's kernel runs and it is otherwise off."""
    included = torch._C._dispatch_tls_local_include_set()
    excluded = torch._C._dispatch_tls_local_exclude_set()
    for key in _AUTOGRAD:
        excluded = excluded.remove(key)
    guard = torch._C._ForceDispatchKeyGuard(included, excluded)
    with guard, torch.enable_grad(), torch.autocast("cpu", enabled=False):
        yield


class Formula:
    """Options as lists, made ready for query (batch, heads, len_q, dim) and key (batch, heads_kv,
    len_k, dim), which are in canonical form. `tensors` of block() are those of the lists."""

    def __init__(self, ints, floats, tensors, query, key):
        self.records = list(parsed(ints, floats, tensors))
        names = {record.name for record in self.records}
        if "function" in names:
            raise NotImplementedError(
                "regard.attention: a second derivative through regard.function is not supported"
            )
        if "documents" in names and ("alibi" in names or "gaussian" in names):
            raise NotImplementedError(
                "regard.attention: a second derivative through ALiBi or a Gaussian in packed"
                " sequences is not supported"
            )
        self.batch = max(query.shape[0], key.shape[0])
        self.heads = max(query.shape[1], key.shape[1])
        self.len_q, self.len_k = query.shape[2], key.shape[2]
        self.heads_kv = key.shape[1]
        self.scale = 1.0 if "additive" in names else 1 / math.sqrt(max(query.shape[3], 1))
        self.part = (0, 0, self.len_q, self.len_k)
        for record in self.records:
            if record.name == "scale":
                self.scale = record.floats[0]
            elif record.name == "part":
                self.part = record.ints
        self.wide = torch.float64 if query.dtype == torch.float64 else torch.float32
        depth = query.shape[3] if "additive" in names else 1
        size = max(self.batch * self.heads * self.len_k * depth, 1)
        step = max(_ELEMENTS // size, 1)
        self.blocks = [
            (begin, min(begin + step, self.len_q)) for begin in range(0, self.len_q, step)
        ]

    def rows_of(self, x, begin, end):
        """The rows of a tensor that broadcasts to (batch, heads, len_q, ...), where it has them."""
        has_rows = x.dim() >= 2 and x.shape[-2] == self.len_q and self.len_q > 1
        return x[..., begin:end, :] if has_rows else x

    def by_rows(self, index):
        """Whether tensor `index` of the lists has a row for each query."""
        return any(
            index in record.places and record.name in ("bias", "multiplier", "gaussian")
            for record in self.records
        )

    def _seen(self, begin, end, with_dropout):
        """Boolean (batch, heads, rows, len_k). Queries of zeros give every pair that is seen, and
        kept, the same weight."""
        zero = torch.zeros((), dtype=torch.float32)
        ints, tensors, floats = [], [], []
        for record in self.records:
            dropped = with_dropout and record.name == "dropout"
            if record.is_mask or record.name == "part" or dropped:
                ints += (KINDS[record.name], len(record.ints), *record.ints)
                floats += record.floats
                tensors += record.tensors
        region = (0, self.batch, 0, self.heads, begin, end, 0, self.len_k)
        (weights,) = ops.attention_map(
            zero.expand(self.batch, self.heads, self.len_q, 1),
            zero.expand(self.batch, self.heads_kv, self.len_k, 1),
            None,
            None,
            None,
            ints,
            floats,
            [x.detach() for x in tensors],
            0,
            0,
            "weights",
            region,
            False,
            (),
            "max",
        )
        return weights > 0

    def _repeated(self, x):
        """Keys or values, one for each head of the queries."""
        return x.repeat_interleave(self.heads // x.shape[1], 1) if x.shape[1] > 1 else x

    def weights(self, query, key, tensors, begin, end):
        """(weights as they multiply values, lse) of rows [begin, end): query holds those rows,
        `tensors` the lists' tensors, those of by_rows() cut to them too."""
        seen = self._seen(begin, end, False)
        used = seen.any(-2)[..., None]
        keys = self._repeated(key).to(self.wide).expand(self.batch, self.heads, -1, -1)
        keys = keys.masked_fill(~used, 0)
        query = query.to(self.wide)
        scores = self._scores(query, keys, tensors)
        scores = self._modified(scores, tensors, begin, end).masked_fill(~seen, -math.inf)
        sinks = [
            tensors[r.places[0]].to(self.wide).expand(self.batch, self.heads, end - begin, -1)
            for r in self.records
            if r.name == "sinks"
        ]
        logits = torch.cat([scores, *sinks], -1)
        top = logits.detach().amax(-1, keepdim=True)
        top = top.masked_fill(top == -math.inf, 0)
        sums = (logits - top).exp().sum(-1, keepdim=True)
        empty = sums == 0
        weights = (scores - top).exp() / sums.masked_fill(empty, 1)
        lse = (top + sums.masked_fill(empty, 1).log()).masked_fill(empty, 0).squeeze(-1)
        return self._multiplied(weights, tensors, begin, end), lse

    def values(self, value):
        return self._repeated(value).to(self.wide).expand(self.batch, self.heads, -1, -1)

    def _scores(self, query, keys, tensors):
        for record in self.records:
            if record.name == "additive":
                v = tensors[record.places[0]].to(self.wide)
                pairs = torch.tanh(query[..., :, None, :] + keys[..., None, :, :])
                return (pairs * v[..., None, :]).sum(-1) * self.scale
        return query @ keys.transpose(-2, -1) * self.scale

    def _modified(self, scores, tensors, begin, end):
        for record in self._of("temperature"):
            scores = scores / tensors[record.places[0]].to(self.wide)
        for record in self._of("bias"):
            if record.ints[0]:  # before the softcap
                scores = scores + tensors[record.places[0]].to(self.wide)
        for record in self._of("softcap"):
            cap = record.floats[0]
            scores = cap * torch.tanh(scores / cap)
        for record in self._of("bias"):
            if not record.ints[0]:
                scores = scores + tensors[record.places[0]].to(self.wide)
        for record in self._of("alibi"):
            first_q, first_k, len_q, len_k = self.part
            i = torch.arange(begin + first_q, end + first_q)[:, None]
            j = torch.arange(first_k, self.len_k + first_k)
            distance = (i + len_k - len_q - j).abs().to(self.wide)
            scores = scores - tensors[record.places[0]].to(self.wide) * distance
        for record in self._of("relative_bias"):
            table, query_code, key_code, buckets = (tensors[n] for n in record.places)
            codes = key_code.flatten() - query_code.flatten()[begin:end, None] + record.ints[0]
            entry = buckets.flatten()[codes.long()].long()
            scores = scores + table[0, :, 0].to(self.wide)[:, entry]
        return scores

    def _multiplied(self, weights, tensors, begin, end):
        for record in self._of("dropout"):
            p = record.floats[0]
            kept = self._seen(begin, end, True)
            weights = (weights / (1 - p) if p < 1 else weights).masked_fill(~kept, 0)
        for record in self._of("multiplier"):
            weights = weights * tensors[record.places[0]].to(self.wide)
        for record in self._of("gaussian"):
            centre, sigma = tensors[record.places[0]].to(self.wide), record.floats[0]
            j = torch.arange(self.part[1], self.len_k + self.part[1], dtype=self.wide)
            weights = weights * torch.exp(-((j - centre) ** 2) / (2 * sigma**2))
        return weights

    def _of(self, name):
        return [record for record in self.records if record.name == name]
