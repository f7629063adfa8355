# SPDX-License-Identifier: Apache-2.0
"""flash-attention's conventions as regard's: masks from `causal` and `window_size`, slopes, and the
statistics that it returns."""

import torch

from .._torch.attention import attention
from .._torch.numbers import whole
from ..masks import causal as causal_mask
from ..masks import window
from ..modifiers import alibi

_NAMES = {"query": "q", "key": "k", "value": "v", "scale": "softmax_scale"}


def attend(q, k, v, **options):
    """regard.attention, whose errors name its arguments as flash-attention does."""
    try:
        return attention(q, k, v, **options)
    except ValueError as error:
        raise renamed(error) from None


def answer(q, k, v, dropout_p, options, show):
    """attend(), or with `show` (out, softmax_lse, S_dmask): show(seed) gives the weights, asked for
    with dropout only, where the seed of what was dropped is known."""
    if show is None:
        return attend(q, k, v, dropout_p=dropout_p, **options)
    seed = seed_of(dropout_p)
    out, lse = attend(q, k, v, dropout_p=dropout_p, seed=seed, return_lse=True, **options)
    return out, softmax_lse(lse), q.new_empty(0) if seed is None else show(seed)


def renamed(error):
    """`error` of regard's, with the name that flash-attention has for the argument."""
    name, colon, rest = str(error).partition(": ")
    return ValueError(f"{_NAMES.get(name, name)}{colon}{rest}")


def window_of(window_size, causal, len_k):
    """(left, right), -1 where a side has no bound: flash-attention's reading of both arguments. A
    causal query sees nothing on its right, and a window as wide as the keys is none."""
    try:
        left, right = window_size
    except (TypeError, ValueError):
        raise ValueError(
            f"window_size: {window_size!r}; expected (left, right), -1 for a side without a bound"
        ) from None
    left, right = whole("window_size: left", left), whole("window_size: right", right)
    right = 0 if causal else right
    return tuple(-1 if side < 0 or side >= max(len_k, 1) else side for side in (left, right))


def mask_of(left, right):
    """Aligned at the bottom right, as flash-attention's: the last query sees the last key."""
    if left < 0 and right < 0:
        return None
    return causal_mask() if left < 0 and right == 0 else window(left, right)


def slopes_of(alibi_slopes, batch, heads):
    """The modifiers for ALiBi's slopes, (heads,) or (batch, heads). As in flash-attention, they
    get no gradient."""
    if alibi_slopes is None:
        return ()
    if not isinstance(alibi_slopes, torch.Tensor):
        raise ValueError(f"alibi_slopes: {type(alibi_slopes).__name__}; expected a tensor")
    shape = tuple(alibi_slopes.shape)
    if shape not in ((heads,), (batch, heads)):
        raise ValueError(
            f"alibi_slopes: shape {shape}; expected (heads,) = ({heads},) or (batch, heads) ="
            f" ({batch}, {heads})"
        )
    return (alibi(alibi_slopes.detach()),)


def seed_of(dropout_p):
    """A seed of torch's default generator, drawn here where a second pass shows what was
    dropped."""
    return torch.empty(1, dtype=torch.int64).random_() if dropout_p else None


def softmax_lse(lse):
    """flash-attention's statistic: +inf, not -inf, for a row that sees no key; no gradient."""
    lse = lse.detach()
    return lse.masked_fill(lse == -torch.inf, torch.inf)


def tensor_of(name, x, axes):
    """x, a tensor with these axes."""
    if not isinstance(x, torch.Tensor):
        raise ValueError(f"{name}: {type(x).__name__}; expected a tensor {axes}")
    if x.dim() != axes.count(",") + 1:
        raise ValueError(f"{name}: shape {tuple(x.shape)}; expected {axes}")
    return x


def packed(name, x, count, axes):
    """The `count` tensors that x holds side by side. The backward pass of unbind() writes their
    gradients into one tensor, once."""
    at = axes.strip("()").split(", ").index(str(count))
    if tensor_of(name, x, axes).shape[at] != count:
        raise ValueError(f"{name}: shape {tuple(x.shape)}; expected {axes}")
    return x.unbind(at)


def integers(name, tensor, *sizes):
    """A tensor of int32 (or int64) of these sizes, of which None is any."""
    if not isinstance(tensor, torch.Tensor) or tensor.dtype not in (torch.int32, torch.int64):
        what = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise ValueError(f"{name}: {what}; expected a tensor of torch.int32")
    if tensor.dim() != len(sizes) or any(
        size not in (None, own) for own, size in zip(tensor.shape, sizes, strict=False)
    ):
        expected = ", ".join("any" if size is None else str(size) for size in sizes)
        raise ValueError(f"{name}: shape {tuple(tensor.shape)}; expected ({expected})")
    return tensor


def check_heads(q, k, v, names=("q", "k", "v")):
    """Heads, dims and dtypes of queries, keys and values whose last axes are (heads, dim)."""
    q_name, k_name, v_name = names
    for name, x in ((k_name, k), (v_name, v)):
        if x.dtype != q.dtype:
            raise ValueError(f"{name}: {x.dtype}; expected {q.dtype}, as {q_name}")
    shape, heads = tuple(k.shape), q.shape[-2]
    if shape[-1] != q.shape[-1]:
        raise ValueError(
            f"{k_name}: shape {shape} has head dimension {shape[-1]}; {q_name} has {q.shape[-1]}"
        )
    if shape[-2] == 0 or heads % shape[-2]:
        raise ValueError(
            f"{k_name}: shape {shape} has {shape[-2]} heads; {q_name} has {heads}, which must be a"
            " multiple of them"
        )
    if v.shape[:-1] != k.shape[:-1]:
        raise ValueError(
            f"{v_name}: shape {tuple(v.shape)}; expected {shape[:-1]}, as {k_name}, and the"
            " dimension of a head"
        )
