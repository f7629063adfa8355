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


def check_gradients(answers, model, tolerance=1e-4):
    """Every gradient that the program answered, beside those that `model` holds; and that none of
    the model's is left out."""
    names = name_map(model.config.model_type)
    prefix = names.get("prefix", "")
    theirs = {name.removeprefix(prefix): p.grad for name, p in model.named_parameters()}
    seen = set()
    for key, found in answers.items():
        if not key.startswith("d.p."):
            continue
        name = key.removeprefix("d.p.")
        pattern = ".".join("*" if piece.isdigit() else piece for piece in name.split("."))
        parts = [part.removeprefix(prefix) for part in parts_of(name, names)]
        seen.update(parts)
        gradients = [torch.zeros(()) if theirs[part] is None else theirs[part] for part in parts]
        if pattern in names.get("transposed", []):
            gradients = [gradient.t() for gradient in gradients]
        if name.endswith("global_key.bias"):
            assert found.abs().max() <= 1e-3 * max(
                g.abs().max() for g in theirs.values() if g is not None
            )
            continue  # 0 but for rounding: it adds the same to all scores of a row
        close(found, torch.cat(gradients), f"gradient of {name}", tolerance)
    largest = max(g.abs().max().item() for g in theirs.values() if g is not None)
    # below that it is what rounding leaves of 0: the bias of keys adds the same to all scores
    alive = {n for n, g in theirs.items() if g is not None and g.abs().max() > 1e-5 * largest}
    missing = alive - seen
    assert not missing, f"no gradients of {sorted(missing)}"
    assert seen


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
