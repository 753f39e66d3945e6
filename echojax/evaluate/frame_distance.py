"""aFD: how many frames a found end diastole (ED) or end systole (ES) lies from a reference, under three protocols.

They differ in how much the reference helps, and their numbers may not be mixed:

| protocol   | candidates                                      | estimate                                              |
|------------|-------------------------------------------------|-------------------------------------------------------|
| `echodfkd` | runs of frames beyond the clip's median area    | the extreme of the run next to the reference          |
| `uvt`      | peaks of the area as it is                      | the peak next to the reference                        |
| `blind`    | every ED and ES of the smoothed area's beats    | the one next to the reference, or of the largest beat |

`echodfkd` is EchoDFKD's; `uvt` follows Reynaud et al. (MICCAI 2021), who take the nearest peak of the same phase.
`blind` alone searches as one has to in use, with no reference; given one, it only says which beat was traced.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import signal

from echojax import lv
from echojax.errors import UserError

Area = Float[np.ndarray, "t"] | Int[np.ndarray, "t"]
Phase = Literal["ED", "ES"]
PHASES = ("ED", "ES")

# EchoNet-Dynamic's peaks of the area, which also mark the teacher's frames in `size.csv`.
ECHONET_DISTANCE_FRAMES = 20
ECHONET_PROMINENCE = 0.5
ECHONET_TRIM = (0.05, 0.95)
# EchoDFKD's peaks of EchoCLIP's signal, in frames and in standard deviations.
ECHOCLIP_DISTANCE_FRAMES = 10
ECHOCLIP_PROMINENCE = 1.5
# UVT leaves videos out whose references lie closer together.
UVT_MIN_SEPARATION_FRAMES = 10


class FrameDistance(NamedTuple):
    """Attributes:
    estimate: the frame that was found; None where there is none (`blind`: no beat).
    distance: estimate - reference in frames; None without an estimate or a reference.
    milliseconds: the same as time; None where the frame rate or the distance is not known.
    """

    estimate: int | None
    distance: int | None
    milliseconds: float | None


def afd(
    area: Area, reference_frame: int | None, phase: Phase, protocol: str, fps: float | None = None
) -> FrameDistance:
    """Finds a phase in the curve of a ventricle's area, and its distance from a reference; see the module's table.

    aFD itself is the mean of |distance| over videos (`summarise_afd`).

    Args:
        area: one value per frame, in any unit, or a signal that goes with it. Only `blind` takes areas of 0 for lost
            frames, and hears no beat where the curve swings by less than 2 % of its mean.
        reference_frame: the human's, teacher's or EchoCLIP's frame; None for `blind` alone.
        phase: "ED", the largest area, or "ES", the smallest.
        protocol: "echodfkd", "uvt" or "blind".
        fps: frames per second, where known.

    Raises:
        UserError: another phase or protocol, a reference outside the clip, or an area that is not finite.
    """
    area = _check_area(area)
    if protocol not in PROTOCOLS:
        raise UserError(f"aFD protocol is {protocol!r}; expected one of {', '.join(PROTOCOLS)}")
    _check_phase(phase)
    if reference_frame is None and protocol != "blind":
        raise UserError(f"aFD protocol {protocol!r} needs a reference frame; only 'blind' goes without")
    if reference_frame is not None and not 0 <= reference_frame < len(area):
        raise UserError(f"reference frame {reference_frame} of a clip with frames 0 to {len(area) - 1}")
    estimate = PROTOCOLS[protocol](area, reference_frame, phase, fps)
    if estimate is None or reference_frame is None:
        return FrameDistance(estimate, None, None)
    distance = int(estimate - reference_frame)
    return FrameDistance(estimate, distance, None if fps is None else 1000 * distance / fps)


def picked_frame(score: Area, phase: Phase) -> int:
    """EchoDFKD's reference from EchoCLIP's phase signal (high at ED): the deepest of its peaks.

    The signal is standardised; candidates are peaks at least 10 frames apart with a prominence of 1.5 standard
    deviations. Without any the extreme of the whole clip is taken.
    """
    score = _oriented(_check_area(score), phase)
    low = (score - score.mean()) / (score.std() or 1.0)
    peaks, _ = signal.find_peaks(-low, distance=ECHOCLIP_DISTANCE_FRAMES, prominence=ECHOCLIP_PROMINENCE)
    return _deepest(low, peaks)


def teacher_frame(area: Area, phase: Phase) -> int:
    """A reference from a teacher's areas: of EchoNet-Dynamic's peaks the most extreme; the clip's extreme without any.

    EchoNet-Dynamic finds ES alone; ED is found in the same way in the negated area.
    """
    low = _oriented(_check_area(area), phase)
    return _deepest(low, echonet_peaks(-low))


def echonet_peaks(curve: Float[np.ndarray, "t"]) -> Int[np.ndarray, "k"]:
    """EchoNet-Dynamic's peaks: 20 frames apart, half as prominent as the trimmed range.

    The range is trimmed at the sorted values number round(n ** 0.05) and round(n ** 0.95): powers, not products, as in
    the original.
    """
    ordered = np.sort(curve)
    low, high = (ordered[min(round(len(curve) ** power), len(curve) - 1)] for power in ECHONET_TRIM)
    prominence = ECHONET_PROMINENCE * (high - low)
    peaks, _ = signal.find_peaks(curve, distance=ECHONET_DISTANCE_FRAMES, prominence=prominence)
    return peaks


def _anchored_to_reference(area: Area, reference: int, phase: Phase, fps: float | None) -> int:
    """EchoDFKD: extreme of the run of frames beyond the median that lies next to the reference."""
    low = _oriented(area, phase)
    median = np.median(low)
    below = low < median
    starts, stops = _runs(below if below.any() else low <= median)
    # A run that holds the reference always wins: every other begins or ends beyond its borders.
    run = np.argmin(np.minimum(np.abs(starts - reference), np.abs(stops - 1 - reference)))
    return int(starts[run] + np.argmin(low[starts[run] : stops[run]]))


def _nearest_peak(area: Area, reference: int, phase: Phase, fps: float | None) -> int:
    low = _oriented(area, phase)
    peaks = echonet_peaks(-low)
    return _nearest(peaks, reference) if len(peaks) else int(np.argmin(low))


def _of_beats(area: Area, reference: int | None, phase: Phase, fps: float | None) -> int | None:
    if area.min() < 0:
        # No area but a signal such as EchoCLIP's. Any offset that leaves no frame at 0, where masks are lost, serves.
        area = area - area.min() + np.ptp(area)
    if reference is None:
        beat = lv.main_beat(lv.smooth_curve(area, fps), lv.find_beats(area, fps))
        return None if beat is None else getattr(beat, phase.lower())
    frames = getattr(lv.find_phases(area, fps), phase.lower())
    return _nearest(np.array(frames), reference) if frames else None


PROTOCOLS: dict[str, Callable[[Area, int | None, Phase, float | None], int | None]] = {
    "echodfkd": _anchored_to_reference,
    "uvt": _nearest_peak,
    "blind": _of_beats,
}


def _nearest(frames: Int[np.ndarray, "k"], reference: int) -> int:
    return int(frames[np.argmin(np.abs(frames - reference))])


def _deepest(low: Float[np.ndarray, "t"], peaks: Int[np.ndarray, "k"]) -> int:
    return int(peaks[np.argmin(low[peaks])] if len(peaks) else np.argmin(low))


def _oriented(area: Area, phase: Phase) -> Area:
    """The curve with its phase at the bottom."""
    _check_phase(phase)
    return area if phase == "ES" else -area


def _runs(where: Bool[np.ndarray, "t"]) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "k"]]:
    """First frames of runs of True, and the frames after their last."""
    edges = np.diff(np.concatenate([[0], where.astype(np.int8), [0]]))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def _check_phase(phase: str) -> None:
    if phase not in PHASES:
        raise UserError(f"phase is {phase!r}; expected one of {', '.join(PHASES)}")


def _check_area(area: Area) -> Float[np.ndarray, "t"]:
    area = np.asarray(area, np.float64)
    if area.ndim != 1 or len(area) == 0 or not np.isfinite(area).all():
        raise UserError(f"areas have shape {area.shape}; expected one finite value per frame, (t,)")
    return area
