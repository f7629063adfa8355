# SPDX-License-Identifier: Apache-2.0
"""transformers' DETR with random weights, read from its own folder: class logits, boxes, hidden
states, attention weights, loss and all gradients; padded images; the backbones' layouts of
transformers and timm. And the assignment, beside SciPy's."""

import copy
import json
import re
from pathlib import Path

import pytest
import torch
from harness import ProgramError, close, run
from safetensors.torch import load_file, save_file
from scipy.optimize import linear_sum_assignment
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig
from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss

SIZES = {
    "id2label": dict(enumerate(["cat", "dog", "hen", "cow", "owl"])),
    "label2id": {name: i for i, name in enumerate(["cat", "dog", "hen", "cow", "owl"])},
    "num_queries": 7,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "use_timm_backbone": False,
}
BACKBONES = {
    "basic": {"layer_type": "basic", "hidden_sizes": [16, 24], "depths": [1, 2]},
    "bottleneck": {"layer_type": "bottleneck", "hidden_sizes": [32, 64, 64], "depths": [2, 1, 1]},
    "early strides": {
        "layer_type": "bottleneck",
        "hidden_sizes": [32, 64],
        "depths": [1, 1],
        "downsample_in_bottleneck": True,
        "downsample_in_first_stage": True,
    },
}
CONFIGS = {
    **{name: (name, {}) for name in BACKBONES},
    "learned positions": ("basic", {"position_embedding_type": "learned"}),
    "normalized between": ("basic", {"auxiliary_loss": True}),
    "other weights": (
        "basic",
        {"class_cost": 2, "bbox_cost": 3, "giou_loss_coefficient": 4, "eos_coefficient": 0.3},
    ),
}
ROOT = Path(__file__).parent.parent.parent


def made(backbone, **changes):
    sizes = BACKBONES[backbone]
    resnet = ResNetConfig(embedding_size=16, out_features=[f"stage{len(sizes['depths'])}"], **sizes)
    config = DetrConfig(**{**SIZES, **changes}, backbone_config=resnet)
    torch.manual_seed(0)
    return shaken(DetrForObjectDetection(config)).eval()


def shaken(model):
    """Norms whose weights and statistics are not 0 and 1, and queries that look at something."""
    model.requires_grad_(True)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif "norm" in name or "running_mean" in name or name.endswith("bias"):
                value.add_(torch.randn(value.shape) * 0.2)
            elif "attn" in name and value.dim() == 2:
                value.mul_(2)
    return model


def images(padded=False):
    """Two images of different sizes, the smaller one padded where asked for."""
    torch.manual_seed(1)
    pixels = torch.randn(2, 3, 96, 128)
    mask = torch.ones(2, 96, 128, dtype=torch.int64)
    if padded:
        pixels[1, :, 70:] = 0
        pixels[1, :, :, 90:] = 0
        mask[1, 70:] = 0
        mask[1, :, 90:] = 0
    boxes = torch.rand(4, 4) * 0.4 + 0.2
    labels = [
        {"class_labels": torch.tensor([1, 4, 1]), "boxes": boxes[:3]},
        {"class_labels": torch.tensor([0]), "boxes": boxes[3:]},
    ]
    return pixels, mask, labels


def asked(tmp_path, pixels, mask=None, labels=None, **request):
    given = {"pixels": pixels}
    if mask is not None:
        given["mask"] = mask
    for i, label in enumerate(labels or []):
        given[f"classes.{i}"] = label["class_labels"]
        given[f"boxes.{i}"] = label["boxes"]
    request = {"command": "detr", "pretrained": str(tmp_path / "model"), **request}
    return run(tmp_path, request, given)


def their_gradients(model, tmp_path):
    """Gradients by our names, put together as the map says. Saved names are older than those of the
    module."""
    gradients = {}
    for name, parameter in model.named_parameters():
        saved = re.sub(r"(layers\.\d+)\.mlp\.", r"\1.", name).replace("o_proj", "out_proj")
        saved = saved.replace("model.backbone.model.", "model.backbone.conv_encoder.model.")
        gradients[saved] = parameter.grad
    written = load_file(tmp_path / "model/model.safetensors")
    assert set(gradients) <= set(written)
    return gradients


def exact_gradients(model, pixels, mask, labels, tmp_path):
    """The same model's in float64."""
    exact = copy.deepcopy(model).double()
    exact.zero_grad()
    wide = [{**label, "boxes": label["boxes"].double()} for label in labels]
    torch.set_default_dtype(torch.float64)  # of the weights that the loss makes
    try:
        out = exact(pixel_values=pixels.double(), pixel_mask=mask, labels=wide)
        out.loss.backward()
    finally:
        torch.set_default_dtype(torch.float32)
    return their_gradients(exact, tmp_path)


def by_our_names(names, gradients):
    tensors = json.loads((ROOT / "src/nn/pretrained/detr.json").read_text())["tensors"]
    result = {}
    for name in names:
        pattern = ".".join("*" if part.isdigit() else part for part in name.split("."))
        parts = []
        for theirs in tensors[pattern]:
            filled, left = theirs, [part for part in name.split(".") if part.isdigit()]
            for number in left:
                filled = filled.replace("*", number, 1)
            parts.append(gradients.get(filled))
        if all(part is not None for part in parts):
            result[name] = torch.cat(parts)
    return result


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_states_loss_and_gradients(name, padded, tmp_path):
    backbone, changes = CONFIGS[name]
    model = made(backbone, **changes)
    model.save_pretrained(tmp_path / "model")
    pixels, mask, labels = images(padded)
    expected = model(
        pixel_values=pixels,
        pixel_mask=mask,
        labels=labels,
        output_hidden_states=True,
    )
    expected.loss.backward()
    answers = asked(tmp_path, pixels, mask if padded else None, labels)

    last = model.config.decoder_layers - 1
    close(answers[f"logits.{last}"], expected.logits, "logits", 1e-4)
    close(answers[f"boxes.{last}"], expected.pred_boxes, "boxes", 1e-4)
    close(answers["out"], expected.loss.squeeze(), "loss", 1e-4)
    parts = [expected.loss_dict[part] for part in ("loss_ce", "loss_bbox", "loss_giou")]
    close(answers["parts"], torch.stack(parts).float(), "parts of the loss", 1e-4)

    height, width = answers["weights"].shape[-2:]
    seen = torch.nn.functional.interpolate(mask[None].float(), (height, width))[0].flatten(1) > 0
    for i, state in enumerate(expected.encoder_hidden_states):
        close(answers[f"encoder.{i}"][seen], state[seen], f"encoder {i}", 1e-4)
    for i, state in enumerate(expected.decoder_hidden_states):
        if i > 0 and changes.get("auxiliary_loss"):
            continue  # transformers keeps what a layer gives, and gives it on normalized
        normalized = i == len(expected.decoder_hidden_states) - 1
        close(answers[f"decoder.{i + normalized}"], state, f"decoder {i}", 1e-4)
    assert not answers["weights"].flatten(3)[~seen[:, None, None].expand(-1, 2, 7, -1)].any()

    names = [key.removeprefix("d.p.") for key in answers if key.startswith("d.p.")]
    gradients = by_our_names(names, their_gradients(model, tmp_path))
    ours = {key.removeprefix("p.") for key in answers if key.startswith("p.")}
    constant = {key for key in ours if re.search("norm_weight|norm_bias|running", key)}
    constant = {key for key in constant if key.startswith("backbone")}
    assert set(gradients) == ours - constant
    exact = by_our_names(names, exact_gradients(model, pixels, mask, labels, tmp_path))
    largest = max(gradient.abs().max().item() for gradient in exact.values())
    for key, gradient in exact.items():
        apart = (answers[f"d.p.{key}"] - gradient).abs().max().item()
        theirs = (gradients[key] - gradient).abs().max().item()
        # Where terms cancel to next to nothing, float32 keeps their rounding: that of the largest
        # gradient's, or what it is in transformers.
        bar = max(1e-4 * gradient.abs().max().item(), 2 * theirs, 1e-7 * largest)
        assert apart <= bar, f"gradient of {key}: {apart:.2e} apart, at most {bar:.2e}"


def test_auxiliary_losses_of_the_paper(tmp_path):
    """Every layer's output gets the heads, through the norm, and a loss of its own; the next layer
    reads what was not normalized."""
    model = made("basic")
    model.save_pretrained(tmp_path / "model")
    pixels, _, labels = images()
    out = model(pixel_values=pixels, output_hidden_states=True)
    states = [model.model.decoder.layernorm(x) for x in out.decoder_hidden_states[1:-1]]
    states.append(out.decoder_hidden_states[-1])  # the last one comes normalized
    outputs = [
        {
            "logits": model.class_labels_classifier(x),
            "pred_boxes": model.bbox_predictor(x).sigmoid(),
        }
        for x in states
    ]
    criterion = ImageLoss(HungarianMatcher(1, 5, 2), 5, 0.1, ["labels", "boxes"])
    losses = criterion({**outputs[-1], "auxiliary_outputs": outputs[:-1]}, labels)
    weights = {"loss_ce": 1, "loss_bbox": 5, "loss_giou": 2}
    expected = sum(weights[re.sub(r"_\d$", "", key)] * value for key, value in losses.items())
    answers = asked(tmp_path, pixels, None, labels, changes={"auxiliary_loss": True})
    for i, output in enumerate(outputs):
        close(answers[f"logits.{i}"], output["logits"], f"logits {i}", 1e-4)
    close(answers["out"], expected, "loss", 1e-4)


def test_cross_attention_weights(tmp_path):
    model = made("bottleneck")
    model.set_attn_implementation("eager")
    model.save_pretrained(tmp_path / "model")
    pixels, mask, _ = images(padded=True)
    expected = model(pixel_values=pixels, pixel_mask=mask, output_attentions=True)
    answers = asked(tmp_path, pixels, mask)
    found = answers["weights"].flatten(3)
    close(found, expected.cross_attentions[-1], "weights", 1e-4)
    close(found.sum(-1), torch.ones(found.shape[:3]), "sums", 1e-5)


def test_images_without_objects(tmp_path):
    model = made("basic")
    model.save_pretrained(tmp_path / "model")
    pixels, mask, _ = images()
    nothing = {"class_labels": torch.zeros(0, dtype=torch.int64), "boxes": torch.zeros(0, 4)}
    expected = model(pixel_values=pixels, pixel_mask=mask, labels=[nothing, nothing])
    answers = asked(tmp_path, pixels, mask, [nothing, nothing])
    close(answers["out"], expected.loss.squeeze(), "loss", 1e-4)


def test_bfloat16_errs_as_pytorch_does(tmp_path):
    model = made("bottleneck")
    model.save_pretrained(tmp_path / "model")
    pixels, mask, _ = images(padded=True)
    with torch.no_grad():
        exact = model(pixel_values=pixels, pixel_mask=mask)
        with torch.autocast("cpu", torch.bfloat16):
            theirs = model(pixel_values=pixels, pixel_mask=mask)
    ours = asked(tmp_path, pixels, mask, bf16=True)
    for name, key in (("logits.2", "logits"), ("boxes.2", "pred_boxes")):
        error = (ours[name].float() - exact[key]).abs().max()
        bar = 3 * (theirs[key].float() - exact[key]).abs().max()
        assert error <= bar, f"{key}: {error:.2e}, PyTorch's error times 3 is {bar:.2e}"


# What timm calls the parts of a residual network, as facebook/detr-resnet-50 has them.
TIMM = [
    (r"model\.embedder\.embedder\.convolution\.", "model.conv1."),
    (r"model\.embedder\.embedder\.normalization\.", "model.bn1."),
    (r"encoder\.stages\.(\d)\.layers\.", lambda m: f"layer{int(m[1]) + 1}."),
    (r"layer\.(\d)\.convolution\.", lambda m: f"conv{int(m[1]) + 1}."),
    (r"layer\.(\d)\.normalization\.", lambda m: f"bn{int(m[1]) + 1}."),
    (r"shortcut\.convolution\.", "downsample.0."),
    (r"shortcut\.normalization\.", "downsample.1."),
]


@pytest.mark.parametrize("blocks", ["resnet18", "resnet50"])
def test_the_layout_of_timm(blocks, tmp_path):
    basic = blocks == "resnet18"
    BACKBONES["timm"] = {
        "layer_type": "basic" if basic else "bottleneck",
        "hidden_sizes": [64, 128, 256, 512] if basic else [256, 512, 1024, 2048],
        "depths": [2, 2, 2, 2] if basic else [3, 4, 6, 3],
        "embedding_size": 64,
    }
    sizes = BACKBONES["timm"]
    resnet = ResNetConfig(out_features=["stage4"], **sizes)
    torch.manual_seed(0)
    model = shaken(DetrForObjectDetection(DetrConfig(**SIZES, backbone_config=resnet))).eval()
    model.save_pretrained(tmp_path / "model")
    tensors = {}
    for key, value in load_file(tmp_path / "model/model.safetensors").items():
        renamed = key
        if "backbone" in key:
            for pattern, name in TIMM:
                renamed = re.sub(pattern, name, renamed)
            if renamed.endswith("running_var"):
                count = renamed.replace("running_var", "num_batches_tracked")
                tensors[count] = torch.tensor(3)
        tensors[renamed] = value
    save_file(tensors, tmp_path / "model/model.safetensors")
    path = tmp_path / "model/config.json"
    config = json.loads(path.read_text())
    config.pop("backbone_config")
    path.write_text(json.dumps({**config, "backbone": blocks, "use_timm_backbone": True}))
    pixels, mask, _ = images()
    with torch.no_grad():
        expected = model(pixel_values=pixels, pixel_mask=mask)
    answers = asked(tmp_path, pixels)
    close(answers["logits.2"], expected.logits, "logits", 1e-4)
    close(answers["boxes.2"], expected.pred_boxes, "boxes", 1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone_config": {"model_type": "swin"}}, 'backbone_config/model_type: "swin"'),
        ({"encoder_attention_heads": 5}, "encoder_heads: 5"),
        ({"activation_function": "mish"}, "activation"),
        ({"d_model": 64}, "input_projection|query_positions|config.json"),
        ({"id2label": {"0": "a", "5": "b"}}, "id2label: no text for 1"),
    ],
)
def test_what_is_not_served_is_refused_by_name(change, message, tmp_path):
    made("basic").save_pretrained(tmp_path / "model")
    path = tmp_path / "model/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ProgramError, match=message):
        asked(tmp_path, images()[0])


def test_bad_images_are_refused_by_name(tmp_path):
    made("basic").save_pretrained(tmp_path / "model")
    pixels, mask, labels = images()
    with pytest.raises(ProgramError, match=r"pixels: \[2, 1, 96, 128\]"):
        asked(tmp_path, pixels[:, :1].contiguous())
    with pytest.raises(ProgramError, match=r"pixel_mask: \[2, 95, 128\]"):
        asked(tmp_path, pixels, mask[:, 1:])
    labels[1]["class_labels"] = torch.tensor([5])
    with pytest.raises(ProgramError, match="targets: class 5; expected 0 to 4"):
        asked(tmp_path, pixels, None, labels)


def test_assignment_is_as_cheap_as_scipys(tmp_path):
    torch.manual_seed(0)
    for rows, columns in [(1, 1), (1, 6), (6, 1), (5, 5), (3, 100), (100, 17), (40, 40), (0, 3)]:
        for kind in ("real", "ties", "huge"):
            costs = torch.randn(rows, columns, dtype=torch.float64)
            if kind == "ties":
                costs = costs.round()
            if kind == "huge":
                costs[torch.rand(rows, columns) < 0.3] = 3.4e38
            found = run(tmp_path, {"command": "assign"}, {"costs": costs})["columns"]
            chosen = found >= 0
            assert chosen.sum() == min(rows, columns)
            assert len(set(found[chosen].tolist())) == chosen.sum()
            mine = costs[torch.arange(rows)[chosen], found[chosen]].sum()
            i, j = linear_sum_assignment(costs.numpy())
            close(mine, costs[torch.from_numpy(i), torch.from_numpy(j)].sum(), kind, 1e-12)
