"""How phantoms are drawn: the distributions of every parameter.

The ranges were set by hand, looking at a small development set of real apical four-chamber videos and at what
`benchmarks/phantom_realism.py` measures on them: brightness, speckle, marks and where the ventricle lies. Agreement
with those same videos is therefore no independent evidence of realism.
"""

import numpy as np

from data_prep.phantom.parameters import (
    SIZE_PX,
    Appearance,
    Motion,
    OtherChambers,
    PhantomParameters,
    Sector,
    Ventricle,
)
from echojax.errors import UserError

MIN_FRAMES = 16
EF_RANGE_PERCENT = (10.5, 80.0)
# At least this many beats must fit into a video, so that one end-diastole and the end-systole after it are seen.
MIN_BEATS = 1.3


def sample_parameters(
    seed: int,
    index: int,
    num_frames: int | tuple[int, int] = (80, 200),
    ef_range_percent: tuple[float, float] = EF_RANGE_PERCENT,
) -> PhantomParameters:
    """Draws the parameters of video `index`; they depend on the arguments alone.

    Args:
        seed: data set seed, 0 or more.
        index: position in the data set, 0 or more.
        num_frames: frames of the video, or an inclusive range to draw from; at least `MIN_FRAMES`.
        ef_range_percent: range of the uniform distribution of LVEF.

    Raises:
        UserError: an argument lies outside its range.
    """
    low, high = check_request(seed, index, num_frames, ef_range_percent)
    rng = np.random.default_rng([seed, index, 0])
    frames = int(rng.integers(low, high + 1))
    ef = rng.uniform(*ef_range_percent)
    fps = _sample_fps(rng, frames)
    sector = _sample_sector(rng)
    ventricle = _sample_ventricle(rng, ef, sector)
    return PhantomParameters(
        seed=seed,
        index=index,
        num_frames=frames,
        fps=fps,
        ventricle=ventricle,
        chambers=_sample_chambers(rng, ventricle),
        motion=_sample_motion(rng, ef, fps, frames),
        sector=sector,
        appearance=_sample_appearance(rng),
    )


def check_request(seed, index, num_frames, ef_range_percent) -> tuple[int, int]:
    """Returns the range of frames asked for; raises UserError for a request that cannot be met."""
    low, high = (num_frames, num_frames) if isinstance(num_frames, int) else num_frames
    if seed < 0 or index < 0:
        raise UserError(f"phantom: seed and index must be 0 or more, got seed={seed}, index={index}")
    if not MIN_FRAMES <= low <= high:
        raise UserError(
            f"phantom: frames must be at least {MIN_FRAMES} and a range must ascend, got {low} to {high}; "
            f"a shorter video does not show a whole beat"
        )
    ef_low, ef_high = ef_range_percent
    if not 5 <= ef_low < ef_high <= 85:
        raise UserError(f"phantom: the EF range must lie within 5 to 85 percent and ascend, got {ef_low} to {ef_high}")
    return low, high


def _sample_fps(rng, frames):
    fps = 50.0 if rng.random() < 0.6 else float(np.round(rng.uniform(25, 100)))
    # A short video at a high rate would not hold a beat even at 120 beats per minute.
    return float(min(fps, max(8, np.floor(frames / MIN_BEATS * 120 / 60))))


def _sample_sector(rng):
    half_angle = rng.uniform(41.5, 46) if rng.random() < 0.85 else rng.uniform(30, 50)
    apex_y = rng.uniform(4, 12)
    return Sector(
        apex_x_px=rng.normal(61, 2.0),
        apex_y_px=apex_y,
        half_angle_deg=half_angle,
        tilt_deg=rng.normal(0, 1.0),
        near_px=rng.uniform(1.5, 6),
        # The lower arc usually just leaves the picture in the middle and shows in the corners.
        depth_px=SIZE_PX - apex_y + (rng.uniform(-1, 6) if rng.random() < 0.8 else rng.uniform(-14, 10)),
        depth_cm=rng.uniform(12.5, 19),
    )


def _sample_ventricle(rng, ef, sector):
    length = float(np.clip(rng.normal(55, 8), 36, 74))
    # Weak hearts tend to be wide, strong ones slender; the overlap is large, so that EF cannot be read from size.
    aspect = float(np.clip(rng.normal(0.60 - 0.0022 * (ef - 45), 0.09), 0.38, 0.85))
    thickness = length * rng.uniform(0.07, 0.17)
    axis = float(np.clip(rng.normal(14, 8), -12, 34))
    apex_x, apex_y = _place_apex(rng, length, 0.5 * aspect * length, axis, sector)
    return Ventricle(
        apex_x_px=apex_x,
        apex_y_px=apex_y,
        axis_deg=axis,
        length_px=length,
        half_width_px=0.5 * aspect * length,
        widest=rng.uniform(0.5, 0.9),
        bluntness=rng.uniform(1.35, 2.5),
        annulus=rng.uniform(0.62, 0.95),
        asymmetry=float(np.clip(rng.normal(0, 0.18), -0.4, 0.4)),
        bend=float(np.clip(rng.normal(0, 0.15), -0.35, 0.35)),
        bulge=rng.uniform(0.1, 0.35) if rng.random() < 0.35 else 0.0,
        bulge_at=rng.uniform(0.5, 0.85),
        base_tilt_deg=float(np.clip(rng.normal(0, 5), -10, 10)),
        septum_px=thickness * rng.uniform(0.75, 1.25),
        lateral_wall_px=thickness * rng.uniform(0.8, 1.3),
        apex_wall_px=thickness * rng.uniform(0.7, 1.2),
        papillary=rng.uniform(0.3, 1) if rng.random() < 0.3 else 0.0,
        trabeculae=float(rng.beta(1.2, 1.6)),
    )


def _place_apex(rng, length, half_width, axis_deg, sector, margin_px=6):
    """Apex x and y such that the whole ventricle lies in the picture, with room for its swing, and below the probe."""
    sin, cos = np.sin(np.radians(axis_deg)), np.cos(np.radians(axis_deg))
    reach = 0.5 * length * abs(sin) + half_width * cos
    middle_x = np.clip(rng.normal(63, 6), margin_px + reach, SIZE_PX - margin_px - reach)
    highest = sector.apex_y_px + rng.uniform(8, 17)
    lowest = SIZE_PX - margin_px - length * cos - half_width * abs(sin)
    apex_y = min(max(rng.normal(54, 5.5) - 0.5 * length * cos, highest), lowest)
    return float(middle_x - 0.5 * length * sin), float(apex_y)


def _sample_chambers(rng, ventricle):
    length, width = ventricle.length_px, 2 * ventricle.half_width_px
    return OtherChambers(
        rv_width_px=width * rng.uniform(0.45, 1.2),
        rv_start=rng.uniform(0.05, 0.45),
        rv_wall_px=rng.uniform(1.5, 4),
        la_length_px=length * rng.uniform(0.35, 0.75),
        la_half_width_px=0.5 * width * rng.uniform(0.75, 1.3),
        ra_length_px=length * rng.uniform(0.35, 0.8),
        ra_half_width_px=min(0.5 * width * rng.uniform(0.7, 1.4), 22.0),
        atrial_septum_px=rng.uniform(1.5, 4),
    )


def _sample_motion(rng, ef, fps, frames):
    slowest = max(40.0, 60 * MIN_BEATS * fps / frames)
    heart_rate = float(np.clip(rng.normal(74, 18), slowest, max(140.0, slowest)))
    irregular = rng.random() < 0.08
    weak = rng.random() < 0.25
    return Motion(
        ef_percent=ef,
        heart_rate_bpm=heart_rate,
        start_phase=rng.random(),
        systole=float(np.clip(0.22 + 0.0019 * heart_rate + rng.normal(0, 0.025), 0.25, 0.52)),
        diastasis=rng.uniform(0.1, 0.35),
        shortening=0.01 * ef * rng.uniform(0.14, 0.32),
        apex_share=rng.uniform(0, 0.2),
        septal_gain=rng.uniform(0.7, 1.2),
        lateral_gain=rng.uniform(0.8, 1.25),
        base_gain=rng.uniform(0.45, 0.9),
        weak_at=rng.uniform(0.1, 0.8),
        weak_side=int(rng.choice((-1, 1))) if weak else 0,
        weakness=rng.uniform(0.3, 0.9) if weak else 0.0,
        lateral_delay=rng.uniform(0.03, 0.1) if rng.random() < 0.12 else 0.0,
        rr_jitter=rng.uniform(0.1, 0.22) if irregular else rng.uniform(0, 0.04),
        depth_jitter=rng.uniform(0.03, 0.12) if irregular else rng.uniform(0, 0.03),
        rv_motion_px=rng.uniform(0.5, 6),
        swing_deg=rng.normal(0, 2.0),
        swing_x_px=rng.normal(0, 1.5),
        swing_y_px=rng.normal(0, 1.0),
        breath_px=abs(rng.normal(0, 1.2)),
        breath_hz=rng.uniform(0.15, 0.4),
        leaflet_open_deg=rng.uniform(50, 85),
    )


def _sample_appearance(rng):
    tissue = rng.normal(-26, 3.5)
    lateral = tissue + rng.normal(-1, 3.5)
    return Appearance(
        dynamic_range_db=rng.uniform(44, 60),
        gain_db=rng.normal(1, 2.0),
        gamma=rng.uniform(1.1, 2.0),
        axial_px=rng.uniform(0.25, 0.5),
        lateral_rad=rng.uniform(0.006, 0.013),
        focus=rng.uniform(0.3, 0.8),
        sidelobe_db=rng.uniform(-40, -24),
        septum_db=tissue + rng.normal(4, 3),
        lateral_db=lateral,
        right_wall_db=tissue + rng.normal(-1, 4),
        pericardium_db=tissue + rng.uniform(6, 15),
        valve_db=rng.uniform(-28, -12),
        left_background_db=_sample_background(rng, tissue),
        right_background_db=_sample_background(rng, lateral),
        background_fade_db=rng.uniform(0, 0.3),
        posterior_db=rng.uniform(-28, -12),
        patchiness_db=rng.uniform(3, 8),
        grain_db=rng.uniform(0.5, 2.5),
        wall_blur_px=rng.uniform(1.5, 14),
        border_blur_px=rng.uniform(0.5, 5),
        border_offset_px=rng.uniform(-0.3, 1.2),
        attenuation_db=rng.uniform(-8, 8),
        haze_db=rng.uniform(-66, -48),
        haze_near_db=rng.uniform(0, 20),
        haze_depth=rng.uniform(0.12, 0.4),
        edge_db=rng.uniform(0, 9),
        haze_memory=rng.uniform(0.4, 0.9),
        decorrelation=rng.uniform(0.2, 1.0),
        lateral_dropout_db=-rng.uniform(6, 28) if rng.random() < 0.35 else 0.0,
        septal_dropout_db=-rng.uniform(4, 20) if rng.random() < 0.2 else 0.0,
        num_shadows=int(rng.choice((0, 1, 2), p=(0.6, 0.3, 0.1))),
        num_reverberations=int(rng.choice((0, 1, 2, 3), p=(0.4, 0.3, 0.2, 0.1))),
        persistence=rng.uniform(0.05, 0.4),
        sharpness=rng.uniform(0.1, 0.6),
        flicker=rng.uniform(0.03, 0.1),
        marks=rng.random() < 0.85,
        ecg=rng.random() < 0.05,
    )


def _sample_background(rng, wall_db):
    """Lung and chest beside the heart: often as bright as the wall, sometimes black."""
    return wall_db + rng.normal(-4, 4) if rng.random() < 0.7 else rng.uniform(-56, -36)
