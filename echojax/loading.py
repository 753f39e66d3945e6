"""Trained and ported networks for use in a notebook: what `echojax.load` returns."""

import functools
import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, UInt8

from echojax import clips, inference
from echojax.data import padded_blocks, read_clip, stack
from echojax.errors import UserError
from echojax.models import functional
from echojax.networks import Network, load_network, make_apply
from echojax.preprocessing import Preprocessing
from echojax.streaming import Streamer
from echojax.train.mesh import make_mesh, put_batch, round_up

# Frames or clips per forward pass: what a laptop's memory holds with ease.
_FRAMES_PER_BLOCK, _CLIPS_PER_BLOCK = 16, 4
# What each kind of network can do, for the message when it is asked for something else.
_METHODS = {
    "deeplabv3": ("segment", "apply"),
    "mean": ("segment", "apply"),
    "convlstm": ("segment", "apply"),
    "video_resnet": ("ejection_fraction", "apply"),
    "resnet": ("apply",),
    "echoclip": ("apply", "encode_text"),
}


def load(checkpoint_dir: str | os.PathLike, batch_size: int | None = None) -> "Model":
    """Opens a checkpoint: trained here, or ported from PyTorch by `echojax port`.

        import echojax
        from echojax.video import read_video, resize

        frames, fps = read_video("0X1A2B3C.avi")                 # uint8 (t, h, w, 3)
        frames = resize(frames, 112, 112)                        # the networks' size, if it has another

        segmentation = echojax.load("weights/segmentation")      # or "runs/css", a run of your own
        logits = segmentation.segment(frames)                    # (t, 112, 112)
        area_px = (logits > 0).sum((1, 2))                       # left-ventricular area of every frame

        model = echojax.load("weights/ef")
        ef_percent = model.ejection_fraction(frames).mean()      # over all clips, as the papers test

        teacher = echojax.load("runs/teacher")                   # sees the mask as well
        ef_percent = teacher.ejection_fraction(frames, masks=logits).mean()

        model.preprocessing                                      # size, mean, std, frames, period, and from where
        model.num_parameters, model.network                      # 31300638, {"family": "video_resnet", ...}

    The first call compiles for some seconds; after that videos of every length run through the same program, block by
    block, so that memory does not grow with them. Research use only, not a medical device.

    Args:
      checkpoint_dir: a run (its best checkpoint, else its newest), a `best` or a step.
      batch_size: frames or clips per forward pass, rounded up to what the devices divide. It changes no result beyond
        the last digits.

    Raises:
      UserError: there is no checkpoint, or not one of ours.
    """
    made_by = "python main.py --config=configs/<stage>.py, or from PyTorch with: echojax port SOURCE OUTPUT_DIR"
    network, preprocessing = load_network(os.fspath(checkpoint_dir), made_by)
    return Model(network, preprocessing, batch_size)


class Model:
    """A network ready for use; made by `echojax.load`.

    Attributes:
      network: its description: `family`, and the arguments it was built with.
      preprocessing: what its input must be (`echojax.preprocessing.Preprocessing`).
      num_parameters: trained values, running statistics not counted.
    """

    def __init__(self, network: Network, preprocessing: Preprocessing, batch_size: int | None = None):
        self.network = network.description
        self.preprocessing = preprocessing
        self.num_parameters = sum(array.size for array in network.params.values())
        self._network, self._batch_size = network, batch_size
        self._family = network.description["family"]

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in self.network.items())
        return f"echojax.Model({arguments}, num_parameters={self.num_parameters})"

    def segment(self, video: UInt8[np.ndarray, "t h w 3"] | UInt8[np.ndarray, "t h w"]) -> Float[np.ndarray, "t h w"]:
        """Outlines the left ventricle in every frame of a video.

        Args:
          video: RGB or grey levels, at the network's own size.

        Returns:
          Logits, float32: positive in the left ventricle; the probability is 1 / (1 + exp(-logit)).

        Raises:
          UserError: the network is no segmentation network, or the video has another size, type or shape.
        """
        self._check_can("segment")
        frames = self._check_video(video)
        if self._family == "convlstm":
            return self._streamer.segment(frames)
        size = self._batch_size or _FRAMES_PER_BLOCK
        return inference.segment_frames(self._segment, self._network.params, self._network.stats, frames, size)

    def ejection_fraction(
        self,
        video: UInt8[np.ndarray, "t h w 3"] | UInt8[np.ndarray, "t h w"],
        starts: Sequence[int] | None = None,
        masks: Float[ArrayLike, "t h w"] | None = None,
    ) -> Float[np.ndarray, "num_starts"]:
        """Ejection fraction of clips of a video; the mean over all of them is the papers' prediction for it.

        Args:
          video: RGB or grey levels, at the network's own size.
          starts: first frames of the clips; None is every clip of the video, ascending. A video shorter than a clip
            is continued by the mean colour.
          masks: for a network of four channels, the logits of every frame as `segment` of another network gives them
            (or uint8 round(255 p), as records hold them).

        Returns:
          Percent, float32, one per start.

        Raises:
          UserError: the network is no EF network, the video has another size, type or shape, masks are missing or
            not wanted, or a clip would begin outside of the video.
        """
        self._check_can("ejection_fraction")
        frames = self._check_video(video)
        masks = self._check_masks(masks, frames.shape[:3])
        starts = self._check_starts(starts, len(frames))
        mesh = make_mesh()
        size = round_up(self._batch_size or _CLIPS_PER_BLOCK, mesh)
        predicted = [
            np.asarray(self._regress(self._network.params, self._network.stats, put_batch(mesh, batch)))[:num_real]
            for batch, num_real in self._clip_batches(frames, masks, starts, size)
        ]
        return np.concatenate(predicted)

    def apply(self, x: Float[ArrayLike, "b *t h w c"]) -> dict[str, Array]:
        """Runs the bare network, in one pass.

        Args:
          x: normalised images `(b, h, w, c)` of a segmentation network or EchoCLIP, clips `(b, t, h, w, c)` of an EF
            network, raw grey levels 0 to 255 `(b, t, h, w, 1)` of a ConvLSTM.

        Returns:
          float32: of segmentation `logits` (b, h, w) and, but for a mean of networks, `layer4` (b, h', w', 2048); of EF
          networks `ef` (b,), percent, and `pooled` (b, 512); of ConvLSTMs `logits` (b, t, h, w); of EchoCLIP
          `image_embedding` (b, 512).

        Raises:
          UserError: x has another number of axes or channels.
        """
        x = jnp.asarray(x, jnp.float32)
        axes = ("b", "t", "h", "w", "c") if self._family in ("video_resnet", "convlstm") else ("b", "h", "w", "c")
        channels = self.preprocessing.in_channels
        if x.ndim != len(axes) or x.shape[-1] != channels:
            raise UserError(f"x is {x.shape}, this network expects ({', '.join(axes)}) with {channels} channels")
        return self._apply(self._network.params, self._network.stats, x)

    def encode_text(self, tokens: Int[ArrayLike, "n 77"]) -> Float[Array, "n 512"]:
        """EchoCLIP's embeddings of texts, float32, not normalised; `echojax.echoclip.tokenize` makes tokens.

        Raises:
          UserError: the network is not EchoCLIP, or tokens are no such table.
        """
        self._check_can("encode_text")
        tokens = np.asarray(tokens)
        length = self.network["context_length"]
        if tokens.ndim != 2 or tokens.shape[1] > length or not np.issubdtype(tokens.dtype, np.integer):
            raise UserError(f"tokens are {tokens.dtype} {tokens.shape}, expected integers (n, {length})")
        return self._encode_text(self._network.params, self._network.stats, jnp.asarray(tokens, jnp.int32))

    def _clip_batches(self, frames: np.ndarray, masks: np.ndarray | None, starts: np.ndarray, size: int):
        """Blocks of one size of clips as `make_regress` takes them, and how many of each are real."""
        span = self.preprocessing.num_frames, self.preprocessing.period, len(frames)

        def clip(start: int) -> dict[str, np.ndarray]:
            pictures, num_valid = read_clip(lambda *of: frames[slice(*of)], start, *span)
            example = {"clip": pictures, "num_valid": np.int32(num_valid)}
            if masks is not None:
                example["mask"], _ = read_clip(lambda *of: masks[slice(*of)], start, *span)
            return example

        for block, num_real in padded_blocks(starts, size):
            yield stack([clip(int(start)) for start in block]), num_real

    # --- Compiled once ------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _segment(self) -> Callable:
        return inference.make_segment(self._network, self.preprocessing)

    @functools.cached_property
    def _streamer(self) -> Streamer:
        """A ConvLSTM sees the frames in order, its state carried from block to block."""
        return Streamer(self._network, self._batch_size or _FRAMES_PER_BLOCK)

    @functools.cached_property
    def _regress(self) -> Callable:
        return inference.make_regress(self._network, self.preprocessing)

    @functools.cached_property
    def _apply(self) -> Callable:
        return make_apply(self._network)

    @functools.cached_property
    def _encode_text(self) -> Callable:
        definition = self._network.definition
        return jax.jit(lambda params, stats, tokens: functional.merge(definition, params, stats).encode_text(tokens))

    # --- What users hand in -------------------------------------------------------------------------------------------

    def _check_can(self, method: str) -> None:
        can = _METHODS[self._family]
        if "num_outputs" in self.network:
            can, what = ("apply",), f"a {self._family} of {self.network['num_outputs']} classes, to start training from"
        else:
            what = f"a network of the family {self._family}"
        if method not in can:
            raise UserError(f"{method} is not for this checkpoint: it holds {what}; it has {', '.join(can)}")

    def _check_video(self, video: np.ndarray) -> np.ndarray:
        """The video with as many channels as the network sees of the picture."""
        video = np.asarray(video)
        if video.dtype != np.uint8 or video.ndim not in (3, 4) or video.shape[3:] not in ((), (1,), (3,)):
            raise UserError(
                f"the video is {video.dtype} {video.shape}, expected uint8 (t, h, w, 3) or (t, h, w): grey levels 0 to "
                "255 as echojax.video.read_video gives them; normalised input is for apply"
            )
        if not len(video):
            raise UserError("the video has no frames")
        self.preprocessing.check_size("the video", *video.shape[1:3])
        frames = video if video.ndim == 4 else video[..., None]
        if self.preprocessing.in_channels == 1:
            return clips.to_gray(frames)[..., None]
        return np.broadcast_to(frames, (*frames.shape[:3], 3))

    def _check_masks(self, masks: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray | None:
        wanted = self.preprocessing.in_channels == 4
        if wanted != (masks is not None):
            how = "masks=segmentation.segment(video), of a segmentation network" if wanted else "no masks"
            raise UserError(f"this network sees {self.preprocessing.in_channels} channels, so it takes {how}")
        if masks is None:
            return None
        masks = np.asarray(masks)
        if masks.shape != shape or not (masks.dtype == np.uint8 or np.issubdtype(masks.dtype, np.floating)):
            raise UserError(
                f"masks are {masks.dtype} {masks.shape}, expected logits, float32 {shape}, as segment gives"
            )
        return masks if masks.dtype == np.uint8 else masks.astype(np.float32, copy=False)

    def _check_starts(self, starts: Sequence[int] | None, num_frames: int) -> np.ndarray:
        possible = clips.all_starts(num_frames, self.preprocessing.num_frames, self.preprocessing.period)
        if starts is None:
            return possible
        starts = np.asarray(starts)
        if starts.ndim != 1 or not len(starts) or not np.isin(starts, possible).all():
            raise UserError(
                f"starts are {starts.tolist()}, expected a list of frames from 0 to {possible[-1]}: where a clip of "
                f"{self.preprocessing.num_frames} frames of period {self.preprocessing.period} can begin"
            )
        return starts
