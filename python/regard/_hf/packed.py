# SPDX-License-Identifier: Apache-2.0
"""Several sequences in one row: packed training, and continuous batching."""

from .._torch.attention import attention
from ..masks import NONE, causal, documents, window
from .carried import CarriedMask


def sliding(sliding_window, is_causal):
    """That many keys in all, the query's own included. Without is_causal the window reaches as far
    to the right."""
    return window(sliding_window - 1, 0 if is_causal else sliding_window - 1)


def pattern(attention_mask, is_causal, sliding_window):
    """What a query sees within its own sequence, as a mask; None where the model's mask says more
    than that, which then goes before."""
    if isinstance(attention_mask, CarriedMask):
        return attention_mask.pattern
    if attention_mask is not None:
        return None
    mask = causal() if is_causal else NONE
    if sliding_window is None:
        return mask
    seen = sliding(sliding_window, is_causal)
    return seen if mask is NONE else mask & seen


def packed(query, key, value, cu_q, cu_k, seen, options):
    """(batch, len_q, heads, dim_v) of (batch, heads, len, dim); the rows of a batch follow each
    other. cu_q, cu_k: (sequences + 1,), where each begins; seen: what holds within each."""
    mask = documents(cu_q, cu_k)
    if seen is not NONE:
        mask = seen & mask
    rows = [x.transpose(1, 2).flatten(0, 1) for x in (query, key, value)]
    return attention(*rows, mask=mask, layout="thd", **options).unflatten(0, (query.shape[0], -1))
