# SPDX-License-Identifier: Apache-2.0
"""A Longformer with a BERT's weights, as Beltagy et al. (2020, arXiv 2004.05150, section 5) made
theirs: positions are copied again and again, global projections begin as the local ones.

longformer_from_bert.py BERT OUT [--positions N] [--window N] [--layers N] [--head]
"""

import argparse
import shutil
from pathlib import Path

import torch
from transformers import (
    BertModel,
    LongformerConfig,
    LongformerForSequenceClassification,
    LongformerModel,
)

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


def convert(bert, positions, window, layers):
    config = bert.config
    made = LongformerModel(
        LongformerConfig(
            attention_window=[window] * layers,
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            hidden_act=config.hidden_act,
            max_position_embeddings=positions + 1,  # they begin after the pad token's
            type_vocab_size=config.type_vocab_size,
            layer_norm_eps=config.layer_norm_eps,
            pad_token_id=0,
            bos_token_id=101,
            eos_token_id=102,
            sep_token_id=102,
        )
    )
    theirs, state = bert.state_dict(), made.state_dict()
    learned = theirs["embeddings.position_embeddings.weight"]
    for name, tensor in state.items():
        if name == "embeddings.position_embeddings.weight":
            times = -(-positions // len(learned))
            tensor[1:] = learned.repeat(times, 1)[:positions]
            tensor[0] = 0
        else:
            source = theirs.get(name.replace("_global", ""))
            if source is not None and source.shape == tensor.shape:
                tensor.copy_(source)
            elif "position_ids" not in name and "pooler" not in name:
                raise SystemExit(f"nothing to make {name} of")
    made.load_state_dict(state)
    return made


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bert", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--positions", type=int, default=16384)
    parser.add_argument("--window", type=int, default=256, help="tokens seen, both sides together")
    parser.add_argument("--layers", type=int, default=6, help="the first ones of BERT's")
    parser.add_argument("--head", action="store_true", help="with an untrained classifier")
    options = parser.parse_args()
    torch.manual_seed(1)
    bert = BertModel.from_pretrained(options.bert)
    with torch.no_grad():
        made = convert(bert, options.positions, options.window, options.layers)
    if options.head:
        whole = LongformerForSequenceClassification(made.config)
        whole.longformer.load_state_dict(made.state_dict(), strict=False)
        made = whole
    made.save_pretrained(options.out)
    for name in TOKENIZER:
        if (options.bert / name).exists():
            shutil.copy(options.bert / name, options.out / name)


if __name__ == "__main__":
    main()
