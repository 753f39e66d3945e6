"""The ConvLSTM student against the PyTorch original (golden files), the specification's counts and its invariants."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from golden_weights import golden, golden_tensor, tensor_shapes

from echojax import losses
from echojax.errors import UserError
from echojax.models import functional
from echojax.models.convlstm import ConvLSTMNet
from echojax.porting.convlstm import CONVLSTM
from echojax.porting.names import from_torch, to_torch
from echojax.train.mesh import compiler_options
from echojax.train.optimiser import make_optimiser
from echojax.train.state import initial_state
from echojax.train.step import make_train_step

RNG = np.random.default_rng
PREFIX = "model."  # of every name in the original's checkpoint
COUNTS = {
    1: (5_701, 16_141, 26_581, 37_021),
    2: (39_577, 91_633, 143_689, 195_745),
    3: (174_721, 392_953, 611_185, 829_417),
    4: (714_577, 1_596_937, 2_479_297, 3_361_657),
}
SIZES = [(k, n, COUNTS[k][n - 1]) for k in COUNTS for n in (1, 2, 3, 4)]


def build(num_blocks=2, num_layers=2, width=4, **options):
    return lambda: ConvLSTMNet(num_blocks, num_layers, width, **options, rng=RNG(0))


def num_parameters(params):
    return sum(array.size for array in params.values())


@functools.partial(jax.jit, static_argnums=0, compiler_options=compiler_options())
def predict(definition, params, stats, x):
    return functional.apply(definition, params, stats, x, train=False)[0]["logits"]


@functools.partial(jax.jit, static_argnums=0)
def coarsest_map(definition, params, stats, video):
    """The map of the last block, before the decoder."""
    model = functional.merge(definition, params, stats)
    maps, _ = model.encode(video, model.initial_state(len(video), *video.shape[2:4]), train=False)
    return maps[-1]


@pytest.fixture(scope="module")
def student():
    """A small student whose layers pass on much of what they see, and whose statistics are not the initial ones."""
    definition, params, stats = functional.split(build()())
    params = {name: 4 * array for name, array in params.items()}
    first = "encoder.0.0.conv.kernel"
    params[first] = params[first].at[:, :, 0].divide(255)
    stats = {name: jnp.asarray(golden_tensor(name, a.shape)) + (name.endswith("var")) for name, a in stats.items()}
    return definition, params, stats


def draw_video(*shape, seed=1):
    return jnp.asarray(RNG(seed).integers(0, 256, shape), jnp.float32)


# --- Against the original ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_blocks", "num_layers", "count"), SIZES)
def test_invariant_1_parameters_and_tensors(num_blocks, num_layers, count):
    _, params, stats = functional.abstract(build(num_blocks, num_layers, 12))
    assert num_parameters(params) == count
    zeros = [{name: np.zeros(a.shape, np.float32) for name, a in part.items()} for part in (params, stats)]
    tensors = to_torch(*zeros, CONVLSTM)
    assert len(tensors) == 7 * num_blocks * num_layers + 7 * (num_blocks - 1) + 2
    if (num_blocks, num_layers) == (3, 3):
        named = [(PREFIX + name, tensor.shape) for name, tensor in tensors.items()]
        assert named == list(tensor_shapes("convlstm_33").items())


@pytest.mark.parametrize(("num_blocks", "num_layers", "count"), SIZES)
def test_the_improved_student_has_the_reference_size_within_five_percent(num_blocks, num_layers, count):
    _, params, _ = functional.abstract(build(num_blocks, num_layers, 12, variant="improved"))
    assert count <= num_parameters(params) <= 1.05 * count
    assert (num_parameters(params) == count) == (num_blocks == 1)


def golden_student():
    tensors = {name: golden_tensor(name, shape) for name, shape in tensor_shapes("convlstm_33").items()}
    definition, params, stats = functional.abstract(build(3, 3, 12))
    without_prefix = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    ported = from_torch(without_prefix, CONVLSTM, params, stats)
    return definition, jax.tree.map(jnp.asarray, ported.params), jax.tree.map(jnp.asarray, ported.stats)


def test_convlstm_eval_golden():
    expected = golden("convlstm_eval")
    logits = predict(*golden_student(), jnp.moveaxis(expected["x"].astype(np.float32), 2, -1))
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-5 * np.abs(expected["logits"]).max())


def test_convlstm_steps_golden():
    expected = golden("convlstm_steps")
    definition, params, stats = golden_student()
    x = jnp.moveaxis(expected["x"].astype(np.float32), 2, -1)

    def loss(params, stats, constants, batch, step, key):
        outputs, stats = functional.apply(definition, params, stats, batch["x"], train=True)
        return jnp.mean(losses.binary_cross_entropy(outputs["logits"], batch["target"])), (stats, {})

    optimiser = make_optimiser(learning_rate=1e-3, momentum=0.9, weight_decay=0.0, name="adam")
    state, found = initial_state(params, stats, optimiser, seed=0), []
    batch = {"x": x, "target": expected["target"][:, :, 0]}
    step = jax.jit(make_train_step(loss, optimiser), compiler_options=compiler_options())
    step = step.lower(state, {}, batch).compile()  # once, also for the state after a step, which lies elsewhere
    for _ in range(4):
        state, metrics = step(state, {}, batch)
        found.append(float(metrics["loss"]))
    np.testing.assert_allclose(found, expected["losses"], rtol=0, atol=1e-3 * np.abs(expected["losses"]).max())
    tensors = to_torch(state.params, {}, CONVLSTM)
    assert [PREFIX + name for name in tensors] == expected["names"].tolist()
    norms = [np.linalg.norm(tensor) for tensor in tensors.values()]
    np.testing.assert_allclose(norms, expected["norms"], rtol=0, atol=1e-3 * expected["norms"].max())


# --- Invariants of the specification ----------------------------------------------------------------------------------


def test_invariant_2_no_frame_sees_a_later_one(student):
    video = draw_video(1, 6, 8, 8, 1)
    logits = predict(*student, video)
    changed = predict(*student, video.at[:, 4:].set(0))
    np.testing.assert_allclose(changed[:, :4], logits[:, :4], rtol=0, atol=1e-5)
    assert np.abs(changed[:, 4:] - logits[:, 4:]).max(axis=(0, 2, 3)).min() > 1e-2
    np.testing.assert_allclose(predict(*student, video[:, :3]), logits[:, :3], rtol=0, atol=1e-5)


def test_invariant_3_videos_of_a_batch_do_not_meet(student):
    videos = draw_video(2, 4, 8, 8, 1)
    together = predict(*student, videos)
    apart = jnp.concatenate([predict(*student, videos[:1]), predict(*student, videos[1:])])
    np.testing.assert_allclose(together, apart, rtol=0, atol=1e-5)


def test_invariant_3_the_state_begins_at_zero():
    definition, params, stats = functional.split(build()())
    is_recurrent = {name: name.startswith("encoder") and ".conv." in name for name in params}
    silent = {name: jnp.zeros_like(a) if is_recurrent[name] else a for name, a in params.items()}
    silent |= {name: jnp.zeros_like(a) for name, a in params.items() if name.startswith("decoder.0.conv.bias")}
    logits = predict(definition, silent, stats, draw_video(1, 3, 8, 8, 1))
    np.testing.assert_allclose(logits, np.full((1, 3, 8, 8), params["out.bias"][0]), atol=1e-7)


def test_invariant_5_input_comes_before_hidden_state():
    definition, params, stats = functional.split(build(1, 1, 12)())
    kernel = params["encoder.0.0.conv.kernel"]
    assert kernel.shape == (3, 3, 13, 48)
    first, second = draw_video(1, 4, 8, 8, 1), draw_video(1, 4, 8, 8, 1, seed=2)

    def hidden(kernel, video):
        return coarsest_map(definition, params | {"encoder.0.0.conv.kernel": kernel}, stats, video)

    only_hidden = kernel.at[:, :, 0].set(0)
    np.testing.assert_array_equal(hidden(only_hidden, first), hidden(only_hidden, second))
    # Gates that see x alone give the same candidate wherever x is the same, whatever came before.
    only_input = kernel.at[:, :, 1:].set(0)
    constant = jnp.broadcast_to(first[:, :1], first.shape)
    forgetful = params["encoder.0.0.conv.bias"].at[12:24].set(-1e4)
    params = params | {"encoder.0.0.conv.bias": forgetful}
    only_input = only_input.at[..., 12:24].set(0)
    np.testing.assert_allclose(hidden(only_input, constant)[:, 0], hidden(only_input, constant)[:, 3], atol=1e-6)
    assert np.abs(hidden(only_input, first)[:, 3] - hidden(only_input, second)[:, 3]).max() > 1e-3


def test_invariant_6_grey_levels_may_be_scaled_with_the_first_kernel(student):
    definition, params, stats = student
    video = draw_video(1, 4, 8, 8, 1)
    name = "encoder.0.0.conv.kernel"
    scaled = params | {name: params[name].at[:, :, 0].multiply(255)}
    logits = predict(definition, params, stats, video)
    np.testing.assert_allclose(
        predict(definition, scaled, stats, video / 255), logits, rtol=0, atol=1e-4 * np.abs(logits).max()
    )


@pytest.mark.parametrize("num_blocks", [1, 2, 3, 4])
def test_invariant_7_maps_are_halved_between_blocks(num_blocks):
    definition, params, stats = functional.abstract(build(num_blocks, 1, 12))
    for size in (112, 56):
        video = jax.ShapeDtypeStruct((2, 3, size, size, 1), jnp.float32)

        def run(params, stats, x):
            model = functional.merge(definition, params, stats)
            maps, _ = model.encode(x, model.initial_state(2, *x.shape[2:4]), train=False)
            return maps, model.decode(maps, train=False)

        maps, logits = jax.eval_shape(run, params, stats, video)
        assert logits.shape == (2, 3, size, size)
        expected = [(2, 3, size >> block, size >> block, 12 << block) for block in range(num_blocks)]
        assert [each.shape for each in maps] == expected


def test_invariant_7_upsampling_repeats_the_nearest_value():
    definition, params, stats = functional.split(build(2, 1, 1)())
    centre = jnp.zeros((3, 3, 2, 1)).at[1, 1, 0].set(1)
    params = params | {"decoder.0.conv.kernel": centre, "decoder.0.conv.bias": jnp.zeros(1)}
    model = functional.merge(definition, params, stats)
    coarse = draw_video(1, 1, 2, 3, 2)
    logits = model.decode([None, coarse], train=False)[0, 0]
    repeated = np.kron(coarse[0, 0, :, :, 0], np.ones((2, 2))) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(logits, repeated * params["out.kernel"][0, 0, 0, 0] + params["out.bias"], rtol=1e-5)


def test_invariant_8_the_decoder_is_affine(student):
    definition, params, stats = student
    model = functional.merge(definition, params, stats)
    decode = jax.jit(lambda x: model.decode([None, x], train=False))
    u, v = (jnp.asarray(RNG(seed).standard_normal((1, 2, 4, 4, 8)), jnp.float32) for seed in (3, 4))
    np.testing.assert_allclose(decode(0.3 * u + 0.7 * v), 0.3 * decode(u) + 0.7 * decode(v), rtol=0, atol=1e-5)


def test_the_improved_decoder_is_not_affine_and_sees_the_finer_maps():
    model = build(variant="improved")()
    fine, coarse = (jnp.asarray(RNG(5).standard_normal((1, 2, s, s, c)), jnp.float32) for s, c in ((8, 4), (4, 8)))
    decode = jax.jit(lambda fine, coarse: model.decode([fine, coarse], train=False))
    middle = (decode(fine, coarse) + decode(-fine, -coarse)) / 2
    assert np.abs(decode(0 * fine, 0 * coarse) - middle).max() > 1e-3
    assert np.abs(decode(fine, coarse) - decode(0 * fine, coarse)).max() > 1e-3


def test_the_improved_student_sees_scaled_grey_levels():
    definition, params, stats = functional.split(build(variant="improved")())
    kernel, video = params["encoder.0.0.conv.kernel"], draw_video(1, 2, 8, 8, 1)
    rescaled = params | {"encoder.0.0.conv.kernel": kernel.at[:, :, 0].divide(50)}
    reference, *_ = functional.split(build()())
    coarsest = coarsest_map(definition, params, stats, video)
    np.testing.assert_allclose(coarsest, coarsest_map(reference, rescaled, stats, video), atol=1e-5)


def test_invariant_9_norms_fold_time_into_the_batch():
    definition, params, stats = functional.split(build(1, 1, 4)())
    x = draw_video(2, 3, 8, 8, 1)
    model = functional.merge(definition, params, stats)
    layer = model.encoder[0][0]
    hidden, _ = jax.jit(lambda x: layer_hidden(definition, params, stats, x))(x)
    frames = np.asarray(hidden, np.float64).reshape(6, 8, 8, 4)
    _, after = jax.jit(lambda x: functional.apply(definition, params, stats, x, train=True))(x)
    np.testing.assert_allclose(after["encoder.0.0.bn.mean"], 0.1 * frames.mean((0, 1, 2)), atol=1e-6)
    unbiased = frames.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(after["encoder.0.0.bn.var"], 0.9 + 0.1 * unbiased, rtol=1e-5)
    normal, _ = layer(x, model.initial_state(2, 8, 8)[0], train=True, groups=None)
    expected = (frames - frames.mean((0, 1, 2))) / np.sqrt(frames.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(np.asarray(normal).reshape(6, 8, 8, 4), expected, atol=1e-4)


def layer_hidden(definition, params, stats, x):
    """Hidden states of the first layer, before its norm: eval mode with mean 0 and variance 1 - epsilon."""
    exact = {name: jnp.full_like(a, 1 - 1e-5) if name.endswith("var") else a for name, a in stats.items()}
    model = functional.merge(definition, params, exact)
    return model.encoder[0][0](x, model.initial_state(len(x), *x.shape[2:4])[0], train=False, groups=None)


# --- Precision and wrong use ------------------------------------------------------------------------------------------


def test_bfloat16_trains_with_float32_parameters_and_outputs():
    video = draw_video(2, 4, 8, 8, 1)
    definition, params, stats = functional.split(build(2, 1, variant="improved", dtype=jnp.bfloat16)())

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def train(params):
        outputs, after = functional.apply(definition, params, stats, video, train=True)
        return jnp.mean(jnp.square(outputs["logits"])), (outputs["logits"], after)

    (_, (logits, after)), gradients = train(params)
    for array in [*gradients.values(), *after.values(), logits]:
        assert array.dtype == jnp.float32
        assert np.isfinite(array).all()
    assert optax.tree.norm(gradients) > 0
    exact = predict(functional.split(build(2, 1, variant="improved")())[0], params, after, video)
    assert np.abs(predict(definition, params, after, video) - exact).max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("variant", ["reference", "improved"])
def test_nothing_of_a_float64_student_is_rounded_to_float32(variant, train):
    def loss(params, stats, x):
        outputs, stats = functional.apply(definition, params, stats, x, train=train)
        return jnp.sum(outputs["logits"]), stats

    with jax.enable_x64(True):
        definition, *arrays = functional.abstract(build(variant=variant, dtype=jnp.float64))
        params, stats = (
            {key: jax.ShapeDtypeStruct(array.shape, jnp.float64) for key, array in part.items()} for part in arrays
        )
        x = jax.ShapeDtypeStruct((2, 3, 8, 8, 1), jnp.float64)
        program = str(jax.make_jaxpr(jax.value_and_grad(loss, has_aux=True))(params, stats, x))
    assert "f64[" in program
    assert "f32[" not in program


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match="unknown ConvLSTM student 'unet'; expected one of reference, improved"):
        build(variant="unet")()
    with pytest.raises(ValueError, match="0 blocks and 2 layers"):
        build(0)()
    with pytest.raises(UserError, match="frames are 30x32; with 3 blocks the sides must be multiples of 4"):
        build(3, 1, 2)()(jnp.zeros((1, 1, 30, 32, 1)), train=False)
