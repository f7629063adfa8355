# SPDX-License-Identifier: Apache-2.0
"""`regard generate` gives transformers' greedy text, streams whole characters, and says what it
cannot read."""

import json
import shutil
import sys

import pytest
import torch
from conftest import ROOT, regard
from language import greedy, make_model, smollm2
from transformers import PreTrainedTokenizerFast

sys.path.append(str(ROOT / "tests/tokenizers"))
import files


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language") / "model"
    return folder, *make_model(folder)


def test_greedy_text_is_that_of_transformers(tiny):
    folder, model, tokenizer = tiny
    for prompt in ("The quick", "😀 naïve", "日本", " \n\t x"):
        expected = greedy(model, tokenizer(prompt).input_ids, 60)
        said = json.loads(regard("generate", folder, prompt, "--tokens", 60, "--json").stdout)
        assert said["tokens"] == expected
        assert said["text"] == tokenizer.decode(expected, skip_special_tokens=True)
        assert said["ended_by"] == ("end" if len(expected) < 60 else "length")
        plain = regard("generate", folder, prompt, "--tokens", 60)
        assert plain.stdout == said["text"] + "\n"
        assert f"{len(expected)} written in" in plain.stderr


def test_words_of_sentence_pieces_keep_their_blanks(tmp_path):
    """Of Llama 2's tokens a text loses its first blank, a continuation does not."""
    pieces = PreTrainedTokenizerFast(tokenizer_object=files.llama2(), eos_token="</s>")
    model, tokenizer = make_model(tmp_path / "model", pieces)
    with torch.no_grad():  # no bytes: they would be characters only if one chanced on them
        model.model.embed_tokens.weight[3 : 3 + 256] = 0
    model.save_pretrained(tmp_path / "model")
    blanks = 0
    for prompt in ("the", "a house", "water and", "one of", "they were", "in the"):
        ids = tokenizer(prompt).input_ids
        expected = greedy(model, ids, 20)
        said = regard("generate", tmp_path / "model", prompt, "--tokens", 20, "--json").stdout
        said = json.loads(said)
        assert said["tokens"] == expected
        whole = tokenizer.decode(ids + expected, skip_special_tokens=True)
        assert prompt + said["text"] == whole
        blanks += said["text"].startswith(" ")
    assert blanks > 0


def test_a_line_that_does_not_serve_is_not_the_end(tiny):
    lines = "The quick\n\nbrown fox\n"
    done = regard("generate", tiny[0], "--tokens", 3, "--json", stdin=lines, check=False)
    first, second, third = (json.loads(line) for line in done.stdout.splitlines())
    assert first["text"] and third["text"] and third["prompt"] == "brown fox"
    assert second == {"prompt": "", "error": "line 2: empty; expected some text"}
    assert done.returncode == 1 and "1 of 3 lines could not be continued" in done.stderr


def test_a_flag_takes_one_value_and_the_prompt_is_its_own(tiny):
    done = regard("generate", tiny[0], "--stop", "xyzzy", "The quick", "--tokens", 2, "--json")
    assert json.loads(done.stdout)["prompt"] == "The quick"


def test_smollm2_gives_transformers_text():
    path, model, tokenizer = smollm2()
    prompt = "The three primary colours are"
    expected = greedy(model, tokenizer(prompt).input_ids, 60)
    found = regard("generate", path, prompt, "--tokens", 60, "--json").stdout
    assert json.loads(found)["text"] == tokenizer.decode(expected, skip_special_tokens=True)


def test_half_the_memory_in_bfloat16():
    path, _, _ = smollm2()
    prompt = ["generate", path, "Paris is the capital of", "--tokens", 3]
    said = regard(*prompt, "--dtype", "bfloat16").stdout
    assert said.strip() and said == regard(*prompt).stdout


def test_prompts_of_standard_input_and_stops(tiny):
    folder, model, tokenizer = tiny
    prompts = ["The quick", "brown fox", "lazy"]
    out = regard("generate", folder, "--tokens", 20, "--json", stdin="\n".join(prompts)).stdout
    said = [json.loads(line) for line in out.splitlines()]
    assert [one["prompt"] for one in said] == prompts
    for one in said:
        assert one["tokens"] == greedy(model, tokenizer(one["prompt"]).input_ids, 20)
    whole = said[0]["text"]
    stop = whole[4:7]
    cut = regard("generate", folder, prompts[0], "--tokens", 20, "--stop", stop, "--json").stdout
    cut = json.loads(cut)
    assert cut["text"] == whole[: whole.index(stop)] and cut["ended_by"] == "stop"
    echo = regard("generate", folder, prompts[0], "--tokens", 20, "--echo").stdout
    assert echo == prompts[0] + whole + "\n"


def test_sampling_is_fixed_by_its_seed(tiny):
    folder = tiny[0]

    def draw(*flags):
        return regard("generate", folder, "fox", "--tokens", 30, *flags).stdout

    assert draw("--temperature", 1, "--seed", 3) == draw("--temperature", 1, "--seed", 3)
    assert draw("--temperature", 1, "--seed", 3) != draw("--temperature", 1, "--seed", 4)
    assert draw("--top-k", 1) == draw()


def test_the_context_is_a_limit(tiny):
    folder, _, tokenizer = tiny
    prompt = "fox " * 60
    count = len(tokenizer(prompt).input_ids)
    done = regard("generate", folder, prompt, "--tokens", 400, "--json")
    said = json.loads(done.stdout)
    if said["ended_by"] == "length":
        assert count + len(said["tokens"]) == 256
        assert "context of 256 tokens is full" in done.stderr
    long = regard("generate", folder, "fox " * 300, check=False)
    assert long.returncode == 2 and "made for texts of 256" in long.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([""], "prompt 1: empty"),
        (["x", "--tokens", "0"], "--tokens: 0"),
        (["x", "--temperature", "-1"], "--temperature: -1"),
        (["x", "--top-p", "0"], "--top-p: 0"),
        (["x", "--top-k", "-3"], "--top-k: -3"),
        (["x", "--stop", ""], "--stop: empty"),
        (["x", "--dtype", "int4"], "--dtype"),
        (["\udcff"], "UTF-8"),
        ([], "no prompt"),
    ],
)
def test_wrong_use_is_named(tiny, flags, message):
    done = regard("generate", tiny[0], *flags, check=False)
    assert done.returncode == 2 and message in done.stderr, done.stderr


def damaged(folder, how, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    if how == "truncated":
        path = broken / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "no tokenizer":
        (broken / "tokenizer.json").unlink()
    elif how == "no config":
        (broken / "config.json").unlink()
    else:
        config = json.loads((broken / "config.json").read_text())
        (broken / "config.json").write_text(json.dumps({**config, "model_type": how}))
    return broken


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "model.safetensors"),
        ("no tokenizer", "holds no tokenizer"),
        ("no config", "holds no config.json"),
        ("mamba", 'model_type is "mamba"'),
    ],
)
def test_damaged_folders_are_refused(tiny, how, message, tmp_path):
    done = regard("generate", damaged(tiny[0], how, tmp_path), "x", check=False)
    assert done.returncode == 1 and message in done.stderr, done.stderr


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + b"\x00" * 7)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(smollm2()[0].read_bytes()[:1_000_000])
    for file, message in (
        (path, "GGUF"),
        (cut, "beyond the file's end"),
        (tmp_path / "none", "no such file"),
    ):
        done = regard("generate", file, "x", check=False)
        assert done.returncode == 1 and message in done.stderr, done.stderr
