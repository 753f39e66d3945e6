"""How close phantoms come to real echo, in four kinds of numbers.

    python -m benchmarks.phantom_realism --real=DIR --output=FILE.json [--sheet=SHEET.png]

`--real` is a directory in EchoNet-Dynamic's layout. Measured per video, on grey levels:

    black_share          pixels at or below grey level 10
    speckle_x_px, _y_px  full width at half height of the spatial autocorrelation of the high-passed picture (a
                         Gaussian of standard deviation 2.5 px subtracted) where tissue is (smoothed level above 25)
    frame_correlation    Pearson correlation of successive frames over the pixels that are ever bright, mean of the
                         video; frame_correlation_10 the same ten frames apart
    speckle_contrast     local standard deviation over local mean, median over tissue
    level_p50 .. p99     quantiles of the grey levels inside the sector

The verdict of a measure: the phantoms' median lies in the range [least, largest] of the real videos; `share_inside`
says how many phantoms do. The sheet shows both side by side; it holds real frames, so it belongs nowhere public.
"""

import argparse
import json
import pathlib
import sys

import matplotlib.image
import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from benchmarks.commands import reports_user_errors
from data_prep.phantom import render, sample_parameters
from echojax.errors import UserError
from echojax.video import read_video

BLACK_LEVEL = 10
TISSUE_LEVEL = 25
HIGH_PASS_PX = 2.5
MAX_LAG_PX = 6
# The measures that phantoms must match; the rest is reported.
REQUIRED = ("black_share", "speckle_x_px", "speckle_y_px", "frame_correlation")


def measure(frames: np.ndarray) -> dict[str, float]:
    """Measures of one video, uint8 (t, h, w); see the module's docstring."""
    video = frames.astype(np.float32)
    sector = video.max(0) > 12
    chosen = video[:: max(1, len(video) // 12)]
    speckle = np.mean([_speckle(frame, sector) for frame in chosen], axis=0)
    levels = np.percentile(chosen[:, sector], (50, 75, 90, 99))
    return {
        "black_share": float((video <= BLACK_LEVEL).mean()),
        "speckle_x_px": float(speckle[0]),
        "speckle_y_px": float(speckle[1]),
        "speckle_contrast": float(speckle[2]),
        "frame_correlation": _frame_correlation(video[:, sector], 1),
        "frame_correlation_10": _frame_correlation(video[:, sector], 10),
        **{f"level_p{q}": float(level) for q, level in zip((50, 75, 90, 99), levels, strict=True)},
    }


def _speckle(frame, sector):
    mean = gaussian_filter(frame, HIGH_PASS_PX)
    tissue = sector & (mean > TISSUE_LEVEL)
    detail = np.where(tissue, frame - mean, 0)
    widths = [_half_height_width(detail, tissue, axis) for axis in (1, 0)]
    deviation = np.sqrt(np.maximum(gaussian_filter(detail**2, HIGH_PASS_PX), 0))
    return *widths, np.median(deviation[tissue] / mean[tissue])


def _half_height_width(detail, tissue, axis):
    """Full width at half height of the autocorrelation along one axis, over pairs that both lie in tissue."""
    correlation = []
    for lag in range(MAX_LAG_PX + 1):
        first, second = (np.take(a, range(lag, a.shape[axis]), axis) for a in (detail, tissue))
        other, valid = (np.take(a, range(a.shape[axis] - lag), axis) for a in (detail, tissue))
        correlation.append((first * other).sum() / max(1, (second & valid).sum()))
    correlation = np.array(correlation) / correlation[0]
    below = int(np.argmax(correlation < 0.5))
    high, low = correlation[below - 1], correlation[below]
    return 2 * (below - 1 + (high - 0.5) / (high - low))


def _frame_correlation(pixels, gap):
    first, second = pixels[:-gap], pixels[gap:]
    first = first - first.mean(1, keepdims=True)
    second = second - second.mean(1, keepdims=True)
    norm = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    return float(((first * second).sum(1) / norm).mean())


def compare(real: list[dict], phantoms: list[dict]) -> dict:
    """Range over real videos, median and range over phantoms, and the verdict, per measure."""
    table = {}
    for name in real[0]:
        ours, theirs = (np.array([row[name] for row in rows]) for rows in (phantoms, real))
        low, high = theirs.min(), theirs.max()
        table[name] = {
            "real": {"least": float(low), "median": float(np.median(theirs)), "largest": float(high)},
            "phantom": {
                "p10": float(np.percentile(ours, 10)),
                "median": float(np.median(ours)),
                "p90": float(np.percentile(ours, 90)),
            },
            "share_inside": float(((ours >= low) & (ours <= high)).mean()),
            "median_inside": bool(low <= np.median(ours) <= high),
        }
    return table


def draw_sheet(path: pathlib.Path, real: list[np.ndarray], phantoms: list[np.ndarray], columns: int = 4) -> None:
    """Real videos on the left, phantoms on the right, three times enlarged."""
    sides = [
        _mosaic([video[len(video) // 3] for video in videos[: 3 * columns]], columns) for videos in (real, phantoms)
    ]
    gap = np.full((sides[0].shape[0], 12), 255, np.uint8)
    matplotlib.image.imsave(path, np.hstack([sides[0], gap, sides[1]]), cmap="gray", vmin=0, vmax=255)


def _mosaic(frames, columns):
    frames = [np.clip(zoom(frame.astype(np.float32), 3, order=3), 0, 255).astype(np.uint8) for frame in frames]
    rows = [np.hstack(frames[k : k + columns]) for k in range(0, len(frames), columns)]
    return np.vstack([row for row in rows if row.shape == rows[0].shape])


@reports_user_errors
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measures how phantoms compare with real echo.")
    parser.add_argument("--real", type=pathlib.Path, required=True, help="directory in EchoNet-Dynamic's layout")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="JSON file")
    parser.add_argument("--sheet", type=pathlib.Path, help="PNG of both side by side; it shows real frames")
    parser.add_argument("--num_phantoms", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1_000)
    args = parser.parse_args(argv)
    paths = sorted((args.real / "Videos").glob("*.avi"))
    if not paths:
        raise UserError(
            f"{args.real / 'Videos'}: no AVI file found; --real wants a directory in EchoNet-Dynamic's layout"
        )
    real = [read_video(path)[0][..., 0] for path in paths]
    phantoms = [render(sample_parameters(args.seed, k, 64)).frames for k in range(args.num_phantoms)]
    table = compare([measure(video) for video in real], [measure(video) for video in phantoms])
    inside = all(table[name]["median_inside"] for name in REQUIRED)
    args.output.write_text(
        json.dumps({"all_required_inside": inside, "required": REQUIRED, "measures": table}, indent=2)
    )
    for name, row in table.items():
        real_range = f"{row['real']['least']:.3f} .. {row['real']['median']:.3f} .. {row['real']['largest']:.3f}"
        ours = f"{row['phantom']['p10']:.3f} .. {row['phantom']['median']:.3f} .. {row['phantom']['p90']:.3f}"
        print(f"{name:22} real {real_range:26} phantom {ours:26} inside {row['share_inside']:.0%}")
    if args.sheet:
        draw_sheet(args.sheet, real, phantoms)
    return 0 if inside else 1


if __name__ == "__main__":
    sys.exit(main())
