# SPDX-License-Identifier: Apache-2.0
"""The command line as a user has it: the program that was built, files, and a small model."""

import os
import random
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build/release/cli/regard"

WORDS = {
    "red": "rot",
    "green": "grün",
    "blue": "blau",
    "house": "Haus",
    "car": "Auto",
    "tree": "Baum",
    "big": "groß",
    "small": "klein",
    "the": "das",
    "and": "und",
}


def regard(*arguments, stdin="", check=True, timeout=300, **options):
    """Runs `regard` and gives what it returned and wrote."""
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=not isinstance(stdin, bytes),
        timeout=timeout,
        check=False,
        **options,
    )
    if check:
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def pairs(count, seed=1):
    rng = random.Random(seed)
    for _ in range(count):
        words = [rng.choice(list(WORDS)) for _ in range(rng.randint(2, 7))]
        yield " ".join(words), " ".join(WORDS[word] for word in words)


def write_pairs(folder, name, lines):
    sources, targets = zip(*lines, strict=True)
    for side, texts in (("en", sources), ("de", targets)):
        (folder / f"{name}.{side}").write_text("".join(text + "\n" for text in texts))


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    write_pairs(folder, "train", pairs(1500))
    write_pairs(folder, "valid", pairs(60, seed=2))
    return folder


# A model that is small enough to be trained in seconds.
SMALL = [
    *("--vocabulary-size", "340", "--dim", "48", "--embedding", "32", "--dropout", "0.1"),
    *("--batch-tokens", "500", "--max-length", "60", "--learning-rate", "0.005"),
    *("--warmup", "20", "--threads", "1", "--epochs", "0"),
]


def train_arguments(texts, out, *more):
    files = [
        *("--source", texts / "train.en", "--target", texts / "train.de"),
        *("--valid-source", texts / "valid.en", "--valid-target", texts / "valid.de"),
    ]
    return ["train", "translate", *files, "--out", out, *SMALL, *more]


@pytest.fixture(scope="session")
def model(texts, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "en-de"
    regard(*train_arguments(texts, out, "--steps", 160, "--validate-every", 80))
    return out


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, "TMPDIR": str(tmp_path)}
