"""What the student is shown: recipes, grey levels, clips with their masks, fixed validation clips."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from echojax import clips, data, records, video
from echojax.errors import UserError
from echojax.stages import common
from echojax.student_clips import StudentClips


@pytest.fixture(scope="module")
def videos(phantom_data):
    return records.open_videos(phantom_data)


@pytest.fixture(scope="module")
def masks(videos, tmp_path_factory):
    """Masks of TRAIN and VAL whose every pixel says which frame of which video it belongs to."""
    folder = tmp_path_factory.mktemp("masks")
    for split in ("TRAIN", "VAL"):
        positions = videos.select(split)
        writer = records.MaskWriter(folder, split, list(videos.name[positions]))
        for shard, names in writer.pending():
            writer.write_shard(shard, ((name, numbered_masks(videos, name)) for name in names))
        writer.finish()
    return records.open_masks(folder)


def numbered_masks(videos, name: str) -> np.ndarray:
    position = videos.position(name)
    frame = np.arange(videos.num_frames[position])[:, None, None]
    return np.broadcast_to(frame + 3 * position, (len(frame), 112, 112)).astype(np.uint8)


@pytest.fixture(scope="module")
def train(videos, masks):
    return StudentClips(videos, videos.select("TRAIN"), masks)


# --- Recipes ----------------------------------------------------------------------------------------------------------


def test_invariant_22_decimation_keeps_every_second_row_and_column_from_zero():
    rng = np.random.default_rng(0)
    frames, targets = rng.integers(0, 256, (2, 2, 3, 112, 112), dtype=np.uint8)
    x, y = clips.prepare_student(frames, targets, clips.student_recipe("soft56"))
    kept = np.arange(0, 112, 2)
    assert (kept[0], kept[-1], len(kept)) == (0, 110, 56)
    np.testing.assert_array_equal(x, frames[:, :, kept][..., kept][..., None])
    np.testing.assert_array_equal(y, targets[:, :, kept][..., kept].astype(np.float32) / 255)


def test_soft_targets_are_the_probabilities_and_frames_the_raw_grey_levels():
    frames = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    x, y = clips.prepare_student(frames, frames, clips.student_recipe("soft112"))
    assert x.shape == (1, 1, 16, 16, 1) and x.dtype == y.dtype == np.float32
    np.testing.assert_array_equal(x.ravel(), np.arange(256))
    np.testing.assert_allclose(y.ravel(), np.arange(256) / 255, rtol=1e-6)


@pytest.mark.parametrize("encoding", ["uint8", "float32"])
def test_hard_targets_are_where_the_teachers_logit_is_not_negative(encoding):
    near_zero = [-1e-3, -1e-7, 0.0, 1e-7, 1e-3]
    logits = np.float32([*near_zero, *np.random.default_rng(0).normal(0, 4, 1000)])
    stored = records.encode_logits(logits, encoding)
    target = clips.target_probabilities(jnp.asarray(stored), clips.student_recipe("hard112").hard)
    # Rounded to uint8, half a step around p = 1/2 becomes one: 128, and counts as inside.
    expected = logits >= 0 if encoding == "float32" else np.rint(255 * scipy.special.expit(logits)) >= 128
    np.testing.assert_array_equal(target, expected.astype(np.float32))
    clear = np.abs(logits) > 0.01
    np.testing.assert_array_equal(np.asarray(target)[clear], logits[clear] >= 0)


def test_soft_targets_of_logits_are_their_sigmoid():
    logits = np.float32([-6, -0.5, 0, 3])
    np.testing.assert_allclose(clips.target_probabilities(jnp.asarray(logits)), scipy.special.expit(logits), rtol=1e-6)


def test_the_recipes_are_those_of_the_contract():
    assert list(clips.STUDENT_RECIPES) == ["soft112", "soft56", "hard112"]
    with pytest.raises(UserError, match=r"'soft28' is unknown; expected one of soft112, soft56, hard112"):
        clips.student_recipe("soft28")


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_grey_levels_are_opencvs(make):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 200, 200, 3), dtype=np.uint8)
    pixels[0, 0, :3] = [[255, 255, 255], [0, 0, 0], [1, 0, 255]]
    grey = clips.to_gray(make(pixels))
    np.testing.assert_array_equal(grey, video.to_gray(pixels)[..., 0])
    assert grey.dtype == np.uint8
    levels = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    np.testing.assert_array_equal(clips.to_gray(make(levels)), levels[:, 0])
    np.testing.assert_array_equal(clips.to_gray(make(levels[:, :1])), levels[:, 0])


# --- Clips ------------------------------------------------------------------------------------------------------------


def test_a_clip_and_its_masks_are_of_the_same_frames(videos, train):
    for item in range(len(train)):
        example = train.example(item, np.random.default_rng(item))
        position, start = train.positions[item], int(example["start"])
        assert example["clip"].shape == example["target"].shape == (25, 112, 112)
        assert example["clip"].dtype == example["target"].dtype == np.uint8
        np.testing.assert_array_equal(example["clip"], videos.frames(position)[start : start + 25, ..., 0])
        np.testing.assert_array_equal(example["target"][:, 0, 0], np.arange(start, start + 25) + 3 * position)


def test_starts_are_uniform_over_all_that_fit(videos, train):
    num_frames = int(videos.num_frames[train.positions[0]])
    starts = [int(train.example(0, np.random.default_rng(seed))["start"]) for seed in range(600)]
    counts = np.bincount(starts)
    assert len(counts) == num_frames - 25 + 1
    assert counts.min() > 5


def test_strided_clips_show_every_period_that_fits(videos, masks):
    clips_ = StudentClips(videos, videos.select("TRAIN"), masks, num_frames=12, periods=(1, 2, 4, 8))
    seen = set()
    for seed in range(60):
        example = clips_.example(0, np.random.default_rng(seed))
        period, start = int(example["period"]), int(example["start"])
        seen.add(period)
        np.testing.assert_array_equal(np.diff(example["target"][:, 0, 0].astype(int)), period)
        assert start + 11 * period < videos.num_frames[clips_.positions[0]]
    assert seen == {1, 2, 4}  # 12 * 8 frames is more than the video has


@pytest.mark.parametrize("num_frames, length, period, expected", [(192, 25, 1, 83), (25, 25, 1, 0), (52, 25, 2, 1)])
def test_centre_clip_lies_in_the_middle(num_frames, length, period, expected):
    start = clips.centre_start(num_frames, length, period)
    assert start == expected
    after = num_frames - (start + (length - 1) * period + 1)
    assert 0 <= after - start <= period


def test_validation_clips_never_change(videos, masks):
    fixed = StudentClips(videos, videos.select("VAL"), masks, periods=(2, 1), sampling="centre")
    first, second = (fixed.example(1, np.random.default_rng(seed)) for seed in (0, 1))
    for field, values in first.items():
        np.testing.assert_array_equal(values, second[field])
    assert (first["period"], first["start"]) == (1, (videos.num_frames[fixed.positions[1]] - 25) // 2)


def test_batches_are_a_function_of_seed_and_step(train):
    first, second = (data.Batches({"clips": data.Stream(train, 4)}, seed=3) for _ in range(2))
    for step in (0, 2, 7):
        batch = first.batch(step)["clips"]
        assert batch["clip"].shape == (4, 25, 112, 112)
        for field, values in second.batch(step)["clips"].items():
            np.testing.assert_array_equal(values, batch[field])
    epochs = [first.batch(step)["clips"]["start"] for step in (0, 3)]
    assert not np.array_equal(*epochs)


def test_videos_without_masks_or_too_short_are_left_out_and_counted(videos, masks):
    from configs import base

    labels = base.get_config().labels
    cohort = common.unlabelled_cohort(videos, videos.select("ALL"), labels, min_frames=24, masks=masks)
    assert len(cohort) == 16 and cohort.left_out["no mask for every frame"] == 4
    none = common.unlabelled_cohort(videos, videos.select("ALL"), labels, min_frames=99, masks=masks)
    assert len(none) == 0 and none.left_out["not longer than 99 frames"] == 20


@pytest.mark.parametrize(
    "options, text",
    [
        ({"sampling": "middle"}, "sampling of the student's clips is 'middle'"),
        ({"periods": ()}, "positive periods"),
        ({"periods": (0, 1)}, "positive periods"),
        ({"num_frames": 0}, "at least one frame"),
    ],
)
def test_impossible_clips_are_refused(options, text, videos, masks):
    with pytest.raises(UserError, match=text):
        StudentClips(videos, videos.select("TRAIN"), masks, **options)
