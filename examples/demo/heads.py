# SPDX-License-Identifier: Apache-2.0
"""Every head of a real encoder, looking at a text: its attention weights."""

from dataclasses import dataclass

import numpy as np
import regard
import torch
from weights import ENCODER, encoder_folder

MOST_TOKENS = 128  # more cannot be told apart on a page


@dataclass
class Heads:
    text: str
    tokens: list[str]
    weights: (
        np.ndarray
    )  # (layers, heads, tokens, tokens), float32; [l, h, i, j]: how much token i takes from token j
    cut_from: int  # how many tokens the whole text had
    weight_error: float  # largest difference from the weights of the model's own eager attention
    output_error: float  # the same of the last hidden state

    model = ENCODER


def _load(attention: str):
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AutoModel.from_pretrained(encoder_folder(), attn_implementation=attention).eval()


def _watch(seen: list[torch.Tensor]) -> str:
    """Registers an attention that is Regard's, and puts each layer's exact weights into `seen`.
    One text, no padding: nothing is masked."""
    from regard.transformers import regard_attention
    from transformers import AttentionInterface

    def watched(module, query, key, value, attention_mask, scaling=None, **options):
        seen.append(regard.attention_map(query, key, scale=scaling))
        return regard_attention(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )

    AttentionInterface.register("regard_watched", watched)
    return "regard_watched"


@torch.no_grad()
def look(text: str) -> Heads:
    """Weights recomputed by Regard from each layer's queries and keys, and compared with those
    of the model's own eager attention."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    whole = len(tokenizer(text)["input_ids"])
    encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=MOST_TOKENS)
    eager = _load("eager")(**encoded, output_attentions=True)
    seen: list[torch.Tensor] = []
    fused = _load(_watch(seen))(**encoded)
    weights = torch.cat(seen)
    return Heads(
        text=text,
        tokens=tokenizer.convert_ids_to_tokens(encoded["input_ids"][0]),
        weights=weights.numpy(),
        cut_from=whole,
        weight_error=float((weights - torch.cat(eager.attentions)).abs().max()),
        output_error=float((eager.last_hidden_state - fused.last_hidden_state).abs().max()),
    )
