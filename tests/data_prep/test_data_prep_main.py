"""`python -m data_prep`: what holds for every command."""

import pytest

from data_prep.__main__ import main


@pytest.mark.parametrize(
    "arguments",
    [
        ["echonet", "--source=raw", "--data_dir=gs://bucket/echonet"],
        ["synthetic", "--source=gs://bucket/raw", "--data_dir=data"],
        ["phantom", "--output=gs://bucket/phantoms", "--num_videos=1", "--seed=0"],
    ],
)
def test_places_in_a_bucket_are_refused(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert "is in a bucket, expected a local folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
