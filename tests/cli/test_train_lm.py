# SPDX-License-Identifier: Apache-2.0
"""`regard train lm`: texts of any form to a folder that transformers reads as well."""

import json
import math
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from conftest import PROGRAM, regard
from safetensors.torch import load_file

WORDS = ["the", "a", "red", "blue", "small", "big", "cat", "dog", "tree", "sees", "likes", "and"]
FAST = [
    *("--context", 32, "--batch-tokens", 200, "--learning-rate", "0.01", "--warmup", 10),
    *("--threads", 1, "--epochs", 0),
]
SMALL = ["--layers", 2, "--heads", 2, "--dim", 32, "--vocabulary-size", 320, *FAST]
STEPS = ["--steps", 60, "--validate-every", 25, "--checkpoint-every", 7]


def texts(count, seed):
    rng = random.Random(seed)
    for _ in range(count):
        words = [rng.choice(WORDS) for _ in range(rng.randint(3, 25))]
        yield " ".join(words) + ".\n  Ünïcode " + str(rng.randint(0, 99))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for name, count, seed in (("train", 300, 1), ("valid", 30, 2)):
        lines = [json.dumps({"text": text}) + "\n" for text in texts(count, seed)]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return folder


def arguments(files, out, *more):
    data = ["--text", files / "train.jsonl", "--valid", files / "valid.jsonl", "--out", out]
    tuned = any(isinstance(one, Path) for one in more)  # a checkpoint, which has its own sizes
    return ["train", "lm", *data, *(FAST if tuned else SMALL), *more]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model(request, files, tmp_path_factory):
    out = tmp_path_factory.mktemp("lm") / request.param
    done = regard(*arguments(files, out, *STEPS, "--model", request.param, "--json"))
    return out, json.loads(done.stdout)


def nll(model, tokenizer, documents):
    """The mean negative log-likelihood of every token but a document's first, by transformers."""
    total, count = 0.0, 0
    for text in documents:
        ids = torch.tensor([[*tokenizer(text).input_ids, tokenizer.eos_token_id]])
        for begin in range(0, ids.shape[1] - 1, 32):
            part = ids[:, begin : begin + 33]
            with torch.no_grad():
                logits = model(part[:, :-1]).logits
            total += torch.nn.functional.cross_entropy(
                logits[0], part[0, 1:], reduction="sum"
            ).item()
            count += part.shape[1] - 1
    return total / count


def test_transformers_reads_the_folder_and_finds_the_same_perplexity(model, files):
    transformers = pytest.importorskip("transformers")
    out, said = model
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    lines = (files / "valid.jsonl").read_text().splitlines()
    documents = [json.loads(line)["text"] for line in lines]
    assert (
        tokenizer.decode(tokenizer(documents[0]).input_ids, skip_special_tokens=True)
        == (documents[0])
    )
    assert nll(theirs, tokenizer, documents) == pytest.approx(said["best_nll"], abs=1e-4)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    validations = [line for line in log if line["kind"] == "validation"]
    assert [line["step"] for line in validations] == [25, 50, 60]
    assert validations[-1]["perplexity"] == pytest.approx(math.exp(validations[-1]["nll"]))
    assert validations[-1]["nll"] < math.log(len(WORDS)) < validations[0]["nll"] + 1
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_checkpoint_is_fine_tuned(model, files, tmp_path):
    out, said = model
    tuned = tmp_path / "tuned"
    more = ["--steps", 10, "--validate-every", 0, "--json", "--model", out]
    again = json.loads(regard(*arguments(files, tuned, *more, "--learning-rate", 1e-3)).stdout)
    assert again["parameters"] == said["parameters"]
    assert again["best_nll"] < said["best_nll"] + 0.1  # it began where the other one ended
    assert (tuned / "tokenizer.json").read_text() == (out / "tokenizer.json").read_text()


def test_killed_again_and_again_it_comes_to_the_same_bits(files, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    begin = time.monotonic()
    regard(*arguments(files, whole, *STEPS))
    seconds = time.monotonic() - begin
    rng = random.Random(3)
    kills = 0
    while True:
        process = subprocess.Popen(
            [PROGRAM, *map(str, arguments(files, killed, *STEPS))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            limit = rng.uniform(0, 0.7 * seconds) if kills < 5 else 20 * seconds + 60
            assert process.wait(timeout=limit) == 0
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills >= 2
    for name in ("training", "model"):
        a, b = (load_file(folder / f"{name}.safetensors") for folder in (whole, killed))
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_layers_that_are_computed_again_come_to_the_same_bits(files, tmp_path, kind):
    steps = ["--steps", 8, "--validate-every", 8, "--checkpoint-every", 5, "--model", kind]
    for name, more in (("kept", []), ("again", ["--recompute"])):
        regard(*arguments(files, tmp_path / name, *steps, *more))
    kept, again = (tmp_path / name / "model.safetensors" for name in ("kept", "again"))
    assert kept.read_bytes() == again.read_bytes()


def test_other_forms_of_text(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    for number, text in enumerate(texts(40, 5)):
        (folder / f"{number}.txt").write_text(text)
    small = [*SMALL, "--steps", 2]
    done = regard("train", "lm", "--text", folder, "--out", tmp_path / "a", *small)
    assert "40 documents" in done.stderr
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(text.replace("\n", " ") + "\n\n" for text in texts(50, 6)))
    for form in ("lines", "paragraphs"):
        out = tmp_path / form
        done = regard("train", "lm", "--text", lines, "--documents", form, "--out", out, *small)
        assert "50 documents" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "flags", "code", "said"),
    [
        ("a.txt", b"", [], 1, "hold no text"),
        ("a.txt", "caf\xe9".encode("latin-1"), [], 1, "a.txt: not UTF-8"),
        ("a.jsonl", b'{"body": "x"}\n', [], 1, 'line 1: has no "text"'),
        ("a.txt", b"some words", ["--model", "rnn"], 2, "expected gpt2, llama or the folder"),
        ("a.txt", b"some words", ["--batch-tokens", 8], 2, "expected at least the context"),
        ("a.txt", b"some words", ["--heads", 5], 2, "heads"),
        ("a.txt", b"some words", ["--documents", "xml"], 2, "'xml'; expected auto, file"),
    ],
)
def test_what_does_not_serve_is_named(tmp_path, name, content, flags, code, said):
    (tmp_path / name).write_bytes(content)
    files = ["--text", tmp_path / name, "--out", tmp_path / "out"]
    done = regard("train", "lm", *files, *SMALL, "--steps", 2, *flags, check=False)
    assert said in done.stderr + done.stdout
    assert done.returncode == code


def test_a_context_longer_than_the_positions(model, files, tmp_path):
    out, _ = model
    if out.name != "gpt2":
        pytest.skip("rotary positions have no end")
    more = ["--model", out, "--steps", 2, "--context", 64]
    done = regard(*arguments(files, tmp_path / "out", *more), check=False)
    assert done.returncode == 2
    assert "context: 64 tokens; the model has 32 positions" in done.stderr
