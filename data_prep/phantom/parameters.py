"""What one phantom video is made of: the parameters, their units, and how they are drawn.

Every number that decides how a phantom looks is here, so that `render(dataclasses.replace(parameters, ...))` can ask
"what if". Fine texture (speckle, smooth brightness fields) is drawn while rendering, from `(seed, index)`.

Coordinates: image pixels are x to the right, y down, pixel centres at whole numbers. Heart coordinates, in pixels at
end-diastole, are s along the long axis (0 at the apex, positive towards the mitral valve) and n across it (positive
towards the lateral wall, which is to the right of the picture).
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from echojax.errors import UserError

SIZE_PX = 112
MIN_FRAMES = 16
EF_RANGE_PERCENT = (10.5, 80.0)
# At least this many beats must fit into a video, so that one end-diastole and the end-systole after it are seen.
MIN_BEATS = 1.3


@dataclass(frozen=True)
class Ventricle:
    """Shape of the left ventricle at end-diastole. Widths are half widths, measured from the long axis."""

    apex_x_px: float
    apex_y_px: float
    axis_deg: float  # tilt of the long axis; positive leans the base to the right
    length_px: float  # apex to mitral plane
    half_width_px: float
    widest: float  # where the cavity is widest, as a share of the length
    bluntness: float  # exponent of the apical cap: 2 is an ellipse, more is blunter
    annulus: float  # width at the mitral plane over the largest width
    asymmetry: float  # -1..1, share of the width moved from the septal to the lateral side
    bend: float  # curvature of the axis, as a share of the half width
    bulge: float  # septal bulge into the cavity, as a share of the half width
    bulge_at: float  # where that bulge sits, as a share of the length
    base_tilt_deg: float  # mitral plane against the perpendicular of the long axis
    septum_px: float  # wall thicknesses
    lateral_wall_px: float
    apex_wall_px: float
    papillary: float  # 0 none .. 1 as bright as the wall
    trabeculae: float  # 0 smooth endocardium .. 1 coarse


@dataclass(frozen=True)
class OtherChambers:
    """Right ventricle and atria at end-diastole, pixels."""

    rv_width_px: float  # at the tricuspid plane
    rv_start: float  # where the right ventricular apex sits, as a share of the left ventricle's length
    rv_wall_px: float
    la_length_px: float
    la_half_width_px: float
    ra_length_px: float
    ra_half_width_px: float
    atrial_septum_px: float


@dataclass(frozen=True)
class Motion:
    """How the heart beats and how the picture sways."""

    ef_percent: float  # ejection fraction at full contraction; frames sample close to it
    heart_rate_bpm: float
    start_phase: float  # 0..1 of a beat at the first frame; 0 is end-diastole
    systole: float  # share of the beat
    diastasis: float  # contraction that remains until the atria contract
    shortening: float  # long-axis shortening at full contraction, share of the length
    apex_share: float  # share of the shortening that the apex contributes
    septal_gain: float  # contraction of each side and of the base relative to the mean
    lateral_gain: float
    base_gain: float
    weak_at: float  # centre of a hypokinetic segment, share of the length
    weak_side: int  # -1 septal, 1 lateral, 0 none
    weakness: float  # 0..1 loss of contraction there
    lateral_delay: float  # share of a beat by which the lateral wall is late
    rr_jitter: float  # standard deviation of the beat length, share
    depth_jitter: float  # standard deviation of the contraction from beat to beat, share
    rv_motion_px: float  # inward motion of the right ventricular free wall
    swing_deg: float  # rotation of the heart with contraction
    swing_x_px: float
    swing_y_px: float
    breath_px: float  # slow drift by respiration and hand
    breath_hz: float
    leaflet_open_deg: float


@dataclass(frozen=True)
class Sector:
    """The fan of beams in the picture."""

    apex_x_px: float
    apex_y_px: float
    half_angle_deg: float
    tilt_deg: float
    near_px: float  # radius at which the picture starts
    depth_px: float  # radius at which it ends
    depth_cm: float  # what that radius is in the body


@dataclass(frozen=True)
class Appearance:
    """Ultrasound physics and display. Levels are dB of amplitude; 0 dB is white, minus `dynamic_range_db` is black."""

    dynamic_range_db: float
    gain_db: float
    gamma: float  # grey = 255 * displayed share ** gamma
    axial_px: float  # standard deviations of the point-spread function
    lateral_rad: float
    focus: float  # depth share at which the beam is narrowest
    sidelobe_db: float
    septum_db: float
    lateral_db: float
    right_wall_db: float
    pericardium_db: float
    valve_db: float
    left_background_db: float  # tissue outside the heart, on the left and right of the picture
    right_background_db: float
    background_fade_db: float  # per pixel, towards the sector's sides
    posterior_db: float
    patchiness_db: float  # standard deviation of the smooth brightness field on walls
    grain_db: float  # standard deviation of the fine one, which is the structure of the tissue itself
    wall_blur_px: float  # how softly the lateral wall passes into its surroundings
    border_blur_px: float  # softness of the endocardium
    border_offset_px: float  # how far inside the visible border the tracer stays
    attenuation_db: float  # what depth compensation leaves at the bottom
    haze_db: float  # clutter level; near field, and how fast it falls with depth
    haze_near_db: float
    haze_depth: float
    edge_db: float  # loss towards the sector's sides
    haze_memory: float  # 0..1 correlation of clutter from frame to frame
    decorrelation: float  # radians per beat by which tissue speckle changes out of plane
    lateral_dropout_db: float
    septal_dropout_db: float
    num_shadows: int
    num_reverberations: int
    persistence: float  # 0..1 share of the previous frame in the displayed one
    sharpness: float  # unsharp masking after scan conversion
    flicker: float  # standard deviation of pixel noise, share of the level
    marks: bool  # probe marker, depth scale
    ecg: bool


@dataclass(frozen=True)
class PhantomParameters:
    """Everything that decides one phantom video, texture included (through `seed` and `index`)."""

    seed: int
    index: int
    num_frames: int
    fps: float
    ventricle: Ventricle
    chambers: OtherChambers
    motion: Motion
    sector: Sector
    appearance: Appearance

    @property
    def name(self) -> str:
        return f"phantom_{self.seed}_{self.index:06d}"

    @property
    def cm_per_px(self) -> float:
        return self.sector.depth_cm / self.sector.depth_px

    def generator(self, stream: int) -> np.random.Generator:
        """Random numbers of this video for one purpose: independent of other videos and other purposes."""
        return np.random.default_rng([self.seed, self.index, stream])


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


def validate(parameters: PhantomParameters) -> None:
    """Raises UserError where edited parameters describe no heart that can be drawn."""
    ventricle, motion = parameters.ventricle, parameters.motion
    for part in (ventricle, parameters.chambers, motion, parameters.sector, parameters.appearance):
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if not np.isfinite(value):
                raise UserError(f"phantom: {type(part).__name__}.{field.name} must be a finite number, got {value}")
    limits = {
        "ventricle.length_px": (ventricle.length_px, 20, 80),
        "ventricle.half_width_px": (ventricle.half_width_px, 4, 40),
        "motion.ef_percent": (motion.ef_percent, 0, 85),
        "motion.heart_rate_bpm": (motion.heart_rate_bpm, 20, 300),
        "motion.shortening": (motion.shortening, 0, 0.4),
        "sector.half_angle_deg": (parameters.sector.half_angle_deg, 10, 60),
        "sector.depth_px": (parameters.sector.depth_px, 40, 160),
        "fps": (parameters.fps, 1, 1000),
        "num_frames": (parameters.num_frames, 2, 100_000),
    }
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise UserError(f"phantom: {name} must lie in {low} to {high}, got {value}")
