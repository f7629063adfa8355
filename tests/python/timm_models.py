# SPDX-License-Identifier: Apache-2.0
"""timm without torchvision, whose PyPI build does not load beside a CPU build of torch and, once
installed, would break transformers, which imports what it finds. timm names it for datasets,
image transforms and one kind of norm. A vision transformer uses none of these, so the names are
given stand-ins while timm is imported."""

import enum
import sys
import types

_STANDINS = {
    "torchvision": (),
    "torchvision.datasets": (
        "CIFAR10",
        "CIFAR100",
        "FashionMNIST",
        "ImageFolder",
        "KMNIST",
        "MNIST",
    ),
    "torchvision.ops": (),
    "torchvision.ops.misc": ("FrozenBatchNorm2d",),
    "torchvision.transforms": ("ToTensor",),
    "torchvision.transforms.functional": (),
}


def _modules():
    modules = {name: types.ModuleType(name) for name in _STANDINS}
    for name, classes in _STANDINS.items():
        for each in classes:
            setattr(modules[name], each, type(each, (), {}))
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, modules[name])
    modes = ("NEAREST", "BILINEAR", "BICUBIC", "BOX", "HAMMING", "LANCZOS")
    modules["torchvision.transforms.functional"].InterpolationMode = enum.Enum(
        "InterpolationMode", modes
    )
    return modules


sys.modules.update(_modules())
try:
    from timm.models import VisionTransformer
    from timm.models.crossvit import CrossVit
finally:
    for _name in _STANDINS:
        del sys.modules[_name]

__all__ = ["CrossVit", "VisionTransformer"]
