# SPDX-License-Identifier: Apache-2.0
"""The caches that flash_attn_with_kvcache is given: whose rows are where, what goes behind them,
and attention over them."""

import torch

from .._torch import ops_library as ops
from .._torch.options import AXIS_ORDERS, as_mask, encode
from ._options import attend, check_heads, integers, renamed, slopes_of, tensor_of
from ._pages import check_pages, rows_of_pages

_BSHD = AXIS_ORDERS["bshd"]
_DENSE, _PAGED = "(batch, seqlen, heads, dim)", "(num_blocks, page_size, heads, dim)"


class Cache:
    """k, v: the caches; lengths, first: of each sequence, how many keys it has and which is its
    first; room: for how many there is room; entries: the cache's entry of each sequence."""

    def __init__(self, q, k, v, seqlens, batch_idx, leftpad, table):
        for name, x in (("k_cache", k), ("v_cache", v)):
            tensor_of(name, x, _DENSE if table is None else _PAGED)
        check_heads(q, k, v, ("q", "k_cache", "v_cache"))
        self.k, self.v, self.table = k, v, table
        batch = q.shape[0]
        if table is not None:
            if batch_idx is not None:
                raise ValueError("cache_batch_idx: given with block_table; expected one of them")
            integers("block_table", table, batch, None)
        elif batch_idx is None and k.shape[0] != batch:
            raise ValueError(
                f"k_cache: shape {tuple(k.shape)} has batch size {k.shape[0]}; q has {batch}"
                " (cache_batch_idx says which entries are meant)"
            )
        self.room = k.shape[1] * (1 if table is None else table.shape[1])
        self.entries = _counts("cache_batch_idx", batch_idx, batch, k.shape[0] - 1)
        if self.entries is None:
            self.entries = list(range(batch))
        if isinstance(seqlens, int):
            seqlens = torch.full((batch,), seqlens)
        self.lengths = _counts("cache_seqlens", seqlens, batch, self.room)
        self.given = self.lengths is not None
        if self.lengths is None:
            self.lengths = [self.room] * batch
        self.first = _counts("cache_leftpad", leftpad, batch, self.room) or [0] * batch

    def check_room(self, count):
        """Whether `count` more keys fit in each sequence."""
        if not self.given:
            raise ValueError("cache_seqlens: not given; k and v go behind the keys that it counts")
        for n, length in enumerate(self.lengths):
            if length + count > self.room:
                raise ValueError(
                    f"k: {count} keys for sequence {n}, which has {length}; the cache has room for"
                    f" {self.room} of each sequence"
                )
        if self.table is None and len(set(self.entries)) < len(self.entries):
            raise ValueError(
                f"cache_batch_idx: {self.entries}; expected each entry at most once, where k and v"
                " are written to them"
            )

    def append(self, k, v):
        """Writes k and v (batch, n, heads, dim) behind the keys of each sequence."""
        count = k.shape[1]
        rows = torch.tensor(self.lengths)[:, None] + torch.arange(count)
        if self.table is None:
            slots = torch.tensor(self.entries)[:, None]
        else:
            size = self.k.shape[1]
            slots, rows = self.table.long().gather(1, rows // size), rows % size
            check_pages(slots, self.k.shape[0])
        self.k[slots, rows] = k
        self.v[slots, rows] = v
        self.lengths = [length + count for length in self.lengths]

    def attend(self, q, mask, alibi_slopes, options):
        """As regard.attention: (batch, seqlen_q, heads, dim), with options["return_lse"] also
        (batch, heads, seqlen_q). `mask` counts in each sequence's own keys. Modifiers among the
        options come behind the slopes."""
        if any(self.first) or q.dtype == torch.float64:
            return self._one_by_one(q, mask, alibi_slopes, options)
        modifiers = slopes_of(alibi_slopes, q.shape[0], q.shape[2])
        modifiers += options.get("modifiers", ())
        table = self.table
        if table is None and self.entries != list(range(self.k.shape[0])):
            table = torch.tensor(self.entries)[:, None]  # an entry of the cache is a page
        table = None if table is None else table.to(torch.int32).contiguous()
        lengths = torch.tensor(self.lengths)
        try:
            lists = encode(as_mask(mask), options["scale"], options["softcap"], None, modifiers)
            out, lse = ops.cache_attend(
                q, self.k, self.v, None, None, lengths, table, None, *lists, _BSHD, _BSHD
            )
        except ValueError as error:
            raise renamed(error) from None
        return (out, lse) if options["return_lse"] else out

    def _one_by_one(self, q, mask, alibi_slopes, options):
        """What caches of their own do not know: keys that begin behind the first, and float64."""
        batch, heads = q.shape[0], q.shape[2]
        own_slopes = alibi_slopes is not None and alibi_slopes.dim() == 2
        more = options.get("modifiers", ())
        results = []
        for n in range(batch):
            slopes = alibi_slopes[n] if own_slopes else alibi_slopes
            results.append(
                attend(
                    q[n : n + 1],
                    *self._rows(n),
                    mask=mask,
                    layout="bshd",
                    **dict(options, modifiers=slopes_of(slopes, 1, heads) + more),
                )
            )
        if not options["return_lse"]:
            return torch.cat(results) if results else torch.empty_like(q)
        return tuple(torch.cat(parts) for parts in zip(*results, strict=True))

    def _rows(self, n):
        """Keys and values of sequence n, (1, its keys, heads, dim)."""
        begin, end = self.first[n], max(self.first[n], self.lengths[n])
        if self.table is not None:
            return (
                rows_of_pages(cache, self.table[n], end)[None, begin:] for cache in (self.k, self.v)
            )
        entry = self.entries[n]
        return (cache[entry : entry + 1, begin:end] for cache in (self.k, self.v))


def _counts(name, counts, batch, most):
    """`counts`, (batch,), as a list of numbers from 0 to `most`."""
    if counts is None:
        return None
    found = integers(name, counts, batch).tolist()
    if found and not 0 <= min(found) <= max(found) <= most:
        raise ValueError(f"{name}: {found}; expected numbers from 0 to {most}")
    return found
