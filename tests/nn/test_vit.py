# SPDX-License-Identifier: Apache-2.0
"""transformers' ViT and DeiT with random weights and every head, read from their own folders:
logits, hidden states, all gradients, attention, other image sizes, bfloat16; written again,
transformers reads them; attention rollout beside the formula."""

import json

import pytest
import torch
import transformers
from checkpoints import check_bfloat16, check_range, name_map, parts_of, save, saved_again
from harness import ProgramError, close, run
from safetensors.torch import load_file
from transformers import DeiTConfig, ViTConfig

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 24,
    "patch_size": 6,
    "initializer_range": 0.3,
}
LABELS = {0: "zero", 1: "one", 2: "two"}
KINDS = [
    "ViTModel",
    "ViTForImageClassification",
    "DeiTModel",
    "DeiTForImageClassification",
    "DeiTForImageClassificationWithTeacher",
]


def made(tmp_path, kind, **more):
    torch.manual_seed(0)
    config = (DeiTConfig if kind.startswith("DeiT") else ViTConfig)(
        **{**SIZES, "id2label": LABELS, **more}
    )
    config._attn_implementation = "eager"
    model = getattr(transformers, kind)(config)
    for name, parameter in model.named_parameters():
        if "token" in name or "position" in name:
            torch.nn.init.normal_(parameter, 0, 0.3)
    return save(model, tmp_path / "model")


@pytest.fixture(params=KINDS)
def model(request, tmp_path):
    return made(tmp_path, request.param)


def ask(tmp_path, pixels, d_out=None, folder="model", **more):
    given = {"pixels": pixels} | ({} if d_out is None else {"d_out": d_out})
    return run(tmp_path, {"command": "vision", "pretrained": str(tmp_path / folder), **more}, given)


def bare(model):
    return type(model).__name__.endswith("Model")


def theirs(model, pixels, **more):
    answer = model(pixel_values=pixels, output_hidden_states=True, output_attentions=True, **more)
    return answer.pooler_output if bare(model) else answer.logits, answer


def output_of(model):
    return {"output": "pooled" if bare(model) else "logits"}


def gradients_by_saved_names(model, folder):
    """transformers' files have other names than its modules."""
    with torch.no_grad():
        for parameter in model.parameters():
            gradient = parameter.grad
            parameter.copy_(torch.zeros_like(parameter) if gradient is None else gradient)
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def test_outputs_and_gradients(model, tmp_path):
    pixels = torch.randn(3, 3, 24, 24)
    out, answer = theirs(model, pixels)
    d_out = torch.randn_like(out)
    found = ask(tmp_path, pixels, d_out, maps=True, **output_of(model))
    check_range(found["out"], out, "out")
    for i, state in enumerate(answer.hidden_states):
        check_range(found[f"hidden.{i}"], state, f"hidden state {i}")
    for i, weights in enumerate(answer.attentions):
        close(found[f"map.{i}"], weights, f"weights of layer {i}", 1e-4)
    out.backward(d_out)
    names = name_map(model.config.model_type)
    prefix = names["prefix"]
    gradients = {
        name.removeprefix(prefix): x
        for name, x in gradients_by_saved_names(model, tmp_path / "gradients").items()
    }
    seen = set()
    for key in [key for key in found if key.startswith("d.p.")]:
        parts = [part.removeprefix(prefix) for part in parts_of(key.removeprefix("d.p."), names)]
        close(found[key], torch.cat([gradients[part] for part in parts]), key, 1e-4)
        seen.update(parts)
    assert seen == set(gradients)


def test_the_encoded_tokens(tmp_path):
    model = made(tmp_path, "ViTModel")
    pixels = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        expected = model(pixel_values=pixels).last_hidden_state
    check_range(ask(tmp_path, pixels, output="encoded")["out"], expected, "encoded")


@pytest.mark.parametrize("size", [(48, 48), (30, 18), (25, 29), (12, 48)])
@pytest.mark.parametrize("kind", ["ViTForImageClassification", "DeiTForImageClassification"])
def test_other_sizes_interpolate_positions(kind, size, tmp_path):
    model = made(tmp_path, kind)
    pixels = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected, answer = theirs(model, pixels, interpolate_pos_encoding=True)
    found = ask(tmp_path, pixels)
    check_range(found["out"], expected, "logits")
    check_range(found["hidden.0"], answer.hidden_states[0], "embedded")


@pytest.mark.parametrize("kind", ["ViTForImageClassification", "DeiTForImageClassification"])
def test_bfloat16(kind, tmp_path):
    model = made(tmp_path, kind)
    pixels = torch.randn(8, 3, 24, 24)
    with torch.no_grad():
        exact = theirs(model, pixels)[0]
        low = theirs(model.bfloat16(), pixels.bfloat16())[0]
    found = ask(tmp_path, pixels.bfloat16(), dtype="bfloat16")
    check_bfloat16(found["out"], low, exact, "logits")


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_what_is_written(kind, tmp_path):
    model = made(tmp_path, kind)
    pixels = torch.randn(2, 3, 24, 24)
    again = getattr(transformers, kind).from_pretrained(saved_again(tmp_path / "model", tmp_path))
    assert again.config.id2label == LABELS
    with torch.no_grad():
        close(theirs(again.eval(), pixels)[0], theirs(model, pixels)[0], "out", 1e-5)


def test_another_head_for_fine_tuning(tmp_path):
    made(tmp_path, "ViTForImageClassification")
    changes = {"head": "classes", "labels": ["a", "b", "c", "d", "e"]}
    found = ask(tmp_path, torch.randn(2, 3, 24, 24), changes=changes)
    assert found["out"].shape == (2, 5)


@pytest.mark.parametrize("kind", ["ViTForImageClassification", "DeiTForImageClassification"])
def test_rollout(kind, tmp_path):
    """Abnar and Zuidema's formula in float64 over transformers' own weights."""
    model = made(tmp_path, kind)
    pixels = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        attentions = theirs(model, pixels)[1].attentions
    whole = torch.eye(attentions[0].shape[-1], dtype=torch.float64)
    for weights in attentions:
        whole = (weights.double().mean(1) + torch.eye(len(whole[-1]))) / 2 @ whole
    special = 2 if kind.startswith("DeiT") else 1
    expected = whole[:, 0, special:]
    expected = (expected / expected.sum(-1, keepdim=True)).reshape(2, 4, 4)
    found = ask(tmp_path, pixels, rollout=True)["rollout"]
    close(found, expected.float(), "rollout", 1e-4)
    assert torch.allclose(found.sum((1, 2)), torch.ones(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qkv_bias": False}, "qkv_bias: false is not served"),
        ({"num_attention_heads": 5}, "heads: 5; expected a divisor of dim"),
        ({"patch_size": 0}, "patch: 0"),
        ({"hidden_size": 64}, "by config.json"),
        ({"architectures": ["ViTForMaskedImageModeling"]}, "ViTForMaskedImageModeling"),
    ],
)
def test_what_is_not_served_is_refused_by_name(change, message, tmp_path):
    made(tmp_path, "ViTForImageClassification")
    path = tmp_path / "model/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ProgramError, match=message):
        ask(tmp_path, torch.randn(1, 3, 24, 24))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.randn(2, 1, 24, 24), r"pixels: \[2, 1, 24, 24\].*expected \(batch, 3"),
        (torch.randn(3, 24, 24), r"pixels: \[3, 24, 24\]"),
        (torch.zeros(1, 3, 24, 24, dtype=torch.uint8), "floating"),
        (torch.randn(1, 3, 24, 5), "24 x 5; expected at least a patch of 6"),
    ],
)
def test_wrong_pixels_are_refused(pixels, message, tmp_path):
    made(tmp_path, "ViTForImageClassification")
    with pytest.raises(ProgramError, match=message):
        ask(tmp_path, pixels)
