# SPDX-License-Identifier: Apache-2.0
"""regard.flash_attn.install(): code that demands the package finds it, transformers among it."""

import importlib
import importlib.metadata
import importlib.util
import inspect
import subprocess
import sys

import pytest
import regard
import regard.transformers
import tiny_models
import torch
import transformers
from regard import flash_attn as fa


@pytest.fixture
def installed():
    fa.install()
    yield
    fa.uninstall()


def test_import_and_metadata(installed):
    import flash_attn
    from flash_attn import flash_attn_func, flash_attn_varlen_func, flash_attn_with_kvcache
    from flash_attn.bert_padding import index_first_axis, pad_input, unpad_input  # noqa: F401
    from flash_attn.flash_attn_interface import flash_attn_varlen_qkvpacked_func
    from flash_attn.layers.rotary import apply_rotary_emb

    assert flash_attn_func is fa.flash_attn_func
    assert flash_attn_varlen_func is fa.flash_attn_varlen_func
    assert flash_attn_with_kvcache is fa.flash_attn_with_kvcache
    assert flash_attn_varlen_qkvpacked_func is fa.flash_attn_varlen_qkvpacked_func
    assert apply_rotary_emb.__module__ == "regard.flash_attn.rotary"
    assert not hasattr(flash_attn, "install")
    for name in ("flash-attn", "flash_attn", "Flash_Attn"):
        assert importlib.metadata.version(name) == flash_attn.__version__ == fa.__version__
    assert importlib.metadata.packages_distributions()["flash_attn"] == ["flash-attn"]
    assert importlib.metadata.metadata("flash-attn")["Name"] == "flash-attn"
    assert importlib.util.find_spec("flash_attn") is not None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("flash_attn.cute")


def test_uninstall_undoes_it():
    meta_path = list(sys.meta_path)
    fa.install()
    fa.install()
    fa.uninstall()
    fa.uninstall()
    assert sys.meta_path == meta_path
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("flash_attn")
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("flash-attn")


def test_another_package_is_not_replaced(monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn", type(sys)("flash_attn"))
    with pytest.raises(RuntimeError, match="flash_attn: already imported from"):
        fa.install()


def test_padding_and_back():
    from regard.flash_attn.bert_padding import (
        index_first_axis,
        pad_input,
        unpad_input,
        unpad_input_for_concatenated_sequences,
    )

    x = torch.randn(3, 5, 2, 4, requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    rows, places, cu_seqlens, longest, used = unpad_input(x, mask)
    assert torch.equal(rows, x[mask.bool()])
    assert cu_seqlens.tolist() == [0, 3, 7, 8] and cu_seqlens.dtype == torch.int32
    assert longest == 4 and used.tolist() == [3, 4, 1]
    back = pad_input(rows, places, 3, 5)
    assert torch.equal(back, x * mask[..., None, None])
    back.sum().backward()
    assert torch.equal(x.grad, mask[..., None, None].expand_as(x).float())
    assert torch.equal(index_first_axis(x.flatten(0, 1), places), rows)
    kept = unpad_input(x, mask, unused_mask=1 - mask)
    assert kept[2].tolist() == [0, 5, 10, 15] and kept[4].tolist() == [3, 4, 1]
    lengths = torch.tensor([[2, 2, 0, 0, 0], [5, 0, 0, 0, 0], [1, 1, 1, 0, 0]])
    rows, _, cu_seqlens, longest = unpad_input_for_concatenated_sequences(x, lengths)
    assert cu_seqlens.tolist() == [0, 2, 4, 9, 10, 11, 12] and longest == 5
    assert torch.equal(rows, torch.cat((x[0, :4], x[1], x[2, :3])))


FRESH = """
import {first}
import {second}
import torch
import transformers
regard.flash_attn.install()
from transformers import LlamaConfig, LlamaForCausalLM
config = LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                     num_attention_heads=4, num_key_value_heads=2, vocab_size=60)
torch.manual_seed(0)
model = LlamaForCausalLM(config).eval()
ids = torch.arange(24).view(2, 12)
mask = torch.ones(2, 12, dtype=torch.long)
mask[0, :4] = 0
with torch.no_grad():
    expected = model(ids, attention_mask=mask).logits
    model.set_attn_implementation("flash_attention_2")
    actual = model(ids, attention_mask=mask).logits
kept = mask.bool()
torch.testing.assert_close(actual[kept], expected[kept], rtol=1e-4, atol=1e-5)
print("the same")
"""


@pytest.mark.parametrize("order", [("transformers", "regard"), ("regard", "transformers")])
def test_transformers_in_a_fresh_process(order):
    """Whichever is imported first."""
    code = FRESH.format(first=order[0], second=order[1])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout.endswith("the same\n"), run.stderr[-3000:]
    assert "flash_attn" not in run.stderr.lower(), run.stderr[-3000:]


NAMES = [name for name in tiny_models.CASES if name.split("-")[0] not in ("gpt", "t5")]


@pytest.mark.parametrize("name", NAMES)
def test_models_of_transformers_equal_eager(name, installed):
    """Forward and gradients; T5 and gpt-oss have no flash-attention 2 in transformers."""
    make, inputs = tiny_models.CASES[name]
    if name == "mistral-packed-batch":  # flash-attention takes one row of packed sequences
        pytest.skip("transformers packs a single row for flash-attention")
    # Eager softmax is float32 whatever the model; under left padding it has no float64.
    dtype = torch.float32 if name.endswith("left-padded") else torch.float64
    eager, ours = tiny_models.twins(make, dtype)
    ours.set_attn_implementation("flash_attention_2")
    call = tiny_models.cast(inputs(), dtype)
    results = []
    for model in (eager, ours):
        out = tiny_models.result(model, call)
        rows = dict(attention_mask=call.get("decoder_attention_mask", call.get("attention_mask")))
        out = out * tiny_models.meaningful(rows, out)
        torch.manual_seed(1)
        (out * torch.randn_like(out)).sum().backward()
        results.append((out, [p.grad for p in model.parameters()]))
    (expected, expected_gradients), (actual, actual_gradients) = results
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    for a, e in zip(actual_gradients, expected_gradients, strict=True):
        if e is not None:
            torch.testing.assert_close(a, e, rtol=1e-4, atol=2e-5)


def test_generate_writes_the_same_tokens(installed):
    eager, ours = tiny_models.twins(tiny_models.llama, torch.float32)
    ours.set_attn_implementation("flash_attention_2")
    call = dict(
        input_ids=tiny_models.ids(), attention_mask=tiny_models.padding("left"), max_new_tokens=12
    )
    tokens = [
        model.eval().generate(do_sample=False, pad_token_id=0, **call) for model in (eager, ours)
    ]
    assert torch.equal(*tokens)


def test_what_has_no_flash_attention_is_still_refused(installed):
    with pytest.raises(ValueError, match="does not support Flash Attention"):
        tiny_models.t5().set_attn_implementation("flash_attention_2")


def test_transformers_refuses_again_after_uninstall():
    model = tiny_models.llama()
    fa.install()
    model.set_attn_implementation("flash_attention_2")
    fa.uninstall()
    with pytest.raises(ImportError):
        tiny_models.llama().set_attn_implementation("flash_attention_2")


def test_the_name_is_there_after_import_regard():
    assert regard.flash_attn is fa


def test_continuous_batching_writes_the_same_tokens(installed, monkeypatch):
    """Requests of several lengths in one packed batch over transformers' paged cache."""
    import flash_attn

    calls = [0]

    def counted(*arguments, **keywords):
        calls[0] += 1
        return fa.flash_attn_varlen_func(*arguments, **keywords)

    counted.__signature__ = inspect.signature(fa.flash_attn_varlen_func)
    monkeypatch.setattr(flash_attn, "flash_attn_varlen_func", counted)
    model = tiny_models.twins(tiny_models.llama, torch.float32)[0].eval()
    prompts = [list(range(3, 3 + length)) for length in (5, 17, 2, 30)]
    config = transformers.GenerationConfig(
        max_new_tokens=8, do_sample=False, pad_token_id=0, eos_token_id=2
    )
    expected = [
        model.generate(torch.tensor([prompt]), generation_config=config)[0, len(prompt) :].tolist()
        for prompt in prompts
    ]
    model.set_attn_implementation("flash_attention_2")
    answers = model.generate_batch(
        inputs=prompts,
        generation_config=config,
        continuous_batching_config=transformers.ContinuousBatchingConfig(
            num_blocks=64, max_batch_tokens=64, page_size=16
        ),
        progress_bar=False,
    )
    in_order = sorted(answers, key=lambda request: int(request.rsplit("_", 1)[-1]))
    assert [answers[request].generated_tokens for request in in_order] == expected
    assert calls[0] >= 8
