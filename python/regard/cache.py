# SPDX-License-Identifier: Apache-2.0
"""Caches of keys and values for generating text, and attention over them.

    cache = regard.KVCache(batch=1, heads=8, capacity=8192, dim=128, dtype=torch.bfloat16)
    with torch.no_grad():
        cache.append(key, value)                  # what the new tokens bring
        out = cache.attend(query)                 # one query, or a few with mask=regard.causal()

Sequences have lengths of their own; a sequence's last query stands at its last key, so that
``regard.causal()``, ``regard.window(...)`` and ``regard.alibi(...)`` count from each sequence's own
end. Keys and values may be ``torch.int8``: each row of a head is then kept as round(127 x / max|x|)
and a scale max|x| / 127.

Sequences with at most 4 queries, and at least four keys for each, or with at most 16 queries and at
least 2,048 keys, take the decode pass, which reads keys and values once and as they lie; others
take the pass of longer sequences. Which one is decided by a sequence's two lengths alone. No
gradient passes through a cache."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from ._torch import ops_library as ops
from ._torch.numbers import whole
from ._torch.options import AXIS_ORDERS, all_records, as_mask, encode
from ._torch.types import Integers
from .masks import Mask
from .modifiers import Modifier

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int8)


class CacheFull(RuntimeError):
    """A cache has no room for what should be appended. Nothing was written."""


def _order(layout):
    order = AXIS_ORDERS.get(layout)
    if order not in (0, 1):
        raise ValueError(f"layout: {layout!r}; expected 'bhsd' or 'bshd'")
    return order


def _refuse_gradients(*inputs):
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        raise RuntimeError(
            "cache: no gradient passes through it; call it under torch.no_grad(), or detach what"
            " it is given"
        )


def _check_dtype(name, dtype):
    if dtype not in _DTYPES:
        expected = ", ".join(str(x) for x in _DTYPES)
        raise ValueError(f"{name}: {dtype!r}; expected one of {expected}")
    return dtype


class _Rows:
    """Slots of rows: what both caches keep their keys and values in."""

    def __init__(self, slots, heads, rows, dim, dim_v, dtype, value_dtype):
        dim = whole("dim", dim, 1)
        dim_v = dim if dim_v is None else whole("dim_v", dim_v, 1)
        dtype = _check_dtype("dtype", dtype)
        value_dtype = dtype if value_dtype is None else _check_dtype("value_dtype", value_dtype)
        if dim > 512 or dim_v > 2048:
            raise ValueError(f"dim: {dim}, dim_v: {dim_v}; expected at most 512 and 2048")
        heads = whole("heads", heads, 1)
        self.keys = torch.empty(slots, heads, rows, dim, dtype=dtype)
        self.values = torch.empty(slots, heads, rows, dim_v, dtype=value_dtype)
        self.key_scales = self._scales(self.keys)
        self.value_scales = self._scales(self.values)

    @staticmethod
    def _scales(rows):
        return torch.empty(rows.shape[:3]) if rows.dtype == torch.int8 else None

    def tensors(self):
        return self.keys, self.values, self.key_scales, self.value_scales

    def append(self, key, value, lengths, counts, table, order):
        _refuse_gradients(key, value)
        try:
            ops.cache_append(
                key.detach(), value.detach(), *self.tensors(), lengths, counts, table, order, 0
            )
        except RuntimeError as error:
            raise _full(error) from None

    def attend(self, query, lengths, table, cu_q, mask, records, scale, softcap, bias, order):
        _refuse_gradients(query)
        ints, floats, tensors = encode(as_mask(mask), scale, softcap, bias, records)
        return ops.cache_attend(
            query, *self.tensors(), lengths, table, cu_q, ints, floats, tensors, order, 0
        )


def _full(error):
    text = str(error)
    return CacheFull(text) if text.startswith("cache: ") else error


def _counts(counts, batch):
    if counts is None:
        return None
    counts = torch.as_tensor(counts)
    if counts.dtype not in (torch.int32, torch.int64) or counts.shape != (batch,):
        raise ValueError(
            f"counts: {counts.dtype}, shape {tuple(counts.shape)}; expected {batch} whole numbers,"
            " one for each sequence"
        )
    return counts.to(torch.int64)


class KVCache:
    """A dense cache: room for `capacity` rows of each of `batch` sequences.

    heads: of keys and values; the query's are a multiple of them. dim: of queries and keys; dim_v:
    of values, as dim unless given. dtype: float32, bfloat16, float16 or int8; value_dtype: that of
    values, where it is another one.

    lengths: int64, the rows of each sequence. keys (batch, heads, capacity, dim), values (batch,
    heads, capacity, dim_v) and, of int8, key_scales and value_scales (batch, heads, capacity) are
    the memory itself; rows from a sequence's length on hold anything."""

    def __init__(
        self,
        batch: int,
        heads: int,
        capacity: int,
        dim: int,
        *,
        dim_v: int | None = None,
        dtype: torch.dtype = torch.float32,
        value_dtype: torch.dtype | None = None,
    ) -> None:
        self.capacity = whole("capacity", capacity, 1)
        self._rows = _Rows(
            whole("batch", batch, 1), heads, self.capacity, dim, dim_v, dtype, value_dtype
        )
        self.lengths = torch.zeros(batch, dtype=torch.int64)

    keys = property(lambda self: self._rows.keys)
    values = property(lambda self: self._rows.values)
    key_scales = property(lambda self: self._rows.key_scales)
    value_scales = property(lambda self: self._rows.value_scales)

    def __repr__(self):
        batch, heads, capacity, dim = self.keys.shape
        return (
            f"regard.KVCache({batch}, {heads}, {capacity}, {dim}, dtype={self.keys.dtype};"
            f" {int(self.lengths.max())} rows in the longest sequence)"
        )

    def append(
        self, key: Tensor, value: Tensor, *, counts: Integers | None = None, layout: str = "bhsd"
    ) -> None:
        """Writes the rows of key and value (batch, heads, n, dim) behind those of each sequence; of
        sequence b only the first counts[b], where counts are given. CacheFull where some do not
        fit: then nothing is written."""
        order = _order(layout)
        counts = _counts(counts, len(self.lengths))
        self._rows.append(key, value, self.lengths, counts, None, order)
        self.lengths += key.shape[1 if order else 2] if counts is None else counts

    def truncate(self, lengths: Integers) -> None:
        """Forgets rows from these lengths on (one number for all, or one for each sequence): those
        of drafted tokens that were refused. 0 empties the cache."""
        wanted = torch.as_tensor(lengths)
        if wanted.dtype not in (torch.int32, torch.int64) or wanted.shape not in (
            (),
            self.lengths.shape,
        ):
            raise ValueError(
                f"lengths: {wanted.dtype}, shape {tuple(wanted.shape)}; expected one whole number,"
                f" or {len(self.lengths)}"
            )
        wanted = wanted.to(torch.int64).expand_as(self.lengths)
        if bool(((wanted < 0) | (wanted > self.lengths)).any()):
            raise ValueError(
                f"lengths: {wanted.tolist()}; expected 0 to {self.lengths.tolist()}, the rows there"
                " are"
            )
        self.lengths.copy_(wanted)

    def attend(
        self,
        query: Tensor,
        *,
        mask: Mask | Tensor | None = None,
        modifiers: Sequence[Modifier] = (),
        scale: float | None = None,
        softcap: float = 0.0,
        bias: Tensor | None = None,
        layout: str = "bhsd",
        return_lse: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The attention of query (batch, query heads, n, dim), float32, bfloat16 or float16, over
        the cached rows: (batch, query heads, n, dim_v), and with return_lse the logarithms of the
        rows' sums, (batch, query heads, n).

        mask, modifiers, scale, softcap, bias: as of regard.attention; keys count up to the longest
        sequence. Without a mask every query sees every row of its sequence: several new tokens want
        mask=regard.causal(), drafted ones mask=regard.tree(parents)."""
        out, lse = self._rows.attend(
            query,
            self.lengths,
            None,
            None,
            mask,
            all_records(None, modifiers, 0.0, None),
            scale,
            softcap,
            bias,
            _order(layout),
        )
        return (out, lse) if return_lse else out


class PagedCache:
    """A paged cache: `pages` pages of `page_size` rows (at least 16), which sequences take as they
    grow and give back. Sequences that begin alike share their pages (fork); a shared page is copied
    before it is written.

    heads, dim, dim_v, dtype, value_dtype: as of KVCache. keys (pages, heads, page_size, dim),
    values, key_scales, value_scales: the memory itself."""

    def __init__(
        self,
        pages: int,
        heads: int,
        dim: int,
        *,
        page_size: int = 64,
        dim_v: int | None = None,
        dtype: torch.dtype = torch.float32,
        value_dtype: torch.dtype | None = None,
    ) -> None:
        pages, page_size = whole("pages", pages, 1), whole("page_size", page_size, 16)
        self.page_size = page_size
        self._rows = _Rows(pages, heads, page_size, dim, dim_v, dtype, value_dtype)
        self._table = ops.pages_make(pages, page_size)
        weakref.finalize(self, ops.pages_drop, self._table)

    keys = property(lambda self: self._rows.keys)
    values = property(lambda self: self._rows.values)
    key_scales = property(lambda self: self._rows.key_scales)
    value_scales = property(lambda self: self._rows.value_scales)

    def __repr__(self):
        pages, heads, page_size, dim = self.keys.shape
        return (
            f"regard.PagedCache({pages}, {heads}, {dim}, page_size={page_size},"
            f" dtype={self.keys.dtype}; {self.free_pages} pages are free)"
        )

    @property
    def free_pages(self) -> int:
        """Pages that no sequence holds."""
        return ops.pages_count_free(self._table)

    def add(self) -> int:
        """A new sequence without rows: its number."""
        return ops.pages_add(self._table)

    def fork(self, sequence: int, length: int | None = None) -> int:
        """A new sequence that begins with the first `length` rows of another (all of them unless
        given), whose pages it shares: its number."""
        if length is None:
            length = self.length(sequence)
        return ops.pages_fork(self._table, whole("sequence", sequence), whole("length", length))

    def free(self, sequence: int) -> None:
        """Gives back what a sequence alone holds. Its number may be given to another."""
        ops.pages_free(self._table, whole("sequence", sequence))

    def truncate(self, sequence: int, length: int) -> None:
        """Forgets a sequence's rows from `length` on."""
        ops.pages_truncate(self._table, whole("sequence", sequence), whole("length", length))

    def length(self, sequence: int) -> int:
        """Rows of a sequence."""
        return int(ops.pages_table(self._table, [whole("sequence", sequence)])[1])

    def block_table(self, sequences: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(int32 (sequences, pages of the longest), int64 lengths): which pages hold the rows of
        these sequences."""
        return ops.pages_table(self._table, list(sequences))

    def append(
        self,
        sequences: Sequence[int],
        key: Tensor,
        value: Tensor,
        *,
        counts: Integers | None = None,
        layout: str = "bhsd",
    ) -> None:
        """Writes the rows of key and value (sequences, heads, n, dim) behind those of the sequences
        listed, each at most once; of the n-th of them only the first counts[n], where counts are
        given. CacheFull where there are too few free pages: then nothing has changed."""
        order, sequences = _order(layout), list(sequences)
        given = _counts(counts, len(sequences))
        table, lengths = self.block_table(sequences)
        rows = key.shape[1 if order else 2]
        # Everything but the room is checked before a page is taken.
        self._rows.append(key, value, lengths, torch.zeros_like(lengths), table, order)
        each = [rows] * len(sequences) if given is None else given.tolist()
        if any(n < 0 or n > rows for n in each):
            raise ValueError(f"counts: {each}; expected 0 to {rows}, the rows of key")
        try:
            source, target = ops.pages_reserve(self._table, sequences, each)
        except RuntimeError as error:
            raise _full(error) from None
        if len(source):
            for memory in self._rows.tensors():
                if memory is not None:
                    memory[target] = memory[source]
        table, _ = self.block_table(sequences)
        self._rows.append(key, value, lengths, given, table, order)

    def attend(
        self,
        sequences: Sequence[int],
        query: Tensor,
        *,
        cu_q: Integers | None = None,
        mask: Mask | Tensor | None = None,
        modifiers: Sequence[Modifier] = (),
        scale: float | None = None,
        softcap: float = 0.0,
        bias: Tensor | None = None,
        layout: str = "bhsd",
        return_lse: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The attention of query (sequences, query heads, n, dim) over the rows of the sequences
        listed; all else as KVCache.attend(). With cu_q, queries are packed: query (total, query
        heads, dim), of which rows cu_q[n] to cu_q[n + 1] belong to the n-th sequence (lse (query
        heads, total))."""
        table, lengths = self.block_table(sequences)
        out, lse = self._rows.attend(
            query,
            lengths,
            table,
            None if cu_q is None else torch.as_tensor(cu_q),
            mask,
            all_records(None, modifiers, 0.0, None),
            scale,
            softcap,
            bias,
            _order(layout) if cu_q is None else AXIS_ORDERS["thd"],
        )
        return (out, lse) if return_lse else out
