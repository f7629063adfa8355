# SPDX-License-Identifier: Apache-2.0
"""Installs the library into an empty folder, and builds and runs a project that finds it there."""

import re
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def sh(*command, stdin=None):
    done = subprocess.run(
        [str(part) for part in command], input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("installed")
    sh("cmake", "--install", ROOT / "build/release", "--component", "cpp", "--prefix", prefix)
    return prefix


@pytest.fixture(scope="module")
def built(installed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("consumer")
    sh(
        "cmake",
        "-G",
        "Ninja",
        "-S",
        HERE,
        "-B",
        folder,
        f"-DCMAKE_PREFIX_PATH={installed}",
        "-DCMAKE_BUILD_TYPE=Release",
    )
    sh("cmake", "--build", folder)
    return folder


@pytest.mark.parametrize("program", ["plain", "with_tbb"])
def test_a_project_outside_the_tree_links_and_runs(built, program):
    assert sh(built / program) == f"{program}: ok\n"


# Headers that take PyTorch's along.
NN = sorted(
    path
    for folder in ("nn", "generate", "train", "image")
    for path in (ROOT / "include/regard" / folder).glob("*.h")
    if folder != "image" or "#include <torch/" in path.read_text()
)


def test_a_project_outside_the_tree_uses_the_sequence_models(installed, tmp_path):
    prefixes = f"{installed};{torch.utils.cmake_prefix_path}"
    options = [
        f"-DCMAKE_PREFIX_PATH={prefixes}",
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DEXAMPLES={ROOT / 'examples'}",
    ]
    sh("cmake", "-G", "Ninja", "-S", HERE / "nn", "-B", tmp_path, *options)
    sh("cmake", "--build", tmp_path)
    assert sh(tmp_path / "with_nn", tmp_path / "model") == "with_nn: ok\n"

    # The example trains on two files, goes on, and translates.
    words = {"red": "rot", "house": "Haus", "tree": "Baum", "big": "gross"}
    pairs = [(a, b) for a in words for b in words]
    for name, texts in (("en", words.keys()), ("de", words.values())):
        lines = [f"{a} {b}" for a in texts for b in texts]
        (tmp_path / name).write_text("".join(line + "\n" for line in lines * 20))
    example = tmp_path / "train_translator", tmp_path / "en", tmp_path / "de", tmp_path / "en-de"
    source = "".join(f"{a} {b}\n" for a, b in pairs)
    for steps in ("30", "80"):
        out = sh(*example, steps, stdin=source)
    right = [f"{words[a]} {words[b]}" for a, b in pairs]
    assert sum(a == b for a, b in zip(out.splitlines(), right, strict=True)) >= 12, out

    # The other example fine-tunes a checkpoint, which transformers then reads.
    kinds = {"warm": ["red", "orange", "yellow"], "cold": ["blue", "green", "violet"]}
    make_checkpoint(tmp_path / "bert", [word for words in kinds.values() for word in words])
    lines = [f"{kind}\tvery {word}\n" for kind, words in kinds.items() for word in words]
    (tmp_path / "texts").write_text("".join(lines))
    example = tmp_path / "fine_tune_encoder", tmp_path / "bert", tmp_path / "texts"
    out = sh(*example, tmp_path / "tuned", "300", stdin="very orange\nvery blue\n")
    assert out == "warm\ncold\n"
    tuned = BertForSequenceClassification.from_pretrained(tmp_path / "tuned")
    assert tuned.config.id2label == {0: "cold", 1: "warm"}


def make_checkpoint(folder, words):
    """A small BERT with random weights and a tokenizer of whole words."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "very", *words]
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(
        BertConfig(vocab_size=len(vocabulary), intermediate_size=64, **sizes)
    ).save_pretrained(folder)
    BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(folder)


def test_public_headers_of_the_sequence_models_can_come_in_any_order(installed, tmp_path):
    """One compilation for all of them: each takes PyTorch's headers along."""
    names = [str(path.relative_to(ROOT / "include")) for path in NN]
    source = tmp_path / "all.cc"
    source.write_text("".join(f"#include <{name}>\n" for name in names[::-1] + names))
    sh("c++", *flags_with_torch(installed), source)


def test_snippets_of_the_models_page_compile(installed, tmp_path):
    page = (ROOT / "docs/models.md").read_text()
    found = re.findall(r"^```cpp\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found
    source = tmp_path / "snippets.cc"
    source.write_text("\n".join(found))
    sh("c++", *flags_with_torch(installed), source)


def flags_with_torch(installed):
    """To check a source that includes public headers of the sequence models."""
    flags = ["-std=c++20", "-Wall", "-Wextra", "-fsyntax-only", "-I", installed / "include"]
    torch_include = Path(torch.__file__).parent / "include"
    return [
        *flags,
        *("-isystem", torch_include),
        *("-isystem", torch_include / "torch/csrc/api/include"),
    ]


def test_installed_files_do_not_name_this_checkout(installed):
    """A package that points back into the source tree works here and nowhere else."""
    for path in [*installed.rglob("*.cmake"), *installed.rglob("*.h")]:
        assert str(ROOT) not in path.read_text(), path


def test_every_public_header_is_installed_and_stands_alone(installed, tmp_path):
    public = set((ROOT / "include").rglob("*.h")) - set(NN)
    headers = sorted(path.relative_to(ROOT / "include") for path in public)
    assert headers
    for header in headers:
        source = tmp_path / f"{header.stem}.cc"
        source.write_text(f"#include <{header}>\n#include <{header}>\nint main() {{}}\n")
        sh(
            "c++",
            "-std=c++20",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fsyntax-only",
            "-I",
            installed / "include",
            source,
        )
