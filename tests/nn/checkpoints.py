# SPDX-License-Identifier: Apache-2.0
"""Models of transformers with random weights in folders of their own, and what ours give for them:
outputs, gradients under transformers' names, folders that transformers reads again."""

import json

import torch
from harness import ROOT, close, run

NOTHING = {"nothing": torch.zeros(1)}


def save(model, folder):
    """The model with norms and biases that are not 1 and 0, in evaluation mode, in a folder."""
    for name, parameter in model.named_parameters():
        if "norm" in name.lower() or "ln_" in name or "bias" in name:
            centre = 1.0 if parameter.dim() == 1 and name.endswith("weight") else 0.0
            torch.nn.init.normal_(parameter, centre, 0.2)
    model.eval().save_pretrained(folder)
    return model


def name_map(model_type):
    return json.loads((ROOT / f"src/nn/pretrained/{model_type}.json").read_text())


def parts_of(name, names):
    """transformers' names of what our tensor is made of."""
    pieces = name.split(".")
    numbers = [piece for piece in pieces if piece.isdigit()]
    parts = names["tensors"][".".join("*" if piece.isdigit() else piece for piece in pieces)]
    for number in numbers:
        parts = [part.replace("*", number, 1) for part in parts]
    return parts


def gradients_of(answers, model):
    """(our name, what the program answered, transformers' names of its parts, their gradients) of
    every gradient that the program answered."""
    names = name_map(model.config.model_type)
    prefix = names.get("prefix", "")
    theirs = {name.removeprefix(prefix): p.grad for name, p in model.named_parameters()}
    for key, found in answers.items():
        if not key.startswith("d.p."):
            continue
        name = key.removeprefix("d.p.")
        pattern = ".".join("*" if piece.isdigit() else piece for piece in name.split("."))
        parts = [part.removeprefix(prefix) for part in parts_of(name, names)]
        gradients = [torch.zeros(()) if theirs[part] is None else theirs[part] for part in parts]
        if pattern in names.get("transposed", []):
            gradients = [gradient.t() for gradient in gradients]
        yield name, found, parts, gradients


def largest_gradient(model):
    return max(p.grad.abs().max().item() for p in model.parameters() if p.grad is not None)


def check_gradients(answers, model, tolerance=1e-4):
    """Every gradient that the program answered, beside those that `model` holds; and that none of
    the model's is left out."""
    largest, seen = largest_gradient(model), set()
    for name, found, parts, gradients in gradients_of(answers, model):
        seen.update(parts)
        if name.endswith("global_key.bias"):
            assert found.abs().max() <= 1e-3 * largest
            continue  # 0 but for rounding: it adds the same to all scores of a row
        close(found, torch.cat(gradients), f"gradient of {name}", tolerance)
    prefix = name_map(model.config.model_type).get("prefix", "")
    # below that it is what rounding leaves of 0: the bias of keys adds the same to all scores
    alive = {
        name.removeprefix(prefix)
        for name, p in model.named_parameters()
        if p.grad is not None and p.grad.abs().max() > 1e-5 * largest
    }
    missing = alive - seen
    assert not missing, f"no gradients of {sorted(missing)}"
    assert seen


def check_bfloat16_gradients(answers, in_bfloat16, exact):
    """Gradients no further from the float32 model's than three times PyTorch's bfloat16: each in
    the mean, and the furthest element of all, relative to the largest of its tensor."""
    least, furthest = 1e-3 * largest_gradient(exact), torch.zeros(2)
    both = zip(gradients_of(answers, in_bfloat16), gradients_of(answers, exact), strict=True)
    for (name, found, _, lower), (_, _, _, expected) in both:
        expected = torch.cat(expected)
        if expected.abs().max() <= least:
            continue  # what rounding leaves of 0
        ours, theirs = ((x.float() - expected).abs() for x in (found, torch.cat(lower)))
        assert ours.mean() <= 3 * theirs.mean(), f"{name}: {ours.mean()}, PyTorch {theirs.mean()}"
        apart = torch.stack([ours.max(), theirs.max()]) / expected.abs().max()
        furthest = torch.maximum(furthest, apart)
    assert 0 < furthest[0] <= 3 * furthest[1]


def check_range(found, expected, what, tolerance=1e-4):
    """Within `tolerance` of the range of what is expected."""
    expected = expected.detach().float()
    assert found.shape == expected.shape, f"{what}: {found.shape}, expected {expected.shape}"
    span = (expected.max() - expected.min()).item()
    apart = (found.float() - expected).abs().max().item()
    assert apart <= tolerance * span, f"{what}: {apart:.2e} apart, of a range of {span:.2e}"


def check_bfloat16(found, in_bfloat16, exact, what):
    """No further from the float32 result than three times PyTorch's own bfloat16."""
    theirs = (in_bfloat16.float() - exact).abs()
    ours = (found.float() - exact).abs()
    assert ours.max() <= 3 * theirs.max() and ours.mean() <= 3 * theirs.mean(), (
        f"{what}: {ours.max():.2e} from float32 at most, PyTorch {theirs.max():.2e}; "
        f"{ours.mean():.2e} in the mean, PyTorch {theirs.mean():.2e}"
    )


def saved_again(folder, tmp_path, **changes):
    """The folder that our program writes of the one that it reads."""
    request = {
        "command": "save_pretrained",
        "pretrained": str(folder),
        "save_to": str(tmp_path / "saved"),
        **changes,
    }
    run(tmp_path, request, NOTHING)
    return tmp_path / "saved"
