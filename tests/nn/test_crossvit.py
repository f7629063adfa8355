# SPDX-License-Identifier: Apache-2.0
"""CrossViT beside timm's, with the same random weights: logits, hidden states of both branches, all
gradients; a folder; bfloat16."""

import sys

import pytest
import torch
from checkpoints import check_bfloat16, check_range
from harness import ROOT, ProgramError, close, run

sys.path.append(str(ROOT / "tests/python"))
from timm_models import CrossVit

CONFIG = {
    "kind": "crossvit",
    "image_sizes": [24, 32],
    "patches": [4, 8],
    "dims": [24, 32],
    "heads": [2, 4],
    "feed_forwards": [48, 64],
    "layers": [1, 2],
    "blocks": 2,
    "labels": ["a", "b", "c"],
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = CrossVit(
        img_size=24,
        img_scale=(1.0, 32 / 24),
        patch_size=(4, 8),
        embed_dim=(24, 32),
        depth=((1, 2, 0),) * 2,
        num_heads=(2, 4),
        mlp_ratio=(2.0, 2.0, 1.0),
        num_classes=3,
    )
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 1.0 if parameter.dim() == 1 else 0.0, 0.2)
    return made.eval()


LAYER = {
    "self_attn.in_proj_": "attn.qkv.",
    "self_attn.out_proj.": "attn.proj.",
    "norm1.": "norm1.",
    "norm2.": "norm2.",
    "linear1.": "mlp.fc1.",
    "linear2.": "mlp.fc2.",
}


def parts_by_our_names(model):
    """{our parameter: timm's that it is made of}."""
    names = {}
    for b in range(2):
        names[f"cls_token_{b}"] = [f"cls_token_{b}"]
        names[f"positions_{b}"] = [f"pos_embed_{b}"]
    for x in ("weight", "bias"):
        for b in range(2):
            names[f"patches.{b}.{x}"] = [f"patch_embed.{b}.proj.{x}"]
            names[f"norms.{b}.{x}"] = [f"norm.{b}.{x}"]
            names[f"heads.{b}.{x}"] = [f"head.{b}.{x}"]
            for i in range(len(model.blocks)):
                ours, block = f"blocks.{i}.", f"blocks.{i}."
                for layer in range(CONFIG["layers"][b]):
                    for to, from_ in LAYER.items():
                        names[f"{ours}layers_{b}.{layer}.{to}{x}"] = [
                            f"{block}blocks.{b}.{layer}.{from_}{x}"
                        ]
                for to, from_ in (("there", "projs"), ("back", "revert_projs")):
                    names[f"{ours}{to}_{b}_norm.{x}"] = [f"{block}{from_}.{b}.0.{x}"]
                    names[f"{ours}{to}_{b}_linear.{x}"] = [f"{block}{from_}.{b}.2.{x}"]
                fusion = f"{block}fusion.{b}."
                names[f"{ours}norm_{b}.{x}"] = [f"{fusion}norm1.{x}"]
                names[f"{ours}attention_{b}.in_proj_{x}"] = [
                    f"{fusion}attn.{w}.{x}" for w in ("wq", "wk", "wv")
                ]
                names[f"{ours}attention_{b}.out_proj.{x}"] = [f"{fusion}attn.proj.{x}"]
    return names


def parameters_of(model):
    tensors = model.state_dict()
    names = parts_by_our_names(model)
    assert {part for parts in names.values() for part in parts} == set(tensors)
    return {name: torch.cat([tensors[p] for p in parts]) for name, parts in names.items()}


def branch_states(model, pixels):
    states = [model._embed(pixels)]
    for block in model.blocks:
        states.append(block(states[-1]))
    return states


def test_outputs_and_gradients(model, tmp_path):
    pixels, d_out = torch.randn(3, 3, 24, 24), torch.randn(3, 3)
    out = model(pixels)
    request = {"command": "vision", "config": CONFIG}
    given = {"pixels": pixels, "d_out": d_out}
    found = run(tmp_path, request, given, parameters_of(model))
    check_range(found["out"], out, "logits")
    for i, states in enumerate(branch_states(model, pixels)):
        for b, state in enumerate(states):
            check_range(found[f"hidden.{i}.{b}"], state, f"state {i} of branch {b}")
    out.backward(d_out)
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
    }
    largest = max(g.abs().max().item() for g in gradients.values())
    for name, parts in parts_by_our_names(model).items():
        expected = torch.cat([gradients[part] for part in parts])
        key = f"d.p.{name}"
        if expected.abs().max() > 1e-5 * largest:
            close(found[key], expected, key, 1e-4)
        elif key in found:  # what no logit depends on (a patch after the last exchange)
            assert found[key].abs().max() <= 1e-5 * largest, key


def test_bfloat16(model, tmp_path):
    pixels = torch.randn(8, 3, 24, 24)
    folder = tmp_path / "folder"
    save = {"command": "checkpoint", "config": CONFIG, "save_to": str(folder)}
    run(tmp_path, save, {"nothing": torch.zeros(1)}, parameters_of(model))
    request = {"command": "vision", "pretrained": str(folder)}
    with torch.no_grad():
        exact = model(pixels)
        low = model.bfloat16()(pixels.bfloat16())
    check_range(run(tmp_path, request, {"pixels": pixels})["out"], exact, "from a folder")
    given = {"pixels": pixels.bfloat16()}
    found = run(tmp_path, {**request, "dtype": "bfloat16"}, given)
    check_bfloat16(found["out"], low, exact, "logits")


def attention(block, x):
    """timm's weights of a self-attention block, float64."""
    qkv = block.attn.qkv(block.norm1(x)).unflatten(-1, (3, block.attn.num_heads, -1))
    q, k, _ = (y.transpose(1, 2).double() for y in qkv.unbind(2))
    return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1).mean(1)


def test_rollout(model, tmp_path):
    """Products of whole matrices, over the tokens of both branches side by side."""
    pixels = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        xs = model._embed(pixels)
        sizes = [x.shape[1] for x in xs]
        whole = torch.eye(sum(sizes), dtype=torch.float64).expand(2, -1, -1)
        at = [slice(0, sizes[0]), slice(sizes[0], sum(sizes))]
        for block in model.blocks:
            for b in range(2):
                for layer in block.blocks[b]:
                    step = torch.eye(sum(sizes), dtype=torch.float64).repeat(2, 1, 1)
                    step[:, at[b], at[b]] = (step[:, at[b], at[b]] + attention(layer, xs[b])) / 2
                    whole = step @ whole
                    xs[b] = layer(xs[b])
            step = torch.eye(sum(sizes), dtype=torch.float64).repeat(2, 1, 1)
            for b in range(2):
                token = block.projs[b](xs[b][:, :1])
                cross = block.fusion[b]
                x = cross.norm1(torch.cat([token, xs[1 - b][:, 1:]], 1))
                q, k = (
                    w(y).unflatten(-1, (cross.attn.num_heads, -1)).transpose(1, 2).double()
                    for w, y in ((cross.attn.wq, x[:, :1]), (cross.attn.wk, x))
                )
                weights = (q @ k.transpose(-2, -1) * cross.attn.scale).softmax(-1).mean(1)[:, 0]
                row, other = at[b].start, at[1 - b]
                step[:, row, row] = 0.5 + 0.5 * weights[:, 0]
                step[:, row, other.start + 1 : other.stop] = 0.5 * weights[:, 1:]
            whole = step @ whole
            xs = exchanged(block, xs)
    row = (whole[:, 0] + whole[:, sizes[0]]) / 2
    fine = row[:, 1 : sizes[0]].reshape(2, 6, 6)
    coarse = row[:, sizes[0] + 1 :].reshape(2, 1, 4, 4)
    up = torch.nn.functional.interpolate(coarse, (6, 6), mode="bilinear")[:, 0] * 16 / 36
    expected = fine + up
    expected = expected / expected.sum((1, 2), keepdim=True)
    request = {"command": "vision", "config": CONFIG, "rollout": True}
    found = run(tmp_path, request, {"pixels": pixels}, parameters_of(model))["rollout"]
    close(found, expected.float(), "rollout", 1e-4)


def exchanged(block, xs):
    """The second half of timm's block, whose layers have run."""
    layers, block.blocks = block.blocks, torch.nn.ModuleList([torch.nn.Identity()] * 2)
    try:
        return block(xs)
    finally:
        block.blocks = layers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patches": [5, 8]}, "patches: 5; expected a divisor of image_sizes"),
        ({"dims": [24]}, "dims: 1 numbers; expected one for each of the two branches"),
        ({"heads": [5, 4]}, "heads: 5"),
        ({"labels": []}, "labels: none"),
        ({"depth": 3}, "no such field"),
    ],
)
def test_a_wrong_config_is_refused_by_name(change, message, tmp_path):
    request = {"command": "vision", "config": {**CONFIG, **change}, "fresh": True}
    with pytest.raises(ProgramError, match=message):
        run(tmp_path, request, {"pixels": torch.randn(1, 3, 24, 24)})


def test_another_image_size_is_refused(tmp_path):
    request = {"command": "vision", "config": CONFIG, "fresh": True}
    with pytest.raises(ProgramError, match="pixels: 32 x 24; expected 24 x 24"):
        run(tmp_path, request, {"pixels": torch.randn(1, 3, 32, 24)})
