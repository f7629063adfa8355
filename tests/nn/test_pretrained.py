# SPDX-License-Identifier: Apache-2.0
"""transformers' Marian and BART with random weights, read from their own folders: logits within
1e-4 of their range, and the same greedy output."""

import pytest
import torch
from harness import ProgramError, run
from transformers import BartConfig, BartForConditionalGeneration, MarianConfig, MarianMTModel

SIZES = {
    "vocab_size": 90,
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
        MarianConfig(
            **SIZES,
            decoder_start_token_id=0,
            activation_function="swish",
            scale_embedding=True,
        )
    ),
    "bart": lambda: BartForConditionalGeneration(
        BartConfig(**SIZES, bos_token_id=2, decoder_start_token_id=2)
    ),
}
LENGTHS = torch.tensor([12, 7, 3, 1])
STEPS = 20


@pytest.fixture(params=MODELS)
def model(request):
    made = MODELS[request.param]().eval()
    with torch.no_grad():
        made.final_logits_bias.copy_(torch.randn(1, 90) * 0.1)
    return made


def sources():
    source = torch.randint(4, 90, (len(LENGTHS), 12))
    source[torch.arange(12) >= LENGTHS[:, None]] = 0
    return source, (torch.arange(12) < LENGTHS[:, None]).long()


def test_logits_and_greedy_output(tmp_path, model):
    model.save_pretrained(tmp_path / "model")
    source, mask = sources()
    target = torch.randint(4, 90, (len(LENGTHS), 9))
    with torch.no_grad():
        logits = model(input_ids=source, attention_mask=mask, decoder_input_ids=target).logits
    folder = str(tmp_path / "model")
    given = {"source": source, "lengths": LENGTHS, "target": target}
    found = run(tmp_path, {"command": "model", "pretrained": folder}, given)["out"]
    span = logits.max() - logits.min()
    assert (found - logits).abs().max() <= 1e-4 * span

    greedy = model.generate(
        source,
        attention_mask=mask,
        max_new_tokens=STEPS,
        min_new_tokens=STEPS,
        num_beams=1,
        do_sample=False,
        eos_token_id=None,
    )[:, 1:]
    request = {"command": "decode", "pretrained": folder, "max_length": STEPS}
    answers = run(tmp_path, {**request, "steps": [{}] * STEPS}, given)
    ours = torch.stack([answers[f"tokens.{t}"] for t in range(STEPS)], 1)
    assert torch.equal(ours, greedy)
    assert ours.unique().numel() >= 3  # not one word over and over


def test_other_models_are_refused_by_name(tmp_path, model):
    model.config.encoder_ffn_dim = 40
    model.save_pretrained(tmp_path / "model")
    request = {"command": "model", "pretrained": str(tmp_path / "model")}
    with pytest.raises(ProgramError, match="decoder_ffn_dim differs from encoder_ffn_dim"):
        run(tmp_path, request, {"nothing": torch.zeros(1)})
    (tmp_path / "model/config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(
        ProgramError, match='model_type is "t5"; expected one of bart, .*llama, .*marian'
    ):
        run(tmp_path, request, {"nothing": torch.zeros(1)})
