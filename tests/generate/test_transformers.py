# SPDX-License-Identifier: Apache-2.0
"""Greedy decoding and beams of 4 give what transformers' generate() gives with the same weights."""

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BartConfig, BartForConditionalGeneration, MarianConfig, MarianMTModel

PROGRAM = Path(__file__).resolve().parents[2] / "build/release/tests/generate/generate_program"
LENGTH = 24
SIZES = {
    "vocab_size": 60,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": 3,
    "forced_eos_token_id": None,
    "init_std": 0.3,
}
MODELS = {
    "marian": lambda: MarianMTModel(
        MarianConfig(**SIZES, decoder_start_token_id=0, activation_function="swish")
    ),
    "bart": lambda: BartForConditionalGeneration(
        BartConfig(**SIZES, bos_token_id=2, decoder_start_token_id=2)
    ),
}


def sources(rows):
    lengths = torch.randint(1, 15, (rows,))
    lengths[0] = 14
    source = torch.randint(4, 60, (rows, 14))
    source[torch.arange(14) >= lengths[:, None]] = 0
    return source, lengths


def expect_many_lengths(model, source):
    """Gives the end token the bias with which greedy sequences have the most lengths."""
    most = (0, 0.0)
    for bias in torch.arange(3, 6, 0.25).tolist():
        model.final_logits_bias[0, 3] = bias
        said = model.generate(
            source,
            attention_mask=(source != 0).long(),
            max_new_tokens=LENGTH,
            num_beams=1,
            do_sample=False,
        )
        most = max(most, (len({(*row, 3).index(3) for row in said[:, 1:].tolist()}), bias))
    assert most[0] > 2, "sequences of one length compare nothing"
    model.final_logits_bias[0, 3] = most[1]


@pytest.mark.parametrize("penalty", [1.0, 0.0, 2.0])
@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("kind", MODELS)
def test_the_same_sequences(tmp_path, kind, beams, penalty):
    torch.manual_seed(beams)
    model = MODELS[kind]().eval()
    source, lengths = sources(32)
    expect_many_lengths(model, source)
    model.save_pretrained(tmp_path / "model")
    save_file({"source": source, "lengths": lengths}, tmp_path / "in")
    settings = [beams, penalty, LENGTH]
    subprocess.run(
        [PROGRAM, *map(str, [tmp_path / "model", tmp_path / "in", tmp_path / "out", *settings])],
        check=True,
    )
    found = load_file(tmp_path / "out")
    said = model.generate(
        source,
        attention_mask=(source != 0).long(),
        max_new_tokens=LENGTH,
        num_beams=beams,
        do_sample=False,
        length_penalty=penalty,
        early_stopping=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    for row, expected in enumerate(said.sequences[:, 1:].tolist()):
        length = expected.index(3) + 1 if 3 in expected else LENGTH
        assert found[f"tokens.{row}"].tolist() == expected[:length], row
    if beams > 1:
        assert torch.allclose(found["scores"].float(), said.sequences_scores, atol=1e-4)
