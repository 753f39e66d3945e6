"""The networks against the PyTorch originals (golden files), the specification's counts and its invariants."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick_compiler
from golden_weights import golden, golden_state_dict, tensor_shapes

from echojax.models import functional
from echojax.models.deeplab import DeepLabV3
from echojax.models.surgery import student_from_teacher, widen_stem
from echojax.models.video_resnet import VideoResNet, mid_width
from echojax.porting.names import from_torch, to_torch
from echojax.porting.residual import TABLES

RNG = np.random.default_rng
FORWARD = 1e-4


def build_deeplab(width=64, blocks=(3, 4, 6, 3), **options):
    return lambda: DeepLabV3(width, blocks, **options, rng=RNG(0))


def build_video(variant="r2plus1d_18", in_channels=3, **options):
    return lambda: VideoResNet(variant, in_channels, **options, rng=RNG(0))


def small_video(variant="r2plus1d_18", in_channels=3, **options):
    return build_video(variant, in_channels, width=8, blocks=(1, 1, 1, 1), **options)


def load_golden(network, table, build):
    definition, params, stats = functional.abstract(build)
    return definition, *from_torch(golden_state_dict(network), TABLES[table], params, stats)[:2]


def assert_close(result, expected, tolerance=FORWARD):
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def num_parameters(params):
    return sum(array.size for array in params.values())


COUNTS = {
    "css_segmentation": ("deeplabv3_resnet50", build_deeplab(), 39_633_729, 362),
    "ef_student": ("r2plus1d_18", build_video(), 31_300_638, 224),
    "ef_teacher": ("r2plus1d_18", build_video(in_channels=4), 31_302_843, 224),
}


@pytest.mark.parametrize("network", COUNTS)
def test_invariant_6_parameters_and_tensors(network):
    table, build, count, num_tensors = COUNTS[network]
    _, params, stats = functional.abstract(build)
    assert num_parameters(params) == count
    zeros = [{name: np.zeros(a.shape, np.float32) for name, a in part.items()} for part in (params, stats)]
    tensors = to_torch(*zeros, TABLES[table])
    assert len(tensors) == num_tensors
    # Same names and shapes in the same order.
    assert [(name, tensor.shape) for name, tensor in tensors.items()] == list(tensor_shapes(network).items())


@pytest.mark.parametrize(
    ("variant", "count"), [("r2plus1d_18", 31_505_325), ("mc3_18", 11_695_440), ("r3d_18", 33_371_472)]
)
def test_parameters_of_kinetics_networks(variant, count):
    assert num_parameters(functional.abstract(build_video(variant, num_outputs=400, ef_bias=None))[1]) == count


def test_widths_between_the_parts_of_2plus1d_convolutions():
    pairs = [(64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    assert [mid_width(*pair) for pair in pairs] == [144, 230, 288, 460, 576, 921, 1152]


def test_seg_eval_golden():
    definition, params, stats = load_golden("css_segmentation", "deeplabv3_resnet50", build_deeplab())
    expected = golden("seg_eval")
    x = expected["x"].transpose(0, 2, 3, 1)
    out, after = jax.jit(lambda x: functional.apply(definition, params, stats, x, train=False))(x)
    assert_close(out["logits"], expected["logits"])
    assert out["layer4"].shape == (2, 14, 14, 2048)
    assert_close(out["layer4"].sum((1, 2)), expected["layer4_sum"])
    assert all(np.array_equal(after[name], stats[name]) for name in stats)


@pytest.mark.parametrize(("network", "channels"), [("ef_student", 3), ("ef_teacher", 4)])
def test_ef_eval_golden(network, channels):
    definition, params, stats = load_golden(network, "r2plus1d_18", build_video(in_channels=channels))
    expected = golden(f"ef{channels}_eval")

    @jax.jit
    def predict(x):
        model = functional.merge(definition, params, stats)
        maps = model.features(x, train=False)
        pooled = jnp.mean(maps["layer4"], (1, 2, 3))
        return model.fc(pooled)[:, 0], pooled, maps["layer1"][0, 5, 7, 9], maps["layer3"][0, 3, 2, 5]

    ef, pooled, layer1, layer3 = predict(expected["x"].transpose(0, 2, 3, 4, 1))
    assert_close(ef, expected["prediction"][:, 0])
    assert_close(pooled, expected["pooled"])
    assert_close(layer1, expected["layer1"])
    assert_close(layer3, expected["layer3"])


def test_invariant_7_shapes_of_intermediate_maps():
    definition, params, stats = functional.abstract(build_video())
    clip = jax.ShapeDtypeStruct((2, 32, 112, 112, 3), jnp.float32)

    def features(params, stats, x):
        model = functional.merge(definition, params, stats)
        return model.features(x, train=False), model(x, train=False)

    maps, out = jax.eval_shape(features, params, stats, clip)
    assert {name: a.shape[1:] for name, a in maps.items()} == {
        "stem": (32, 56, 56, 64),
        "layer1": (32, 56, 56, 64),
        "layer2": (16, 28, 28, 128),
        "layer3": (8, 14, 14, 256),
        "layer4": (4, 7, 7, 512),
    }
    assert {name: a.shape for name, a in out.items()} == {"ef": (2,), "pooled": (2, 512)}


@pytest.mark.parametrize(("variant", "num_frames"), [("mc3_18", 32), ("r3d_18", 4)])
def test_only_mc3_keeps_all_frames(variant, num_frames):
    definition, params, stats = functional.abstract(build_video(variant))
    clip = jax.ShapeDtypeStruct((1, 32, 112, 112, 3), jnp.float32)
    maps = jax.eval_shape(
        lambda *args: functional.merge(definition, *args[:2]).features(args[2], train=False), params, stats, clip
    )
    assert maps["layer1"].shape == (1, 32, 56, 56, 64)
    assert maps["layer4"].shape == (1, num_frames, 7, 7, 512)


def trained_video(in_channels):
    """A small video network whose running statistics are not the initial ones."""
    definition, params, stats = functional.split(small_video(in_channels=in_channels)())
    clips = jnp.asarray(RNG(4).standard_normal((2, 4, 16, 16, in_channels)), jnp.float32)
    step = quick_compiler.jit(lambda stats, x: functional.apply(definition, params, stats, x, train=True)[1])
    return definition, params, step(stats, clips)


@functools.partial(quick_compiler.jit, static_argnums=0)
def predict(definition, params, stats, x):
    return functional.apply(definition, params, stats, x, train=False)[0]


def test_invariant_8_teacher_and_student_agree_where_the_mask_is_silent():
    clips = jnp.asarray(RNG(5).standard_normal((2, 4, 16, 16, 4)), jnp.float32)
    three, params, stats = trained_video(3)
    four = functional.abstract(small_video(in_channels=4))[0]
    teacher = widen_stem(params, RNG(0), "zero")
    ef, expected = predict(four, teacher, stats, clips)["ef"], predict(three, params, stats, clips[..., :3])["ef"]
    np.testing.assert_allclose(ef, expected, rtol=1e-6)

    four, params, stats = trained_video(4)
    student, student_stats = student_from_teacher(params, stats)
    silent = clips.at[..., 3].set(0)
    ef, expected = (
        predict(three, student, student_stats, clips[..., :3])["ef"],
        predict(four, params, stats, silent)["ef"],
    )
    np.testing.assert_allclose(ef, expected, rtol=1e-6)
    assert all(np.array_equal(student_stats[name], stats[name]) for name in stats)


@pytest.mark.parametrize("variant", ["r2plus1d_18", "r3d_18"])
def test_widened_stem_draws_the_mask_kernel_from_minus_one_to_one(variant):
    params = functional.split(small_video(variant)())[1]
    wide = widen_stem(params, RNG(0))
    changed = [name for name in params if wide[name].shape != params[name].shape]
    assert changed == [name for name in params if name in ("stem.conv.kernel", "stem.spatial.conv.kernel")]
    kernel = np.asarray(wide[changed[0]])
    assert np.array_equal(kernel[..., :3, :], params[changed[0]])
    assert kernel.shape[-2] == 4
    assert 0.95 < np.abs(kernel[..., 3, :]).max() <= 1
    with pytest.raises(ValueError, match="has 4"):
        widen_stem(wide, RNG(0))


SMALL = dict(width=8, blocks=(1, 1, 1, 1))


def test_invariant_11_outer_taps_of_high_rates_are_dead():
    definition, params, stats = functional.split(build_deeplab(**SMALL, dropout_rate=0.0)())
    x = jnp.asarray(RNG(6).standard_normal((2, 112, 112, 3)), jnp.float32)
    kernels = [f"aspp.branches.{branch}.conv.kernel" for branch in (1, 2, 3)]
    outer = np.ones((3, 3, 1, 1), bool)
    outer[1, 1] = False

    @quick_compiler.jit
    @functools.partial(jax.grad, has_aux=True)
    def run(params):
        out, _ = functional.apply(definition, params, stats, x, train=True)
        return jnp.sum(out["logits"] ** 2), out["logits"]

    gradients, logits = run(params)
    altered = params | {name: params[name] + outer * 7 for name in kernels[1:]}
    assert np.array_equal(run(altered)[1], logits)
    outer = np.broadcast_to(outer, params[kernels[0]].shape)
    for name in kernels[1:]:
        assert not np.any(np.asarray(gradients[name])[outer])
        assert np.any(np.asarray(gradients[name])[~outer])
    # At rate 12 they do see the map.
    assert np.any(np.asarray(gradients[kernels[0]])[outer])


@pytest.mark.parametrize("size", [(112, 112), (64, 48), (75, 101)])
def test_deeplab_takes_any_size(size):
    definition, params, stats = functional.abstract(build_deeplab())
    x = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    out, _ = jax.eval_shape(lambda p, s, x: functional.apply(definition, p, s, x, train=False), params, stats, x)
    assert out["logits"].shape == (1, *size)
    assert out["layer4"].shape == (1, -(-size[0] // 8), -(-size[1] // 8), 2048)


NETWORKS = {
    "deeplab": (DeepLabV3, (4, 24, 24, 3), {}, "logits"),
    "r2plus1d_18": (VideoResNet, (4, 4, 16, 16, 3), {"variant": "r2plus1d_18"}, "ef"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_trains_with_float32_parameters_and_outputs(name):
    """All gradients and statistics are finite and float32; predictions stay near those of float32 arithmetic."""
    network, shape, options, head = NETWORKS[name]
    x = jnp.asarray(RNG(7).standard_normal(shape), jnp.float32)
    definition, params, stats = functional.split(network(**SMALL, **options, dtype=jnp.bfloat16, rng=RNG(0)))

    @quick_compiler.jit
    def train(params):
        def loss(params):
            out, after = functional.apply(
                definition, params, stats, x, train=True, groups=(2, 2), key=jax.random.key(0)
            )
            return jnp.mean(jnp.square(out[head])), (out, after)

        return jax.grad(loss, has_aux=True)(params)

    gradients, (out, after) = train(params)
    assert gradients.keys() == params.keys() and after.keys() == stats.keys()
    for array in [*gradients.values(), *after.values(), *out.values()]:
        assert array.dtype == jnp.float32
        assert np.all(np.isfinite(array))
    exact = functional.split(network(**SMALL, **options, rng=RNG(0)))[0]
    low, high = (predict(d, params, after, x)[head] for d in (definition, exact))
    assert np.abs(low - high).max() < 0.05 * np.abs(high).max()


def test_unknown_variant_is_named():
    with pytest.raises(ValueError, match="r2plus1d_34"):
        VideoResNet("r2plus1d_34", rng=RNG(0))


def test_split_and_merge_share_nothing():
    """Names are attribute paths; a network made from dictionaries does not write into them."""
    definition, params, stats = functional.split(small_video()())
    assert {"stem.spatial.conv.kernel", "layer2.0.downsample.bn.scale", "fc.bias"} <= params.keys()
    before = {name: np.array(value) for name, value in stats.items()}
    model = functional.merge(definition, params, stats)
    model.stem(RNG(0).standard_normal((2, 4, 16, 16, 3)).astype(np.float32), train=True, groups=None)
    assert all(np.array_equal(stats[name], before[name]) for name in stats)
    assert not np.array_equal(functional.split(model)[2]["stem.spatial.bn.mean"], before["stem.spatial.bn.mean"])
    assert hash(definition) == hash(functional.split(small_video()())[0])
