# SPDX-License-Identifier: Apache-2.0
"""transformers' GPT-2 with random weights, read from its own folder: logits, hidden states, all
gradients, greedy output of ragged prompts, bfloat16; written again, transformers reads it; what is
wrong with a folder or a call is said by name."""

import copy
import json
import math

import pytest
import torch
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
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, GPT2Model

SIZES = {
    "vocab_size": 90,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 40,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "initializer_range": 0.3,
}
CONFIGS = {
    "tied": {},
    "untied": {"tie_word_embeddings": False, "n_inner": 48, "activation_function": "relu"},
    "scaled-by-layer": {"scale_attn_by_inverse_layer_idx": True, "activation_function": "gelu"},
    "unscaled": {"scale_attn_weights": False},
}
LENGTHS = torch.tensor([12, 7, 3, 1])
STEPS = 20


def made(tmp_path, **changes):
    torch.manual_seed(0)
    return save(GPT2LMHeadModel(GPT2Config(**{**SIZES, **changes})), tmp_path / "model")


@pytest.fixture(params=CONFIGS)
def model(request, tmp_path):
    return made(tmp_path, **CONFIGS[request.param])


def request_of(tmp_path, command="model", **more):
    return {"command": command, "pretrained": str(tmp_path / "model"), **more}


def plain(target):
    """Plain language modelling: a source of no columns."""
    rows = len(target)
    source = torch.zeros(rows, 0, dtype=torch.int64)
    return {"source": source, "lengths": torch.zeros(rows, dtype=torch.int64), "target": target}


def sources():
    source = torch.randint(4, 90, (len(LENGTHS), 12))
    source[torch.arange(12) >= LENGTHS[:, None]] = 0
    return source


def greedy(model, source, steps):
    rows = []
    for row, length in enumerate(LENGTHS.tolist()):
        prompt = source[row : row + 1, :length]
        written = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=steps,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        rows.append(written[0, length:])
    return torch.stack(rows)


def test_logits_and_gradients(model, tmp_path):
    target, d_out = torch.randint(4, 90, (3, 15)), torch.randn(3, 15, 90)
    logits = model(input_ids=target).logits
    logits.backward(d_out)
    answers = run(tmp_path, request_of(tmp_path), {**plain(target), "d_out": d_out})
    check_range(answers["out"], logits, "logits")
    check_gradients(answers, model)


def test_hidden_states_and_attention(model, tmp_path):
    target = torch.randint(4, 90, (2, 11))
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = model(input_ids=target, output_hidden_states=True, output_attentions=True)
    answers = run(tmp_path, request_of(tmp_path, "hidden_states"), {"target": target})
    for i, states in enumerate(expected.hidden_states):
        close(answers[f"hidden.{i}"], states, f"hidden state {i}", 1e-4)
    assert f"hidden.{len(expected.hidden_states)}" not in answers
    for i, weights in enumerate(expected.attentions):
        close(answers[f"map.{i}"], weights, f"weights of layer {i}", 1e-4)


def test_targets_continue_sources(model, tmp_path):
    source, target = sources(), torch.randint(4, 90, (len(LENGTHS), 5))
    given = {"source": source, "lengths": LENGTHS, "target": target}
    found = run(tmp_path, request_of(tmp_path), given)["out"]
    for row, length in enumerate(LENGTHS.tolist()):
        with torch.no_grad():
            whole = torch.cat([source[row, :length], target[row]])[None]
            expected = model(input_ids=whole).logits[0, length:]
        close(found[row], expected, f"row {row}", 1e-4)


def test_greedy_output_of_ragged_prompts(model, tmp_path):
    source = sources()
    request = request_of(tmp_path, "decode", max_length=STEPS, steps=[{}] * STEPS)
    answers = run(tmp_path, request, {"source": source, "lengths": LENGTHS})
    ours = torch.stack([answers[f"tokens.{t}"] for t in range(STEPS)], 1)
    assert torch.equal(ours, greedy(model, source, STEPS))


@pytest.mark.parametrize("lengths", [None, [15, 4, 0]])
def test_every_token_counts_in_a_loss(lengths, tmp_path):
    """Token 0 is a word here; what is padding, lengths alone say."""
    model, target = made(tmp_path), torch.randint(0, 4, (3, 15))
    target_out = torch.randint(0, 4, (3, 15))
    labels, tensors = target_out.clone(), {**plain(target), "target_out": target_out}
    if lengths is not None:
        tensors["target_lengths"] = torch.tensor(lengths)
        labels[torch.arange(15) >= tensors["target_lengths"][:, None]] = -100
    logits = model(input_ids=target).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    loss.backward()
    tensors["d_out"] = torch.ones(())
    answers = run(tmp_path, request_of(tmp_path, "loss"), tensors)
    close(answers["out"], loss, "loss", 1e-4)
    check_gradients(answers, model)


def test_a_loss_of_wrong_lengths_is_refused(tmp_path):
    made(tmp_path)
    target = torch.randint(0, 4, (3, 15))
    for lengths in ([1, 2], [1.0, 2.0, 3.0]):
        tensors = {**plain(target), "target_out": target, "target_lengths": torch.tensor(lengths)}
        with pytest.raises(ProgramError, match="target_lengths: expected .batch. int64"):
            run(tmp_path, request_of(tmp_path, "loss"), tensors)


def test_bfloat16(tmp_path):
    model, target = made(tmp_path), torch.randint(4, 90, (3, 15))
    exact, d_out = model(input_ids=target).logits, torch.randn(3, 15, 90)
    exact.backward(d_out)
    lower_model = copy.deepcopy(model).to(torch.bfloat16)
    lower_model.zero_grad()
    lower = lower_model(input_ids=target).logits
    lower.backward(d_out.to(torch.bfloat16))
    tensors = {**plain(target), "d_out": d_out.to(torch.bfloat16)}
    answers = run(tmp_path, request_of(tmp_path, dtype="bfloat16"), tensors)
    check_bfloat16(answers["out"], lower.detach(), exact.detach(), "logits")
    check_bfloat16_gradients(answers, lower_model, model)


def test_transformers_reads_what_is_written(model, tmp_path):
    folder = saved_again(tmp_path / "model", tmp_path)
    again = AutoModelForCausalLM.from_pretrained(folder)
    for name, x in model.state_dict().items():
        assert torch.equal(x, again.state_dict()[name]), name
    expected = {**model.config.to_dict(), "_name_or_path": str(folder)}
    expected["n_inner"] = expected["n_inner"] or 4 * 32  # which we write out
    assert again.config.to_dict() == expected


def test_a_new_model_is_written_for_transformers(tmp_path):
    config = {"kind": "gpt2", "vocab": 50, "max_positions": 16, "dim": 24, "heads": 3, "layers": 2}
    request = {"command": "save_pretrained", "config": config, "fresh": True}
    run(tmp_path, {**request, "save_to": str(tmp_path / "model")}, NOTHING)
    model = GPT2LMHeadModel.from_pretrained(tmp_path / "model").eval()
    target = torch.randint(4, 50, (2, 9))
    with torch.no_grad():
        expected = model(input_ids=target).logits
    check_range(run(tmp_path, request_of(tmp_path), plain(target))["out"], expected, "logits")
    # drawn so that nothing is likelier than anything else
    assert abs(expected.log_softmax(-1).mean() + math.log(50)) < 0.2


def test_weights_of_the_model_without_a_head(tmp_path):
    torch.manual_seed(0)
    model = save(GPT2Model(GPT2Config(**SIZES)), tmp_path / "model")
    target = torch.randint(4, 90, (2, 11))
    with torch.no_grad():
        expected = model(input_ids=target).last_hidden_state
    answers = run(tmp_path, request_of(tmp_path, "hidden_states"), {"target": target})
    close(answers["hidden.2"], expected, "last hidden state", 1e-4)


def test_longer_than_its_positions(tmp_path):
    made(tmp_path)
    with pytest.raises(ProgramError, match="target_in: 41 tokens; the model has 40 positions"):
        run(tmp_path, request_of(tmp_path), plain(torch.full((1, 41), 5)))
    given = {"source": torch.full((1, 39), 5), "lengths": torch.tensor([39])}
    run(tmp_path, request_of(tmp_path, "decode", max_length=9, steps=[{}] * 2), given)
    with pytest.raises(ProgramError, match="tokens: 41 tokens; the model has 40 positions"):
        run(tmp_path, request_of(tmp_path, "decode", max_length=9, steps=[{}] * 3), given)
    given = {"source": torch.full((1, 41), 5), "lengths": torch.tensor([41])}
    with pytest.raises(ProgramError, match="source: 41 tokens; the model has 40 positions"):
        run(tmp_path, request_of(tmp_path, "decode", max_length=9, steps=[{}]), given)


def test_tokens_that_are_none(tmp_path):
    made(tmp_path)
    with pytest.raises(ProgramError, match="target_in: from 5 to 90; expected 0 to 89"):
        run(tmp_path, request_of(tmp_path), plain(torch.tensor([[5, 90]])))
    with pytest.raises(ProgramError, match="tokens: from -1 to 4; expected 0 to 89"):
        tokens = {"target": torch.tensor([[-1, 4]])}
        run(tmp_path, request_of(tmp_path, "hidden_states"), tokens)


def change_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("transformer.h.1.ln_2.bias"), r'"transformer.h.1.ln_2.bias" is missing'),
        (
            lambda t: t.update({"transformer.wpe.weight": torch.zeros(39, 32)}),
            '"transformer.wpe.weight" is 39 rows; by config.json 40',
        ),
        (
            lambda t: t.update({"transformer.h.0.mlp.c_fc.weight": torch.zeros(31, 128)}),
            r'"transformer.h.0.mlp.c_fc.weight" is \[31, 128\]; .* part of \[128, 32\]',
        ),
        (lambda t: t.update({"score.weight": torch.zeros(2, 32)}), '"score.weight" belongs to'),
    ],
)
def test_tensors_that_do_not_fit(change, message, tmp_path):
    made(tmp_path)
    change_tensors(tmp_path / "model", change)
    with pytest.raises(ProgramError, match=message):
        run(tmp_path, request_of(tmp_path), plain(torch.tensor([[5]])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "t5"}, 'model_type is "t5"; expected one of .*gpt2, llama'),
        ({"add_cross_attention": True}, "add_cross_attention: true is not served"),
        ({"activation_function": "mish"}, "activation"),
        ({"n_head": 5}, r"heads: 5; expected a divisor of dim \(32\)"),
        ({"architectures": ["GPT2DoubleHeadsModel"]}, "GPT2DoubleHeadsModel.* is not served"),
    ],
)
def test_configs_that_are_not_served(change, message, tmp_path):
    made(tmp_path)
    path = tmp_path / "model/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ProgramError, match=message):
        run(tmp_path, request_of(tmp_path), plain(torch.tensor([[5]])))
