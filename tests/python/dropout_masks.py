# SPDX-License-Identifier: Apache-2.0
"""The dropout mask that Regard regenerates from a seed, as oracles need it."""

import regard
import torch


def kept(p, seed, *shape):
    """(..., heads, len_q, len_k): what dropout multiplies each weight with, seen through one-hot
    values of an attention whose weights are all alike."""
    *lead, len_q, len_k = shape
    q, k = (
        torch.zeros(*lead, len_q, 1, dtype=torch.float64),
        torch.zeros(*lead, len_k, 1, dtype=torch.float64),
    )
    v = torch.eye(len_k, dtype=torch.float64).expand(*lead, -1, -1)
    return (regard.attention(q, k, v, dropout_p=p, seed=seed) > 0).double() / (1 - p)


def drawn_seed():
    """The seed that the next call without one draws. It is drawn here: start over from the same
    random state to get it there."""
    return torch.empty(1, dtype=torch.int64).random_()


def drop_alike(weights, p=0.5, training=True, inplace=False):
    """In the place of torch.nn.functional.dropout: drops the weights of an attention that Regard
    drops with the next seed."""
    return (
        weights * kept(p, drawn_seed(), *weights.shape).to(weights.dtype)
        if training and p
        else weights
    )
