"""What one phantom video is made of: the parameters and their units (`sampling.py` draws them).

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


@dataclass(frozen=True)
class Ventricle:
    """Shape of the left ventricle at end-diastole. Widths are half widths, measured from the long axis."""

    apex_x_px: float
    apex_y_px: float
    axis_deg: float  # tilt of the long axis; positive leans the base to the right
    length_px: float  # apex to mitral plane, in the imaged plane: shorter than the heart where it is foreshortened
    foreshortening_deg: float  # tilt of the imaged plane against the one through the apex; `length_px` includes it
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
    atrial_wall_db: float  # brightness of the atria's walls against that of the lateral wall


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
    premature_share: float  # share of beats that come early, with a pause after them
    filling_share: float  # share of the stroke volume that a beat loses per share by which the one before was short
    rv_motion_px: float  # inward motion of the right ventricular free wall
    swing_deg: float  # rotation of the heart with contraction
    swing_x_px: float
    swing_y_px: float
    breath_px: float  # slow drift by respiration and hand
    breath_hz: float
    leaflet_open_deg: float
    leaflet_offset_px: float  # hinges of the leaflets against the traced mitral plane, positive into the atrium


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
    coherent: float  # 0..1 share of the echo without speckle, by compounding or because tissue is layered
    blood_db: float
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
    border_blur_px: float  # softness of the endocardium, at end-systole
    border_offset_px: float  # how far inside the visible border the tracer stays, in every frame
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
class Artefacts:
    """What hides or imitates anatomy, and what storing does to the picture."""

    num_clouds: int  # dense fog over a part of the sector
    cloud_db: float  # its level in the middle
    num_ladder_echoes: int  # repeated echoes of the probe's face, equally spaced
    ladder_db: float  # level of the first
    septal_fade_db: float  # loss of the septum's apical part
    septal_fade_at: float  # where the septum appears, as a share of the length
    lateral_fade_db: float  # loss of a segment of the lateral wall
    lateral_fade_at: float  # its centre, as a share of the length
    contact_side: int  # -1 left, 1 right: where the probe's edge has lost contact; 0 nowhere
    contact_db: float  # loss there
    contact_width: float  # share of the half sector
    num_streaks: int  # bright reflectors beside and behind the heart
    source_px: int  # width that the picture was resampled from
    jpeg_quality: int  # of a compression before storing, 1..100; 100 is none


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
    artefacts: Artefacts

    @property
    def name(self) -> str:
        return f"phantom_{self.seed}_{self.index:06d}"

    @property
    def cm_per_px(self) -> float:
        return self.sector.depth_cm / self.sector.depth_px

    def generator(self, stream: int) -> np.random.Generator:
        """Random numbers of this video for one purpose: independent of other videos and other purposes."""
        return np.random.default_rng([self.seed, self.index, stream])


def validate(parameters: PhantomParameters) -> None:
    """Raises UserError where edited parameters describe no heart that can be drawn."""
    ventricle, motion = parameters.ventricle, parameters.motion
    chambers, look, artefacts = parameters.chambers, parameters.appearance, parameters.artefacts
    for part in (ventricle, chambers, motion, parameters.sector, look, artefacts):
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
        "appearance.coherent": (look.coherent, 0, 1),
        "artefacts.source_px": (artefacts.source_px, 28, 448),
        "artefacts.jpeg_quality": (artefacts.jpeg_quality, 1, 100),
        "fps": (parameters.fps, 1, 1000),
        "num_frames": (parameters.num_frames, 2, 100_000),
    }
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise UserError(f"phantom: {name} must lie in {low} to {high}, got {value}")
