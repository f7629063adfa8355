# SPDX-License-Identifier: Apache-2.0
"""Padded batches to packed sequences and back, as flash_attn.bert_padding."""

import torch
from torch.nn.functional import pad

__all__ = [
    "index_first_axis",
    "index_put_first_axis",
    "pad_input",
    "unpad_input",
    "unpad_input_for_concatenated_sequences",
]


def index_first_axis(input, indices):
    """input[indices]: rows (count, ...) of (total, ...); differentiable."""
    return input.index_select(0, indices.long())


def index_put_first_axis(values, indices, first_axis_dim):
    """(first_axis_dim, ...) with values (count, ...) in rows `indices`, 0 elsewhere."""
    return values.new_zeros(first_axis_dim, *values.shape[1:]).index_copy(0, indices.long(), values)


def unpad_input(hidden_states, attention_mask, unused_mask=None):
    """(the rows of hidden_states (batch, seqlen, ...) whose mask is 1, (total, ...); their places
    in the flattened batch, int64 (total,); cu_seqlens, int32 (batch + 1,); the longest sequence, an
    int; how many are in use of each, int32 (batch,)).

    attention_mask: (batch, seqlen), bool or int. unused_mask: likewise, 1 for tokens that are
    kept as rows though they are not in use."""
    kept = attention_mask if unused_mask is None else attention_mask + unused_mask
    used = attention_mask.sum(dim=-1, dtype=torch.int32)
    return *_packed(hidden_states, kept, kept.sum(dim=-1, dtype=torch.int32)), used


def unpad_input_for_concatenated_sequences(hidden_states, attention_mask_in_length):
    """(rows, places, cu_seqlens, longest) where each row of attention_mask_in_length (batch,
    seqlen) lists the lengths of the sequences that stand one after the other in that batch entry,
    and then zeros: [2, 3, 0, 0, 0, 0] is five tokens of two sequences."""
    lengths = attention_mask_in_length.flatten()
    total = attention_mask_in_length.sum(dim=-1, keepdim=True)
    kept = torch.arange(attention_mask_in_length.shape[-1], device=total.device) < total
    return _packed(hidden_states, kept, lengths[lengths > 0])


def _packed(hidden_states, kept, lengths):
    places = kept.flatten().nonzero().flatten()
    cu_seqlens = pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    longest = int(lengths.max()) if lengths.numel() else 0
    return index_first_axis(hidden_states.flatten(0, 1), places), places, cu_seqlens, longest


def pad_input(hidden_states, indices, batch, seqlen):
    """The inverse of unpad_input: (batch, seqlen, ...) with the rows at their places, 0
    elsewhere."""
    return index_put_first_axis(hidden_states, indices, batch * seqlen).unflatten(
        0, (batch, seqlen)
    )
