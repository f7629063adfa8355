# SPDX-License-Identifier: Apache-2.0
"""What happens to a score before the softmax, and to a weight after it. Modifiers are values in
the tuple ``modifiers=`` of regard.attention; they compose with each other, every mask, dtype and
layout, and their tensors get gradients.

    regard.attention(q, k, v, modifiers=(regard.alibi(slopes), regard.sinks(logits)))

Their order is fixed, whatever their order in the tuple: temperature, softcap, bias / alibi /
relative_bias, function, mask, softmax (sinks join its denominator), dropout and multiplier /
gaussian. Formulas and sources: include/regard/modifier.h.
"""

from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

from ._torch.axes import kind_of
from ._torch.numbers import number, whole
from ._torch.record import Record
from .masks import as_tensor

_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64)

# Tensor.random_, which Dynamo does not trace, as a function: it does that, and compiled code then
# draws the numbers that eager code draws.
_draw = torch.ops.aten.random.default


class Modifier(Record):
    """What modifiers= takes."""

    __slots__ = ()


def _floating(name, tensor, rank, meaning):
    """`tensor`, checked."""
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        what = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise ValueError(f"{name}: {what}; expected a floating-point tensor {meaning}")
    if tensor.layout is not torch.strided or tensor.is_nested:
        raise ValueError(f"{name}: {kind_of(tensor)}; expected a dense one")
    if tensor.dim() not in rank:
        raise ValueError(f"{name}: shape {tuple(tensor.shape)}; expected {meaning}")
    return tensor


def _numbers(values):
    """Numbers, lists of them and arrays as a tensor; the rest as it is."""
    if isinstance(values, int | float | list | tuple) and not isinstance(values, bool):
        try:
            return torch.tensor(values, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):  # rows of two lengths, texts
            return values
    return as_tensor(values)


def _given(name, tensor, meaning):
    """What an error of the core that calls it `name` shall say about this tensor."""
    return (name, tuple(tensor.shape), meaning)


def temperature(values: Tensor | float) -> Modifier:
    """s / t: one positive number per head, (heads,), or one for all: a number, () or (1,)."""
    values = _floating("temperature", _numbers(values), (0, 1), "a number, or (heads,)")
    return Modifier(
        "temperature",
        tensors=(values.reshape(1, -1, 1, 1),),
        given=(_given("temperature", values, "one number, or (heads,)"),),
    )


def alibi(slopes: Tensor) -> Modifier:
    """s - slope * |i + len_k - len_q - j| (arXiv 2108.12409): slopes (heads,) or (batch, heads)."""
    meaning = "(heads,) or (batch, heads)"
    slopes = _floating("alibi: slopes", as_tensor(slopes), (1, 2), meaning)
    return Modifier(
        "alibi",
        tensors=(slopes.reshape(-1, slopes.shape[-1], 1, 1),),
        given=(_given("alibi", slopes, meaning),),
    )


def alibi_slopes(heads: int) -> Tensor:
    """The slopes that the authors of ALiBi use: a geometric series, float32 (heads,)."""

    def series(count):
        return [2.0 ** (-8.0 * (i + 1) / count) for i in range(count)]

    whole = 1 << (heads.bit_length() - 1)  # the largest power of two that is not above it
    return torch.tensor(series(whole) + series(2 * whole)[0::2][: heads - whole])


def relative_bias(
    table: Tensor, buckets: Tensor, *, query_code: Tensor, key_code: Tensor, shift: int = 0
) -> Modifier:
    """s + table[buckets[key_code[j] - query_code[i] + shift], head]: a bias that depends on how
    two positions lie to each other, with no len_q x len_k tensor. table: (entries, heads), or
    (entries, 1) for all heads. buckets, query_code (len_q,), key_code (len_k,): integers."""
    table = _floating("relative_bias: table", table, (2,), "(entries, heads)")
    codes = [
        _codes(name, code)
        for name, code in (("query_code", query_code), ("key_code", key_code), ("buckets", buckets))
    ]
    shift = whole("relative_bias: shift", shift)
    return Modifier(
        "relative_bias",
        (shift,),
        tensors=(table.t().reshape(1, table.shape[1], 1, -1), *codes),
        given=(
            _given("relative_bias.table", table, "(entries, heads)"),
            _given("relative_bias.query_code", query_code, "(len_q,)"),
            _given("relative_bias.key_code", key_code, "(len_k,)"),
        ),
    )


def _codes(name, code):
    """As the kernels read them: int32."""
    if not isinstance(code, torch.Tensor) or code.dim() != 1 or code.dtype not in _INTEGERS:
        what = (
            f"{code.dtype}, shape {tuple(code.shape)}"
            if isinstance(code, torch.Tensor)
            else type(code).__name__
        )
        raise ValueError(f"relative_bias: {name}: {what}; expected a vector of integers")
    if code.dtype == torch.int64 and code.numel() and not is_dynamo_compiling():
        least, most = (int(x) for x in torch.aminmax(code))
        if least < -(2**31) or most >= 2**31:
            raise ValueError(
                f"relative_bias: {name}: from {least} to {most}; expected numbers that fit in an"
                " int32"
            )
    return code.to(torch.int32).contiguous().reshape(1, 1, 1, -1)


def t5_bias(
    table: Tensor,
    len_q: int,
    len_k: int,
    *,
    bidirectional: bool = True,
    max_distance: int = 128,
    query_offset: int = 0,
    key_offset: int = 0,
) -> Modifier:
    """T5's relative position bias (arXiv 1910.10683): table (buckets, heads), the weight of
    `relative_attention_bias`. Half of the buckets hold one distance each, the others ever more,
    up to max_distance. query_offset, key_offset: the positions of the first query (with a cache)
    and key (of a part)."""
    entries = _floating("t5_bias: table", table, (2,), "(buckets, heads)").shape[0]
    if entries < (4 if bidirectional else 2):
        raise ValueError(
            f"t5_bias: table: {entries} buckets; expected at least {4 if bidirectional else 2}"
        )
    query_code = torch.arange(query_offset, query_offset + len_q, dtype=torch.int32)
    key_code = torch.arange(key_offset, key_offset + len_k, dtype=torch.int32)
    shift = query_offset + len_q - 1 - key_offset
    distance = torch.arange(-shift, key_offset + len_k - query_offset)  # key - query
    bucket = torch.zeros_like(distance)
    if bidirectional:
        entries //= 2
        bucket = (distance > 0).long() * entries
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = entries // 2
    far = (
        exact
        + (
            torch.log(distance.clamp(min=1).float() / exact)
            / torch.log(torch.tensor(max_distance / exact))
            * (entries - exact)
        ).long()
    )
    bucket = bucket + torch.where(distance < exact, distance, far.clamp(max=entries - 1))
    return relative_bias(table, bucket.int(), query_code=query_code, key_code=key_code, shift=shift)


def swin_bias(table: Tensor, height: int, width: int) -> Modifier:
    """Swin's bias inside windows of height x width positions, row by row (arXiv 2103.14030):
    table ((2 height - 1) * (2 width - 1), heads), the `relative_position_bias_table`."""
    height, width = whole("swin_bias: height", height, 1), whole("swin_bias: width", width, 1)
    entries = (2 * height - 1) * (2 * width - 1)
    if (
        _floating("swin_bias: table", table, (2,), "((2 height - 1) * (2 width - 1), heads)").shape[
            0
        ]
        != entries
    ):
        raise ValueError(
            f"swin_bias: table: {table.shape[0]} entries; expected {entries} for windows of"
            f" {height} x {width}"
        )
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    code = (row * (2 * width - 1) + column).flatten().int()
    # Swin counts query - key; differences here are key - query.
    buckets = torch.arange(entries - 1, -1, -1, dtype=torch.int32)
    return relative_bias(table, buckets, query_code=code, key_code=code, shift=(entries - 1) // 2)


def function(apply: Any, derive: Any = None, context: int = 0) -> Modifier:
    """A compiled function over tiles of scores, and its derivative: addresses of C functions (a
    numba ``cfunc``'s ``.address``, a ctypes pointer) with the signature ``void (const
    FunctionTile*, void* context)`` of include/regard/modifier.h. derive is needed for gradients.
    The functions must outlive every use, and run on several threads."""

    def address(name, f):
        try:
            return 0 if f is None else int(getattr(f, "address", f))
        except (TypeError, ValueError):
            raise ValueError(
                f"function: {name}: {type(f).__name__}; expected the address of a compiled function"
                " (a numba cfunc, or an int)"
            ) from None

    return Modifier(
        "function",
        (address("apply", apply), address("derive", derive), address("context", context)),
    )


def sinks(logits: Tensor) -> Modifier:
    """Learned logits, (heads, m) or (heads,), that join the denominator of every row of their
    head and nothing else."""
    logits = _floating("sinks: logits", logits, (1, 2), "(heads, m) or (heads,)")
    return Modifier(
        "sinks",
        tensors=(logits.reshape(1, logits.shape[0], 1, -1),),
        given=(_given("sinks", logits, "(heads, m) or (heads,)"),),
    )


def multiplier(weights: Tensor) -> Modifier:
    """weight * w after the softmax: any tensor that broadcasts to (batch, heads, len_q, len_k).
    Rows no longer add up to 1."""
    meaning = "that broadcasts to (batch, heads, len_q, len_k)"
    return Modifier(
        "multiplier",
        tensors=(_floating("multiplier", weights, range(5), meaning),),
        given=(_given("multiplier", weights, f"one {meaning}"),),
    )


def gaussian(centre: Tensor, sigma: float) -> Modifier:
    """weight * exp(-(j - centre)^2 / (2 sigma^2)) after the softmax (local-p, Luong et al.
    2015): centre (batch, heads, len_q), sizes of 1 stand for all; it gets a gradient, sigma has
    none."""
    meaning = "that broadcasts to (batch, heads, len_q)"
    return Modifier(
        "gaussian",
        floats=(number("gaussian: sigma", sigma),),
        tensors=(_floating("gaussian: centre", centre, range(9), meaning)[..., None],),
        given=(_given("gaussian.centre", centre, f"one {meaning}"),),
    )


def check_seed(seed):
    """None, or an int64 tensor of one element."""
    if seed is None:
        return None
    if not isinstance(seed, torch.Tensor):
        return torch.full((1,), whole("seed", seed), dtype=torch.int64)
    if seed.dtype != torch.int64 or seed.numel() != 1:
        raise ValueError(
            f"seed: {seed.dtype}, shape {tuple(seed.shape)}; expected an int, or an int64 tensor of"
            " one element"
        )
    return seed


def drawn_seed():
    """An int64 of torch's default generator."""
    return _draw(torch.empty(1, dtype=torch.int64))


def dropout(p: float, seed: int | Tensor | None = None) -> Modifier:
    """What dropout_p and seed of regard.attention become. Without a seed, an int64 is drawn from
    torch's default generator."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout_p: {p}; expected a probability between 0 and 1")
    given = check_seed(seed)
    if given is None:
        given = drawn_seed()
    return Modifier("dropout", floats=(float(p),), tensors=(given.reshape(1, 1, 1, 1),))
