"""A recurrent network over videos of any length in constant memory: frames in, masks out, the state carried along.

    streamer = Streamer(network, chunk_frames=1)
    state = streamer.begin(112, 112)
    for frame in camera:                                      # uint8 (h, w)
        logits, state = streamer.push(frame[None], state)     # float32 (1, h, w)

    logits = Streamer(network).segment(video)                 # uint8 (t, h, w) or (t, h, w, c) -> float32 (t, h, w)

One program of fixed shape serves every length. The result is that of the whole video in one piece: no frame of a
ConvLSTM depends on a later one.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from echojax import clips
from echojax.models import functional
from echojax.models.convlstm import State
from echojax.networks import Network
from echojax.records import VideoSet
from echojax.train.mesh import compiler_options

# (start, stop) -> uint8 frames (stop - start, h, w) or (stop - start, h, w, c)
Read = Callable[[int, int], np.ndarray]


class Streamer:
    """Shows a ConvLSTM student videos in pieces of `chunk_frames` frames; more are faster, fewer come sooner."""

    def __init__(self, network: Network, chunk_frames: int = 16):
        self.chunk_frames = chunk_frames
        self._network = network

        @partial(jax.jit, compiler_options=compiler_options())
        def advance(params, stats, frames, state):
            model = functional.merge(network.definition, params, stats)
            logits, state = model.scan(frames.astype(jnp.float32)[None, ..., None], state)
            return logits[0], state

        self._advance = advance

    def begin(self, height: int, width: int) -> State:
        """The state before the first frame of a video.

        Raises:
          UserError: the network cannot halve such frames as often as it needs to.
        """
        network = self._network
        return functional.merge(network.definition, network.params, network.stats).initial_state(1, height, width)

    def push(self, frames: np.ndarray, state: State) -> tuple[jax.Array, State]:
        """Returns logits (chunk_frames, h, w) of the next frames, and the state after them.

        Args:
          frames: uint8 (chunk_frames, h, w), or with a last axis of one or three colour channels.
          state: from `begin` or from the push before.
        """
        if len(frames) != self.chunk_frames:
            raise ValueError(f"got {len(frames)} frames, this streamer takes {self.chunk_frames} at a time")
        return self._advance(self._network.params, self._network.stats, _grey(frames), state)

    def stream(self, read: Read, num_frames: int) -> Iterator[np.ndarray]:
        """Logits (n, h, w) of a video, piece by piece; `read` is asked for one piece at a time."""
        state = None
        for start in range(0, num_frames, self.chunk_frames):
            frames = _grey(read(start, min(start + self.chunk_frames, num_frames)))
            if state is None:
                state = self.begin(*frames.shape[1:])
            # What fills up the last piece comes after the end of the video and changes nothing before it.
            fill = [(0, self.chunk_frames - len(frames)), (0, 0), (0, 0)]
            logits, state = self.push(np.pad(frames, fill), state)
            yield np.asarray(logits)[: len(frames)]

    def segment(self, frames: np.ndarray) -> np.ndarray:
        """Logits (t, h, w) of a video."""
        return np.concatenate(list(self.stream(lambda start, stop: frames[start:stop], len(frames))))

    def segment_at(self, read: Read, wanted: Sequence[int]) -> np.ndarray:
        """Logits (n, h, w) of some frames of a video, which is watched from its beginning up to the last of them."""
        found, start = {}, 0
        for logits in self.stream(read, max(wanted) + 1):
            found |= {frame: logits[frame - start] for frame in wanted if start <= frame < start + len(logits)}
            start += len(logits)
        return np.stack([found[frame] for frame in wanted])


def predict_masks(
    streamer: Streamer, videos: VideoSet, positions: Sequence[int], progress: tqdm
) -> Iterator[np.ndarray]:
    """Logits (t, h, w) of every frame of every video, video by video."""
    for position in positions:
        pieces = []
        for logits in streamer.stream(partial(videos.frames, position), int(videos.num_frames[position])):
            pieces.append(logits)
            progress.update(len(logits))
        yield np.concatenate(pieces)


def _grey(frames: np.ndarray) -> np.ndarray:
    return frames if frames.ndim == 3 else clips.to_gray(frames)
