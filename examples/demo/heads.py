"""Every head of a real encoder, looking at a text: its attention weights."""

from dataclasses import dataclass

import numpy as np
import regard.transformers  # noqa: F401  (registers attn_implementation="regard")
import torch
from weights import ENCODER, encoder_folder

MOST_TOKENS = 128  # more cannot be told apart on a page


@dataclass
class Heads:
    text: str
    tokens: list[str]
    weights: np.ndarray  # (layers, heads, tokens, tokens), float32; [l, h, i, j]: how much token i takes from token j
    cut_from: int  # how many tokens the whole text had
    row_error: float  # how far the worst row is from summing to 1
    regard_error: float  # largest difference of the last hidden state, the model run with Regard instead

    model = ENCODER


def _load(attention: str):
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AutoModel.from_pretrained(encoder_folder(), attn_implementation=attention).eval()


@torch.no_grad()
def look(text: str) -> Heads:
    """The weights are the model's own: its eager attention hands out each layer's softmax."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    whole = len(tokenizer(text)["input_ids"])
    encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=MOST_TOKENS)
    eager = _load("eager")(**encoded, output_attentions=True)
    fused = _load("regard")(**encoded)
    weights = torch.cat(eager.attentions).numpy()
    return Heads(
        text=text,
        tokens=tokenizer.convert_ids_to_tokens(encoded["input_ids"][0]),
        weights=weights,
        cut_from=whole,
        row_error=float(np.abs(weights.sum(-1) - 1).max()),
        regard_error=float((eager.last_hidden_state - fused.last_hidden_state).abs().max()),
    )
