# SPDX-License-Identifier: Apache-2.0
"""`regard train detect` and `regard detect`: coloured squares and bars on grey, found by a small
DETR; the counts of pycocotools; files that are wrong."""

import json
import re

import numpy as np
import pytest
from conftest import regard
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from safetensors.torch import load_file

SMALL = ["--dim", 32, "--heads", 4, "--encoder-layers", 1, "--decoder-layers", 2, "--queries", 6]


def draw(folder, name, count, seed):
    """`count` images with 0 to 3 objects; those to train on are of two sizes, padded in a batch."""
    random = np.random.default_rng(seed)
    images, annotations = [], []
    for i in range(count):
        width, height = (64, 64) if i % 2 and name == "train" else (80, 48)
        pixels = np.full((height, width, 3), random.integers(90, 160), np.uint8)
        for _ in range(random.integers(0, 4)):
            kind = int(random.integers(2))
            size = (14, 14) if kind else (24, 8)
            x, y = random.integers(width - size[0]), random.integers(height - size[1])
            pixels[y : y + size[1], x : x + size[0]] = (230, 40, 40) if kind else (40, 60, 230)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 10,
                    "category_id": 7 if kind else 3,
                    "bbox": [int(x), int(y), *size],
                    "area": size[0] * size[1],
                    "iscrowd": 0,
                }
            )
        Image.fromarray(pixels).save(folder / f"{name}{i}.png")
        entry = {"id": i + 10, "file_name": f"{name}{i}.png", "width": width, "height": height}
        images.append(entry)
    categories = [{"id": 7, "name": "square"}, {"id": 3, "name": "bar"}]
    said = {"images": images, "annotations": annotations, "categories": categories}
    (folder / f"{name}.json").write_text(json.dumps(said))


def arguments(folder, out, *more):
    return [
        *("train", "detect", "--data", folder, "--annotations", folder / "train.json"),
        *("--valid-annotations", folder / "valid.json", "--out", out),
        *(*SMALL, "--batch", 8, "--warmup", 5, "--threads", 1, "--epochs", 0, "--json", *more),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    draw(folder, "train", 24, 1)
    draw(folder, "valid", 8, 2)
    return folder


@pytest.fixture(scope="module")
def finder(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("finder")
    more = ["--steps", 150, "--validate-every", 50, "--learning-rate", 1e-3]
    said = json.loads(regard(*arguments(folder, out, *more)).stdout)
    assert said["steps"] == 150
    return out


def found_in(folder, finder, name, *more):
    images = json.loads((folder / f"{name}.json").read_text())["images"]
    files = [folder / image["file_name"] for image in images]
    said = regard("detect", *files, "--model", finder, "--json", *more).stdout
    return images, [json.loads(line) for line in said.splitlines()]


def test_a_folder_has_everything(finder):
    names = {path.name for path in finder.iterdir()}
    expected = ["config.json", "model.safetensors", "preprocessor_config.json", "log.jsonl"]
    assert {*expected, "training.safetensors", "curve.png"} <= names
    lines = [json.loads(line) for line in (finder / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "step"]
    assert losses[-1] < 0.7 * losses[0]
    assert json.loads((finder / "config.json").read_text())["labels"] == ["bar", "square"]


def test_average_precision_is_that_of_pycocotools(folder, finder):
    images, found = found_in(folder, finder, "valid", "--threshold", 0)
    numbers = {"bar": 3, "square": 7}
    results = [
        {
            "image_id": image["id"],
            "category_id": numbers[one["label"]],
            "bbox": one["box"],
            "score": one["score"],
        }
        for image, line in zip(images, found, strict=True)
        for one in line["objects"]
    ]
    truth = COCO(folder / "valid.json")
    judge = COCOeval(truth, truth.loadRes(results), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    lines = [json.loads(line) for line in (finder / "log.jsonl").read_text().splitlines()]
    best = max(line["ap50"] for line in lines if line["kind"] == "validation")
    assert best > 0
    assert abs(best - judge.stats[1]) < 1e-3


def test_pictures(folder, finder, tmp_path):
    out, maps = tmp_path / "boxes.png", tmp_path / "maps.png"
    more = ["--out", out, "--attention", maps, "--threshold", 0.0]
    said = regard("detect", folder / "valid1.png", "--model", finder, *more).stdout
    assert len(said.splitlines()) == 6
    assert Image.open(out).size == (480, 288)
    assert Image.open(maps).size[0] > 4 * 320


def test_a_look_shows_where_each_objects_query_looked(folder, finder, tmp_path):
    png, page = tmp_path / "maps.png", tmp_path / "maps.html"
    flags = ["--image", folder / "valid1.png", "--threshold", 0, "--json"]
    said = json.loads(regard("look", finder, *flags, "--out", png, "--out", page).stdout)
    assert len(said["maps"]) == 6
    for one in said["maps"]:
        assert abs(np.sum(one["weights"]) - 1) < 1e-4 and len(one["box"]) == 4
    detected = regard(
        "detect", folder / "valid1.png", "--model", finder, "--threshold", 0, "--json"
    )
    boxes = [one["box"] for one in json.loads(detected.stdout)["objects"]]
    assert np.allclose(boxes, [one["box"] for one in said["maps"]])
    assert Image.open(png).size[0] > 4 * 320
    assert page.read_text().count("box: [") == 6
    flags = ["--image", folder / "valid1.png", "--threshold", 1, "--out", png]
    done = regard("look", finder, *flags, check=False)
    assert done.returncode != 0 and "nothing was found above 1" in done.stderr


def test_training_goes_on_to_the_same_bits(folder, tmp_path):
    regard(*arguments(folder, tmp_path / "whole", "--steps", 8, "--flip"))
    for steps in (3, 8):
        regard(*arguments(folder, tmp_path / "parts", "--steps", steps, "--flip"))
    whole, parts = (load_file(tmp_path / n / "training.safetensors") for n in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all((whole[name] == parts[name]).all() for name in whole)


def annotation(**changes):
    base = {"id": 1, "image_id": 10, "category_id": 3, "bbox": [1, 2, 10, 10]}
    return {"annotations": [{**base, **changes}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (annotation(bbox=[70, 2, 20, 10]), r"annotations\[0\].*outside of image 10, which is 80 x"),
        (annotation(bbox=[1, 2, 0, 10]), "a width and a height above 0"),
        (annotation(bbox=[1, 2, 3]), r"expected \[x, y, width, height\]"),
        (annotation(category_id=4), "there is no category 4"),
        (annotation(image_id=99), "there is no image 99"),
        ({"images": [{"id": 1, "file_name": "no.png", "width": 1, "height": 1}]}, "no.png"),
        ({"categories": []}, '"categories" is empty'),
        ({"images": 3}, '"images" is no list'),
        ({"annotations": None}, '"annotations" is no list'),
    ],
)
def test_annotations_that_are_wrong(folder, tmp_path, change, message):
    said = {**json.loads((folder / "train.json").read_text()), **change}
    (tmp_path / "wrong.json").write_text(json.dumps(said))
    wrong = arguments(folder, tmp_path / "out", "--annotations", tmp_path / "wrong.json")
    done = regard(*wrong, "--steps", 1, check=False)
    assert done.returncode == 1
    assert "wrong.json" in done.stderr
    assert re.search(message, done.stderr), done.stderr


def test_wrong_files(folder, finder, tmp_path):
    (tmp_path / "text.json").write_text("no")
    wrong = arguments(folder, tmp_path / "out", "--annotations", tmp_path / "text.json")
    assert "not a JSON object" in regard(*wrong, "--steps", 1, check=False).stderr
    said = json.loads((folder / "train.json").read_text())
    said["images"][0]["width"] = 81
    (tmp_path / "size.json").write_text(json.dumps(said))
    wrong = arguments(folder, tmp_path / "out", "--annotations", tmp_path / "size.json")
    done = regard(*wrong, "--steps", 3, check=False)
    assert "is 80 x 48; the annotations say 81 x 48" in done.stderr
    done = regard("detect", folder / "valid.json", "--model", finder, check=False)
    assert done.returncode == 1 and "valid.json" in done.stderr
    image = folder / "valid0.png"
    done = regard("detect", image, "--model", finder, "--out", tmp_path / "x.gif", check=False)
    assert done.returncode == 2 and ".png" in done.stderr
