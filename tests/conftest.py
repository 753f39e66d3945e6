"""Fixtures that several test modules share."""

import pathlib

import pytest


@pytest.fixture(scope="session")
def phantom_data(tmp_path_factory) -> pathlib.Path:
    """Records of 20 short phantoms (12 TRAIN, 4 VAL, 4 TEST), 48 to 52 frames of 112x112, one channel."""
    from data_prep import echonet
    from data_prep.phantom.dataset import write_dataset

    folder = tmp_path_factory.mktemp("phantoms")
    write_dataset(folder / "source", 20, 5, num_frames=(48, 52), split_shares=(0.6, 0.2, 0.2), workers=1)
    echonet.convert(folder / "source", folder / "records", pixels="gray", workers=1, progress=False)
    return folder / "records"


@pytest.fixture(scope="session")
def compile_cache(tmp_path_factory) -> pathlib.Path:
    """Keeps compiled programs for the processes that tests start."""
    return tmp_path_factory.mktemp("xla")


def pytest_terminal_summary(terminalreporter):
    """The table of wrong checkpoint files and what is said of each (tests/porting/test_wrong_files.py)."""
    properties = [pair for report in terminalreporter.stats.get("passed", []) for pair in report.user_properties]
    rows = sorted({tuple(value) for name, value in properties if name == "wrong_file"})
    if rows:
        terminalreporter.section("wrong files and what echojax port says of them")
        for kind, message in rows:
            terminalreporter.write_line(f"{kind}:  {message}")
