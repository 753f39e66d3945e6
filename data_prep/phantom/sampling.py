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


class Draws:
    """Random numbers of one video, drawn in full or closer to what is usual.

    Args:
        rng: where they come from.
        variety: 1 draws from the distributions as they are written here; 0 always gives their middle; between them the
            distance from the middle, and the chance of what is rare, shrink in proportion.
    """

    def __init__(self, rng: np.random.Generator, variety: float):
        self.rng, self.variety = rng, variety

    def uniform(self, low: float, high: float) -> float:
        return self._towards(0.5 * (low + high), self.rng.uniform(low, high))

    def normal(self, mean: float, deviation: float) -> float:
        return self._towards(mean, self.rng.normal(mean, deviation))

    def beta(self, a: float, b: float) -> float:
        return self._towards(a / (a + b), self.rng.beta(a, b))

    def usually(self, share: float) -> bool:
        """True in a share of the videos above one half; in more of them when there is less variety."""
        return self.rng.random() < 1 - (1 - share) * self.variety

    def rarely(self, share: float) -> bool:
        """True in a share of the videos below one half; in fewer of them when there is less variety."""
        return self.rng.random() < share * self.variety

    def count(self, shares: tuple[float, ...]) -> int:
        """A number from 0; more than 0 in fewer videos when there is less variety."""
        shares = self.variety * np.asarray(shares)
        shares[0] += 1 - self.variety
        return int(self.rng.choice(len(shares), p=shares))

    def _towards(self, middle: float, value: float) -> float:
        return value if self.variety == 1 else middle + self.variety * (value - middle)


def sample_parameters(
    seed: int,
    index: int,
    num_frames: int | tuple[int, int] = (80, 200),
    ef_range_percent: tuple[float, float] = EF_RANGE_PERCENT,
    variety: float = 1.0,
) -> PhantomParameters:
    """Draws the parameters of video `index`; they depend on the arguments alone.

    Args:
        seed: data set seed, 0 or more.
        index: position in the data set, 0 or more.
        num_frames: frames of the video, or an inclusive range to draw from; at least `MIN_FRAMES`.
        ef_range_percent: range of the uniform distribution of LVEF.
        variety: 0..1, how much videos differ in everything but EF and where the beat begins; see `Draws`.

    Raises:
        UserError: an argument lies outside its range.
    """
    low, high = check_request(seed, index, num_frames, ef_range_percent, variety)
    rng = np.random.default_rng([seed, index, 0])
    frames = int(rng.integers(low, high + 1))
    ef = rng.uniform(*ef_range_percent)
    draws = Draws(rng, variety)
    fps = _sample_fps(draws, frames)
    sector = _sample_sector(draws)
    ventricle = _sample_ventricle(draws, ef, sector)
    return PhantomParameters(
        seed=seed,
        index=index,
        num_frames=frames,
        fps=fps,
        ventricle=ventricle,
        chambers=_sample_chambers(draws, ventricle),
        motion=_sample_motion(draws, ef, fps, frames),
        sector=sector,
        appearance=_sample_appearance(draws),
    )


def check_request(seed, index, num_frames, ef_range_percent, variety=1.0) -> tuple[int, int]:
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
    if not 0 <= variety <= 1:
        raise UserError(f"phantom: variety must lie in 0 to 1, got {variety}")
    return low, high


def _sample_fps(draws, frames):
    fps = 50.0 if draws.usually(0.6) else float(np.round(draws.uniform(25, 100)))
    # A short video at a high rate would not hold a beat even at 120 beats per minute.
    return float(min(fps, max(8, np.floor(frames / MIN_BEATS * 120 / 60))))


def _sample_sector(draws):
    half_angle = draws.uniform(41.5, 46) if draws.usually(0.85) else draws.uniform(30, 50)
    apex_y = draws.uniform(4, 12)
    return Sector(
        apex_x_px=draws.normal(61, 2.0),
        apex_y_px=apex_y,
        half_angle_deg=half_angle,
        tilt_deg=draws.normal(0, 1.0),
        near_px=draws.uniform(1.5, 6),
        # The lower arc usually just leaves the picture in the middle and shows in the corners.
        depth_px=SIZE_PX - apex_y + (draws.uniform(-1, 6) if draws.usually(0.8) else draws.uniform(-14, 10)),
        depth_cm=draws.uniform(12.5, 19),
    )


def _sample_ventricle(draws, ef, sector):
    length = float(np.clip(draws.normal(55, 8), 36, 74))
    # Weak hearts tend to be wide, strong ones slender; the overlap is large, so that EF cannot be read from size.
    aspect = float(np.clip(draws.normal(0.60 - 0.0022 * (ef - 45), 0.09), 0.38, 0.85))
    thickness = length * draws.uniform(0.07, 0.17)
    axis = float(np.clip(draws.normal(14, 8), -12, 34))
    apex_x, apex_y = _place_apex(draws, length, 0.5 * aspect * length, axis, sector)
    return Ventricle(
        apex_x_px=apex_x,
        apex_y_px=apex_y,
        axis_deg=axis,
        length_px=length,
        half_width_px=0.5 * aspect * length,
        widest=draws.uniform(0.5, 0.9),
        bluntness=draws.uniform(1.35, 2.5),
        annulus=draws.uniform(0.62, 0.95),
        asymmetry=float(np.clip(draws.normal(0, 0.18), -0.4, 0.4)),
        bend=float(np.clip(draws.normal(0, 0.15), -0.35, 0.35)),
        bulge=draws.uniform(0.1, 0.35) if draws.rarely(0.35) else 0.0,
        bulge_at=draws.uniform(0.5, 0.85),
        base_tilt_deg=float(np.clip(draws.normal(0, 5), -10, 10)),
        septum_px=thickness * draws.uniform(0.75, 1.25),
        lateral_wall_px=thickness * draws.uniform(0.8, 1.3),
        apex_wall_px=thickness * draws.uniform(0.7, 1.2),
        papillary=draws.uniform(0.3, 1) if draws.rarely(0.3) else 0.0,
        trabeculae=float(draws.beta(1.2, 1.6)),
    )


def _place_apex(draws, length, half_width, axis_deg, sector, margin_px=6):
    """Apex x and y such that the whole ventricle lies in the picture, with room for its swing, and below the probe."""
    sin, cos = np.sin(np.radians(axis_deg)), np.cos(np.radians(axis_deg))
    reach = 0.5 * length * abs(sin) + half_width * cos
    middle_x = np.clip(draws.normal(63, 6), margin_px + reach, SIZE_PX - margin_px - reach)
    highest = sector.apex_y_px + draws.uniform(8, 17)
    lowest = SIZE_PX - margin_px - length * cos - half_width * abs(sin)
    apex_y = min(max(draws.normal(54, 5.5) - 0.5 * length * cos, highest), lowest)
    return float(middle_x - 0.5 * length * sin), float(apex_y)


def _sample_chambers(draws, ventricle):
    length, width = ventricle.length_px, 2 * ventricle.half_width_px
    return OtherChambers(
        rv_width_px=width * draws.uniform(0.45, 1.2),
        rv_start=draws.uniform(0.05, 0.45),
        rv_wall_px=draws.uniform(1.5, 4),
        la_length_px=length * draws.uniform(0.35, 0.75),
        la_half_width_px=0.5 * width * draws.uniform(0.75, 1.3),
        ra_length_px=length * draws.uniform(0.35, 0.8),
        ra_half_width_px=min(0.5 * width * draws.uniform(0.7, 1.4), 22.0),
        atrial_septum_px=draws.uniform(1.5, 4),
    )


def _sample_motion(draws, ef, fps, frames):
    slowest = max(40.0, 60 * MIN_BEATS * fps / frames)
    heart_rate = float(np.clip(draws.normal(74, 18), slowest, max(140.0, slowest)))
    irregular = draws.rarely(0.08)
    weak = draws.rarely(0.25)
    return Motion(
        ef_percent=ef,
        heart_rate_bpm=heart_rate,
        start_phase=draws.rng.random(),
        systole=float(np.clip(0.22 + 0.0019 * heart_rate + draws.normal(0, 0.025), 0.25, 0.52)),
        diastasis=draws.uniform(0.1, 0.35),
        shortening=0.01 * ef * draws.uniform(0.14, 0.32),
        apex_share=draws.uniform(0, 0.2),
        septal_gain=draws.uniform(0.7, 1.2),
        lateral_gain=draws.uniform(0.8, 1.25),
        base_gain=draws.uniform(0.45, 0.9),
        weak_at=draws.uniform(0.1, 0.8),
        weak_side=int(draws.rng.choice((-1, 1))) if weak else 0,
        weakness=draws.uniform(0.3, 0.9) if weak else 0.0,
        lateral_delay=draws.uniform(0.03, 0.1) if draws.rarely(0.12) else 0.0,
        rr_jitter=draws.uniform(0.1, 0.22) if irregular else draws.uniform(0, 0.04),
        depth_jitter=draws.uniform(0.03, 0.12) if irregular else draws.uniform(0, 0.03),
        rv_motion_px=draws.uniform(0.5, 6),
        swing_deg=draws.normal(0, 2.0),
        swing_x_px=draws.normal(0, 1.5),
        swing_y_px=draws.normal(0, 1.0),
        breath_px=abs(draws.normal(0, 1.2)),
        breath_hz=draws.uniform(0.15, 0.4),
        leaflet_open_deg=draws.uniform(50, 85),
    )


def _sample_appearance(draws):
    tissue = draws.normal(-26, 3.5)
    lateral = tissue + draws.normal(-1, 3.5)
    return Appearance(
        dynamic_range_db=draws.uniform(44, 60),
        gain_db=draws.normal(1, 2.0),
        gamma=draws.uniform(1.1, 2.0),
        axial_px=draws.uniform(0.25, 0.5),
        lateral_rad=draws.uniform(0.006, 0.013),
        focus=draws.uniform(0.3, 0.8),
        sidelobe_db=draws.uniform(-40, -24),
        septum_db=tissue + draws.normal(4, 3),
        lateral_db=lateral,
        right_wall_db=tissue + draws.normal(-1, 4),
        pericardium_db=tissue + draws.uniform(6, 15),
        valve_db=draws.uniform(-28, -12),
        left_background_db=_sample_background(draws, tissue),
        right_background_db=_sample_background(draws, lateral),
        background_fade_db=draws.uniform(0, 0.3),
        posterior_db=draws.uniform(-28, -12),
        patchiness_db=draws.uniform(3, 8),
        grain_db=draws.uniform(0.5, 2.5),
        wall_blur_px=draws.uniform(1.5, 14),
        border_blur_px=draws.uniform(0.5, 5),
        border_offset_px=draws.uniform(-0.3, 1.2),
        attenuation_db=draws.uniform(-8, 8),
        haze_db=draws.uniform(-66, -48),
        haze_near_db=draws.uniform(0, 20),
        haze_depth=draws.uniform(0.12, 0.4),
        edge_db=draws.uniform(0, 9),
        haze_memory=draws.uniform(0.4, 0.9),
        decorrelation=draws.uniform(0.2, 1.0),
        lateral_dropout_db=-draws.uniform(6, 28) if draws.rarely(0.35) else 0.0,
        septal_dropout_db=-draws.uniform(4, 20) if draws.rarely(0.2) else 0.0,
        num_shadows=draws.count((0.6, 0.3, 0.1)),
        num_reverberations=draws.count((0.4, 0.3, 0.2, 0.1)),
        persistence=draws.uniform(0.05, 0.4),
        sharpness=draws.uniform(0.1, 0.6),
        flicker=draws.uniform(0.03, 0.1),
        marks=draws.usually(0.85),
        ecg=draws.rarely(0.05),
    )


def _sample_background(draws, wall_db):
    """Lung and chest beside the heart: often as bright as the wall, sometimes black."""
    return wall_db + draws.normal(-4, 4) if draws.usually(0.7) else draws.uniform(-56, -36)
