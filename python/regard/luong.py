# SPDX-License-Identifier: Apache-2.0
"""The attentions of Luong et al. 2015 (arXiv 1508.04025) whose scores are more than a dot
product, made of regard.attention: the dot score itself is regard.attention(query, key, value,
scale=1.0)."""

from typing import Any

import torch
from torch import Tensor

from ._torch.attention import attention
from .score import PreparedKeys, additive


def luong_general(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, **options: Any
) -> Tensor | tuple[Tensor, Tensor]:
    """softmax(query . (weight key)) value: the "general" score of Luong et al. 2015 (arXiv
    1508.04025). weight: (query's dim, key's dim).

    The queries are projected, of which a decoder has fewer than keys. options: those of
    regard.attention (scale is 1)."""
    _check_tensors("luong_general", query=query, key=key, weight=weight)
    _check_weight("luong_general", weight, query.shape[-1], key.shape[-1])
    return attention(query @ weight, key, value, scale=1.0, **options)


def luong_concat(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, v: Tensor, **options: Any
) -> Tensor | tuple[Tensor, Tensor]:
    """softmax(v . tanh(weight [query; key])) value: the "concat" score of Luong et al. 2015
    (arXiv 1508.04025), which is additive with the weight cut in two. weight: (hidden, query's
    dim + key's dim); v: (hidden,). options: those of regard.attention."""
    _check_tensors("luong_concat", query=query, key=key, weight=weight)
    dim = query.shape[-1]
    _check_weight("luong_concat", weight, None, dim + key.shape[-1])
    return attention(
        query @ weight[:, :dim].t(), key @ weight[:, dim:].t(), value, score=additive(v), **options
    )


def luong_location(
    query: Tensor, value: Tensor, weight: Tensor, **options: Any
) -> Tensor | tuple[Tensor, Tensor]:
    """softmax(weight query) value: the "location" score of Luong et al. 2015 (arXiv 1508.04025),
    which looks at no key: position s scores row s of the weight times the query. query (...,
    heads, len_q, dim), value (..., heads, len_k, dim_v), weight: (positions, dim) with at least
    len_k rows, of which the first len_k are used. options: those of regard.attention (layout is
    bhsd)."""
    _check_tensors("luong_location", query=query, value=value, weight=weight)
    if options.get("layout", "bhsd") != "bhsd":
        raise ValueError(f"luong_location: layout: {options['layout']!r}; expected 'bhsd'")
    _check_weight("luong_location", weight, None, query.shape[-1])
    if weight.shape[0] < value.shape[-2]:
        raise ValueError(
            f"luong_location: weight of shape {tuple(weight.shape)} has too few positions for"
            f" {value.shape[-2]} values"
        )
    rows = weight[: value.shape[-2]]
    return attention(
        query, rows.expand(*value.shape[:-2], *rows.shape), value, scale=1.0, **options
    )


def _check_tensors(name, **tensors):
    for argument, x in tensors.items():
        if isinstance(x, PreparedKeys):  # what is prepared is the projected key
            raise ValueError(
                f"{name}: key is PreparedKeys; expected a tensor (prepare the projected key for"
                " regard.additive instead)"
            )
        if not isinstance(x, torch.Tensor) or x.dim() < 2:
            what = f"shape {tuple(x.shape)}" if isinstance(x, torch.Tensor) else type(x).__name__
            raise ValueError(
                f"{name}: {argument}: {what}; expected a tensor of at least two dimensions"
            )


def _check_weight(name, weight, rows, columns):
    if weight.dim() == 2 and rows in (None, weight.shape[0]) and weight.shape[1] == columns:
        return
    expected = f"({'any' if rows is None else rows}, {columns})"
    raise ValueError(f"{name}: weight has shape {tuple(weight.shape)}; expected {expected}")
