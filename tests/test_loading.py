"""`echojax.load`: what a notebook does with a checkpoint, on narrow networks ported from a file."""

import functools
import re

import jax
import numpy as np
import pytest
from narrow_networks import DESCRIPTIONS, narrow_state_dict, save_weights
from shared import require_shared

import echojax
from echojax import clips
from echojax.errors import UserError
from echojax.porting.port import port

SIZE = 112
# A share of the largest magnitude: what another order of the same sums may change.
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Ports a narrow network and opens it, once per block size."""
    folder = tmp_path_factory.mktemp("checkpoints")

    @functools.cache
    def open_model(name: str, batch_size: int | None = None) -> echojax.loading.Model:
        if not (folder / name).exists():
            port(save_weights(folder / f"{name}.safetensors", narrow_state_dict(DESCRIPTIONS[name])), folder / name)
        return echojax.load(folder / name, batch_size)

    return open_model


def make_video(num_frames: int, seed: int = 0) -> np.ndarray:
    """Smooth grey blobs that move, as RGB of three levels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    phases, colours = np.linspace(0, 4 * np.pi, num_frames), rng.uniform(0.5, 1, 3)
    frames = [np.sin(6 * x + phase) * np.cos(5 * y + rng.uniform(0, 0.2)) for phase in phases]
    return (127.5 * (1 + np.stack(frames))[..., None] * colours).astype(np.uint8)


def assert_close(found, expected, tolerance=ROUNDING):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_what_a_model_says_of_itself(load):
    model = load("teacher")
    assert model.network == DESCRIPTIONS["teacher"]
    assert model.num_parameters == sum(
        tensor.size
        for name, tensor in narrow_state_dict(DESCRIPTIONS["teacher"]).items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )
    assert model.preprocessing.in_channels == 4 and model.preprocessing.num_frames == 32
    assert "family=video_resnet" in repr(model) and str(model.num_parameters) in repr(model)


# --- Segmentation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["segmentation", "convlstm_23"])
def test_segment_is_apply_on_every_frame(load, name):
    model, video = load(name), make_video(19)
    logits = model.segment(video)
    assert logits.shape == video.shape[:3] and logits.dtype == np.float32
    if name == "segmentation":
        x = clips.normalise(video, model.preprocessing.mean, model.preprocessing.std)
        expected = model.apply(x)["logits"]
    else:
        grey = clips.to_gray(video).astype(np.float32)
        expected = model.apply(grey[None, ..., None])["logits"][0]
    assert_close(logits, np.asarray(expected))


@pytest.mark.parametrize("name", ["segmentation", "convlstm_23"])
def test_grey_levels_are_rgb_of_one_level(load, name):
    model, grey = load(name), make_video(5)[..., 0]
    expected = model.segment(np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(model.segment(grey), expected)
    np.testing.assert_array_equal(model.segment(grey[..., None]), expected)


@pytest.mark.parametrize("name", ["segmentation", "convlstm_23"])
def test_masks_do_not_depend_on_the_block_size(load, name):
    video = make_video(7)
    expected = load(name).segment(video)
    assert_close(load(name, 3).segment(video), expected)


def test_convlstms_see_the_past_alone(load):
    model, video = load("convlstm_23", 3), make_video(10)
    whole = model.segment(video)
    np.testing.assert_array_equal(model.segment(video[:6]), whole[:6])
    assert not np.array_equal(model.segment(video[5:])[1:], whole[6:])


# --- Ejection fraction ------------------------------------------------------------------------------------------------


def test_all_clips_one_by_one_and_in_blocks(load):
    """Invariant 18 of CSS: the clip that starts at s is element s of all clips, whatever the block size."""
    model, video = load("ef"), make_video(67)
    everything = model.ejection_fraction(video)
    assert everything.shape == (67 - 62,) and everything.dtype == np.float32
    one_by_one = [model.ejection_fraction(video, starts=[start])[0] for start in range(len(everything))]
    np.testing.assert_array_equal(one_by_one, everything)
    np.testing.assert_array_equal(model.ejection_fraction(video, starts=[4, 2]), everything[[4, 2]])
    assert_close(load("ef", 3).ejection_fraction(video), everything)
    assert len(set(everything.tolist())) == len(everything)


def test_ejection_fraction_is_apply_on_a_clip(load):
    model, teacher, video = load("ef"), load("teacher"), make_video(70)
    masks = np.random.default_rng(0).normal(0, 2, video.shape[:3]).astype(np.float32)
    span = slice(3, 3 + 64, 2)
    picture = clips.normalise(video[span], model.preprocessing.mean, model.preprocessing.std)
    assert_close(model.ejection_fraction(video, [3]), np.asarray(model.apply(picture[None])["ef"]))
    # The mask channel is 2 sigmoid(logit) - 1.
    x = np.concatenate([picture, np.tanh(masks[span] / 2)[..., None]], axis=-1)
    assert_close(teacher.ejection_fraction(video, [3], masks), np.asarray(teacher.apply(x[None])["ef"]))


def test_short_videos_are_continued(load):
    model, video = load("ef"), make_video(40)
    assert model.ejection_fraction(video).shape == (2,)


def test_a_real_video(load):
    """All clips of a real video equal the same clips one by one, and do not change with the block size."""
    from echojax.video import read_video

    folder = require_shared("real_echo")
    video, _ = read_video(min(folder.rglob("*.avi"), key=lambda path: path.stat().st_size))
    model = load("ef")
    everything = model.ejection_fraction(video)
    chosen = np.linspace(0, len(everything) - 1, 5).astype(int)
    for start in chosen:
        np.testing.assert_array_equal(model.ejection_fraction(video, [start])[0], everything[start])
    other = load("ef", 3)
    assert_close(other.ejection_fraction(video, chosen), everything[chosen])


# --- Long videos ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["segmentation", "convlstm_23", "ef"])
def test_one_program_whatever_the_length(load, name):
    """Videos of other lengths compile nothing anew."""
    model = load(name)
    method = model.ejection_fraction if name == "ef" else model.segment
    method(make_video(66))
    with CountCompilations() as compiled:
        method(make_video(70))
        method(make_video(64))
    assert compiled == []


class CountCompilations:
    """Names of the programs that are compiled meanwhile."""

    def __enter__(self):
        self.compiled = []
        jax.monitoring.register_event_duration_secs_listener(self.listen)
        return self.compiled

    def listen(self, event: str, duration: float, **details):
        if event.endswith("backend_compile_duration"):
            self.compiled.append(event)

    def __exit__(self, *error):
        jax.monitoring.unregister_event_duration_listener(self.listen)


def test_memory_is_that_of_a_block(load, monkeypatch):
    """No more frames are on the device at once than a block holds."""
    model, seen = load("segmentation", 4), []
    segment = model._segment
    model.__dict__["_segment"] = lambda params, stats, images: (
        seen.append(images.shape) or segment(params, stats, images)
    )
    model.segment(make_video(33))
    assert seen == [(4, SIZE, SIZE, 3)] * 9


# --- EchoCLIP ---------------------------------------------------------------------------------------------------------


def test_echoclip(load):
    model = load("echoclip")
    images = np.random.default_rng(0).standard_normal((2, 224, 224, 3)).astype(np.float32)
    embedding = model.apply(images)["image_embedding"]
    assert embedding.shape == (2, 8) and embedding.dtype == np.float32
    tokens = np.array([[1, 2, 49, 0, 0, 0, 0], [3, 49, 0, 0, 0, 0, 0]])
    texts = model.encode_text(tokens)
    assert texts.shape == (2, 8) and texts.dtype == np.float32
    # What follows the end of a text is not looked at.
    assert_close(model.encode_text(tokens[:, :4]), np.asarray(texts))
    with pytest.raises(UserError, match=r"tokens are float64 \(2, 7\), expected integers \(n, 7\)"):
        model.encode_text(tokens.astype(float))


# --- Wrong use --------------------------------------------------------------------------------------------------------

VIDEO = make_video(64)
WRONG_USE = {
    "no checkpoint": (None, "load", (), r"does not exist; make one with: python main.py .* echojax port SOURCE"),
    "size": ("ef", "ejection_fraction", (VIDEO[:, :56, :60],), r"56x60.*echojax.video.resize\(frames, 112, 112\)"),
    "size, segment": ("segmentation", "segment", (VIDEO[:, :56],), r"56x112.*echojax.video.resize\(frames, 112, 112\)"),
    "type": ("segmentation", "segment", (VIDEO.astype(np.float32),), "the video is float32 .* expected uint8"),
    "shape": ("segmentation", "segment", (VIDEO[0, 0],), r"the video is uint8 \(112, 3\)"),
    "channels": ("segmentation", "segment", (VIDEO[..., :2],), r"\(64, 112, 112, 2\)"),
    "no frames": ("segmentation", "segment", (VIDEO[:0],), "the video has no frames"),
    "segment with EF": ("ef", "segment", (VIDEO,), "segment is not for this checkpoint.*ejection_fraction, apply"),
    "EF with segmentation": ("segmentation", "ejection_fraction", (VIDEO,), "it has segment, apply"),
    "text with EF": ("ef", "encode_text", ([[1]],), "encode_text is not for this checkpoint"),
    "a start": ("kinetics", "ejection_fraction", (VIDEO,), "a video_resnet of 400 classes, to start training from"),
    "no masks": ("teacher", "ejection_fraction", (VIDEO,), r"masks=segmentation.segment\(video\)"),
    "masks": ("ef", "ejection_fraction", (VIDEO, None, VIDEO[..., 0]), "it takes no masks"),
    "mask shape": (
        "teacher",
        "ejection_fraction",
        (VIDEO, None, np.zeros((3, 112, 112))),
        r"expected logits.*\(64, 112",
    ),
    "mask type": ("teacher", "ejection_fraction", (VIDEO, None, VIDEO[..., 0] > 9), "masks are bool"),
    "start": ("ef", "ejection_fraction", (VIDEO, [2]), r"starts are \[2\], expected a list of frames from 0 to 1"),
    "no starts": ("ef", "ejection_fraction", (VIDEO, []), r"starts are \[\]"),
    "axes": ("ef", "apply", (np.zeros((1, 112, 112, 3)),), r"x is \(1, 112, 112, 3\), .* \(b, t, h, w, c\)"),
    "apply's channels": ("teacher", "apply", (np.zeros((1, 2, 112, 112, 3)),), "with 4 channels"),
}


@pytest.mark.parametrize("kind", WRONG_USE)
def test_wrong_use_is_explained(load, kind, tmp_path):
    name, method, arguments, words = WRONG_USE[kind]
    with pytest.raises(UserError, match=words):
        if name is None:
            echojax.load(tmp_path / "no")
        else:
            getattr(load(name), method)(*arguments)


# --- The package ------------------------------------------------------------------------------------------------------


def test_the_package_imports_what_is_asked_for():
    assert echojax.losses.cyclic_loss and "load" in dir(echojax) and "lv" in dir(echojax)
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        _ = echojax.lod


def test_the_docstring_names_what_exists():
    """Its example's calls are those of the classes."""
    text = echojax.load.__doc__
    for called in re.findall(r"\b(?:segmentation|model|teacher)\.(\w+)", text):
        assert called in dir(echojax.loading.Model) or called in ("preprocessing", "num_parameters", "network")
