"""`python -m data_prep phantom`: makes phantoms from a seed."""

import argparse
import time

from data_prep.phantom.dataset import write_dataset
from data_prep.phantom.ingredients import INGREDIENTS
from data_prep.phantom.sampling import EF_RANGE_PERCENT
from echojax.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("--output", required=True, metavar="DIR", help="directory in EchoNet-Dynamic's layout")
    parser.add_argument("--num_videos", required=True, type=int, metavar="N", help="how many videos")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same videos (default 0)")
    parser.add_argument("--frames", default="80-200", metavar="N|LOW-HIGH", help="frames per video (default 80-200)")
    parser.add_argument(
        "--ef_range", nargs=2, type=float, default=EF_RANGE_PERCENT, metavar=("LOW", "HIGH"), help="LVEF range, percent"
    )
    parser.add_argument(
        "--splits",
        nargs=3,
        type=float,
        default=(0.75, 0.125, 0.125),
        metavar=("TRAIN", "VAL", "TEST"),
        help="shares of the splits (default 0.75 0.125 0.125)",
    )
    parser.add_argument(
        "--variety",
        type=parse_variety,
        default=1.0,
        metavar="SHARE",
        help="how much hearts and pictures differ, 0 to 1: less is easier to learn from few videos; 0.2-1 draws it for "
        "each video (default 1)",
    )
    parser.add_argument(
        "--without",
        default="",
        metavar="NAME,NAME",
        help=f"ingredients to leave out, for ablations: {', '.join(INGREDIENTS)}",
    )
    parser.add_argument("--shuffle", action="store_true", help="shuffle the rows of FileList.csv (by the seed)")
    parser.add_argument("--truth", action="store_true", help="also write mask, long axis and volume of every frame")
    parser.add_argument("--workers", type=int, default=None, metavar="N", help="processes (default: one per core)")
    parser.add_argument("--overwrite", action="store_true", help="replace phantoms of another request in DIR")


def run(args: argparse.Namespace) -> int:
    """Writes the data set and says where and how fast; returns the exit code."""
    start = time.monotonic()
    output = write_dataset(
        args.output,
        args.num_videos,
        args.seed,
        num_frames=parse_frames(args.frames),
        ef_range_percent=tuple(args.ef_range),
        split_shares=tuple(args.splits),
        shuffle=args.shuffle,
        truth=args.truth,
        variety=args.variety,
        without=[name.strip() for name in args.without.split(",") if name.strip()],
        workers=args.workers,
        overwrite=args.overwrite,
        progress=True,
    )
    seconds = time.monotonic() - start
    print(f"{args.num_videos} phantoms in {output} ({seconds:.1f} s, {args.num_videos / seconds:.1f} videos/s)")
    return 0


def parse_variety(text: str) -> float | tuple[float, float]:
    """`"0.4"` to a number, `"0.2-1"` to a range."""
    try:
        numbers = tuple(float(part) for part in text.split("-"))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 2):
        raise argparse.ArgumentTypeError(f"expected a number such as 0.4 or a range such as 0.2-1, got {text!r}")
    return numbers if len(numbers) == 2 else numbers[0]


def parse_frames(text: str) -> tuple[int, int]:
    """`"64"` or `"80-200"` to an inclusive range."""
    low, dash, high = text.partition("-")
    if not low.isdigit() or (dash and not high.isdigit()):
        raise UserError(f"--frames must be a number such as 64 or a range such as 80-200, got {text!r}")
    return int(low), int(high if dash else low)
