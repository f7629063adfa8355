# SPDX-License-Identifier: Apache-2.0
"""Keys that a model chooses for each query (DeepSeek V3.2 and its kin), as a mask."""

import torch


def chosen_keys(indices, len_k):
    """indices: (batch, len_q, chosen), the keys that each query sees. A boolean (batch, 1, len_q,
    len_k) tensor."""
    if indices.dim() != 3 or indices.is_floating_point():
        raise ValueError(
            f"indices: shape {tuple(indices.shape)}, {indices.dtype}; expected whole numbers of"
            " shape (batch, len_q, chosen keys)"
        )
    allowed = torch.zeros((*indices.shape[:2], len_k), dtype=torch.bool)
    return allowed.scatter(-1, indices.long(), True).unsqueeze(1)


def chosen_blocks(module, block_indices, attention_mask, query, key, position_ids):
    """Blocks of keys that the model's indexer chose: its own mask of floats, with what
    ``attention_mask`` hides."""
    indexer = getattr(module, "indexer", None)
    if not hasattr(indexer, "build_block_mask"):
        raise NotImplementedError(
            'attn_implementation="regard": blocks of keys chosen for each query (block_indices) are'
            f" not supported where {type(module).__name__} has no indexer.build_block_mask; use"
            ' "eager" or "sdpa"'
        )
    len_q, len_k = query.shape[2], key.shape[2]
    if position_ids is None:
        position_ids = torch.arange(len_k - len_q, len_k)
    position_ids = position_ids if position_ids.dim() > 1 else position_ids[None]
    return indexer.build_block_mask(
        block_indices,
        attention_mask,
        len_k,
        query.dtype,
        query.device,
        position_ids.expand(query.shape[0], -1),
    )
