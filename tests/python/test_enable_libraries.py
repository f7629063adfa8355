# SPDX-License-Identifier: Apache-2.0
"""Under regard.enable(): models of diffusers and timm, tiny, with random weights, which know
nothing of Regard. Outputs and gradients are those of PyTorch's own attention, and every
attention of theirs really ran here."""

import diffusers
import pytest
import regard
import torch
import torch.nn.functional as F
from dropout_masks import drop_alike
from kernel_calls import kernel_calls
from timm_models import VisionTransformer


def _x(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def _unet(padded):
    """Stable Diffusion's: attention over an image's positions, and from them to a text's."""
    model = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=4,
    )
    image, text = _x(2, 3, 8, 8), _x(2, 7, 12)
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3]) if padded else None
    inputs = dict(
        sample=image,
        timestep=torch.tensor([3, 50]),
        encoder_hidden_states=text,
        encoder_attention_mask=mask,
    )
    return model, inputs, 8  # self and cross: one block down, one in the middle, two up


def _dit():
    model = diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=10,
        norm_num_groups=1,
    )
    return (
        model,
        dict(
            hidden_states=_x(2, 4, 8, 8),
            timestep=torch.tensor([3, 50]),
            class_labels=torch.tensor([1, 2]),
        ),
        2,
    )


def _flux():
    """Text and image side by side in one attention, (batch, seq, heads, dim) in memory."""
    model = diffusers.FluxTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=12,
        axes_dims_rope=(4, 4, 8),
    )
    inputs = dict(
        hidden_states=_x(2, 16, 4), encoder_hidden_states=_x(2, 7, 12), pooled_projections=_x(2, 12)
    )
    return (
        model,
        dict(
            inputs,
            timestep=torch.tensor([0.3, 0.5]),
            img_ids=torch.rand(16, 3) * 4,
            txt_ids=torch.zeros(7, 3),
        ),
        2,
    )


def _vit(**options):
    model = VisionTransformer(
        img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=4, num_classes=5, **options
    )
    return model, dict(x=_x(2, 3, 16, 16)), 2


MODELS = {  # the model, its inputs, and how many attentions one call makes
    "diffusers, UNet": lambda: _unet(False),
    "diffusers, UNet, padded text": lambda: _unet(True),
    "diffusers, DiT": _dit,
    "diffusers, Flux": _flux,
    "timm, vision transformer": _vit,
    "timm, vision transformer, queries and keys normalised": lambda: _vit(qk_norm=True),
}


def _steps(model, inputs):
    """The output, and the gradients of inputs and parameters."""
    leaves = [*inputs.values(), *model.parameters()]
    leaves = [x for x in leaves if torch.is_tensor(x) and x.requires_grad]
    torch.manual_seed(1)
    out = model(**inputs)
    out = out if torch.is_tensor(out) else out.sample
    return out, *torch.autograd.grad(out.square().sum(), leaves)


@pytest.mark.parametrize("name", MODELS)
def test_outputs_and_gradients_are_pytorchs(name):
    model, inputs, count = MODELS[name]()
    model.double().train()
    for parameter in model.parameters():  # some start at zero, and would let no gradient through
        torch.nn.init.normal_(parameter, std=0.2)
    expected = _steps(model, inputs)
    regard.report(reset=True)
    with regard.enabled(), kernel_calls() as calls:
        actual = _steps(model, inputs)
    assert regard.report() == (count, {})
    assert calls.forward == count and calls.backward == count and calls.pytorch == 0
    torch.testing.assert_close(actual, expected)
    assert all(x.abs().max() > 0 for x in expected)


def test_dropout_of_timm(monkeypatch):
    """Beside timm's own attention in plain PyTorch, which is made to drop the weights that
    Regard drops."""
    model, inputs, count = _vit(attn_drop_rate=0.3)
    model.double().train()
    regard.report(reset=True)
    with regard.enabled():
        actual = _steps(model, inputs)
    assert regard.report() == (count, {})
    for block in model.blocks:
        block.attn.fused_attn = False
    monkeypatch.setattr(F, "dropout", drop_alike)
    torch.testing.assert_close(actual, _steps(model, inputs))
