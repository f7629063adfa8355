# SPDX-License-Identifier: Apache-2.0
"""transformers' Trainer: 20 steps through Regard lose what eager loses."""

import copy

import pytest

pytest.importorskip("transformers")

import regard.transformers  # noqa: F401
import tiny_models
import torch
from transformers import Trainer, TrainingArguments, set_seed

STEPS = 20


def _examples():
    """Texts of many lengths: each token follows from the one before, in two ways out of three."""
    set_seed(1)
    made = []
    for _ in range(80):
        length = int(torch.randint(6, 24, ()))
        ids = [int(torch.randint(3, 60, ()))]
        for _ in range(length - 1):
            follows = (7 * ids[-1]) % 57 + 3
            ids.append(follows if torch.rand(()) < 0.66 else int(torch.randint(3, 60, ())))
        made.append(ids)
    return made


def _collate(rows):
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return dict(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100))


def _losses(model, attention, folder, **options):
    model = copy.deepcopy(model)
    model.set_attn_implementation(attention)
    arguments = TrainingArguments(
        str(folder / attention), max_steps=STEPS, per_device_train_batch_size=4, logging_steps=1,
        learning_rate=3e-3, report_to=[], save_strategy="no", use_cpu=True, seed=3,
        disable_tqdm=True, remove_unused_columns=False, **options,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=_examples(), data_collator=_collate)
    set_seed(5)
    trainer.train()
    return [each["loss"] for each in trainer.state.log_history if "loss" in each]


@pytest.mark.parametrize(
    ("name", "options"),
    [("llama", {}), ("gpt2", {}), ("mistral", dict(gradient_checkpointing=True))],
    ids=["llama", "gpt2", "mistral, checkpointed"],
)
def test_losses_are_eagers(name, options, tmp_path):
    model = getattr(tiny_models, name)()
    expected = _losses(model, "eager", tmp_path, **options)
    actual = _losses(model, "regard", tmp_path, **options)
    assert len(expected) == STEPS and expected[-1] < expected[0] - 0.05
    assert actual == pytest.approx(expected, abs=1e-4)
