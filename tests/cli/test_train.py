# SPDX-License-Identifier: Apache-2.0
"""`regard train`: what it makes, and that nothing that happens to it loses anything."""

import json
import random
import resource
import signal
import subprocess
import time

import pytest
import torch
from conftest import PROGRAM, regard, train_arguments
from safetensors.torch import load_file

# The last checkpoint must come to the same bits however often training was killed.
STEPS = ["--steps", 120, "--validate-every", 50, "--checkpoint-every", 7]


def tensors(folder):
    return {name: load_file(folder / f"{name}.safetensors") for name in ("training", "model")}


def assert_same_bits(a, b):
    for file, found in tensors(a).items():
        other = tensors(b)[file]
        assert found.keys() == other.keys()
        for name, tensor in found.items():
            assert torch.equal(tensor, other[name]), f"{file}: {name}"


def test_a_folder_has_everything(model):
    names = {path.name for path in model.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "vocabulary.model",
        "training.safetensors",
        "log.jsonl",
        "curve.png",
    } <= names
    lines = [json.loads(line) for line in (model / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(20, 161, 20))
    assert [line["step"] for line in lines if line["kind"] == "validation"] == [80, 160]
    assert (model / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", [["bahdanau"], ["transformer", "--dim", "32", "--heads", "2"]])
def test_killed_again_and_again_it_comes_to_the_same_bits(texts, tmp_path, kind):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    begin = time.monotonic()
    regard(*train_arguments(texts, whole, *STEPS, "--model", *kind))
    seconds = time.monotonic() - begin
    rng = random.Random(7)
    kills = 0
    while True:
        arguments = train_arguments(texts, killed, *STEPS, "--model", *kind)
        process = subprocess.Popen(
            [PROGRAM, *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            # at any moment, the start included; after enough of them it may come to its end
            limit = rng.uniform(0, 0.6 * seconds) if kills < 6 else 20 * seconds + 60
            assert process.wait(timeout=limit) == 0
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills >= 3
    assert_same_bits(whole, killed)


def test_interrupted_it_saves_and_goes_on(texts, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    regard(*train_arguments(texts, whole, *STEPS))
    command = [PROGRAM, *map(str, train_arguments(texts, parts, *STEPS[:-1], 100_000))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (parts / "log.jsonl").exists() or not (parts / "log.jsonl").read_text():
        time.sleep(0.02)
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "until stopped" in out and "the same command goes on" in out
    assert "going on from step" in regard(*train_arguments(texts, parts, *STEPS)).stderr
    assert_same_bits(whole, parts)


def test_a_full_disk_ends_it_with_the_last_checkpoint_whole(texts, tmp_path):
    whole, full = tmp_path / "whole", tmp_path / "full"
    regard(*train_arguments(texts, whole, *STEPS))
    regard(*train_arguments(texts, full, "--steps", 20, *STEPS[2:]))

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    arguments = train_arguments(texts, full, *STEPS)
    done = regard(*arguments, check=False, preexec_fn=small_files)
    assert done.returncode == 1
    assert "File too large" in done.stderr and "same command again" in done.stderr
    assert not list(full.glob("*.tmp"))
    regard(*arguments)
    assert_same_bits(whole, full)


def test_every_model_trains(texts, tmp_path):
    luong = ["--model", "luong", "--luong-score"]
    kinds = {
        "fixed": ["--model", "fixed"],
        "dot": [*luong, "dot", "--cell", "lstm"],
        "location": [*luong, "location", "--luong-reach", "local-m"],
        "concat": [*luong, "concat", "--no-input-feeding"],
        "local-p": [*luong, "general", "--luong-reach", "local-p", "--window", "3"],
        "transformer": ["--model", "transformer", "--dim", "32", "--layers", "1", "--norm", "post"],
    }
    for name, flags in kinds.items():
        out = tmp_path / name
        done = regard(*train_arguments(texts, out, "--steps", 3, "--json", *flags))
        said = json.loads(done.stdout)
        assert said["steps"] == 3 and said["ended_by"] == "steps" and said["best_nll"] > 0
        result = regard("translate", out, "--beams", 2, stdin="the red house\n\nbig car\n")
        lines = result.stdout.split("\n")
        assert len(lines) == 4 and lines[1] == ""


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize("kind", ["bahdanau", "luong", "fixed"])
def test_in_bfloat16_it_learns_as_well(texts, tmp_path, kind, cell):
    flags = ["--model", kind, "--cell", cell, "--dim", 32, "--steps", 30, "--validate-every", 30]
    losses = {}
    for name, more in (("float32", []), ("bfloat16", ["--bf16"])):
        regard(*train_arguments(texts, tmp_path / name, *flags, *more))
        log = (tmp_path / name / "log.jsonl").read_text().splitlines()
        losses[name] = json.loads(log[-1])["nll"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.03)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("a\nb\n", "c\n"), "has 2 lines and"),
        (("", ""), "has no lines"),
        (("\n\n", "a\nb\n"), "hold no pair that can be used: 2 have an empty side"),
    ],
)
def test_files_that_do_not_serve(tmp_path, lines, said):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text(lines[0])
    target.write_text(lines[1])
    files = ["--source", source, "--target", target, "--out", tmp_path / "out"]
    done = regard("train", "translate", *files, "--steps", 2, check=False)
    assert done.returncode == 1 and said in done.stderr


def test_what_is_left_out_is_said(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("one two\n\n" + "three " * 10_000 + "\nfour\n")
    target.write_text("eins zwei\nzwei\ndrei\nvier\n")
    files = ["--source", source, "--target", target, "--out", tmp_path / "out"]
    small = ["--dim", 16, "--embedding", 8, "--steps", 2]
    done = regard("train", "translate", *files, *small)
    assert "1 pairs with an empty side (line 2)" in done.stderr
    assert "1 pairs longer than 256 tokens (line 3; the longest has" in done.stderr


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--dropout", "2"], 2, "dropout"),
        (["--optimizer", "sgd"], 2, "optimizer: 'sgd'; expected one of adam, adamw"),
        (["--model", "gru"], 2, "--model: gru not in"),
        (["--batch-tokens", "10"], 2, "batch tokens 10: expected more than max_length"),
        (["--steps", "0"], 2, "a limit: epochs, minutes or steps"),
        (["--valid-source", ""], 2, "expected both or none"),
        (["--nonsense"], 2, "--nonsense"),
        (["--recompute"], 2, "--recompute: not for this model; expected an encoder of texts"),
        (["--seed", "-1"], 2, "--seed"),
        (["--source", "/nowhere/file"], 1, "/nowhere/file"),
    ],
)
def test_wrong_options_are_named(texts, tmp_path, flags, code, said):
    arguments = train_arguments(texts, tmp_path / "out", "--steps", 2, *flags)
    done = regard(*arguments, check=False)
    assert said in done.stderr + done.stdout
    assert done.returncode == code
