# SPDX-License-Identifier: Apache-2.0
"""CAT beside a plain PyTorch script from its paper (arXiv 2106.05786), with the same random
weights: logits, feature maps, all gradients; a folder; bfloat16."""

import pytest
import torch
from checkpoints import check_bfloat16, check_range
from harness import ProgramError, close, run
from torch import nn
from torch.nn import functional as F

CONFIG = {
    "kind": "cat",
    "image_size": 24,
    "embedding": 2,
    "patch": 3,
    "dim": 16,
    "depths": [1, 2],
    "heads": [2, 4],
    "mlp_ratio": 3,
    "labels": ["a", "b", "c"],
}


def into_patches(x, side):
    """(batch, rows, columns, channels) -> (batch, patches, side * side, channels)"""
    b, h, w, c = x.shape
    x = x.reshape(b, h // side, side, w // side, side, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(b, -1, side * side, c)


def out_of_patches(x, side, h, w):
    b, _, _, c = x.shape
    x = x.reshape(b, h // side, w // side, side, side, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h, w, c)


class Layer(nn.Module):
    """IPSA or CPSA with its MLP: equations 5 to 10 of the paper are three of these."""

    def __init__(self, dim, heads, side, ratio, across):
        super().__init__()
        self.side, self.heads, self.across = side, heads, across
        tokens = side * side if across else dim
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.in_proj, self.out_proj = nn.Linear(tokens, 3 * tokens), nn.Linear(tokens, tokens)
        self.linear1, self.linear2 = nn.Linear(dim, ratio * dim), nn.Linear(ratio * dim, dim)
        if not across:
            self.relative_bias = nn.Parameter(torch.empty((2 * side - 1) ** 2, heads))

    def attend(self, x, heads, bias=0.0):
        """Softmax attention over the second last axis of x (..., tokens, dim)."""
        q, k, v = self.in_proj(x).unflatten(-1, (3, heads, -1)).movedim(-3, 0).transpose(-3, -2)
        weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5 + bias).softmax(-1)
        return self.out_proj((weights @ v).transpose(-3, -2).flatten(-2))

    def relative(self):
        rows, columns = torch.meshgrid(*[torch.arange(self.side)] * 2, indexing="ij")
        at = torch.stack([rows.flatten(), columns.flatten()], -1)
        apart = at[None] - at[:, None] + self.side - 1  # of the key from the query
        index = apart[..., 0] * (2 * self.side - 1) + apart[..., 1]
        return self.relative_bias[index].permute(2, 0, 1)

    def forward(self, x):
        h, w = x.shape[1:3]
        patches = into_patches(self.norm1(x), self.side)
        if self.across:  # (batch, channels, patches, side * side)
            y = self.attend(patches.permute(0, 3, 1, 2), 1).permute(0, 2, 3, 1)
        else:
            y = self.attend(patches, self.heads, self.relative())
        x = x + out_of_patches(y, self.side, h, w)
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


class Stage(nn.Module):
    def __init__(self, dim, heads, side, ratio, depth, halve):
        super().__init__()
        self.halve = halve
        if halve:
            self.projection_norm = nn.LayerNorm(2 * dim)
            self.projection = nn.Linear(2 * dim, dim, bias=False)
        self.layers = nn.ModuleList(
            Layer(dim, heads, side, ratio, across)
            for _ in range(depth)
            for across in (False, True, False)
        )

    def forward(self, x):
        if self.halve:
            corners = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
            x = self.projection(self.projection_norm(torch.cat(corners, -1)))
        for layer in self.layers:
            x = layer(x)
        return x


class Cat(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim, step = config["dim"], config["embedding"]
        side = config["image_size"] // step
        self.embedding = nn.Conv2d(3, dim, step, step)
        self.positions = nn.Parameter(torch.empty(1, side, side, dim))
        self.stages = nn.ModuleList()
        for i, (depth, heads) in enumerate(zip(config["depths"], config["heads"], strict=True)):
            patch = min(config["patch"], side >> i)
            made = Stage(dim << i, heads, patch, config["mlp_ratio"], depth, i > 0)
            self.stages.append(made)
        last = dim << (len(config["depths"]) - 1)
        self.norm, self.head = nn.LayerNorm(last), nn.Linear(last, len(config["labels"]))

    def states(self, pixels):
        states = [self.embedding(pixels).permute(0, 2, 3, 1) + self.positions]
        for stage in self.stages:
            states.append(stage(states[-1]))
        return states

    def forward(self, pixels):
        return self.head(self.norm(self.states(pixels)[-1]).mean((1, 2)))


def made(config):
    torch.manual_seed(0)
    model = Cat(config)
    for name, parameter in model.named_parameters():
        one = parameter.dim() == 1 and name.endswith("weight")
        nn.init.normal_(parameter, 1.0 if one else 0.0, 0.2)
    return model


@pytest.mark.parametrize("change", [{}, {"patch": 6}, {"patch": 12, "heads": [1, 2]}])
def test_outputs_and_gradients(change, tmp_path):
    config = {**CONFIG, **change}
    model = made(config)
    pixels, d_out = torch.randn(3, 3, 24, 24), torch.randn(3, 3)
    out = model(pixels)
    request = {"command": "vision", "config": config}
    given = {"pixels": pixels, "d_out": d_out}
    found = run(tmp_path, request, given, dict(model.named_parameters()))
    check_range(found["out"], out, "logits")
    for i, state in enumerate(model.states(pixels)):
        check_range(found[f"hidden.{i}"], state, f"map {i}")
    out.backward(d_out)
    for name, parameter in model.named_parameters():
        close(found[f"d.p.{name}"], parameter.grad, f"gradient of {name}", 1e-4)


def test_a_folder_and_bfloat16(tmp_path):
    model, folder = made(CONFIG), tmp_path / "folder"
    save = {"command": "checkpoint", "config": CONFIG, "save_to": str(folder)}
    run(tmp_path, save, {"nothing": torch.zeros(1)}, dict(model.named_parameters()))
    pixels = torch.randn(8, 3, 24, 24)
    request = {"command": "vision", "pretrained": str(folder)}
    with torch.no_grad():
        exact = model(pixels)
        low = model.bfloat16()(pixels.bfloat16())
    check_range(run(tmp_path, request, {"pixels": pixels})["out"], exact, "from a folder")
    given = {"pixels": pixels.bfloat16()}
    found = run(tmp_path, {**request, "dtype": "bfloat16"}, given)
    check_bfloat16(found["out"], low, exact, "logits")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": 5}, "patch: 5; expected a divisor of a stage's map"),
        ({"heads": [2]}, "heads: 1; expected as many numbers as depths has"),
        ({"heads": [3, 4]}, "heads: 3; expected a divisor of a stage's dim"),
        ({"embedding": 5}, "embedding: 5; expected a divisor of image_size"),
        (
            {"embedding": 8, "depths": [1, 1], "patch": 3},
            "a map of 3 pixels cannot be halved",
        ),
    ],
)
def test_a_wrong_config_is_refused_by_name(change, message, tmp_path):
    request = {"command": "vision", "config": {**CONFIG, **change}, "fresh": True}
    with pytest.raises(ProgramError, match=message):
        run(tmp_path, request, {"pixels": torch.randn(1, 3, 24, 24)})


def test_a_rollout_is_refused(tmp_path):
    request = {"command": "vision", "config": CONFIG, "fresh": True, "rollout": True}
    with pytest.raises(ProgramError, match="cat: has no class token"):
        run(tmp_path, request, {"pixels": torch.randn(1, 3, 24, 24)})
