"""Phantoms that a config asks for, with their true masks where it asks for those."""

import numpy as np
import pytest

from configs import base
from echojax import records
from echojax.errors import UserError
from echojax.pipelines.phantoms import ensure_phantoms


def request(**fields):
    phantoms = base.get_config().phantoms
    phantoms.update({"num_videos": 2, "num_frames": (16, 16), "splits": (0.5, 0.0, 0.5)} | fields)
    return phantoms


def test_true_masks_come_with_the_phantoms_or_after_them(tmp_path):
    data_dir = str(tmp_path / "phantoms")
    ensure_phantoms(data_dir, request())
    assert not (tmp_path / "phantoms_truth").exists()
    ensure_phantoms(data_dir, request(truth=True))
    videos, masks = records.open_videos(data_dir), records.open_masks(f"{data_dir}_truth")
    assert sorted(masks.name) == sorted(videos.name)
    for position, name in enumerate(videos.name):
        stored = masks.frames(name)
        assert stored.shape == (16, 112, 112) and set(np.unique(stored)) == {0, 255}
        for tracing in videos.tracings(position):
            inside = stored[tracing.frame] > 127
            apex_to_base = tracing.points[0].reshape(2, 2).mean(0).round().astype(int)
            assert inside[apex_to_base[1], apex_to_base[0]]
    ensure_phantoms(data_dir, request(truth=True))


def test_no_phantoms_unless_asked_for(tmp_path):
    ensure_phantoms(str(tmp_path / "none"), request(num_videos=0, truth=True))
    assert list(tmp_path.iterdir()) == []


def test_truth_without_the_source_is_an_error_that_says_so(tmp_path):
    ensure_phantoms(str(tmp_path / "phantoms"), request())
    (tmp_path / "phantoms_source" / "phantoms.json").unlink()
    with pytest.raises(UserError, match=r"no phantoms\.json"):
        ensure_phantoms(str(tmp_path / "phantoms"), request(truth=True))
