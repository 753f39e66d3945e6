"""What the stages share: which videos take part, where weights come from, how a network is validated."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from echojax import clips, inference
from echojax.data import (
    Clips,
    Cohort,
    TracedFrames,
    cohort,
    is_traced,
    padded_blocks,
    ssl_positions,
    stack,
    usual_size,
)
from echojax.errors import UserError
from echojax.evaluate import DiceCounts, dice_counts, mae, pooled_dice_from_counts, r2
from echojax.models.surgery import new_head, student_from_teacher, widen_stem, with_backbone
from echojax.networks import Network, build_network, load_network
from echojax.preprocessing import Preprocessing
from echojax.records import MaskSet, VideoSet
from echojax.train import processes
from echojax.train.mesh import make_mesh, put_batch, round_up

Validate = Callable[[dict, dict], dict[str, float]]


# --- Which videos take part -------------------------------------------------------------------------------------------


def training_positions(videos: VideoSet, labels) -> tuple[np.ndarray, np.ndarray]:
    """Labelled and unlabelled TRAIN videos as the config's `labels` say; "all" leaves none unlabelled."""
    if labels.subset == "all":
        return videos.select("TRAIN"), np.array([], np.int64)
    if labels.subset != "ssl":
        raise UserError(f"labels.subset is {labels.subset!r}, expected 'ssl' or 'all'")
    return ssl_positions(videos, labels.num_labelled, labels.num_unlabelled)


def traced_cohort(videos: VideoSet, positions: np.ndarray) -> Cohort:
    """Videos with ED and ES tracings, of the data set's usual size."""
    return cohort(videos, positions, {**_has_size(videos), "no ED and ES tracing": lambda p: is_traced(videos, p)})


def ef_cohort(videos: VideoSet, positions: np.ndarray, labels, masks: MaskSet | None = None) -> Cohort:
    """Videos with a known EF, of the data set's usual size, and with masks of every frame where masks are needed."""
    keep = {**_has_size(videos), "EF unknown": lambda p: bool(np.isfinite(videos.ef_percent[p]))}
    return cohort(videos, positions, keep | _is_traced_if_required(videos, labels) | _has_masks(videos, masks))


def unlabelled_cohort(
    videos: VideoSet, positions: np.ndarray, labels, min_frames: int = 0, masks: MaskSet | None = None
) -> Cohort:
    """Videos to learn from without labels, with more than `min_frames` frames."""
    keep = _has_size(videos)
    if min_frames:
        keep[f"not longer than {min_frames} frames"] = lambda p: bool(videos.num_frames[p] > min_frames)
    return cohort(videos, positions, keep | _is_traced_if_required(videos, labels) | _has_masks(videos, masks))


def _has_size(videos: VideoSet) -> dict[str, Callable[[int], bool]]:
    height, width = usual_size(videos)
    return {f"not {height}x{width}": lambda p: (videos.height[p], videos.width[p]) == (height, width)}


def _is_traced_if_required(videos: VideoSet, labels) -> dict[str, Callable[[int], bool]]:
    return {"no ED and ES tracing": lambda p: is_traced(videos, p)} if labels.require_tracings else {}


def _has_masks(videos: VideoSet, masks: MaskSet | None) -> dict[str, Callable[[int], bool]]:
    if masks is None:
        return {}
    known = set(masks.name.tolist())

    def complete(position: int) -> bool:
        name = str(videos.name[position])
        return name in known and masks.num_frames(name) == videos.num_frames[position]

    return {"no mask for every frame": complete}


# --- Where weights come from ------------------------------------------------------------------------------------------


class Pretrained(NamedTuple):
    """Published weights that a paper starts from: what they are, and the file to download."""

    what: str
    url: str

    def describe(self) -> str:
        """How to get them into a checkpoint directory."""
        file = self.url.rpartition("/")[2]
        folder = f"weights/{file.partition('-')[0]}"
        return f"download {self.url}, then: echojax port {file} {folder}, then --config.init_from={folder}"


def initial_network(description: dict, config, pretrained: Pretrained, initial_ef: float = 55.6) -> Network:
    """The network that training starts from: fresh weights, or those of `config.init_from` with the papers' surgery.

    A network of the same kind is taken whole. A ResNet-50 becomes the backbone beneath a fresh head. Outputs of another
    task (COCO's or Kinetics' classes) give way to a fresh last layer, with `initial_ef` percent as its bias. A video
    network of three channels gets a fourth, drawn as `network.fourth_channel_init` says; one of four loses it.

    Args:
      pretrained: the weights that the paper starts from, for the message when `init_from` is empty or not there.
    """
    if not config.init_from:
        raise UserError(
            f"init_from is empty: the paper starts from {pretrained.what} ({pretrained.describe()}). Give any "
            "checkpoint directory of this network, or --config.init_from=random to start from random weights"
        )
    if config.init_from == "random":
        return _random_network(description, config, initial_ef)
    made_by = f"any stage, or with {pretrained.what}: {pretrained.describe()}; or --config.init_from=random"
    source, _ = load_network(config.init_from, made_by)
    _check_same_network(source.description, description, config.init_from)
    return _operate(source, description, config, initial_ef)._replace(description=description)


def _check_same_network(found: dict, wanted: dict, init_from: str) -> None:
    """Raises UserError unless the one network can be made of the other."""
    # Networks without a decoder do not speak of one.
    found, wanted = {"decoder": 0, **found}, {"decoder": 0, **wanted}
    if found["family"] == "resnet":
        found = {**found, "family": "deeplabv3", "decoder": wanted["decoder"]}
    differing = [
        f"{key} {found.get(key)}, expected {value}"
        for key, value in wanted.items()
        if key not in ("dtype", "in_channels") and found.get(key) != value
    ]
    if differing:
        raise UserError(f"{init_from} holds another network: {', '.join(differing)}")
    channels = found["in_channels"], wanted["in_channels"]
    if channels[0] != channels[1] and set(channels) != {3, 4}:
        raise UserError(f"{init_from} holds a network of {channels[0]} input channels, expected {channels[1]}")


def _operate(source: Network, description: dict, config, initial_ef: float) -> Network:
    """The papers' surgery, where source and wanted network differ."""
    params, stats = source.params, source.stats
    num_channels = description["in_channels"]
    fresh = build_network(description, config.seed, initial_ef)
    if source.description["family"] == "resnet":
        params, stats = with_backbone(fresh.params, params), with_backbone(fresh.stats, stats)
    elif "num_outputs" in source.description:
        params = new_head(params, fresh.params, "out" if description["family"] == "deeplabv3" else "fc")
    if (source.description["in_channels"], num_channels) == (3, 4):
        params = widen_stem(params, np.random.default_rng([config.seed, 4]), config.network.fourth_channel_init)
    elif (source.description["in_channels"], num_channels) == (4, 3):
        params, stats = student_from_teacher(params, stats)
    return fresh._replace(params=params, stats=stats)


def _random_network(description: dict, config, initial_ef: float) -> Network:
    if description["in_channels"] != 4:
        return build_network(description, config.seed, initial_ef)
    source = build_network({**description, "in_channels": 3}, config.seed, initial_ef)
    return _operate(source, description, config, initial_ef)


# --- How a network is validated ---------------------------------------------------------------------------------------


def segment_traced(
    segment: Callable, params, stats, source: TracedFrames, batch_size: int
) -> tuple[DiceCounts, DiceCounts]:
    """Dice counts of every video's ED and ES frame; a pixel is left ventricle where its logit is above 0.

    Args:
      segment: from `echojax.inference.make_segment`.
    """
    return _join_counts(_measure_traced(segment, params, stats, source, batch_size, _count))


def _measure_traced(
    segment: Callable, params, stats, source: TracedFrames, batch_size: int, measure: Callable
) -> list[dict[str, np.ndarray]]:
    """What `measure` says of the logits and masks of each block of videos, both (2, b, h, w), ED and ES.

    Several processes share the blocks, which are those of one process.
    """
    mesh = make_mesh()
    blocks = list(padded_blocks(range(len(source)), round_up(batch_size, mesh)))
    measured = []
    for block, num_real in processes.share(blocks):
        batch = stack([source.example(item, np.random.default_rng(0)) for item in block])
        logits = [np.asarray(segment(params, stats, put_batch(mesh, batch[phase]))) for phase in ("ed", "es")]
        masks = [batch["ed_mask"], batch["es_mask"]]
        measured.append(measure(np.stack(logits)[:, :num_real], np.stack(masks)[:, :num_real]))
    return processes.gather(measured)


def _count(logits: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
    counts = dice_counts(logits > 0, masks)
    return {"intersection": counts.intersection, "total": counts.total}


def _join_counts(measured: Sequence[dict[str, np.ndarray]]) -> tuple[DiceCounts, DiceCounts]:
    """Counts of ED and of ES from those of all blocks."""
    joined = [np.concatenate([block[name] for block in measured], axis=1) for name in ("intersection", "total")]
    ed, es = (DiceCounts(*(counts[phase] for counts in joined)) for phase in (0, 1))
    return ed, es


def make_segmentation_validation(
    network: Network, preprocessing: Preprocessing, source: TracedFrames, settings
) -> Validate:
    """Validation of a segmentation network: `loss` (the selection criterion), `loss_per_pixel` and pooled `dice`.

    `settings.selection` "per_pixel": mean cross-entropy of a pixel, in nats. "original": the sum over each batch (mean
    of its ED and ES half) weighted by batch size, as the original selects; the last, smaller batch weighs too little
    there.
    """
    if settings.selection not in ("per_pixel", "original"):
        raise UserError(f"validation.selection is {settings.selection!r}, expected 'per_pixel' or 'original'")
    segment = inference.make_segment(network, preprocessing)

    def measure(logits: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
        z = logits.astype(np.float64)
        loss = np.maximum(z, 0) - z * masks + np.log1p(np.exp(-np.abs(z)))
        return _count(logits, masks) | {"loss": loss.sum() / 2, "size": logits.shape[1]}

    def validate(params, stats) -> dict[str, float]:
        measured = _measure_traced(segment, params, stats, source, settings.batch_size, measure)
        ed, es = _join_counts(measured)
        losses, sizes = (np.array([block[name] for block in measured]) for name in ("loss", "size"))
        pixels = preprocessing.size[0] * preprocessing.size[1]
        per_pixel = losses.sum() / sizes.sum() / pixels
        original = (losses * sizes).sum() / sizes.sum() / pixels
        both = ed + es
        return {
            "loss": float(per_pixel if settings.selection == "per_pixel" else original),
            "loss_per_pixel": float(per_pixel),
            "dice": float(pooled_dice_from_counts(both.intersection, both.total)),
        }

    return validate


def make_ef_validation(network: Network, preprocessing: Preprocessing, source: Clips, settings) -> Validate:
    """Validation of an EF network: `mse`, `mae` and `r2`, means over seeded passes with one random clip per video."""
    regress = inference.make_regress(network, preprocessing)
    ef = source.videos.ef_percent[source.positions]

    def validate(params, stats) -> dict[str, float]:
        passes = []
        for seed in range(settings.num_passes):
            starts = inference.one_clip_starts(source, seed)
            title = f"validation {seed + 1}/{settings.num_passes}"
            predicted = inference.predict_ef(regress, params, stats, source, starts, settings.batch_size, title)
            predicted = np.concatenate(predicted)
            passes.append((np.mean(np.square(predicted - ef)), mae(predicted, ef), r2(predicted, ef)))
        mse, absolute, determination = map(float, np.mean(passes, axis=0))
        return {"mse": mse, "mae": absolute, "r2": determination}

    return validate


def ef_clips(config, videos: VideoSet, positions: np.ndarray, masks: MaskSet | None, *, train: bool) -> Clips:
    """Random clips as the config's `clip` says; padding and cropping in training alone."""
    clip = config.clip
    return Clips(videos, positions, clip.num_frames, clip.period, masks=masks, pad=clip.pad if train else 0)


def prepare(batch: dict, preprocessing: Preprocessing, clip, dtype=np.float32):
    """Network input of a batch of `Clips` in training: normalised, padded, cropped, masks as fourth channel."""
    return clips.prepare_clips(
        batch["clip"],
        batch["num_valid"],
        preprocessing.mean,
        preprocessing.std,
        masks=batch.get("mask"),
        crop=batch.get("crop"),
        pad=clip.pad,
        mask_pad=clip.mask_pad,
        decimate=preprocessing.decimate,
        dtype=dtype,
    )
