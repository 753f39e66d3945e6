"""Fixtures that several test modules share, and the order in which modules run."""

import fcntl
import pathlib

import pytest

# The modules that take longest, in this order. Each is one worker's, so they begin while there is much else to do.
LONGEST = (
    "parity/test_train_steps.py",
    "pipelines/test_demo.py",
    "train/test_survival.py",
    "pipelines/test_paper.py",
    "train/test_devices.py",
    "train/test_processes.py",
    "pipelines/test_weights.py",
    "models/test_networks.py",
    "stages/test_seg_masks.py",
    "benchmarks/test_phantom_ablation.py",
    "pipelines/test_dfkd_sweep.py",
    "stages/test_dfkd.py",
)


def pytest_collection_modifyitems(items):
    """The longest modules first; the others keep their order."""
    here = pathlib.Path(__file__).parent
    places = {here / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


@pytest.fixture(scope="session")
def phantom_data(tmp_path_factory, request) -> pathlib.Path:
    """Records of 20 short phantoms (12 TRAIN, 4 VAL, 4 TEST), 48 to 52 frames of 112x112, one channel."""
    from data_prep import echonet
    from data_prep.phantom.dataset import write_dataset

    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        folder = folder.parent  # of all workers: the first that needs the phantoms makes them
    with (folder / "phantoms.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        source, records = folder / "phantoms" / "source", folder / "phantoms" / "records"
        if not records.exists():
            write_dataset(source, 20, 5, num_frames=(48, 52), split_shares=(0.6, 0.2, 0.2), workers=1)
            echonet.convert(source, records, pixels="gray", workers=1, progress=False)
    return records


@pytest.fixture(scope="session")
def compile_cache(tmp_path_factory) -> pathlib.Path:
    """Keeps compiled programs for the processes that tests start."""
    return tmp_path_factory.mktemp("xla")


@pytest.fixture(scope="module")
def quick_compiler():
    """Stages that a module runs in this process compile quickly; see tests/quick_compiler.py."""
    import quick_compiler

    from echojax.train import mesh

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh, "_CPU_COMPILER_OPTIONS", mesh._CPU_COMPILER_OPTIONS | quick_compiler.options())
        yield


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
