# SPDX-License-Identifier: Apache-2.0
"""`regard translate`, `regard summarise` and `regard align` with a small model."""

import csv
import io
import json

import pytest
from conftest import WORDS, pairs, regard

SENTENCES = [source for source, _ in pairs(40, seed=3)]


def test_it_has_learned_and_lines_keep_their_order(model):
    out = regard("translate", model, stdin="".join(line + "\n" for line in SENTENCES)).stdout
    expected = [" ".join(WORDS[word] for word in line.split()) for line in SENTENCES]
    right = sum(a == b for a, b in zip(out.splitlines(), expected, strict=True))
    assert right >= 30


def test_a_line_does_not_depend_on_its_neighbours(model):
    together = regard("translate", model, "--beams", 3, stdin="\n".join(SENTENCES)).stdout
    for number in (0, 17, 39):
        alone = regard("translate", model, "--beams", 3, stdin=SENTENCES[number]).stdout
        assert alone.strip() == together.splitlines()[number]


def test_sampling_is_fixed_by_its_seed(model):
    def draw(seed, text):
        flags = ["--sample", "--temperature", 2, "--seed", seed]
        return regard("translate", model, *flags, stdin=text).stdout.splitlines()

    text = "\n".join(SENTENCES)
    assert draw(1, text) == draw(1, text)
    assert draw(1, text) != draw(2, text)
    assert draw(1, "\n".join(SENTENCES[:5])) == draw(1, text)[:5]


def test_empty_long_and_odd_lines(model):
    long = "the red house and the blue car. " * 60
    done = regard(
        "translate",
        model,
        stdin=f"\n{long}\n日本 \x00 \udcff😀\r\n".encode("utf-8", "surrogateescape").decode(
            "utf-8", "replace"
        ),
    )
    lines = done.stdout.split("\n")
    assert lines[0] == "" and len(lines) == 4
    assert "line 2: long, translated in" in done.stderr
    assert lines[1].split().count("Haus") > 10, "every part of a long line is translated"
    cut = regard("summarise", model, "--max-source", 20, stdin=long)
    assert "line 1: only its first 20 tokens were read" in cut.stderr


def test_json_says_what_there_is_to_say(model):
    line = regard("translate", model, "--json", stdin="the house\n").stdout
    said = json.loads(line)
    assert said["text"] == "das Haus" and said["log_probability"] < 0 and said["parts"] == 1


def test_alignment_follows_the_words(model, tmp_path):
    source = "the big house and the small tree"
    files = [tmp_path / f"map.{ending}" for ending in ("csv", "html", "png")]
    outs = [part for file in files for part in ("--out", file)]
    done = regard("align", model, "--source", source, *outs)
    target = done.stdout.strip()
    rows = list(csv.reader(io.StringIO(files[0].read_text())))
    assert rows[0] == ["", *source.split(), "</s>"]
    assert [row[0] for row in rows[1:]] == [*target.split(), "</s>"]
    weights = [[float(value) for value in row[1:]] for row in rows[1:]]
    assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in weights)
    if target == " ".join(WORDS[word] for word in source.split()):
        near = sum(abs(row.index(max(row)) - place) <= 1 for place, row in enumerate(weights[:-1]))
        assert near >= 5, weights
    assert files[1].read_text().count("<td") == len(weights) * len(weights[0])
    assert files[2].read_bytes().startswith(b"\x89PNG")


def test_alignment_with_a_given_target(model):
    said = json.loads(
        regard("align", model, "--source", "red car", "--target", "rot Auto", "--json").stdout
    )
    assert said["source"] == ["red", "car", "</s>"] and said["target"] == ["rot", "Auto", "</s>"]
    assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in said["weights"])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["translate", "/nowhere"], 1, "/nowhere is not a folder with a model"),
        (["translate", "{model}", "--beams", "0"], 2, "--beams: 0; expected 1 to"),
        (["translate", "{model}", "--beams", "1000000"], 2, "--beams: 1000000; expected 1 to"),
        (["translate", "{model}", "--length-penalty", "nan"], 2, "--length-penalty: nan"),
        (["translate", "{model}", "--input", "/tmp"], 1, "/tmp is a folder; expected a file"),
        (["translate", "{model}", "--sample", "--top-p", "3"], 2, "--top-p: 3"),
        (["translate", "{model}", "--input", "/nowhere"], 1, "cannot read /nowhere"),
        (["align", "{model}", "--source", "a"], 2, "--out: expected a file"),
        (["align", "{model}", "--source", "a", "--out", "map.gif"], 2, ".png, .html or .csv"),
        (["align", "{model}", "--source", " ", "--target", "x", "--json"], 2, "without words"),
        ([], 2, "subcommand"),
    ],
)
def test_wrong_usage_is_named(model, arguments, code, said):
    filled = [part.format(model=model) for part in arguments]
    done = regard(*filled, stdin="a\n", check=False)
    assert said in done.stderr + done.stdout
    assert done.returncode == code


def test_broken_folders_are_named(model, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "model.safetensors", "vocabulary.model"):
        (broken / name).write_bytes((model / name).read_bytes())
    for name in ("vocabulary.model", "model.safetensors", "config.json"):
        whole = (broken / name).read_bytes()
        (broken / name).write_bytes(whole[: len(whole) // 2])
        done = regard("translate", broken, stdin="a\n", check=False)
        assert done.returncode == 1 and name in done.stderr
        (broken / name).write_bytes(whole)
    assert regard("translate", broken, stdin="the\n").stdout


def test_help_has_examples():
    commands = [
        ["data", "debian"],
        ["train", "translate"],
        ["train", "summarise"],
        ["translate"],
        ["summarise"],
        ["align"],
    ]
    for command in commands:
        assert "Example" in regard(*command, "--help").stdout
    assert regard("--version").stdout.strip()
