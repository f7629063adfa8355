# SPDX-License-Identifier: Apache-2.0
"""What models hand over to an attention function beside query, key and value: what is served stands
in regard_attention's signature; the rest is known to change nothing, or refused, or named once."""

import warnings

# They say nothing about the weights: rotary embeddings have been applied already, lengths repeat
# what the boundaries of packed sequences say, and the others are for the model around.
HARMLESS = frozenset(
    {
        "cache_position", "cu_seqlens", "deterministic", "hidden_states", "labels", "layer_idx",
        "logits_to_keep", "max_length_k", "max_length_q", "max_seqlen", "max_seqlen_k",
        "max_seqlen_q", "num_items_in_batch", "output_hidden_states", "output_router_logits",
        "past_key_value", "past_key_values", "position_embeddings", "position_ids", "return_dict",
        "seq_idx", "supports_mapping", "target_dtype", "use_cache", "use_top_left_mask",
    }
)  # fmt: skip

# They would change the result.
REFUSED = {
    "alibi": "a bias by distance",
    "attention_bias": "a bias of its own",
    "block_mask": "a block mask of flex_attention",
    "block_table": "paged caches",
    "cache": "caches of another kind than continuous batching has",
    "cache_seqlens": "paged caches",
    "head_mask": "heads switched off by a mask",
    "prefix_lengths": "prefixes that all queries see",
    "score_mod": "score functions of flex_attention",
}


def check(arguments):
    """Refuses what would change the result; warns once of each name that is not known here."""
    for name, x in arguments.items():
        if x is None or x is False or name in HARMLESS:
            continue
        if name in REFUSED:
            raise NotImplementedError(
                f'attn_implementation="regard": {REFUSED[name]} ({name}) are not supported; use'
                ' "eager" or "sdpa"'
            )
        if name not in _named:
            _named.add(name)
            warnings.warn(
                f'attn_implementation="regard": the argument {name} is not known and has no effect'
                ' on attention here; if it should have, use "eager" or "sdpa"',
                stacklevel=4,
            )


def refuse_beside(what, **given):
    """Refuses each argument that is given (name=True) and not served beside ``what``."""
    names = [name for name, is_given in given.items() if is_given]
    if names:
        raise NotImplementedError(
            f'attn_implementation="regard": {" and ".join(names)} beside {what}: not supported; use'
            ' "eager"'
        )


_named: set[str] = set()
