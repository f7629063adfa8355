# SPDX-License-Identifier: Apache-2.0
"""transformers' Longformer with random weights, read from its own folder: outputs, hidden states
and gradients, with few and many global tokens, padding, windows that differ; long documents; and
memory that is linear in their length."""

import json

import pytest
import torch
import transformers
from checkpoints import check_bfloat16, check_gradients, check_range, save, saved_again
from harness import ProgramError, close, run
from transformers import LongformerConfig

SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 140,
    "attention_window": [8, 12],
    "initializer_range": 0.3,
    "type_vocab_size": 1,
}
HEADS = [
    "Model",
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
]
LENGTHS = torch.tensor([61, 30, 45])
SEP, PAD = 2, 1


def made(tmp_path, head, **config):
    torch.manual_seed(0)
    kind = getattr(transformers, "Longformer" + head)
    return save(kind(LongformerConfig(**{**SIZES, **config})), tmp_path / "model")


def texts(side="right"):
    """Question, two separators, text, separator; padded."""
    tokens, places = torch.randint(4, 90, (3, 61)), torch.arange(61)
    tokens[:, 5] = tokens[:, 6] = SEP
    tokens[torch.arange(3), LENGTHS - 1] = SEP
    mask = places < LENGTHS[:, None]
    tokens = tokens.masked_fill(~mask, PAD)
    if side == "left":
        tokens = torch.stack(
            [t.roll(61 - n) for t, n in zip(tokens, LENGTHS.tolist(), strict=True)]
        )
        mask = mask.flip(1)
    return tokens, mask


def theirs(model, tokens, mask, global_mask=None):
    return model(
        input_ids=tokens,
        attention_mask=mask.long(),
        global_attention_mask=None if global_mask is None else global_mask.long(),
        output_hidden_states=True,
    )


def head_of(out):
    for name in ("logits", "last_hidden_state"):
        if name in out:
            return out[name]
    return torch.stack([out.start_logits, out.end_logits], -1)


def request_of(tmp_path, **more):
    return {"command": "encoder", "pretrained": str(tmp_path / "model"), **more}


def compare(model, tmp_path, tokens, mask, global_mask=None):
    out = theirs(model, tokens, mask, global_mask)
    expected = head_of(out)
    per_token = expected.shape[:2] == tokens.shape
    d_out = torch.randn(expected.shape)
    seen = mask[..., None] if per_token else torch.ones(())
    d_out, expected = d_out * seen, expected * seen
    expected.backward(d_out)
    given = {"tokens": tokens, "mask": mask, "d_out": d_out}
    if global_mask is not None:
        given["global"] = global_mask
    output = "hidden" if type(model).__name__ == "LongformerModel" else "head"
    answers = run(tmp_path, request_of(tmp_path, output=output), given)
    check_range(answers["out"] * seen, expected, "out")
    for i, states in enumerate(out.hidden_states):
        close(answers[f"hidden.{i}"], states * mask[..., None], f"hidden state {i}", 1e-4)
    check_gradients(answers, model)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("head", HEADS)
def test_outputs_and_gradients(head, side, tmp_path):
    model = made(tmp_path, head)
    tokens, mask = texts(side)
    global_mask = None
    if side == "left" and head == "ForSequenceClassification":
        pytest.skip("theirs classifies by the padding at the beginning, ours by the first token")
    if side == "left":  # theirs would make the padding at the beginning global
        global_mask = (tokens % 13 == 0) & mask
    compare(model, tmp_path, tokens, mask, global_mask)


@pytest.mark.parametrize("count", [0, 1, 3, 40])
@pytest.mark.parametrize("padded", [False, True])
def test_few_and_many_global_tokens(count, padded, tmp_path):
    """Both ways of computing the rows of global tokens, beside theirs."""
    model = made(tmp_path, "Model")
    tokens, mask = texts()
    if not padded:
        mask = torch.ones_like(mask)
        tokens = tokens.masked_fill(tokens == PAD, 7)
    global_mask = torch.zeros_like(mask)
    for row in range(3):
        most = min(count + row, LENGTHS[row].item()) if count else 0
        global_mask[row, torch.randperm(LENGTHS[row].item())[:most]] = True
    compare(model, tmp_path, tokens, mask, global_mask)


def test_weights_of_attention(tmp_path):
    model = made(tmp_path, "Model")
    tokens, mask = texts()
    global_mask = (tokens % 9 == 0) & mask
    given = {"tokens": tokens, "mask": mask, "global": global_mask}
    answers = run(tmp_path, request_of(tmp_path, maps=True, output="hidden"), given)
    places = torch.arange(61)
    for layer, window in enumerate(SIZES["attention_window"]):
        attention = model.encoder.layer[layer].attention.self
        x = answers[f"hidden.{layer}"]

        def scores(query, key, x=x):
            q, k = (f(x).unflatten(-1, (4, 8)).transpose(1, 2) for f in (query, key))
            return q @ k.transpose(-1, -2) / 8**0.5

        near = (places[:, None] - places[None]).abs() <= window // 2
        seen = (near | global_mask[:, None, :]) & mask[:, None, :]
        with torch.no_grad():
            local = scores(attention.query, attention.key)
            local = local.masked_fill(~seen[:, None], -torch.inf).softmax(-1).nan_to_num(0)
            all_keys = scores(attention.query_global, attention.key_global)
            all_keys = all_keys.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(-1)
        expected = torch.where(global_mask[:, None, :, None], all_keys, local)
        expected = expected * mask[:, None, :, None]
        close(answers[f"map.{layer}"], expected, f"weights of layer {layer}", 1e-4)


def test_bfloat16(tmp_path):
    model = made(tmp_path, "Model")
    tokens, mask = texts()
    global_mask = (tokens % 13 == 0) & mask
    seen = mask[..., None]
    with torch.no_grad():
        exact = theirs(model, tokens, mask, global_mask).last_hidden_state * seen
        lower = theirs(model.to(torch.bfloat16), tokens, mask, global_mask).last_hidden_state * seen
    request = request_of(tmp_path, dtype="bfloat16", output="hidden")
    given = {"tokens": tokens, "mask": mask, "global": global_mask}
    check_bfloat16(run(tmp_path, request, given)["out"], lower, exact, "hidden states")


@pytest.mark.parametrize("head", HEADS)
def test_transformers_reads_what_is_written(head, tmp_path):
    model = made(tmp_path, head)
    folder = saved_again(tmp_path / "model", tmp_path)
    again = type(model).from_pretrained(folder)
    for name, x in model.state_dict().items():
        assert torch.equal(x, again.state_dict()[name]), name
    assert again.config.to_dict() == {**model.config.to_dict(), "_name_or_path": str(folder)}


def test_a_document_of_65536_tokens(tmp_path):
    """The first and last tokens, whose windows reach no further, as in a short document; memory
    is far below the 16 GiB that one head's scores alone would take."""
    sizes = {"num_hidden_layers": 1, "attention_window": 8, "max_position_embeddings": 65538}
    model = made(tmp_path, "Model", **sizes)
    tokens = torch.randint(4, 90, (1, 65536))
    answers = run(tmp_path, request_of(tmp_path, output="hidden"), {"tokens": tokens})
    with torch.no_grad():
        expected = theirs(model, tokens[:, :64], torch.ones(1, 64)).last_hidden_state
    close(answers["out"][:, :60], expected[:, :60], "hidden states", 1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_window": [8, 7]}, "windows: 7; expected even ones"),
        ({"attention_window": [8, 8, 8]}, "windows: 3; expected one for each of 2 layers"),
        ({"attention_window": "8"}, 'windows: "8"; expected a whole number'),
    ],
)
def test_configs_that_are_not_served(change, message, tmp_path):
    made(tmp_path, "Model")
    path = tmp_path / "model/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ProgramError, match=message):
        run(tmp_path, request_of(tmp_path), {"tokens": texts()[0]})


def test_calls_that_are_wrong(tmp_path):
    made(tmp_path, "ForQuestionAnswering")
    with pytest.raises(ProgramError, match="tokens: a text without a separator"):
        run(tmp_path, request_of(tmp_path), {"tokens": torch.full((1, 9), 5)})
    with pytest.raises(ProgramError, match="global: .* expected the shape of tokens"):
        given = {"tokens": texts()[0], "global": torch.ones(3, 60)}
        run(tmp_path, request_of(tmp_path), given)
