# SPDX-License-Identifier: Apache-2.0
"""Pictures come out as transformers' processors give them."""

import json

import numpy as np
from pictures import PHOTOGRAPHS, photograph, process
from PIL import Image
from transformers import AutoImageProcessor
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

PROCESSORS = {
    "vit": ViTImageProcessorPil(),
    "vit 384": ViTImageProcessorPil(size={"height": 384, "width": 384}),
    "vit 97 x 51": ViTImageProcessorPil(size={"height": 97, "width": 51}),
    "vit larger": ViTImageProcessorPil(size={"height": 700, "width": 900}),
    "vit bicubic": ViTImageProcessorPil(resample=3),
    "vit lanczos": ViTImageProcessorPil(resample=1),
    "vit nearest": ViTImageProcessorPil(resample=0),
    "vit shortest edge": ViTImageProcessorPil(
        size={"shortest_edge": 256}, do_center_crop=True, crop_size={"height": 224, "width": 225}
    ),
    "vit unscaled": ViTImageProcessorPil(do_normalize=False, do_rescale=False),
    "vit as it is": ViTImageProcessorPil(do_resize=False, image_mean=[0.1, 0.2, 0.3]),
    "deit": DeiTImageProcessorPil(),
    "deit odd crop": DeiTImageProcessorPil(crop_size={"height": 201, "width": 150}),
    "deit crop beyond": DeiTImageProcessorPil(
        size={"height": 101, "width": 130}, crop_size={"height": 128, "width": 90}
    ),
    "detr": DetrImageProcessorPil(),
    "detr small": DetrImageProcessorPil(size={"shortest_edge": 100, "longest_edge": 133}),
    "detr wide": DetrImageProcessorPil(size={"shortest_edge": 480, "longest_edge": 600}),
}


def tolerance(processor):
    """No more than rounding of float32, in units of what comes out."""
    scale = np.ones(3) if processor.do_rescale else np.full(3, 255.0)
    return 0.001 / 255 * scale / (processor.image_std if processor.do_normalize else np.ones(3))


def compare(jobs, folder):
    """jobs: (processor, paths, a name for messages)."""
    folders = []
    for i, (processor, _, _) in enumerate(jobs):
        folders.append(folder / str(i))
        processor.save_pretrained(folders[-1])
    paths = [paths for _, paths, _ in jobs]
    answers = process(folder, list(zip(folders, paths, strict=True)))
    for (processor, paths, name), ours in zip(jobs, answers, strict=True):
        assert isinstance(ours, dict), f"{name}: {ours}"
        pictures = [Image.open(path).convert("RGB") for path in paths]
        theirs = processor(pictures, return_tensors="np")
        values = theirs["pixel_values"]
        assert ours["values"].shape == values.shape, name
        apart = np.abs(ours["values"] - values).max((0, 2, 3))
        assert (apart <= tolerance(processor)).all(), f"{name}: {apart} apart"
        mask = theirs["pixel_mask"] if "pixel_mask" in theirs else np.ones_like(ours["mask"])
        assert np.array_equal(ours["mask"], mask), name
        if len(paths) == 1:
            assert ours["size"].tolist() == list(values.shape[2:]), name


def test_photographs(tmp_path):
    jobs = [
        (processor, [path], f"{name}, {path.stem}")
        for name, processor in PROCESSORS.items()
        for path in PHOTOGRAPHS
    ]
    compare(jobs, tmp_path)


def test_sizes(tmp_path):
    jobs = []
    for size in [(400, 300), (300, 380), (380, 240), (31, 200), (200, 200), (7, 5)]:
        path = tmp_path / "{}x{}.png".format(*size)
        photograph(*size).save(path)
        for name in ["vit", "deit", "detr small", "vit shortest edge"]:
            jobs.append((PROCESSORS[name], [path], f"{name}, {size}"))
    compare(jobs, tmp_path)


def test_a_batch_is_padded_as_detr_pads_it(tmp_path):
    for i, size in enumerate([(200, 120), (90, 130), (150, 150)]):
        photograph(*size).save(tmp_path / f"{i}.png")
    compare([(PROCESSORS["detr small"], sorted(tmp_path.glob("*.png")), "batch")], tmp_path)


def test_what_is_written_again_says_the_same(tmp_path):
    picture = tmp_path / "picture.png"
    photograph(64, 48).save(picture)
    folders = []
    for i, processor in enumerate(PROCESSORS.values()):
        folders.append(tmp_path / str(i))
        processor.save_pretrained(folders[-1])
    first = process(tmp_path, [(folder, [picture]) for folder in folders])
    again = process(tmp_path, [(folder / "again", [picture]) for folder in folders])
    for name, one, other in zip(PROCESSORS, first, again, strict=True):
        assert np.array_equal(one["values"], other["values"]), name


OLD = [
    ({"feature_extractor_type": "ViTFeatureExtractor", "size": 96}, "ViTImageProcessor"),
    ({"image_processor_type": "ViTImageProcessorFast"}, "ViTImageProcessor"),
    ({"feature_extractor_type": "DeiTFeatureExtractor", "crop_size": 200}, "DeiTImageProcessor"),
    (
        {"feature_extractor_type": "DetrFeatureExtractor", "size": 90, "max_size": 120},
        "DetrImageProcessor",
    ),
    ({"feature_extractor_type": "DetrFeatureExtractor", "size": 90}, "DetrImageProcessor"),
]


def test_configs_of_older_versions(tmp_path):
    picture = tmp_path / "picture.png"
    photograph(160, 120).save(picture)
    folders = []
    for i, (config, _) in enumerate(OLD):
        folders.append(tmp_path / str(i))
        folders[-1].mkdir()
        (folders[-1] / "preprocessor_config.json").write_text(json.dumps(config))
    answers = process(tmp_path, [(folder, [picture]) for folder in folders])
    for (_, kind), folder, ours in zip(OLD, folders, answers, strict=True):
        theirs = AutoImageProcessor.from_pretrained(folder, use_fast=False)
        assert type(theirs).__name__.removesuffix("Pil") == kind
        values = theirs(Image.open(picture), return_tensors="np")["pixel_values"]
        apart = np.abs(ours["values"] - values).max((0, 2, 3))
        assert (apart <= tolerance(theirs)).all(), f"{kind}: {apart} apart"


REFUSED = [
    ({"image_processor_type": "CLIPImageProcessor"}, "CLIPImageProcessor"),
    ({"size": {"width": 3}}, 'size: {"width":3}; expected "height" and "width"'),
    ({"size": 0}, "size: 0; expected a whole number from 1"),
    ({"size": 10**9}, "size: 1000000000"),
    ({"resample": 4}, "resample: 4; expected 0"),
    ({"image_std": [1, 0, 1]}, "image_std"),
    ({"do_resize": 1}, "do_resize: 1; expected true or false"),
    ([], "not a JSON object"),
]


def test_what_is_not_served_is_refused_by_name(tmp_path):
    jobs = []
    for i, (config, _) in enumerate(REFUSED):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "preprocessor_config.json").write_text(json.dumps(config))
        jobs.append((tmp_path / str(i), [PHOTOGRAPHS[0]]))
    for (_, message), (folder, _), error in zip(
        REFUSED, jobs, process(tmp_path, jobs), strict=True
    ):
        assert error.startswith(str(folder / "preprocessor_config.json"))
        assert message in error
