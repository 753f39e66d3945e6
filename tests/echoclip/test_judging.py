"""From videos to verdicts: a small network of random weights, and encoders made up for the purpose."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from echojax import echoclip, networks, video
from echojax.echoclip import features, images
from echojax.errors import UserError
from echojax.preprocessing import Preprocessing
from echojax.train import checkpoint

SIZE = 32
DESCRIPTION = {
    "family": "echoclip",
    "width": 8,
    "blocks": [1, 1, 1, 1],
    "embedding": 16,
    "text_width": 64,
    "text_depth": 1,
    "vocabulary": 49408,
    "context_length": 77,
    "dtype": "float32",
}
PREPROCESSING = Preprocessing(
    mean=(122.0, 116.0, 104.0),
    std=(68.0, 66.0, 70.0),
    size=(SIZE, SIZE),
    num_frames=0,
    period=1,
    in_channels=3,
    source="a test",
)


@pytest.fixture(scope="module")
def network():
    return networks.build_network(DESCRIPTION)


@pytest.fixture(scope="module")
def encoder(network):
    return echoclip.Encoder(network, PREPROCESSING, "random weights", batch_size=4)


@pytest.fixture(scope="module")
def checkpoint_dir(network, tmp_path_factory):
    directory = tmp_path_factory.mktemp("echoclip")
    metadata = checkpoint.Metadata(
        stage="port",
        network=DESCRIPTION,
        preprocessing=PREPROCESSING,
        step=0,
        best=None,
        iterator={},
        config={},
        versions={},
    )
    checkpoint.save_weights(directory, network.params, network.stats, metadata)
    return directory


def make_video(num_frames, seed=0, channels=1):
    return np.random.default_rng(seed).integers(1, 256, (num_frames, 28, 28, channels), dtype=np.uint8)


def make_masks(num_frames):
    masks = np.zeros((num_frames, 28, 28), bool)
    masks[:, 8:18, 10:20] = True
    return masks


class BlackPixels:
    """An encoder that knows one thing about a frame, the share of its black pixels, and records what it saw."""

    def __init__(self):
        self.seen = []

    def embed_frames(self, frames, *, zoom=False):
        self.seen.append(frames)
        angle = np.pi / 2 * np.mean(frames.max(-1) == 0, axis=(1, 2))
        return np.stack([np.cos(angle), np.sin(angle)], axis=-1)

    def embed_texts(self, texts):
        return np.array([{"WALL": [1.0, 0.0], "NOTHING": [0.0, 1.0], "LEFT VENTRICLE": [1.0, 0.0]}[t] for t in texts])


# --- Embeddings ---


def test_embeddings_have_unit_length_whatever_the_block_size(network, encoder):
    frames = make_video(7)
    embeddings = encoder.embed_frames(frames)
    assert embeddings.shape == (7, 16)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    other = echoclip.Encoder(network, PREPROCESSING, "random weights", batch_size=3)
    np.testing.assert_allclose(other.embed_frames(frames), embeddings, atol=1e-5)
    np.testing.assert_allclose(encoder.embed_frames(frames[5:6])[0], embeddings[5], atol=1e-5)


def test_videos_of_all_lengths_share_one_program(network):
    encoder = echoclip.Encoder(network, PREPROCESSING, "random weights", batch_size=4)
    for num_frames in (1, 4, 9):
        assert len(encoder.embed_frames(make_video(num_frames))) == num_frames
    assert encoder._embed_images._cache_size() == 1


def test_grey_frames_are_shown_as_rgb(encoder):
    gray = make_video(2)
    np.testing.assert_allclose(encoder.embed_frames(gray), encoder.embed_frames(np.repeat(gray, 3, -1)), atol=1e-6)


def test_zoomed_frames_are_cut_and_scaled_before(encoder):
    frames = make_video(3)
    by_hand = video.resize(images.zoom(frames), SIZE, SIZE, "cubic")
    np.testing.assert_allclose(encoder.embed_frames(frames, zoom=True), encoder.embed_frames(by_hand), atol=1e-6)


def test_frames_must_be_a_video(encoder):
    for frames in (make_video(2)[..., 0], make_video(2).astype(np.float32), make_video(0), make_video(2, channels=2)):
        with pytest.raises(UserError, match="expected uint8"):
            encoder.embed_frames(frames)


def test_texts_are_embedded_as_far_as_they_go(network, encoder):
    texts = ["WALL", "LEFT VENTRICLE"]
    embeddings = encoder.embed_texts(texts)
    assert embeddings.shape == (2, 16)
    assert encoder.embed_texts(texts) is embeddings  # remembered
    model = networks.functional.merge(network.definition, network.params, network.stats)
    whole = np.asarray(model.encode_text(jnp.asarray(echoclip.tokenize(texts))))
    np.testing.assert_allclose(embeddings, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-5)


def test_invariant_20_logit_scale_changes_no_score(network, encoder):
    frames, masks = make_video(3), make_masks(3)
    other_network = network._replace(params={**network.params, "logit_scale": jnp.float32(-5)})
    other = echoclip.Encoder(other_network, PREPROCESSING, "random weights", batch_size=4)
    assert echoclip.score_masks(other, frames, masks) == echoclip.score_masks(encoder, frames, masks)


# --- Mask score ---


def test_invariant_21_empty_masks_score_like_the_untouched_video(encoder):
    frames = make_video(3)
    empty = echoclip.score_masks(encoder, frames, np.zeros((3, 28, 28), bool))
    untouched = encoder.embed_frames(frames)
    texts = encoder.embed_texts(echoclip.MASK_PROMPTS)
    assert empty.score == pytest.approx(echoclip.mask_score(untouched, untouched, *texts), abs=1e-6)
    assert empty.over == {"empty": 0}


def test_invariant_21_as_coded_takes_the_raw_mask_twice():
    fake = BlackPixels()
    frames, masks = make_video(3, channels=3), make_masks(3)
    result = echoclip.score_masks(fake, frames, masks, mode="as_coded")
    # One pass for the masks, one for the empty ones: raw and expanded are the same frames; BGR is taken for RGB.
    assert len(fake.seen) == 2
    assert np.array_equal(fake.seen[0], images.black_out(frames, masks)[..., ::-1])
    angle = np.pi / 2 * 100 / 28**2
    assert result.score == pytest.approx(np.cos(angle) + np.sin(angle) - np.cos(angle))


def test_intended_score_widens_the_mask_for_the_second_term():
    fake = BlackPixels()
    frames, masks = make_video(3), make_masks(3)
    result = echoclip.score_masks(fake, frames, masks)
    raw, widened = np.pi / 2 * np.array([10 * 10, 14 * 14]) / 28**2
    assert result.score == pytest.approx(np.cos(raw) + np.sin(widened) - np.cos(widened))
    # The empty mask: cos 0 + sin 0 - cos 0 = 0.
    assert result.over["empty"] == pytest.approx(result.score)
    assert len(fake.seen) == 3


def test_scores_are_compared_with_other_masks():
    frames, masks = make_video(2), make_masks(2)
    teacher = images.dilate(masks)
    result = echoclip.score_masks(BlackPixels(), frames, masks, {"teacher": teacher})
    of_teacher = echoclip.score_masks(BlackPixels(), frames, teacher)
    assert result.over["teacher"] == pytest.approx(result.score - of_teacher.score)
    assert list(result.over) == ["empty", "teacher"]


def test_unknown_mode_and_masks_of_another_size():
    with pytest.raises(UserError, match="expected one of intended, as_coded"):
        echoclip.score_masks(BlackPixels(), make_video(2), make_masks(2), mode="raw")
    with pytest.raises(UserError, match="one mask per frame"):
        echoclip.score_masks(BlackPixels(), make_video(2), make_masks(3))


def test_scores_of_a_split_have_intervals():
    results = [echoclip.MaskScore(score, {"empty": score - 1, "teacher": -score}) for score in (0.2, 0.4, 0.9)]
    metrics = echoclip.summarise_mask_scores(results)
    assert list(metrics) == ["echoclip_score", "echoclip_score_over_empty", "echoclip_score_over_teacher"]
    assert metrics["echoclip_score"].value == pytest.approx(0.5)
    assert metrics["echoclip_score_over_empty"].value == pytest.approx(-0.5)
    assert metrics["echoclip_score"].low < 0.5 < metrics["echoclip_score"].high
    assert metrics["echoclip_score"].n == 3
    with pytest.raises(UserError, match="no videos"):
        echoclip.summarise_mask_scores([])


# --- Features ---


def test_features_are_extracted_file_by_file_and_resumed(encoder, tmp_path):
    videos = {f"video{i}": make_video(length, seed=i) for i, length in enumerate((5, 50, 3))}
    read = []

    def read_frames(name):
        read.append(name)
        return videos[name]

    extraction = echoclip.extract_features(encoder, list(videos), read_frames, tmp_path)
    assert next(extraction) == "video0"
    extraction.close()  # killed
    leftover = tmp_path / ".video1.npz.x.tmp"
    leftover.mkdir()
    assert list(echoclip.extract_features(encoder, list(videos), read_frames, tmp_path)) == ["video1", "video2"]
    assert read == ["video0", "video1", "video2"]
    assert not leftover.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.json", *(f"{name}.npz" for name in videos)]
    stored = echoclip.load_features(tmp_path, "video1")
    assert stored.frames.dtype == stored.zoomed.dtype == np.float32
    assert stored.frames.shape == (50, 16)
    # Every second of the first 40 frames.
    np.testing.assert_allclose(stored.zoomed, encoder.embed_frames(videos["video1"][:40:2], zoom=True), atol=1e-6)
    assert echoclip.load_features(tmp_path, "video2").zoomed.shape == (2, 16)
    # Fewer whole frames leave those of the ejection fraction as they are.
    sparse = echoclip.embed_video(encoder, videos["video1"], frame_period=7)
    np.testing.assert_allclose(sparse.frames, stored.frames[::7], atol=1e-5)
    np.testing.assert_allclose(sparse.zoomed, stored.zoomed, atol=1e-6)


def test_features_of_another_checkpoint_are_not_mixed_in(encoder, network, tmp_path):
    list(echoclip.extract_features(encoder, [], make_video, tmp_path))
    other = echoclip.Encoder(network, PREPROCESSING, "other weights")
    with pytest.raises(UserError, match=r"random weights.*other weights.*choose another"):
        list(echoclip.extract_features(other, [], make_video, tmp_path))
    plan = json.loads((tmp_path / features.PLAN_NAME).read_text())
    assert plan == {"producer": "random weights", "dtype": "float32", "frame_period": 1}
    with pytest.raises(UserError, match=r"'frame_period': 2.*choose another"):
        list(echoclip.extract_features(encoder, [], make_video, tmp_path, frame_period=2))


def test_missing_and_damaged_features(tmp_path):
    with pytest.raises(UserError, match=r"video\.npz does not exist: extract the features of video"):
        echoclip.load_features(tmp_path, "video")
    (tmp_path / "video.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(UserError, match=r"video\.npz is damaged"):
        echoclip.load_features(tmp_path, "video")


def test_phase_and_ejection_fraction_from_features(encoder):
    stored = echoclip.embed_video(encoder, make_video(12))
    signal = echoclip.phase_of(encoder, stored)
    assert signal.shape == (12,)
    assert signal.std() == pytest.approx(1)
    np.testing.assert_allclose(echoclip.phase_of(encoder, stored, "closed_minus_open"), -signal, atol=1e-9)
    assert 0 <= echoclip.ejection_fraction_of(encoder, stored) <= 100


# --- Weights ---


def test_without_weights_it_says_what_to_download_and_from_where(tmp_path):
    directory = tmp_path / "echoclip"
    with pytest.raises(UserError) as error:
        echoclip.load_encoder(directory)
    page = "https://huggingface.co/mkaichristensen/echo-clip"
    for part in (f"{directory} does not exist", "echojax port open_clip_pytorch_model.bin", page):
        assert part in str(error.value)


def test_a_ported_checkpoint_opens(checkpoint_dir, encoder):
    frames = make_video(2)
    loaded = echoclip.load_encoder(checkpoint_dir, batch_size=4)
    assert loaded.producer == str(checkpoint_dir)
    np.testing.assert_allclose(loaded.embed_frames(frames), encoder.embed_frames(frames), atol=1e-6)
    assert echoclip.load_encoder(checkpoint_dir, dtype="bfloat16").network.description["dtype"] == "bfloat16"


def test_another_network_is_refused():
    description = {"family": "deeplabv3", "width": 2, "blocks": [1, 1, 1, 1], "in_channels": 3, "dtype": "float32"}
    with pytest.raises(UserError, match="runs/seg holds a deeplabv3 network, expected EchoCLIP"):
        echoclip.Encoder(networks.build_network(description), PREPROCESSING, "runs/seg")
