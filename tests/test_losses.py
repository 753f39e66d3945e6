"""The losses against the originals' numbers and against what they must be by construction."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from echojax import losses
from echojax.errors import UserError

GOLDENS = pathlib.Path(__file__).parent / "goldens"
STARTS = range(11)  # of a template of 15 frames, chunk 3, offset 2


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def sines() -> np.ndarray:
    """40 frames of 8 features: e[t, d] = sin(0.37 (t + 1) + 0.91 d)."""
    return np.sin(0.37 * (np.arange(40)[:, None] + 1) + 0.91 * np.arange(8))


def written_out(e: np.ndarray, s: int, template=15, c=3, o=2, temperature=10.0) -> float:
    """The cyclic loss by the letter of its definition, in loops."""
    u, scale = e[template:], temperature / (e.shape[1] * c)
    d = np.array([sum(np.sum((u[k + j] - e[s + j]) ** 2) for j in range(c)) for k in range(len(u) - c - o + 1)])
    a = np.exp(-scale * (d - d.min()))
    a /= a.sum()
    n = [sum(a[k] * u[k + o + j] for k in range(len(a))) for j in range(c)]
    back = [-scale * sum(np.sum((e[o + r + j] - n[j]) ** 2) for j in range(c)) for r in range(template - c - o + 1)]
    return np.logaddexp.reduce(back) - back[s]


# --- Cyclic loss ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start, expected", [(0, 0.5194113783), (4, 0.7568653251), (10, 0.5005577379)])
def test_cyclic_loss_of_sines(start, expected):
    assert losses.cyclic_loss(jnp.asarray(sines()), start) == pytest.approx(expected, abs=1e-10)


def test_cyclic_loss_gradient_of_sines():
    gradient = jax.grad(losses.cyclic_loss)(jnp.asarray(sines()), 4)
    expected = {(5, 3): 0.05193336, (6, 0): -0.06994819, (8, 2): -0.02508146, (20, 1): -0.01176340, (39, 7): 1.0114e-4}
    for position, value in expected.items():
        assert gradient[position] == pytest.approx(value, abs=1e-8)


@pytest.mark.parametrize("start", [0, 4, 10])
def test_cyclic_loss_of_the_original(start):
    golden = np.load(GOLDENS / "cyc_loss.npz")
    loss, gradient = jax.jit(jax.value_and_grad(losses.cyclic_loss))(golden["features"].astype(np.float64), start)
    np.testing.assert_allclose(loss, golden[f"loss_{start}"], rtol=1e-9)
    expected = golden[f"grad_{start}"]
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("template, chunk, offset, num_frames", [(15, 3, 2, 40), (12, 4, 1, 30), (5, 3, 2, 10)])
def test_cyclic_loss_is_its_definition_at_every_start(template, chunk, offset, num_frames):
    features = np.random.default_rng(3).normal(size=(num_frames, 6))
    loss = jax.jit(lambda s: losses.cyclic_loss(jnp.asarray(features), s, template, chunk, offset, 3.0))
    for start in range(template - chunk - offset + 1):
        np.testing.assert_allclose(loss(start), written_out(features, start, template, chunk, offset, 3.0), rtol=1e-10)


def test_cyclic_loss_keeps_the_precision_it_is_given_but_float32_at_least():
    exact = written_out(sines(), 4)
    for dtype, result, tolerance in [
        (jnp.float64, jnp.float64, 1e-12),
        (jnp.float32, jnp.float32, 1e-5),
        (jnp.bfloat16, jnp.float32, 0.05),
    ]:
        loss = losses.cyclic_loss(jnp.asarray(sines(), dtype), 4)
        assert loss.dtype == result
        assert loss == pytest.approx(exact, rel=tolerance)


def test_cyclic_loss_survives_float32_far_from_the_origin():
    # Features summed over a feature map are large and alike; the expanded square would be wrong by several units.
    features = np.float32(sines() + 4096)
    expected = written_out(features.astype(np.float64), 4)
    assert losses.cyclic_loss(jnp.asarray(features), 4) == pytest.approx(expected, rel=1e-3)


def test_invariant_9_cyclic_loss_of_constant_features_is_chance():
    for start in STARTS:
        assert losses.cyclic_loss(jnp.ones((40, 8)), start) == pytest.approx(np.log(11), abs=1e-12)


def test_invariant_9_cyclic_loss_ignores_a_common_shift():
    shift = np.random.default_rng(0).normal(size=8)
    for start in STARTS:
        np.testing.assert_allclose(
            losses.cyclic_loss(jnp.asarray(sines() + shift), start),
            losses.cyclic_loss(jnp.asarray(sines()), start),
            1e-10,
        )


def test_invariant_9_cyclic_loss_trades_scale_for_temperature():
    for start in STARTS:
        scaled = losses.cyclic_loss(jnp.asarray(3 * sines()), start, temperature=10 / 9)
        np.testing.assert_allclose(scaled, losses.cyclic_loss(jnp.asarray(sines()), start), rtol=1e-10)


def test_invariant_9_cyclic_loss_gives_unused_frames_no_gradient():
    gradient = jax.jit(jax.grad(losses.cyclic_loss))
    features = np.random.default_rng(1).normal(size=(40, 8))
    for start in STARTS:
        # Asked for: frames s..s+2; cycled back to: frames 2..14; searched: 15..39.
        used = sorted({*range(start, start + 3), *range(2, 40)})
        size = np.abs(gradient(features, start)).sum(axis=1)
        assert np.all(size[used] > 0)
        assert np.all(np.delete(size, used) == 0)


@pytest.mark.parametrize("beat", range(11, 22))
def test_invariant_10_cyclic_loss_finds_the_way_in_a_periodic_video(beat):
    features = np.random.default_rng(beat).normal(size=(beat, 8))[np.arange(40) % beat]
    loss = jax.jit(losses.cyclic_loss)
    for start in STARTS:
        at_scale = [float(loss(scale * features, start)) for scale in (0.1, 1, 3, 10)]
        # The right phase is the likeliest, that is, the loss lies below that of two equal candidates.
        assert at_scale[1] < np.log(2)
        assert at_scale == sorted(at_scale, reverse=True)
        assert at_scale[-1] < 1e-6


@pytest.mark.parametrize("beat, candidates", [(4, (2, 3)), (5, (2, 3)), (10, (1, 2))])
def test_invariant_10_cyclic_loss_of_short_beats_is_the_number_of_ties(beat, candidates):
    features = 10 * np.random.default_rng(beat).normal(size=(beat, 8))[np.arange(40) % beat]
    for start in STARTS:
        ties = sum((candidate - start) % beat == 0 for candidate in STARTS)
        assert ties in candidates
        assert losses.cyclic_loss(jnp.asarray(features), start) == pytest.approx(np.log(ties), abs=1e-6)


@pytest.mark.parametrize("num_frames, template", [(19, 15), (40, 4), (15, 15)])
def test_cyclic_loss_of_too_short_a_region_is_an_error(num_frames, template):
    with pytest.raises(UserError, match=r"chunk \+ offset = 5"):
        losses.cyclic_loss(jnp.ones((num_frames, 8)), 0, template=template)


# --- Segmentation -----------------------------------------------------------------------------------------------------


def test_dfkd_invariant_18_binary_cross_entropy_of_undecided_logits_is_ln_2():
    targets = jnp.asarray([0.0, 0.25, 0.5, 1.0])
    np.testing.assert_allclose(losses.binary_cross_entropy(jnp.zeros(4), targets), np.log(2), rtol=1e-12)


def test_binary_cross_entropy_is_the_textbook_formula():
    logits = np.linspace(-8, 8, 33)[:, None] * np.ones((1, 5))
    targets = np.ones((33, 1)) * np.linspace(0, 1, 5)
    p = 1 / (1 + np.exp(-logits))
    expected = -targets * np.log(p) - (1 - targets) * np.log(1 - p)
    np.testing.assert_allclose(losses.binary_cross_entropy(jnp.asarray(logits), jnp.asarray(targets)), expected, 1e-9)


def test_binary_cross_entropy_is_exact_and_finite_at_any_magnitude():
    logits = jnp.asarray([-1e4, -30.0, 30.0, 1e4], jnp.float32)
    hard = jnp.asarray([False, False, True, True])
    np.testing.assert_allclose(losses.binary_cross_entropy(logits, hard), [0, np.exp(-30), np.exp(-30), 0], rtol=1e-5)
    np.testing.assert_allclose(losses.binary_cross_entropy(logits, ~hard), [1e4, 30, 30, 1e4], rtol=1e-6)


def test_binary_cross_entropy_gradient_is_sigmoid_minus_target():
    logits = jnp.asarray([-1e4, -3.0, 0.0, 3.0, 1e4])
    for target in (0.0, 0.3, 1.0):
        gradient = jax.grad(lambda z, y=target: losses.binary_cross_entropy(z, jnp.full(5, y)).sum())(logits)
        np.testing.assert_allclose(gradient, jax.nn.sigmoid(logits) - target, atol=1e-12)


def test_soft_dice_loss_is_the_textbook_formula_per_frame():
    rng = np.random.default_rng(5)
    z, y = rng.normal(size=(2, 3, 5, 4)), rng.random((2, 3, 5, 4))
    p = 1 / (1 + np.exp(-z))
    expected = 1 - (2 * (p * y).sum((2, 3)) + 1) / (p.sum((2, 3)) + y.sum((2, 3)) + 1)
    np.testing.assert_allclose(losses.soft_dice_loss(jnp.asarray(z), jnp.asarray(y)), expected, rtol=1e-12)


def test_soft_dice_loss_of_clear_masks():
    """0 where prediction and target agree, also on emptiness; nearly 1 where they share nothing."""
    inside = np.zeros((2, 10, 10), bool)
    inside[0, 2:6, 3:8] = True
    certain = jnp.where(inside, 1e3, -1e3)
    np.testing.assert_allclose(losses.soft_dice_loss(certain, jnp.asarray(inside)), [0, 0], atol=1e-12)
    np.testing.assert_allclose(losses.soft_dice_loss(-certain, jnp.asarray(inside)), [1 - 1 / 101] * 2, atol=1e-12)


def test_invariant_15_segmentation_loss_sums_pixels_and_keeps_images_apart():
    rng = np.random.default_rng(0)
    logits, masks = rng.normal(size=(3, 7, 5)), rng.random((3, 7, 5)) < 0.4
    loss = losses.segmentation_loss(jnp.asarray(logits), jnp.asarray(masks))
    per_pixel = losses.binary_cross_entropy(jnp.asarray(logits), jnp.asarray(masks))
    assert loss.shape == (3,)
    np.testing.assert_allclose(loss, per_pixel.mean(axis=(1, 2)) * 35, rtol=1e-12)
    np.testing.assert_allclose(losses.segmentation_loss(jnp.asarray(logits), jnp.asarray(masks, float)), loss)


def test_segmentation_loss_accumulates_bfloat16_logits_in_float32():
    loss = losses.segmentation_loss(jnp.zeros((2, 112, 112), jnp.bfloat16), jnp.zeros((2, 112, 112), bool))
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, 112**2 * np.log(2), rtol=1e-6)


# --- Ejection fraction ------------------------------------------------------------------------------------------------


def test_squared_error_keeps_examples_apart():
    error = losses.squared_error(jnp.asarray([50.0, 60.0]), jnp.asarray([53.0, 56.0]))
    np.testing.assert_array_equal(error, [9, 16])


def test_distillation_loss_of_a_hand_example():
    labelled = losses.squared_error(jnp.asarray([50.0, 60.0]), jnp.asarray([53.0, 56.0]))
    unlabelled = losses.unlabelled_loss(jnp.asarray([40.0]), jnp.asarray([46.0]))
    np.testing.assert_array_equal(unlabelled, [18])
    assert losses.distillation_loss(labelled, unlabelled, 5.0) == 12.5 + 5 * 18


def test_invariant_14_gradient_of_the_unlabelled_part():
    rng = np.random.default_rng(0)
    student, teacher, labelled, ef = (jnp.asarray(55 + 10 * rng.normal(size=n)) for n in (10, 10, 20, 20))

    def loss(student, teacher):
        return losses.distillation_loss(
            losses.squared_error(labelled, ef), losses.unlabelled_loss(student, teacher), unlabelled_loss_weight=5.0
        )

    of_student, of_teacher = jax.grad(loss, argnums=(0, 1))(student, teacher)
    np.testing.assert_allclose(of_student, 5 * 0.5 * 2 * (student - teacher) / 10, rtol=1e-12)
    np.testing.assert_array_equal(of_teacher, 0)
