"""What a network expects of its input; every checkpoint carries one of these and refuses what does not fit."""

import dataclasses

from echojax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How grey levels become network input.

    Attributes:
      mean: grey level (0 to 255) that becomes 0, per colour channel.
      std: grey levels that become 1, per colour channel. Mean 0 and std 1 are raw grey levels.
      size: height and width in pixels.
      num_frames: frames per clip; 0 for a network of single images.
      period: frames of the video per frame of the clip.
      in_channels: 3 (RGB), 4 (RGB and mask) or 1 (grey).
      decimate: every how many-th row and column of a clip the network sees; 1 is all of them.
      source: where mean and std came from, in words.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
    num_frames: int
    period: int
    in_channels: int
    source: str
    decimate: int = 1

    def to_json(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict) -> "Preprocessing":
        lists_to_tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**lists_to_tuples)

    def check_size(self, what: str, height: int, width: int) -> None:
        """Raises UserError unless `what` has the network's own size."""
        if (height, width) != tuple(self.size):
            raise UserError(
                f"{what}: frames are {height}x{width}, this network was trained on {self.size[0]}x{self.size[1]}; "
                f"resize the video first: echojax.video.resize(frames, {self.size[0]}, {self.size[1]})"
            )
