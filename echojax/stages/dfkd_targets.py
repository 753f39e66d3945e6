"""EchoDFKD, step 1: a segmentation network that is there already labels every frame of a data set.

Nothing is trained: `find_weights` stands in for `build`. The checkpoint is `teacher_dir`, of any segmentation stage or
ported. Its masks are the only thing that the student of step 2 learns from. The run also says how good they are, as far
as tracings and known LVEF tell.
"""

from pathlib import Path

from echojax.errors import UserError
from echojax.train.checkpoint import find_checkpoint, load_metadata

KIND = "segmentation"
FAMILIES = ("deeplabv3", "mean", "convlstm")
_MADE_BY = "python main.py --config=configs/seg.py, or bring a teacher with `echojax port` and set teacher_dir"


def find_weights(config) -> Path:
    """The checkpoint that labels: `teacher_dir`.

    Raises:
      UserError: there is none, or it holds a network that does not segment frames.
    """
    path = find_checkpoint(config.teacher_dir, _MADE_BY)
    family = load_metadata(path).network["family"]
    if family not in FAMILIES:
        raise UserError(
            f"teacher_dir {config.teacher_dir} holds a network of family {family}, expected one that segments frames "
            f"({', '.join(FAMILIES)}); make one with: {_MADE_BY}"
        )
    return path
