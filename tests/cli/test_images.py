# SPDX-License-Identifier: Apache-2.0
"""`regard train classify --images` and `regard classify` of pictures, as a user has them."""

import json
import random
import signal
import subprocess
import time

import pytest
import torch
import transformers
from conftest import PROGRAM, regard
from PIL import Image, ImageDraw
from safetensors.torch import load_file

SMALL = {
    "vit": ["--dim", 16, "--layers", 2],
    "crossvit": ["--dim", 8, "--layers", 1],
    "cat": ["--dim", 8, "--patch", 4],
}
NEW = ["--image-size", 16, "--heads", 2, "--dropout", 0.1]
FAST = ["--batch-images", 8, "--threads", 1]
FAST += ["--learning-rate", 3e-3, "--warmup", 5, "--epochs", 0, "--optimizer", "adamw"]
CHANGES = ["--shift", 0.1, "--rotate", 10, "--scale", 0.1]


def draw(kind, seed):
    """A disc or a cross, somewhere on a picture."""
    rng = random.Random(seed)
    picture = Image.new("RGB", (24, 20), (rng.randrange(60),) * 3)
    x, y = rng.randrange(8, 16), rng.randrange(8, 12)
    pen = ImageDraw.Draw(picture)
    if kind == "disc":
        pen.ellipse([x - 6, y - 6, x + 6, y + 6], fill=(230, 200, 40))
    else:
        pen.line([x - 6, y, x + 6, y], fill=(60, 90, 240), width=3)
        pen.line([x, y - 6, x, y + 6], fill=(60, 90, 240), width=3)
    return picture


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(60):
        for kind in ("cross", "disc"):
            into = folder / ("test" if i < 10 else "train") / kind
            into.mkdir(parents=True, exist_ok=True)
            draw(kind, i).save(into / f"{i}.{'jpg' if i % 2 else 'png'}")
    return folder


def train(pictures, out, model, *more, check=True):
    sizes = [*NEW, *SMALL[model]] if model in SMALL else []
    flags = ["--images", pictures / "train", "--model", model, "--out", out]
    return regard("train", "classify", *flags, *FAST, *sizes, *more, check=check)


@pytest.mark.parametrize("model", SMALL)
def test_what_is_trained_tells_the_classes_apart(model, pictures, tmp_path):
    said = train(pictures, tmp_path / "out", model, "--steps", 60, "--valid-share", 0.2, "--json")
    trained = json.loads(said.stdout)
    assert trained["best_error"] <= 0.05
    names = {path.name for path in (tmp_path / "out").iterdir()}
    expected = {"config.json", "model.safetensors", "preprocessor_config.json", "curve.png"}
    assert expected <= names
    files = sorted((pictures / "test").glob("*/*"))
    said = regard("classify", *files, "--model", tmp_path / "out", "--json", "--top", 2).stdout
    answers = [json.loads(line) for line in said.splitlines()]
    assert [a["image"] for a in answers] == list(map(str, files))
    assert all(abs(sum(x["probability"] for x in a["labels"]) - 1) < 1e-4 for a in answers)
    right = [a["labels"][0]["label"] == f.parent.name for a, f in zip(answers, files, strict=True)]
    assert sum(right) >= len(files) - 1


def test_killed_it_comes_to_the_same_bits(pictures, tmp_path):
    more = [*CHANGES, "--steps", 40, "--checkpoint-every", 3, "--valid-share", 0.2, "--flip"]
    train(pictures, tmp_path / "whole", "vit", *more)
    flags = ["--images", pictures / "train", "--model", "vit", "--out", tmp_path / "killed"]
    command = [PROGRAM, "train", "classify", *flags, *FAST, *NEW, *SMALL["vit"], *more]
    kills = 0
    while True:
        process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
        if kills == 3:
            assert process.wait(timeout=300) == 0
            break
        checkpoint = tmp_path / "killed/training.safetensors"
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and (
            not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    for file in ("model", "training"):
        whole = load_file(tmp_path / f"whole/{file}.safetensors")
        killed = load_file(tmp_path / f"killed/{file}.safetensors")
        assert all(torch.equal(x, killed[name]) for name, x in whole.items()), file


def test_a_checkpoint_of_transformers_is_tuned_and_read_by_it_again(pictures, tmp_path):
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=16,
        patch_size=4,
        num_labels=7,
    )
    torch.manual_seed(0)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "theirs")
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}
    (tmp_path / "theirs/preprocessor_config.json").write_text(json.dumps(processor))
    train(pictures, tmp_path / "out", tmp_path / "theirs", "--steps", 30)
    model = transformers.ViTForImageClassification.from_pretrained(tmp_path / "out").eval()
    assert model.config.id2label == {0: "cross", 1: "disc"}
    path = pictures / "test/disc/3.jpg"
    read = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out", use_fast=False)
    with torch.no_grad():
        logits = model(**read(Image.open(path).convert("RGB"), return_tensors="pt")).logits
    expected = logits.softmax(-1)[0].max().item()
    said = regard("classify", tmp_path / "out", path, "--json").stdout
    assert abs(json.loads(said)["labels"][0]["probability"] - expected) < 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "nowhere", "--model", "vit"], "nowhere: not a folder"),
        (["--images", "flat", "--model", "vit"], "has no subfolders"),
        (["--images", "bare", "--model", "vit"], "no pictures"),
        (["--images", "alone", "--model", "vit"], "one class"),
        (["--images", "good", "--model", "resnet"], "expected vit, crossvit, cat or the folder"),
        (["--images", "good", "--model", "vit", "--shift", "2"], "shift: 2"),
        (["--images", "good", "--model", "vit", "--valid-share", "1"], "--valid-share: 1"),
        (["--images", "good", "--model", "vit", "--patch", "99"], "patch: 99"),
        (["--images", "broken", "--model", "vit"], "broken/b/cut.png: a damaged PNG"),
        (["--model", "vit"], "--text or --images"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(arguments, message, tmp_path):
    for folder in ("flat", "bare/a", "alone/a", "good/a", "good/b", "broken/a", "broken/b"):
        (tmp_path / folder).mkdir(parents=True)
        if folder not in ("flat", "bare/a"):
            draw("disc", 1).save(tmp_path / folder / "1.png")
    whole = (tmp_path / "broken/b/1.png").read_bytes()
    (tmp_path / "broken/b/cut.png").write_bytes(whole[: len(whole) // 2])
    more = ["--out", "out", "--steps", "3", "--threads", "1"]
    done = regard("train", "classify", *arguments, *more, check=False, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert message in done.stderr


def test_what_cannot_be_classified_is_refused_by_name(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"hello")
    done = regard("classify", "nowhere", "picture.png", check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "nowhere is not a folder with a model" in done.stderr


def made_vit(folder):
    """A classifier of transformers with random weights, and its processor."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=16,
        patch_size=4,
        num_labels=3,
        initializer_range=0.5,
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


@torch.no_grad()
def test_a_look_at_an_image_is_attention_rollout(pictures, tmp_path):
    """Abnar and Zuidema's formula over transformers' own weights."""
    made_vit(tmp_path / "vit")
    path = pictures / "test/disc/3.jpg"
    model = transformers.ViTForImageClassification.from_pretrained(
        tmp_path / "vit", attn_implementation="eager"
    ).eval()
    read = transformers.AutoImageProcessor.from_pretrained(tmp_path / "vit", use_fast=False)
    pixels = read(Image.open(path).convert("RGB"), return_tensors="pt")
    theirs = model(**pixels, output_attentions=True)
    whole = torch.eye(17, dtype=torch.float64)
    for weights in theirs.attentions:
        whole = (weights[0].double().mean(0) + torch.eye(17)) / 2 @ whole
    expected = (whole[0, 1:] / whole[0, 1:].sum()).reshape(4, 4)
    png, page = tmp_path / "rollout.png", tmp_path / "rollout.html"
    flags = ["--image", path, "--json", "--out", png, "--out", page]
    said = json.loads(regard("look", tmp_path / "vit", *flags).stdout)
    assert said["image"] == str(path) and len(said["maps"]) == 1
    found = torch.tensor(said["maps"][0]["weights"], dtype=torch.float64)
    assert (found - expected).abs().max() < 1e-4
    probabilities = theirs.logits.softmax(-1)[0]
    name = f"LABEL_{probabilities.argmax()} {probabilities.max():.2f}"
    assert said["maps"][0]["name"] == name
    assert Image.open(png).size[1] >= 320
    assert name in page.read_text() and "http" not in page.read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--text"),
        (["--image", "x.png", "--text", "x"], "--text"),
        (["--image", "x.png"], "--out: expected a file"),
        (["--image", "x.png", "--json", "--layer", "1"], "--layer excludes --image"),
        (["--image", "nothing.png", "--json"], "nothing.png"),
        (["--text", "x", "--json"], "expected a language model or a text encoder"),
    ],
)
def test_wrong_looks_at_images_are_named(flags, message, tmp_path):
    made_vit(tmp_path / "vit")
    done = regard("look", tmp_path / "vit", *flags, check=False)
    assert done.returncode in (1, 2) and message in done.stderr, done.stderr
