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


# Property of tests -> title of the table that is made of them: what a file is, and what is said of it.
TABLES = {
    "wrong_file": "wrong files and what echojax port says of them",
    "hostile_clip": "files that are no clips and what echojax predict says of them",
}


def pytest_terminal_summary(terminalreporter):
    """Tables of refused files (tests/porting/test_wrong_files.py, tests/reading/test_hostile.py)."""
    properties = [pair for report in terminalreporter.stats.get("passed", []) for pair in report.user_properties]
    for kind, title in TABLES.items():
        rows = sorted({tuple(value) for name, value in properties if name == kind})
        if rows:
            terminalreporter.section(title)
            for what, message in rows:
                terminalreporter.write_line(f"{what}:  {message}")
