# SPDX-License-Identifier: Apache-2.0
"""`regard train classify` and `regard classify` on texts, from a small BERT with random weights."""

import json
import random
import signal
import subprocess

import pytest
import torch
from conftest import PROGRAM, regard
from safetensors.torch import load_file

transformers = pytest.importorskip("transformers")

CLASSES = {
    "food": ["bread", "soup", "apple", "rice"],
    "tools": ["hammer", "saw", "drill", "nail"],
    "weather": ["rain", "snow", "wind", "sun"],
}
COMMON = ["the", "a", "of", "and", "with", "very", "little", "big"]
FLAGS = [
    *(
        "--learning-rate",
        0.003,
        "--warmup",
        5,
        "--threads",
        1,
        "--epochs",
        0,
        "--batch-tokens",
        300,
    ),
    *("--steps", 400, "--validate-every", 100, "--checkpoint-every", 40),
]


def texts(count, seed):
    rng = random.Random(seed)
    for _ in range(count):
        label = rng.choice(list(CLASSES))
        words = [rng.choice(COMMON) for _ in range(rng.randint(3, 15))]
        words.insert(rng.randrange(len(words)), rng.choice(CLASSES[label]))
        yield label, " ".join(words)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for name, count, seed in (("train", 300, 1), ("valid", 60, 2)):
        rows = [f"{label}\t{text}\n" for label, text in texts(count, seed)]
        (folder / f"{name}.tsv").write_text("".join(rows))
    return folder


@pytest.fixture(scope="module", params=["bert", "longformer"])
def base(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "base"
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *COMMON]
    words += [word for words_ in CLASSES.values() for word in words_]
    tokenizer = transformers.BertTokenizerFast(vocab={word: i for i, word in enumerate(words)})
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"vocab_size": len(words), "hidden_size": 32, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 42}
    if request.param == "bert":
        model = transformers.BertModel(transformers.BertConfig(**sizes))
    else:
        ends = {"pad_token_id": 0, "sep_token_id": 3, "attention_window": [4, 4]}
        model = transformers.LongformerModel(transformers.LongformerConfig(**sizes, **ends))
    model.save_pretrained(folder)
    return folder


def arguments(files, base, out, *more):
    data = ["--text", files / "train.tsv", "--valid", files / "valid.tsv", "--model", base]
    return ["train", "classify", *data, "--out", out, *FLAGS, *more]


@pytest.fixture(scope="module")
def model(files, base, tmp_path_factory):
    out = tmp_path_factory.mktemp("classifier") / "model"
    done = regard(*arguments(files, base, out, "--json"))
    return out, json.loads(done.stdout)


def test_it_learns_and_transformers_says_the_same(model, files):
    out, said = model
    assert said["best_error"] < 0.1
    rows = [line.split("\t") for line in (files / "valid.tsv").read_text().splitlines()]
    done = regard("classify", out, "--json", "--top", 3, stdin="".join(t + "\n" for _, t in rows))
    found = [json.loads(line)["labels"] for line in done.stdout.splitlines()]
    right = sum(labels[0]["label"] == row[0] for labels, row in zip(found, rows, strict=True))
    assert right / len(rows) == pytest.approx(1 - said["best_error"])
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(out).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert theirs.config.id2label == dict(enumerate(sorted(CLASSES)))
    for (_, text), labels in list(zip(rows, found, strict=True))[:20]:
        with torch.no_grad():
            probabilities = theirs(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)
        for entry in labels:
            expected = probabilities[theirs.config.label2id[entry["label"]]].item()
            assert entry["probability"] == pytest.approx(expected, abs=1e-4)


def test_killed_it_comes_to_the_same_bits(model, files, base, tmp_path):
    out, _ = model
    killed = tmp_path / "killed"
    for limit in (2.5, 4, None):
        process = subprocess.Popen(
            [PROGRAM, *map(str, arguments(files, base, killed))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert process.wait(timeout=limit or 300) == 0
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    for name in ("training", "model"):
        a, b = (load_file(folder / f"{name}.safetensors") for folder in (out, killed))
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_texts_files_and_lines(model, tmp_path):
    out, _ = model
    page = tmp_path / "page.txt"
    page.write_text("the little\nbread")
    done = regard("classify", out, "--text", "a big hammer", "--file", page)
    first, second = done.stdout.splitlines()
    assert first.startswith("tools\t") and second.startswith(f"{page}\tfood\t")
    said = json.loads(regard("classify", out, "--file", page, "--json").stdout)
    assert said["file"] == str(page) and said["labels"][0]["label"] == "food"
    long = regard("classify", out, "--text", "the rain " * 300)
    assert "of 602 tokens, only the first" in long.stderr and long.stdout.startswith("weather\t")
    cut = regard("classify", out, "--max-length", 4, "--text", "the rain hammer hammer")
    assert cut.stdout == regard("classify", out, "--text", "the rain").stdout
    assert "of 6 tokens, only the first 4" in cut.stderr
    wrong = regard("classify", out, "--max-length", 64, "--text", "a", check=False)
    assert wrong.returncode == 2 and "--max-length: 64; expected 3 to" in wrong.stderr


def test_texts_of_all_lengths_are_as_if_alone(tmp_path):
    """How many are computed together, and with how much padding, changes nothing."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *COMMON]
    sizes = {"vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 1100}
    config = transformers.BertConfig(**sizes, initializer_range=0.5, num_labels=3)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    vocabulary = {word: i for i, word in enumerate(words)}
    transformers.BertTokenizerFast(vocab=vocabulary).save_pretrained(tmp_path)
    # More than 16,384 tokens with their padding, and then more than 32 texts.
    counts = [1000] * 12 + [3, 900, 5, 1000, 1000, 1000] + [1 + i % 9 for i in range(70)]
    lines = [
        " ".join(COMMON[(i + j * j) % len(COMMON)] for j in range(n)) for i, n in enumerate(counts)
    ]
    together = regard("classify", tmp_path, "--top", 3, stdin="\n".join(lines)).stdout.splitlines()
    assert len(together) == len(lines) and len(set(together)) > 10
    for i in (0, 12, 15, 16, 17, 18, 49, 50, len(lines) - 1):
        alone = regard("classify", tmp_path, "--top", 3, "--text", lines[i]).stdout
        assert together[i] == alone[:-1], i


def test_folders_of_classes(base, tmp_path):
    for number, (label, text) in enumerate(texts(30, 3)):
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / label / f"{number}.txt").write_text(text)
    data = ["--text", tmp_path / "data", "--model", base, "--out", tmp_path / "out"]
    done = regard("train", "classify", *data, *FLAGS[:-6], "--steps", 2)
    assert "3 classes" in done.stderr and "30 texts" in done.stderr


@pytest.mark.parametrize(
    ("content", "flags", "code", "said"),
    [
        ("", [], 1, "has no texts"),
        ("one\ta\none\tb\n", [], 1, "every text has the label 'one'"),
        ("no tab\n", [], 1, "line 1: no tab"),
        ("a\tx\nb\ty\n", ["--max-length", 64], 2, "--max-length: 64; expected 3 to"),
        ("a\tx\nb\ty\n", ["--valid", "VALID"], 1, "label 'food' is not one of those"),
    ],
)
def test_what_does_not_serve_is_named(files, base, tmp_path, content, flags, code, said):
    (tmp_path / "a.tsv").write_text(content)
    flags = [files / "valid.tsv" if flag == "VALID" else flag for flag in flags]
    data = ["--text", tmp_path / "a.tsv", "--model", base, "--out", tmp_path / "out"]
    done = regard("train", "classify", *data, "--steps", 2, *flags, check=False)
    assert said in done.stderr
    assert done.returncode == code


def test_one_that_cannot_be_read_loses_no_other(model, tmp_path):
    out, _ = model
    done = regard("classify", out, stdin=b"bread\nhammer\n\xff\nrain\n", check=False)
    assert done.returncode == 2 and b"line 3: text: byte 0 is not UTF-8" in done.stderr
    assert [line.split(b"\t")[0] for line in done.stdout.splitlines()] == [b"food", b"tools"]
    page, empty = tmp_path / "page.txt", tmp_path / "empty.txt"
    page.write_text("bread")
    empty.write_text(" \n")
    done = regard("classify", out, "--file", page, "--file", empty, check=False)
    assert done.returncode == 1 and f"{empty}: holds no text" in done.stderr
    assert done.stdout.startswith(f"{page}\tfood")
    for flags, message in (
        (["--file", tmp_path], "is a folder; expected a text file"),
        ([], "no text: give --text, --file, or lines"),
        (["picture.png", "--text", "a"], "--text: is for texts; these are pictures"),
    ):
        done = regard("classify", out, *flags, check=False)
        assert done.returncode == 2 and message in done.stderr, done.stderr
    done = regard("classify", tmp_path / "nowhere", "--text", "a", check=False)
    assert done.returncode == 1 and "is not a folder with a model" in done.stderr


def test_a_model_without_classes(base):
    done = regard("classify", base, "--text", "a", check=False)
    assert done.returncode == 1 and "a model without classes" in done.stderr
