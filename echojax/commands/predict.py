"""PATH is a video (AVI, MP4, MOV, GIF), a DICOM, NIfTI or .npy file, or a folder of these. Every clip gets a folder of
result.json (fields: docs/result.schema.json), masks.npz, overlay.mp4 and report.html; results.csv and index.html hold
all of them. Names, dates, identifiers and paths of DICOMs get into none of these files unless --keep-names; folders of
DICOMs are named by the first digits of the file's SHA-256.
"""

import argparse
import os
import pathlib
import sys

from echojax.errors import UserError

DEFAULT_OUTPUT = "echojax_results"
# With more clips than this, their folders are listed instead of their files.
MAX_LISTED_FILES = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", help="clips, or folders of clips")
    parser.add_argument(
        "--segmentation", metavar="DIR", help="a segmentation checkpoint; default: the weights in the package"
    )
    parser.add_argument("--ef", metavar="DIR", help="an EF checkpoint: direct regression beside Simpson's method")
    parser.add_argument(
        "--output", metavar="DIR", default=DEFAULT_OUTPUT, help=f"where results go (default: {DEFAULT_OUTPUT})"
    )
    parser.add_argument("--keep-names", action="store_true", help="name results of DICOMs after their files")
    parser.add_argument("--level", type=float, default=0.95, help="of the interval: 0.8, 0.9 or 0.95 (default)")
    parser.add_argument(
        "--views",
        type=int,
        default=3,
        help="how many readings are compared to see how sure LVEF is, 1 to 5: of the clip, and of slightly changed "
        "copies (default: 3); an interval needs as many as were calibrated with",
    )


def run(args: argparse.Namespace) -> int:
    _check(args)
    _enable_compile_cache()
    # Only now: these take seconds to import.
    from echojax import predict

    segmentation = predict.load_segmentation(args.segmentation)
    if segmentation.calibration is not None:
        segmentation.calibration.quantile(args.level)
    regression = predict.load_regression(args.ef, segmentation) if args.ef else None
    outcome = predict.predict_paths(
        args.paths,
        args.output,
        segmentation,
        regression,
        keep_names=args.keep_names,
        num_views=args.views,
        level=args.level,
        progress=True,
    )
    _print_outcome(outcome)
    return 1 if outcome.failures else 0


def _check(args: argparse.Namespace) -> None:
    from echojax.predict.views import VIEWS

    if not 1 <= args.views <= len(VIEWS):
        raise UserError(f"--views is {args.views}, expected 1 to {len(VIEWS)}")
    if not 0 < args.level < 1:
        raise UserError(f"--level is {args.level:g}, expected a share such as 0.95")
    output = pathlib.Path(args.output)
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file, expected a folder")


def _enable_compile_cache() -> None:
    """Keeps compiled programs between calls, where the environment does not name a place of its own."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    import jax

    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(root).expanduser() / "echojax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _print_outcome(outcome) -> None:
    for row in outcome.rows:
        if row["status"] == "ok":
            print(_describe(row))
    for failure in outcome.failures:
        print(f"failed: {failure.path}: {failure.reason}", file=sys.stderr)
    if outcome.passed_over:
        print(f"{len(outcome.passed_over)} other files are no clips and were passed over")
    files = outcome.files
    if len(files) > MAX_LISTED_FILES:
        files = [*dict.fromkeys(path.parent for path in files[:-2]), *files[-2:]]
    print("written:")
    for path in files:
        print(f"  {path}")
    print("Research use only, not a medical device.")


def _describe(row: dict) -> str:
    value = "no LVEF" if row["lvef_percent"] is None else f"LVEF {row['lvef_percent']:.0f} %"
    low, high, level = row["lvef_low_percent"], row["lvef_high_percent"], row["interval_level"]
    interval = "" if low is None else f" ({100 * level:.0f} % interval {low:.0f} to {high:.0f})"
    beats = f"{row['num_beats']} beat{'s' if row['num_beats'] != 1 else ''}"
    return f"{row['name']}: {value}{interval}, {beats}" + (f"; {row['flags']}" if row["flags"] else "")
