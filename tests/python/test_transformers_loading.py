# SPDX-License-Identifier: Apache-2.0
"""Models that do not compute attention through transformers' interface are refused by name when
they are loaded, whichever way, and parts of models are said by name; none is silently wrong."""

import json
import warnings

import pytest
import torch

transformers = pytest.importorskip("transformers")

import regard.transformers  # noqa: E402
from regard._hf import reading  # noqa: E402
from transformers import AutoModel, AutoModelForCausalLM  # noqa: E402

SMALL = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48)
VISION = dict(SMALL, image_size=16, patch_size=8)

# Every way of not calling the interface: attention of a class's own, tables from an implementation
# to a class, layers that never ask.
OWN = {
    "bloom": dict(hidden_size=32, n_layer=1, n_head=4, vocab_size=60),
    "mpt": dict(d_model=32, n_layers=1, n_heads=4, vocab_size=60),
    "falcon": dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, vocab_size=60),
    "gptj": dict(n_embd=32, n_layer=1, n_head=4, rotary_dim=4, vocab_size=60),
    "gpt_neo": dict(
        hidden_size=32, num_layers=1, num_heads=4, attention_types=[[["global"], 1]], vocab_size=60
    ),
    "openai-gpt": dict(n_embd=32, n_layer=1, n_head=4, vocab_size=60),
    "roformer": dict(SMALL, vocab_size=60),
    "mpnet": dict(SMALL, vocab_size=60),
    "deberta": dict(SMALL, vocab_size=60),
    "deberta-v2": dict(SMALL, vocab_size=60),
    "layoutlmv3": dict(SMALL, vocab_size=60, input_size=16, patch_size=8),
    "rembert": dict(SMALL, vocab_size=60),
    "xlnet": dict(d_model=32, n_layer=1, n_head=4, d_inner=48, vocab_size=60),
    "sam_vision_model": dict(
        SMALL, image_size=16, patch_size=8, mlp_dim=48, global_attn_indexes=[0]
    ),
}  # fmt: skip


def config(model_type):
    return transformers.CONFIG_MAPPING[model_type](**OWN[model_type])


@pytest.mark.parametrize("model_type", OWN)
def test_refused_by_name_when_it_is_built(model_type):
    with pytest.raises(ValueError, match='cannot use attn_implementation="regard"') as error:
        AutoModel.from_config(config(model_type), attn_implementation="regard")
    name = type(AutoModel.from_config(config(model_type), attn_implementation="eager")).__name__
    assert str(error.value).startswith(name)
    assert 'Use attn_implementation="eager"' in str(error.value)


@pytest.mark.parametrize("model_type", ["bloom", "falcon", "deberta-v2"])
def test_refused_when_it_is_loaded_or_told(model_type, tmp_path):
    model = AutoModel.from_config(config(model_type))
    before = model.config._attn_implementation
    with pytest.raises(ValueError, match="cannot use"):
        model.set_attn_implementation("regard")
    assert model.config._attn_implementation == before
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="cannot use"):
        AutoModel.from_pretrained(tmp_path, attn_implementation="regard")
    AutoModel.from_pretrained(tmp_path, attn_implementation="eager")


def test_the_outermost_model_is_named_and_what_serves_it_instead():
    with pytest.raises(ValueError) as error:
        AutoModelForCausalLM.from_config(config("falcon"), attn_implementation="regard")
    assert str(error.value).startswith("FalconForCausalLM cannot use")
    assert 'or "sdpa" with regard.enable()' in str(error.value)
    with pytest.raises(ValueError) as error:
        AutoModelForCausalLM.from_config(config("bloom"), attn_implementation="regard")
    assert str(error.value).startswith("BloomForCausalLM cannot use")
    assert "BloomAttention" in str(error.value) and "enable()" not in str(error.value)


def two_parts(text="bert", **keywords):
    """A text model and a vision model in one."""
    text = transformers.CONFIG_MAPPING[text](**OWN.get(text, dict(SMALL, vocab_size=60)))
    vision = transformers.ViTConfig(**VISION)
    whole = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text)
    return transformers.VisionTextDualEncoderModel._from_config(whole, **keywords)


def test_a_part_that_cannot_stays_eager_and_is_named():
    with pytest.warns(UserWarning, match="no effect on MPNetSelfAttention"):
        model = two_parts("mpnet", attn_implementation="regard")
    assert model.text_model.config._attn_implementation == "eager"
    assert model.vision_model.config._attn_implementation == "regard"
    _equal_to_eager(model, lambda: two_parts("mpnet", attn_implementation="eager"))


def test_a_part_that_cannot_stays_eager_when_the_whole_is_told():
    model = two_parts("mpnet", attn_implementation="eager")
    with pytest.warns(UserWarning, match="no effect on MPNetSelfAttention"):
        model.set_attn_implementation("regard")
    assert model.text_model.config._attn_implementation == "eager"
    assert model.vision_model.config._attn_implementation == "regard"
    _equal_to_eager(model, lambda: two_parts("mpnet", attn_implementation="eager"))


def test_a_part_that_is_asked_for_alone_is_refused():
    with pytest.raises(ValueError, match='MPNetModel cannot use attn_implementation="regard"'):
        two_parts("mpnet", attn_implementation={"": "eager", "text_config": "regard"})


def test_parts_that_can_say_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = two_parts(attn_implementation="regard")
    assert model.text_model.config._attn_implementation == "regard"
    _equal_to_eager(model, lambda: two_parts(attn_implementation="eager"))


def _equal_to_eager(model, make):
    eager = make()
    eager.load_state_dict(model.state_dict())
    inputs = dict(
        input_ids=torch.randint(3, 60, (2, 9)),
        pixel_values=torch.randn(2, 3, 16, 16),
        attention_mask=torch.tensor([[1] * 9, [1] * 6 + [0] * 3]),
    )
    with torch.no_grad():
        expected, actual = eager.eval()(**inputs), model.eval()(**inputs)
    torch.testing.assert_close(actual.text_embeds, expected.text_embeds, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(actual.image_embeds, expected.image_embeds, rtol=1e-4, atol=1e-5)


def test_a_model_without_attention_says_that_nothing_changes():
    config = transformers.MambaConfig(
        hidden_size=32, num_hidden_layers=1, vocab_size=60, state_size=4
    )
    with pytest.warns(UserWarning, match="MambaModel has no attention"):
        AutoModel.from_config(config, attn_implementation="regard")


def test_models_that_transformers_keeps_from_sdpa_are_kept_where_they_are_right():
    for make in (transformers.Gemma2Config, transformers.GptOssConfig):
        small = make(**SMALL, vocab_size=60, num_key_value_heads=2, head_dim=8, layer_types=None)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            AutoModel.from_config(small, attn_implementation="regard")


def test_other_implementations_are_left_alone():
    for name in ("eager", "sdpa"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = AutoModel.from_config(
                transformers.BertConfig(**SMALL, vocab_size=60), attn_implementation=name
            )
        assert model.config._attn_implementation == name
    regard.transformers.loading.watch()  # a second time changes nothing
    assert AutoModel.from_config(config("bloom")).config._attn_implementation == "eager"


def test_saved_configurations_do_not_remember_it(tmp_path):
    bert = transformers.BertConfig(**SMALL, vocab_size=60)
    AutoModel.from_config(bert, attn_implementation="regard").save_pretrained(tmp_path)
    assert "regard" not in json.dumps(json.loads((tmp_path / "config.json").read_text()))


class _Attention(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x @ x.transpose(-1, -2), -1) @ x


class _SdpaAttention(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.scaled_dot_product_attention(x, x, x)


def _weights(x):
    return torch.nn.functional.softmax(torch.einsum("bnd,bmd->bnm", x, x), -1)


class _AttentionByHelper(torch.nn.Module):
    def forward(self, x):
        return _weights(x)


class _Router(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x @ x, -1)


def test_what_code_says():
    from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP

    assert reading.kind(LlamaAttention) == reading.INTERFACE
    assert reading.kind(LlamaMLP) == reading.OTHER
    assert reading.kind(_Router) == reading.OTHER
    for cls in (_Attention, _SdpaAttention, _AttentionByHelper, torch.nn.MultiheadAttention):
        assert reading.kind(cls) == reading.OWN
