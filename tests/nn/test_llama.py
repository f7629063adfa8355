# SPDX-License-Identifier: Apache-2.0
"""transformers' Llama with random weights, read from its own folder: logits, hidden states, all
gradients, greedy output of ragged prompts; and SmolLM2's real weights, whose greedy text is the
same."""

import copy
import json
import sys

import gguf
import pytest
import torch
from checkpoints import check_bfloat16, check_bfloat16_gradients, saved_again
from harness import ROOT, ProgramError, close, run
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.append(str(ROOT / "examples/demo"))
from weights import language_model_folder, load_language_model, load_tokenizer

SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CONFIGS = {
    "tied": {"tie_word_embeddings": True},
    "untied": {"tie_word_embeddings": False, "num_key_value_heads": 4},
    "biases": {"attention_bias": True, "head_dim": 12, "tie_word_embeddings": True},
    "llama3": {"rope_parameters": LLAMA3},
    "linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
}
LENGTHS = torch.tensor([12, 7, 3, 1])
STEPS = 20


@pytest.fixture(params=CONFIGS)
def model(request, tmp_path):
    torch.manual_seed(0)
    made = LlamaForCausalLM(LlamaConfig(**{**SIZES, **CONFIGS[request.param]})).eval()
    for name, parameter in made.named_parameters():  # norms and biases that are not 1 and 0
        if "norm" in name or "bias" in name:
            torch.nn.init.normal_(parameter, 1.0 if "norm" in name else 0.0, 0.2)
    made.save_pretrained(tmp_path / "model")
    return made


def sources():
    source = torch.randint(4, 90, (len(LENGTHS), 12))
    source[torch.arange(12) >= LENGTHS[:, None]] = 0
    return source


def ours_and_theirs(model, tmp_path):
    """Parameters and config by our names, and what they are made of by theirs."""
    saved = tmp_path / "ours"
    request = {
        "command": "checkpoint",
        "pretrained": str(tmp_path / "model"),
        "save_to": str(saved),
    }
    parameters = run(tmp_path, request, {"nothing": torch.zeros(1)})
    config = json.loads((saved / "config.json").read_text())
    config.pop("format", None)
    names = json.loads((ROOT / "src/nn/pretrained/llama.json").read_text())["tensors"]
    theirs = {}
    for name in parameters:
        layer = name.split(".")[1] if name.startswith("layers.") else ""
        pattern = name.replace(f".{layer}.", ".*.") if layer else name
        theirs[name] = [part.replace("*", layer) for part in names[pattern]]
    return config, parameters, theirs


def test_logits_and_gradients(model, tmp_path):
    config, parameters, theirs = ours_and_theirs(model, tmp_path)
    target = torch.randint(4, 90, (3, 15))
    d_out = torch.randn(3, 15, 90)
    logits = model(input_ids=target).logits
    logits.backward(d_out)
    given = {
        "source": torch.zeros(3, 0, dtype=torch.int64),
        "lengths": torch.zeros(3, dtype=torch.int64),
        "target": target,
        "d_out": d_out,
    }
    answers = run(tmp_path, {"command": "model", "config": config}, given, parameters)
    span = (logits.max() - logits.min()).item()
    assert (answers["out"] - logits).abs().max() <= 1e-4 * span
    gradients = {name: p.grad for name, p in model.named_parameters()}
    for name, parts in theirs.items():
        expected = torch.cat([gradients[part] for part in parts])
        close(answers[f"d.p.{name}"], expected, f"gradient of {name}", 1e-4)


def test_bfloat16(model, tmp_path):
    target, d_out = torch.randint(4, 90, (3, 15)), torch.randn(3, 15, 90)
    exact = model(input_ids=target).logits
    exact.backward(d_out)
    lower_model = copy.deepcopy(model).to(torch.bfloat16)
    lower_model.zero_grad()
    lower = lower_model(input_ids=target).logits
    lower.backward(d_out.to(torch.bfloat16))
    given = {
        "source": torch.zeros(3, 0, dtype=torch.int64),
        "lengths": torch.zeros(3, dtype=torch.int64),
        "target": target,
        "d_out": d_out.to(torch.bfloat16),
    }
    request = {"command": "model", "pretrained": str(tmp_path / "model"), "dtype": "bfloat16"}
    answers = run(tmp_path, request, given)
    check_bfloat16(answers["out"], lower.detach(), exact.detach(), "logits")
    check_bfloat16_gradients(answers, lower_model, model)


def test_hidden_states(model, tmp_path):
    target = torch.randint(4, 90, (2, 11))
    with torch.no_grad():
        expected = model(input_ids=target, output_hidden_states=True).hidden_states
    request = {"command": "hidden_states", "pretrained": str(tmp_path / "model")}
    answers = run(tmp_path, request, {"target": target})
    for i, states in enumerate(expected):
        close(answers[f"hidden.{i}"], states, f"hidden state {i}", 1e-4)
    assert f"hidden.{len(expected)}" not in answers


def test_targets_continue_sources(model, tmp_path):
    source, target = sources(), torch.randint(4, 90, (len(LENGTHS), 5))
    given = {"source": source, "lengths": LENGTHS, "target": target}
    request = {"command": "model", "pretrained": str(tmp_path / "model")}
    found = run(tmp_path, request, given)["out"]
    for row, length in enumerate(LENGTHS.tolist()):
        with torch.no_grad():
            whole = torch.cat([source[row, :length], target[row]])[None]
            expected = model(input_ids=whole).logits[0, length:]
        close(found[row], expected, f"row {row}", 1e-4)


def test_greedy_output_of_ragged_prompts(model, tmp_path):
    source = sources()
    request = {
        "command": "decode",
        "pretrained": str(tmp_path / "model"),
        "max_length": STEPS,
        "steps": [{}] * STEPS,
    }
    answers = run(tmp_path, request, {"source": source, "lengths": LENGTHS})
    ours = torch.stack([answers[f"tokens.{t}"] for t in range(STEPS)], 1)
    for row, length in enumerate(LENGTHS.tolist()):
        greedy = model.generate(
            source[row : row + 1, :length],
            attention_mask=torch.ones(1, length, dtype=torch.int64),
            max_new_tokens=STEPS,
            do_sample=False,
            eos_token_id=None,
        )[0, length:]
        assert torch.equal(ours[row], greedy), f"row {row}"


def test_rows_can_be_reordered(model, tmp_path):
    source = sources()
    request = {"command": "decode", "pretrained": str(tmp_path / "model"), "max_length": 4}
    tokens = {"tokens": [5, 6, 7, 8]}
    steps = [tokens, {"reorder": [2, 2, 0]}, {"tokens": [9, 10, 11]}]
    given = {"source": source, "lengths": LENGTHS}
    found = run(tmp_path, {**request, "steps": steps}, given)["logits.1"]
    straight = run(tmp_path, {**request, "steps": [tokens, {"tokens": [11, 5, 9, 5]}]}, given)
    close(found[0], straight["logits.1"][2], "row 0", 1e-5)
    close(found[2], straight["logits.1"][0], "row 2", 1e-5)


@pytest.mark.parametrize("lengths", [LENGTHS, torch.tensor([6, 6, 6, 6])], ids=["ragged", "even"])
def test_many_tokens_read_at_once(model, tmp_path, lengths):
    source = sources()[:, : int(lengths.max())]
    tokens = torch.randint(4, 90, (len(lengths), 9))
    pieces = [p.tolist() for p in tokens.split([3, 4, 1, 1], 1)]
    steps = [{"advance": pieces[0]}, {"read": pieces[1]}, {"read": pieces[2]}]
    steps += [{"tokens": tokens[:, 8].tolist()}]
    request = {"command": "decode", "pretrained": str(tmp_path / "model"), "max_length": 12}
    # A state has read its source but for the last token.
    first = source.gather(1, lengths[:, None] - 1).tolist()
    request["steps"] = [{"advance": first}, *steps]
    found = run(tmp_path, request, {"source": source, "lengths": lengths})
    for row, length in enumerate(lengths.tolist()):
        with torch.no_grad():
            whole = torch.cat([source[row, :length], tokens[row]])[None]
            expected = model(input_ids=whole).logits[0, length:]
        for i, place in enumerate([6, 7, 8]):
            close(found[f"logits.{i}"][row], expected[place], f"row {row} after {place}", 1e-4)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([[5, 6, 7, 8]] * 4, "tokens: 4; the state has room for 3 more"),
        ([[5, 6]] * 3, "tokens: 3; the state has 4 rows"),
        ([[5, 90]] * 4, "tokens: from 5 to 90; expected 0 to 89"),
    ],
)
@pytest.mark.parametrize("how", ["advance", "read"])
def test_tokens_that_cannot_be_read(how, tokens, message, tmp_path):
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(tmp_path / "model")
    request = {"command": "decode", "pretrained": str(tmp_path / "model"), "max_length": 3}
    given = {"source": sources(), "lengths": LENGTHS}
    with pytest.raises(ProgramError, match="tokens: ") as raised:
        run(tmp_path, {**request, "steps": [{how: tokens}]}, given)
    assert message in str(raised.value)


def test_sharded_weights(tmp_path):
    made = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True)).eval()
    made.save_pretrained(tmp_path / "model", max_shard_size="20KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 1
    target = torch.randint(4, 90, (1, 9))
    given = {
        "source": torch.zeros(1, 0, dtype=torch.int64),
        "lengths": torch.zeros(1, dtype=torch.int64),
        "target": target,
    }
    request = {"command": "model", "pretrained": str(tmp_path / "model")}
    with torch.no_grad():
        close(run(tmp_path, request, given)["out"], made(input_ids=target).logits, "out", 1e-4)
    next((tmp_path / "model").glob("*00001*.safetensors")).unlink()
    with pytest.raises(ProgramError, match="00001"):
        run(tmp_path, request, given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mlp_bias": True}, "mlp_bias: true is not served"),
        ({"hidden_act": "gelu"}, "activation"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_type"),
        ({"num_key_value_heads": 3}, "kv_heads: 3"),
        ({"hidden_size": 64}, "embed_tokens.weight.* config.json"),
    ],
)
def test_what_is_not_served_is_refused_by_name(change, message, tmp_path):
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(tmp_path / "model")
    path = tmp_path / "model/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    request = {"command": "checkpoint", "pretrained": str(tmp_path / "model"), "save_to": "x"}
    with pytest.raises(ProgramError, match=message):
        run(tmp_path, request, {"nothing": torch.zeros(1)})


def test_the_same_greedy_text_as_transformers_with_smollm2(tmp_path):
    # Steps are small, and threads that wait for each other cost more than they bring where other
    # suites run beside this one.
    torch.set_num_threads(1)
    model, tokenizer = load_language_model("sdpa"), load_tokenizer()
    prompt = tokenizer("The three primary colours are", return_tensors="pt").input_ids
    steps = 200
    theirs = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=steps,
        do_sample=False,
    )[0, prompt.shape[1] :]
    assert len(theirs) > 50
    request = {
        "command": "decode",
        "pretrained": str(language_model_folder()),
        "max_length": steps,
        "steps": [{}] * steps,
        "only_tokens": True,
    }
    given = {"source": prompt, "lengths": torch.tensor([prompt.shape[1]])}
    answers = run(tmp_path, request, given)
    ours = torch.stack([answers[f"tokens.{t}"] for t in range(steps)], 1)[0]
    assert tokenizer.decode(ours[: len(theirs)]) == tokenizer.decode(theirs)


def written_as_gguf(model, path, factors, scaling=None):
    """As llama.cpp's converter lays a Llama out: columns of a head that turn together are
    neighbours there, and the factors of frequencies are a tensor."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if scaling:
        writer.add_string("llama.rope.scaling.type", scaling)
    places = {"self_attn.": "attn_", "mlp.": "ffn_", "_proj": "", "attn_o.": "attn_output."}
    places |= {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    places |= {"model.layers": "blk", "model.embed_tokens": "token_embd"}
    places |= {"model.norm": "output_norm", "lm_head": "output"}
    for name, tensor in model.state_dict().items():
        turned = "q_proj" in name or "k_proj" in name
        for theirs, ours in places.items():
            name = name.replace(theirs, ours)
        if turned:
            heads = tensor.shape[0] // config.head_dim
            tensor = tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
        writer.add_tensor(name, tensor.contiguous().numpy())
    writer.add_tensor("rope_freqs.weight", factors.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def llama31():
    """With Llama 3.1's angles; and what each frequency is divided by."""
    rope = {**LLAMA3, "rope_theta": 5e5, "factor": 8.0, "original_max_position_embeddings": 8192}
    changes = {"rope_parameters": rope, "tie_word_embeddings": False, "hidden_size": 64}
    made = LlamaForCausalLM(LlamaConfig(**{**SIZES, **changes})).eval()
    plain = 1 / 5e5 ** (torch.arange(0, 16, 2) / 16)
    return made, plain / made.model.rotary_emb.inv_freq


def test_a_gguf_file_with_the_angles_of_llama_3_1(llama31, tmp_path):
    made, factors = llama31
    assert 1 == factors.min() < factors.max() == 8 and len(factors.unique()) > 2
    written_as_gguf(made, tmp_path / "model.gguf", factors)
    saved = saved_again(tmp_path / "model.gguf", tmp_path)
    again = LlamaForCausalLM.from_pretrained(saved)
    assert again.config.rope_parameters == made.config.rope_parameters
    state = again.state_dict()
    assert state.keys() == made.state_dict().keys()
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda factors: factors + torch.arange(8) * 0.1, "other factors than those of Llama 3.1"),
        (lambda factors: factors[:5], "rope_freqs.weight has 5 factors; expected 8"),
        (lambda factors: factors * torch.nan, "other factors"),
    ],
)
def test_gguf_files_with_other_angles_are_refused(llama31, tmp_path, change, message):
    made, factors = llama31
    written_as_gguf(made, tmp_path / "model.gguf", change(factors))
    with pytest.raises(ProgramError, match=message):
        saved_again(tmp_path / "model.gguf", tmp_path)


@pytest.mark.parametrize(
    ("scaling", "message"),
    [("linear", '"linear" beside rope_freqs.weight'), ("yarn", 'expected "none" or "linear"')],
)
def test_gguf_files_with_two_scalings_are_refused(llama31, tmp_path, scaling, message):
    made, factors = llama31
    written_as_gguf(made, tmp_path / "model.gguf", factors, scaling)
    with pytest.raises(ProgramError, match=message):
        saved_again(tmp_path / "model.gguf", tmp_path)
