"""EchoCLIP's names between open_clip and here, both ways."""

import numpy as np

from echojax.models import functional
from echojax.models.echoclip import EchoClip
from echojax.porting.echoclip import ECHOCLIP, ECHOCLIP_PREPROCESSING
from echojax.porting.names import from_torch, to_torch

SMALL = dict(width=4, blocks=(1, 2, 3, 1), embedding=6, text_width=64, text_depth=2, vocabulary=20, context_length=5)


def small_params():
    rng = np.random.default_rng(0)
    _, params, _ = functional.split(EchoClip(**SMALL, rng=rng))
    return {name: rng.random(array.shape, np.float32) for name, array in params.items()}


def test_round_trip():
    params = small_params()
    ported = from_torch(to_torch(params, {}, ECHOCLIP), ECHOCLIP, params, {})
    assert ported.params.keys() == params.keys()
    assert all(np.array_equal(ported.params[name], params[name]) for name in params)
    assert not ported.stats
    assert not ported.ignored


def test_what_is_turned_and_what_is_not():
    params = small_params()
    tensors = to_torch(params, {}, ECHOCLIP)
    qkv = tensors["transformer.resblocks.1.attn.in_proj_weight"]
    assert qkv.shape == (192, 64)
    assert np.array_equal(qkv, params["text.blocks.1.attention.qkv.kernel"].T)
    assert tensors["visual.trunk.stages.2.blocks.2.conv_dw.weight"].shape == (16, 1, 7, 7)
    assert tensors["visual.head.proj.weight"].shape == (6, 32)
    assert np.array_equal(tensors["text_projection"], params["text.projection"])
    assert np.array_equal(tensors["token_embedding.weight"], params["text.token_embedding"])
    assert tensors["logit_scale"].shape == ()


def test_the_causal_mask_is_ignored():
    params = small_params()
    ported = from_torch(to_torch(params, {}, ECHOCLIP) | {"attn_mask": np.zeros((5, 5))}, ECHOCLIP, params, {})
    assert "computed" in ported.ignored["attn_mask"]


def test_preprocessing_is_in_grey_levels():
    assert ECHOCLIP_PREPROCESSING.size == (224, 224)
    np.testing.assert_allclose(ECHOCLIP_PREPROCESSING.mean, [122.7709, 116.7460, 104.0937], atol=1e-4)
    np.testing.assert_allclose(ECHOCLIP_PREPROCESSING.std, [68.5005, 66.6322, 70.3232], atol=1e-4)
