"""Finding a checkpoint, where there is none."""

import pytest

from echojax.errors import UserError
from echojax.train.checkpoint import find_checkpoint


@pytest.mark.parametrize("inside", [(), ("best",), ("checkpoints/100",)])
def test_empty_folders_are_no_checkpoints(tmp_path, inside):
    for folder in inside:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds no checkpoint; make one with: python main\.py"):
        find_checkpoint(tmp_path, "python main.py")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist; make one with: python main\.py"):
        find_checkpoint(tmp_path / "nowhere", "python main.py")
