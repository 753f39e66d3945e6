"""EchoCLIP's towers against open_clip (golden file), the specification's counts, and what each part must not change."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_weights import golden, golden_state_dict, tensor_shapes

from echojax.errors import UserError
from echojax.models import functional
from echojax.models.echoclip import EchoClip
from echojax.models.echoclip_layers import gelu
from echojax.networks import build_network
from echojax.porting.echoclip import ECHOCLIP
from echojax.porting.names import from_torch, to_torch

SMALL = dict(width=8, blocks=(1, 1, 2, 1), embedding=16, text_width=64, text_depth=2, vocabulary=100, context_length=12)
FORWARD = 1e-4


def build_full():
    return EchoClip(rng=np.random.default_rng(0))


def build_small(**options):
    model = EchoClip(**{**SMALL, **options}, rng=np.random.default_rng(0))
    # Untrained blocks are close to the identity; these are not.
    for stage in model.image.stages:
        for block in stage.blocks:
            block.gamma.set_value(jnp.ones_like(block.gamma[...]))
    return model


@functools.cache
def small_programs():
    """The two towers of a small network as compiled functions: of images, of tokens."""
    return compile_towers(build_small())


def compile_towers(model):
    def embed(images):
        return model(images, train=False)["image_embedding"]

    def encode_text(tokens):
        return model.encode_text(tokens)

    return jax.jit(embed), jax.jit(encode_text)


def assert_close(result, expected, tolerance=FORWARD):
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_invariant_20_parameters_and_tensors():
    _, params, stats = functional.abstract(build_full)
    assert sum(array.size for array in params.values()) == 151_518_849
    assert not stats
    image, text = (sum(a.size for n, a in params.items() if n.startswith(part)) for part in ("image.", "text."))
    assert (image, text) == (87_566_464 + 524_288, 63_428_096)
    zeros = {name: np.broadcast_to(np.float32(0), array.shape) for name, array in params.items()}
    tensors = to_torch(zeros, {}, ECHOCLIP)
    # Same names and shapes in the same order.
    assert [(name, tensor.shape) for name, tensor in tensors.items()] == list(tensor_shapes("echoclip").items())


def test_echoclip_eval_golden():
    definition, params, stats = functional.abstract(build_full)
    params = from_torch(golden_state_dict("echoclip"), ECHOCLIP, params, stats).params
    expected = golden("echoclip_eval")

    @jax.jit
    def embed(params, images, tokens):
        outputs, _ = functional.apply(definition, params, stats, images, train=False)
        texts = functional.merge(definition, params, stats).encode_text(tokens)
        return outputs["image_embedding"], texts

    # The longest prompt has 17 tokens; what follows the end of a text changes nothing.
    tokens = expected["tokens"].astype(np.int32)[:, :20]
    images, texts = embed(params, expected["image"].transpose(0, 2, 3, 1), tokens)
    assert images.shape == (2, 512)
    assert texts.shape == (6, 512)
    assert_close(images, expected["image_embedding"])
    assert_close(texts, expected["text_embedding"])


def test_texts_end_at_their_largest_token():
    _, encode_text = small_programs()
    text = [97, 5, 6, 7, 98]
    padded = np.zeros((2, 12), np.int32)
    padded[:, :5] = text
    padded[1, 5:] = 50  # after the end
    full = encode_text(padded)
    short = encode_text(np.array([text], np.int32))
    np.testing.assert_allclose(full[0], full[1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(full[0], short[0], rtol=0, atol=1e-6)
    other = encode_text(np.array([[97, 5, 8, 7, 98]], np.int32))
    assert np.abs(other[0] - full[0]).max() > 1e-3


def test_order_of_words_matters():
    _, encode_text = small_programs()
    embeddings = encode_text(np.array([[97, 5, 6, 98], [97, 6, 5, 98]], np.int32))
    assert np.abs(embeddings[0] - embeddings[1]).max() > 1e-3


def test_images_do_not_see_each_other():
    embed, _ = small_programs()
    images = np.random.default_rng(1).standard_normal((3, 32, 64, 3), np.float32)
    together, alone = embed(images), embed(images[1:2])
    assert together.shape == (3, 16)
    np.testing.assert_allclose(together[1], alone[0], rtol=1e-5, atol=1e-6)


def test_gelu_is_exact():
    # x Φ(x) at 1 and -2; the tanh approximation is off by 1.5e-4 and 2.4e-4.
    np.testing.assert_allclose(gelu(jnp.array([1.0, -2.0])), [0.84134475, -0.04550026], atol=1e-6)


def test_bfloat16_stays_close_to_float32():
    images = np.random.default_rng(1).standard_normal((2, 16, 32, 3), np.float32)
    tokens = np.array([[97, 5, 6, 98], [97, 6, 98, 0]], np.int32)
    exact, rounded = (compile_towers(build_small(blocks=(1, 1), dtype=dtype)) for dtype in (jnp.float32, jnp.bfloat16))
    for inputs, in_float32, in_bfloat16 in zip((images, tokens), exact, rounded, strict=True):
        expected, result = in_float32(inputs), in_bfloat16(inputs)
        assert result.dtype == jnp.float32
        cosine = np.sum(result * expected, -1) / np.linalg.norm(result, axis=-1) / np.linalg.norm(expected, axis=-1)
        assert (cosine > 0.999).all()
        assert not np.array_equal(result, expected)


def test_nothing_is_rounded_to_float32_in_float64():
    def embed(params, images, tokens):
        outputs, _ = functional.apply(definition, params, {}, images, train=False)
        return outputs["image_embedding"], functional.merge(definition, params, {}).encode_text(tokens)

    with jax.enable_x64(True):
        definition, params, _ = functional.abstract(
            lambda: EchoClip(**SMALL, dtype=jnp.float64, rng=np.random.default_rng(0))
        )
        params = {name: jax.ShapeDtypeStruct(array.shape, jnp.float64) for name, array in params.items()}
        images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float64)
        program = str(jax.make_jaxpr(embed)(params, images, jax.ShapeDtypeStruct((1, 4), jnp.int32)))
    assert "f64[" in program
    assert "f32[" not in program


def test_networks_are_built_from_descriptions():
    description = {"family": "echoclip", **SMALL, "blocks": [1, 1, 2, 1], "dtype": "float32"}
    network = build_network(description)
    assert network.params["image.stages.2.blocks.1.fc1.kernel"].shape == (32, 128)
    with pytest.raises(UserError, match="text tower's width is 60, expected a multiple of 64"):
        build_network({**description, "text_width": 60})
