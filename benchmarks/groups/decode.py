# SPDX-License-Identifier: Apache-2.0
"""A few queries against many keys: text that is generated, beside the speed at which memory can be
read, and beside PyTorch's own ways."""

import ctypes
import math
import time
from statistics import median

import regard
import torch
from harness.paths import built
from harness.rows import Group, Row
from harness.timing import Contender, interleave, ratios

from groups.settings import Settings

_DIM = 128
_KEYS = 65536
_HEADS = ((8, 8), (8, 1), (32, 4), (1, 1))
_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.int8,
}
_LONG_GOAL, _RAGGED_GOAL = 0.88, 0.80
_SHARE_OF_PEAK = 0.70  # where arithmetic is the limit


class _Reader:
    """Reads the memory of some tensors once, as fast as it can be read."""

    def __init__(self, tensors, threads: int):
        self._read = ctypes.CDLL(str(built("libregard_peak.so"))).regard_read
        self._read.restype = ctypes.c_double
        self._threads = threads
        self._tensors = tensors  # kept alive
        sizes = [x.numel() * x.element_size() for x in tensors]
        self.bytes = sum(sizes)
        self._arguments = (
            (ctypes.c_void_p * len(sizes))(*(x.data_ptr() for x in tensors)),
            (ctypes.c_size_t * len(sizes))(*sizes),
            ctypes.c_size_t(len(sizes)),
        )

    def seconds(self) -> float:
        return self._read(*self._arguments, self._threads)


def _query_dtype(dtype):
    return torch.bfloat16 if dtype == torch.int8 else dtype


def _beside_memory(settings, call, reader: _Reader, dtype, flops: float, repeats: int):
    """(seconds of a call, seconds that its limit would take, its share of the limit), in turns."""
    torch.set_num_threads(settings.threads)
    call()
    kind = "bf16" if dtype in (torch.bfloat16, torch.int8) else "fma"  # int8 to bfloat16 is exact
    ours, limits, shares = [], [], []
    for _ in range(repeats):
        time.sleep(0.004)  # PyTorch's threads spin for a while
        peak = settings.peak.measure(kind, settings.threads)
        before = reader.seconds()
        call()
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
        time.sleep(0.004)
        after = reader.seconds()
        limit = max((before + after) / 2, flops / (_SHARE_OF_PEAK * peak))
        ours.append(seconds)
        limits.append(limit)
        shares.append(limit / seconds)
    return median(ours), median(limits), median(shares)


def _row(case, result, nbytes, goal, values) -> Row:
    seconds, limit, share = result
    return Row(
        "decode",
        case,
        seconds,
        goal=f"{goal:.0%} of the limit",
        reached=f"{share:.0%} ({nbytes / seconds * 1e-9:.1f} of {nbytes / limit * 1e-9:.1f} GB/s)",
        met=share >= goal,
        values={"share": share, "bytes": nbytes, "limit_ms": limit * 1e3, **values},
    )


def _long(settings: Settings) -> list[Row]:
    rows = []
    repeats = settings.pick(7, 15, 31)
    for heads_q, heads_kv in _HEADS:
        for name, dtype in _DTYPES.items():
            settings.say(f"{_KEYS} keys, {name}, heads {heads_q}/{heads_kv}")
            cache = regard.KVCache(1, heads_kv, _KEYS, _DIM, dtype=dtype)
            for _ in range(_KEYS // 4096):
                cache.append(*torch.randn(2, 1, heads_kv, 4096, _DIM).unbind())
            q = torch.randn(1, heads_q, 1, _DIM).to(_query_dtype(dtype))
            reader = _Reader(
                [x for x in (cache.keys, cache.values, cache.key_scales, cache.value_scales)
                 if x is not None],
                settings.threads,
            )  # fmt: skip
            result = _beside_memory(
                settings,
                lambda q=q, cache=cache: cache.attend(q),
                reader,
                dtype,
                4.0 * heads_q * _KEYS * _DIM,
                repeats,
            )
            rows.append(
                _row(
                    f"{_KEYS} keys, {name}, heads {heads_q}/{heads_kv}",
                    result,
                    reader.bytes,
                    _LONG_GOAL,
                    {"dtype": name, "heads": [heads_q, heads_kv]},
                )
            )
    return rows


def _uneven_lengths(batch: int) -> list[int]:
    """From 16 to 16,384, evenly spread on a logarithmic scale, in a fixed disorder."""
    lengths = [round(16 * 1024 ** (n / (batch - 1))) for n in range(batch)]
    return [lengths[n * 37 % batch] for n in range(batch)]


def _ragged(settings: Settings) -> list[Row]:
    rows = []
    heads_q, heads_kv, batch = 8, 2, 64
    lengths = _uneven_lengths(batch)
    for name, dtype in _DTYPES.items():
        for kind in ("dense", "paged"):
            settings.say(f"batch {batch}, {kind}, {name}")
            q = torch.randn(batch, heads_q, 1, _DIM).to(_query_dtype(dtype))
            if kind == "dense":
                cache = regard.KVCache(batch, heads_kv, max(lengths), _DIM, dtype=dtype)
                for begin in range(0, max(lengths), 1024):
                    counts = [min(max(n - begin, 0), 1024) for n in lengths]
                    n = max(counts)
                    cache.append(*torch.randn(2, batch, heads_kv, n, _DIM).unbind(), counts=counts)
                memory = [
                    x[b, :, : lengths[b]] for x in (cache.keys, cache.values) for b in range(batch)
                ]
                pieces = [x[h] for x in memory for h in range(heads_kv)]
                call = lambda q=q, cache=cache: cache.attend(q)  # noqa: E731
            else:
                pages = sum((n + 63) // 64 for n in lengths)
                cache = regard.PagedCache(pages, heads_kv, _DIM, dtype=dtype)
                sequences = [cache.add() for _ in lengths]
                for begin in range(0, max(lengths), 1024):
                    counts = [min(max(n - begin, 0), 1024) for n in lengths]
                    n = max(counts)
                    cache.append(
                        sequences,
                        *torch.randn(2, batch, heads_kv, n, _DIM).unbind(),
                        counts=counts,
                    )
                pieces = [cache.keys, cache.values]
                call = lambda q=q, cache=cache, s=sequences: cache.attend(s, q)  # noqa: E731
            reader = _Reader(pieces, settings.threads)
            result = _beside_memory(
                settings,
                call,
                reader,
                dtype,
                4.0 * heads_q * sum(lengths) * _DIM,
                settings.pick(7, 15, 31),
            )
            rows.append(
                _row(
                    f"batch {batch}, 16 to 16384 keys, {kind}, {name}, heads {heads_q}/{heads_kv}",
                    result,
                    reader.bytes,
                    _RAGGED_GOAL,
                    {"dtype": name, "kind": kind},
                )
            )
    return rows


def _plain(q, k, v):
    group = q.shape[1] // k.shape[1]
    scores = q.unflatten(1, (-1, group)).flatten(2, 3) @ k.transpose(-1, -2)
    weights = torch.softmax(scores / math.sqrt(q.shape[-1]), -1)
    return (weights @ v).unflatten(2, (group, -1)).flatten(1, 2)


def _sdpa(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, enable_gqa=q.shape[1] != k.shape[1]
    )


def _short(settings: Settings) -> list[Row]:
    """regard.attention beside PyTorch's kernel and beside two matrix products."""
    rows = []
    keys = settings.pick((1, 64, 1024), (1, 16, 64, 256, 1024))
    for name in ("float32", "bfloat16", "float16"):
        for group in settings.pick((1, 8), (1, 2, 4, 8, 9)):
            for batch in settings.pick((1, 16), (1, 8, 64)):
                for n in keys:
                    settings.say(f"{n} keys, {name}, batch {batch}, group {group}")
                    dtype, heads = _DTYPES[name], 4
                    q = torch.randn(batch, heads * group, 1, _DIM, dtype=dtype)
                    k, v = torch.randn(2, batch, heads, n, _DIM, dtype=dtype).unbind()
                    calls = {
                        "regard": lambda q=q, k=k, v=v: regard.attention(q, k, v),
                        "PyTorch SDPA": lambda q=q, k=k, v=v: _sdpa(q, k, v),
                        "plain matmul": lambda q=q, k=k, v=v: _plain(q, k, v),
                    }
                    with torch.no_grad():
                        ours, *theirs = interleave(
                            [Contender(w, c, settings.threads) for w, c in calls.items()],
                            settings.pick(9, 15, 31),
                            settings.peak,
                            least_seconds=0.001,
                            peak_each=False,
                            most_seconds=settings.pick(1, 2, 8),
                        )
                    best = min(theirs, key=lambda x: x.time)
                    times = median(ratios(best, ours))
                    rows.append(
                        Row(
                            "decode",
                            f"{n} keys, {name}, batch {batch}, heads {heads * group}/{heads}",
                            ours.time,
                            best.time,
                            best.contender.name,
                            goal="1x the best of PyTorch",
                            reached=f"{times:.2f}x {best.contender.name}",
                            met=times >= 1,
                            values={
                                "keys": n,
                                "dtype": name,
                                "batch": batch,
                                "group": group,
                                "ratio": times,
                            },
                        )
                    )
    return rows


def decode(settings: Settings) -> Group:
    torch.manual_seed(0)
    rows = [*_long(settings), *_ragged(settings), *_short(settings)]
    notes = [
        "The limit of a call is the time in which as many threads read the same memory, measured"
        f" before and after it, or its operations at {_SHARE_OF_PEAK:.0%} of the multipliers' peak"
        " where that takes longer.",
        "Queries of int8 caches are bfloat16.",
    ]
    return Group("decode", f"1 query of each sequence, d={_DIM}, caches and tensors", rows, notes)
