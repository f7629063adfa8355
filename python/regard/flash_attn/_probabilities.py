# SPDX-License-Identifier: Apache-2.0
"""What return_attn_probs shows: the weights, with the dropout in their signs."""

import torch

from .._torch.map import attention_map


def shown_probabilities(q, k, dropout_p, seed, options, rows=None, cols=None):
    """S_dmask of the chosen rows and columns, (..., heads, rows, cols) in q's dtype: the softmax
    before dropout, negative where dropout took the weight away. options: those of the pass."""
    where = dict(mask=options["mask"], layout=options["layout"], rows=rows, cols=cols)
    weights = attention_map(q, k, **options, rows=rows, cols=cols)
    # With scores of 0 every visible key has a weight that no rounding takes to 0.
    kept = attention_map(torch.zeros_like(q), k, dropout_p=dropout_p, seed=seed, **where)
    return torch.where(kept > 0, weights, -weights).to(q.dtype)
