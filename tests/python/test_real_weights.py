# SPDX-License-Identifier: Apache-2.0
"""With trained weights: the text, embedding and transcript that eager gives."""

import pytest

pytest.importorskip("transformers")

import real_weights
import regard
import regard.transformers
import torch
from transformers import AutoModel, AutoTokenizer, WhisperFeatureExtractor

SENTENCES = [
    "Attention is a weighted mean.",
    "A tool that renames many files at once, by patterns, and shows what it would do before.",
    "cats",
]


@pytest.fixture(autouse=True)
def _one_thread():
    """Steps are small, and threads that wait for each other cost more than they bring on a machine
    that has other work; conftest.py restores the number."""
    torch.set_num_threads(1)


def test_smollm2_writes_the_same_text():
    theirs, tokenizer = real_weights.smollm2("eager")
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.eos_token
    chats = [
        [{"role": "user", "content": text}]
        for text in ("Why is the sky blue?", "Write one sentence about rivers in the north.")
    ]
    prompts = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    options = dict(max_new_tokens=30, do_sample=False)
    expected = theirs.generate(**prompts, **options)
    theirs.set_attn_implementation("regard")
    actual = theirs.generate(**prompts, **options)
    assert tokenizer.batch_decode(actual) == tokenizer.batch_decode(expected)
    assert "scatter" in tokenizer.decode(actual[0])  # it says something of the sky


def test_minilm_gives_the_same_embeddings():
    place = real_weights.minilm()
    tokenizer = AutoTokenizer.from_pretrained(place)
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    out = {}
    for attention in ("eager", "regard"):
        model = AutoModel.from_pretrained(place, attn_implementation=attention).eval()
        with torch.no_grad():
            out[attention] = model(**batch).last_hidden_state[batch.attention_mask.bool()]
    torch.testing.assert_close(out["regard"], out["eager"], rtol=0, atol=2e-5)


def test_sentence_transformers_under_enable():
    from sentence_transformers import SentenceTransformer

    options = dict(model_kwargs={"attn_implementation": "sdpa"}, device="cpu")
    model = SentenceTransformer(str(real_weights.minilm()), **options)
    expected = model.encode(SENTENCES, convert_to_tensor=True)
    regard.report(reset=True)
    with regard.enabled():
        actual = model.encode(SENTENCES, convert_to_tensor=True)
    assert regard.report() == (6, {})  # each of its layers, once
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)
    ours = SentenceTransformer(
        str(real_weights.minilm()), model_kwargs={"attn_implementation": "regard"}, device="cpu"
    )
    torch.testing.assert_close(
        ours.encode(SENTENCES, convert_to_tensor=True), expected, rtol=0, atol=1e-5
    )


def _sound():
    """Seven seconds of vowels: harmonics of a falling pitch under formants that come and go."""
    time = torch.arange(7 * 16000, dtype=torch.float64) / 16000
    pitch = 140 - 6 * time + 8 * torch.sin(3 * time)
    phase = torch.cumsum(2 * torch.pi * pitch / 16000, 0)
    heard = torch.zeros_like(time)
    for k in range(1, 25):
        formant = 500 + 250 * torch.sin(5 * time)
        loud = torch.exp(-(((k * pitch - formant) / 300) ** 2)) + 0.3 * torch.exp(
            -(((k * pitch - 3 * formant) / 400) ** 2)
        )
        heard += loud * torch.sin(k * phase)
    return (heard * (torch.sin(7 * time) > -0.3) * 0.2).float()


def test_whisper_gives_the_same_transcript():
    extract = WhisperFeatureExtractor(feature_size=80)
    features = extract(_sound().numpy(), sampling_rate=16000, return_tensors="pt").input_features
    model = real_weights.whisper("eager")
    options = dict(max_new_tokens=40, min_new_tokens=24, do_sample=False)
    expected = model.generate(features, **options)
    with torch.no_grad():
        before = model(features, decoder_input_ids=expected[:, :-1]).logits
    model.set_attn_implementation("regard")
    assert torch.equal(model.generate(features, **options), expected)
    with torch.no_grad():
        after = model(features, decoder_input_ids=expected[:, :-1]).logits
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4 * float(before.abs().max()))
    assert len(set(expected[0].tolist())) > 4
