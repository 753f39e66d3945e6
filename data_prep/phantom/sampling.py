"""How phantoms are drawn: the distributions of every parameter.

The ranges were set by hand, looking at a small development set of real apical four-chamber videos and at what
`benchmarks/phantom_realism.py` measures on them: brightness, speckle, marks and where the ventricle lies. Agreement
with those same videos is therefore no independent evidence of realism.
"""

from collections.abc import Sequence

import numpy as np

from data_prep.phantom.ingredients import Draws, check_without
from data_prep.phantom.parameters import (
    SIZE_PX,
    Appearance,
    Artefacts,
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
MARGIN_PX = 6  # between ventricle and picture's edge


def sample_parameters(
    seed: int,
    index: int,
    num_frames: int | tuple[int, int] = (80, 200),
    ef_range_percent: tuple[float, float] = EF_RANGE_PERCENT,
    variety: float | tuple[float, float] = 1.0,
    without: tuple[str, ...] = (),
) -> PhantomParameters:
    """Draws the parameters of video `index`; they depend on the arguments alone.

    Args:
        seed: data set seed, 0 or more.
        index: position in the data set, 0 or more.
        num_frames: frames of the video, or an inclusive range to draw from; at least `MIN_FRAMES`.
        ef_range_percent: range of the uniform distribution of LVEF.
        variety: 0..1, how much videos differ in everything but EF and where the beat begins; see `Draws`. Of a pair,
            each video has its own, uniform between the two: plain hearts and hard ones side by side.
        without: names of `ingredients.INGREDIENTS` to leave out; everything else stays as it is with them.

    Raises:
        UserError: an argument lies outside its range, or an unknown ingredient.
    """
    low, high = check_request(seed, index, num_frames, ef_range_percent, variety)
    rng = np.random.default_rng([seed, index, 0])
    frames = int(rng.integers(low, high + 1))
    ef = rng.uniform(*ef_range_percent)
    draws = Draws(rng, _draw_variety(seed, index, variety), check_without(without))
    fps = _sample_fps(draws, frames)
    zoom = draws.of("zoom", float(np.exp(draws.normal(-0.02, 0.13))), 1.0)
    sector = _sample_sector(draws, zoom)
    ventricle = _sample_ventricle(draws, ef, sector, zoom)
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
        artefacts=_sample_artefacts(draws),
    )


def check_request(seed, index, num_frames, ef_range_percent, variety: float | Sequence[float] = 1.0) -> tuple[int, int]:
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
    least, most = variety_range(variety)
    if not 0 <= least <= most <= 1:
        raise UserError(f"phantom: variety must lie in 0 to 1, and a range of it ascend, got {variety}")
    return low, high


def variety_range(variety: float | Sequence[float]) -> tuple[float, float]:
    """Least and most variety of a number or a pair."""
    return tuple(variety) if isinstance(variety, Sequence) else (variety, variety)


def _draw_variety(seed, index, variety):
    least, most = variety_range(variety)
    # Not from the video's own numbers: those are the same at every variety.
    return least if least == most else float(np.random.default_rng([seed, index, 99]).uniform(least, most))


def _sample_fps(draws, frames):
    fps = 50.0 if draws.usually(0.6) else float(np.round(draws.uniform(25, 100)))
    # A short video at a high rate would not hold a beat even at 120 beats per minute.
    return float(min(fps, max(8, np.floor(frames / MIN_BEATS * 120 / 60))))


def _sample_sector(draws, zoom):
    of = draws.of
    usual, narrow, wide = draws.usually(0.75), draws.uniform(30, 50), draws.uniform(41.5, 46)
    half_angle = of("placement", wide if usual else narrow, wide)
    apex_y = draws.uniform(4, 12)
    bottom, high_bottom = draws.uniform(-1, 6), draws.uniform(-14, 10)
    return Sector(
        apex_x_px=of("placement", draws.normal(61, 3.0), 61.0),
        apex_y_px=apex_y,
        half_angle_deg=half_angle,
        tilt_deg=of("placement", draws.normal(0, 2.0), 0.0),
        near_px=draws.uniform(1.5, 6),
        # The lower arc usually just leaves the picture in the middle and shows in the corners.
        depth_px=SIZE_PX - apex_y + (bottom if draws.usually(0.8) else high_bottom),
        # A deeper setting of the machine shows the same heart smaller.
        depth_cm=draws.uniform(12.5, 19) / zoom,
    )


def _sample_ventricle(draws, ef, sector, zoom):
    of = draws.of
    length = float(np.clip(draws.normal(55, 8) * zoom, 32, 74))
    # Weak hearts tend to be wide, strong ones slender; the overlap is large, so that EF cannot be read from size.
    wider, thicker, septal = _sample_remodelling(draws, ef)
    aspect = float(np.clip(draws.normal(0.60 - 0.0022 * (ef - 45), 0.09) + wider, 0.36, 0.9))
    axis = of("placement", float(np.clip(draws.normal(14, 9), -14, 36)), 14.0)
    # A foreshortened view is read as it is seen: the truth of the clip is the volume of the imaged outline's discs,
    # which is what a reader of this clip measures, and not that of the whole heart, which no pixel of it shows.
    tilt = of("foreshortening", draws.sometimes(0.3, 4, 16), 0.0)
    # Whoever sets the depth of the picture sees to it that the ventricle fits in.
    length *= min(1.0, (0.5 * SIZE_PX - MARGIN_PX) / _reach(length, 0.5 * aspect * length, axis))
    half_width = 0.5 * aspect * length
    thickness = length * draws.uniform(0.07, 0.17) * thicker
    apex_x, apex_y = _place_apex(draws, length, half_width, axis, sector)
    imaged = length * imaged_share(length, half_width, tilt)
    lost = length - imaged
    # In an apical view the septum runs nearly straight and the lateral wall makes the curve.
    bend, symmetric_bend = (float(np.clip(draws.normal(mean, 0.15), -0.35, 0.4)) for mean in (0.1, 0.0))
    return Ventricle(
        apex_x_px=apex_x + lost * float(np.sin(np.radians(axis))),
        apex_y_px=apex_y + lost * float(np.cos(np.radians(axis))),
        axis_deg=axis,
        length_px=imaged,
        foreshortening_deg=tilt,
        half_width_px=half_width,
        widest=draws.uniform(0.5, 0.9),
        # A section beside the apex is rounder than one through it.
        bluntness=draws.uniform(1.35, 2.5) + 1.5 * lost / length,
        annulus=draws.uniform(0.62, 0.95),
        asymmetry=float(np.clip(draws.normal(0, 0.18), -0.4, 0.4)),
        bend=of("straight_septum", bend, symmetric_bend),
        bulge=draws.sometimes(0.35, 0.1, 0.35),
        bulge_at=draws.uniform(0.5, 0.9),
        base_tilt_deg=float(np.clip(draws.normal(0, 5), -10, 10)),
        septum_px=thickness * draws.uniform(0.75, 1.25) * septal,
        lateral_wall_px=thickness * draws.uniform(0.8, 1.3),
        apex_wall_px=thickness * draws.uniform(0.7, 1.2) + 0.5 * lost,
        papillary=of("papillary", draws.sometimes(0.4, 0.3, 1), 0.0),
        trabeculae=of("trabeculae", float(draws.beta(1.2, 1.4)), 0.0),
    )


def _sample_remodelling(draws, ef):
    """What dilation or hypertrophy adds to width over length, and does to both walls' thickness and to the septum's."""
    # Dilated hearts are mostly weak ones, but not only; hypertrophic ones have any EF.
    dilated, hypertrophic = draws.rarely(0.35 if ef < 40 else 0.06), draws.rarely(0.12)
    wider, thinner = draws.uniform(0.06, 0.2), draws.uniform(0.6, 0.9)
    narrower, thicker, septal = draws.uniform(-0.1, -0.02), draws.uniform(1.3, 2.0), draws.uniform(1, 1.5)
    change = (wider, thinner, 1.0) if dilated else (narrower, thicker, septal) if hypertrophic else (0.0, 1.0, 1.0)
    return draws.of("remodelling", change, (0.0, 1.0, 1.0))


def imaged_share(length: float, half_width: float, tilt_deg: float) -> float:
    """Length seen over true length when the imaged plane misses the apex.

    The plane turns by `tilt_deg` about the mitral plane's diameter; the ventricle is half an ellipsoid of revolution
    there, whose section has the half axis 1 / sqrt(cos^2 / length^2 + sin^2 / half_width^2).
    """
    sin, cos = np.sin(np.radians(tilt_deg)), np.cos(np.radians(tilt_deg))
    return float(1 / np.sqrt(cos**2 + (sin * length / half_width) ** 2))


def _reach(length, half_width, axis_deg):
    """How far the ventricle, a quarter of its half width asymmetric, reaches left and right of its middle, pixels."""
    sin, cos = np.sin(np.radians(axis_deg)), np.cos(np.radians(axis_deg))
    return 0.5 * length * abs(sin) + 1.25 * half_width * cos


def _place_apex(draws, length, half_width, axis_deg, sector):
    """Apex x and y such that the whole ventricle lies in the picture, with room for its swing, and below the probe."""
    sin, cos = np.sin(np.radians(axis_deg)), np.cos(np.radians(axis_deg))
    reach = _reach(length, half_width, axis_deg)
    middle = draws.of("placement", draws.normal(63, 7), 63.0)
    middle_x = np.clip(middle, MARGIN_PX + reach, SIZE_PX - MARGIN_PX - reach)
    highest = sector.apex_y_px + draws.uniform(6, 17)
    lowest = SIZE_PX - MARGIN_PX - length * cos - half_width * abs(sin)
    centre_y = draws.of("placement", draws.normal(54, 6.5), 54.0)
    apex_y = min(max(centre_y - 0.5 * length * cos, highest), lowest)
    return float(middle_x - 0.5 * length * sin), float(apex_y)


def _sample_chambers(draws, ventricle):
    length, width = ventricle.length_px, 2 * ventricle.half_width_px

    def of(low, high):
        return draws.of("chambers", draws.uniform(low, high), 0.5 * (low + high))

    return OtherChambers(
        rv_width_px=width * of(0.3, 1.4),
        rv_start=of(0.0, 0.5),
        rv_wall_px=draws.uniform(1.0, 4),
        la_length_px=length * of(0.25, 0.95),
        la_half_width_px=0.5 * width * of(0.6, 1.4),
        ra_length_px=length * of(0.25, 0.95),
        ra_half_width_px=min(0.5 * width * of(0.5, 1.6), 24.0),
        atrial_septum_px=draws.uniform(1.5, 4),
        atrial_wall_db=draws.of("chambers", draws.uniform(-14, 2), 0.0),
    )


def _sample_motion(draws, ef, fps, frames):
    of = draws.of
    slowest = max(40.0, 60 * MIN_BEATS * fps / frames)
    heart_rate = float(np.clip(draws.normal(74, 18), slowest, max(140.0, slowest)))
    irregular, early, weak = draws.rarely(0.1), draws.rarely(0.1), draws.rarely(0.25)
    weak_side = int(draws.rng.choice((-1, 1))) if weak else 0
    return Motion(
        ef_percent=ef,
        heart_rate_bpm=heart_rate,
        start_phase=draws.rng.random(),
        systole=float(np.clip(0.22 + 0.0019 * heart_rate + draws.normal(0, 0.025), 0.25, 0.52)),
        diastasis=draws.uniform(0.1, 0.35),
        shortening=0.01 * ef * draws.uniform(0.14, 0.32),
        apex_share=draws.uniform(0, 0.2),
        septal_gain=of("wall_motion", draws.uniform(0.7, 1.2), 1.0),
        lateral_gain=of("wall_motion", draws.uniform(0.8, 1.25), 1.0),
        base_gain=draws.uniform(0.45, 0.9),
        weak_at=draws.uniform(0.1, 0.8),
        weak_side=of("wall_motion", weak_side, 0),
        weakness=of("wall_motion", draws.uniform(0.3, 0.9) if weak else 0.0, 0.0),
        lateral_delay=of("wall_motion", draws.sometimes(0.12, 0.03, 0.1), 0.0),
        rr_jitter=of("arrhythmia", draws.uniform(0.1, 0.25) if irregular else draws.uniform(0, 0.04), 0.02),
        depth_jitter=of("arrhythmia", draws.uniform(0.03, 0.12) if irregular else draws.uniform(0, 0.03), 0.0),
        premature_share=of("arrhythmia", draws.uniform(0.1, 0.35) if early else 0.0, 0.0),
        filling_share=of("arrhythmia", draws.uniform(0.2, 0.9) if irregular or early else 0.0, 0.0),
        rv_motion_px=draws.uniform(0.5, 6),
        swing_deg=of("sway", draws.normal(0, 2.0), 0.0),
        swing_x_px=of("sway", draws.normal(0, 1.5), 0.0),
        swing_y_px=of("sway", draws.normal(0, 1.0), 0.0),
        breath_px=of("sway", abs(draws.normal(0, 1.2)), 0.0),
        breath_hz=draws.uniform(0.15, 0.4),
        leaflet_open_deg=draws.uniform(50, 85),
        leaflet_offset_px=of("annulus", draws.uniform(-1.0, 3.5), 0.0),
    )


def _sample_appearance(draws):
    return Appearance(**_sample_display(draws), **_sample_levels(draws), **_sample_clutter(draws))


def _sample_display(draws):
    """The machine: compression, point-spread function, filters after it, marks."""
    of = draws.of
    # Harmonic imaging: lower side lobes, a little longer pulses.
    harmonic = draws.usually(0.6)
    return dict(
        dynamic_range_db=of("compression", draws.uniform(42, 66), 54.0),
        gain_db=of("compression", draws.normal(4.0, 2.5), 4.0),
        gamma=of("compression", draws.uniform(1.1, 2.5), 1.8),
        axial_px=of("transducer", draws.uniform(0.15, 0.45) + 0.05 * harmonic, 0.33),
        lateral_rad=of("transducer", 0.005 + 0.012 * float(draws.beta(1.4, 2.2)), 0.0097),
        focus=draws.uniform(0.3, 0.8),
        sidelobe_db=of("transducer", draws.uniform(-40, -28) + 5 * (not harmonic), -34.0),
        coherent=of("compounding", draws.uniform(0, 0.4), 0.0),
        persistence=draws.uniform(0.05, 0.4),
        sharpness=draws.uniform(0.1, 0.6),
        flicker=draws.uniform(0.03, 0.1),
        marks=of("marks", draws.usually(0.85), False),
        ecg=of("marks", draws.rarely(0.05), False),
    )


def _sample_levels(draws):
    """Brightness of blood, walls and surroundings, and how borders look."""
    of = draws.of
    tissue = of("contrast", draws.normal(-26, 3.5), -26.0)
    lateral = tissue + of("contrast", draws.normal(-1, 3.5), -1.0)
    return dict(
        # Mostly black; in a few videos hardly darker than the wall.
        blood_db=of("contrast", -75 + 36 * float(draws.beta(1.1, 3.2)), -75.0),
        septum_db=tissue + of("contrast", draws.normal(4, 3), 4.0),
        lateral_db=lateral,
        right_wall_db=tissue + of("contrast", draws.normal(-1, 4), -1.0),
        pericardium_db=tissue + of("contrast", draws.uniform(6, 15), 10.5),
        valve_db=of("contrast", draws.uniform(-34, -12), -23.0),
        left_background_db=_sample_background(draws, tissue),
        right_background_db=_sample_background(draws, lateral),
        background_fade_db=draws.uniform(0, 0.6),
        posterior_db=draws.uniform(-28, -12),
        patchiness_db=draws.uniform(3, 8),
        grain_db=draws.uniform(0.5, 2.5),
        wall_blur_px=draws.uniform(1.5, 14),
        border_blur_px=of("tracing_margin", draws.uniform(0.5, 2.5), 0.0),
        # Readers stay inside the bright border: they trace where the cavity ends for certain, and the border's blur
        # and its speckle belong to the wall. Half of the rise to the wall's brightness then lies about 2.5 pixels
        # outside of the tracing, at ED as at ES, as in human tracings of EchoNet-Dynamic's kind. One data set's
        # readers keep nearly one margin; what differs between them cannot be seen in the picture.
        border_offset_px=of("tracing_margin", draws.uniform(1.7, 2.5), 0.0),
    )


def _sample_clutter(draws):
    """What lies over the picture and what is lost in it, in every machine's picture to some degree."""
    of = draws.of
    return dict(
        attenuation_db=draws.uniform(-8, 8),
        haze_db=of("haze", draws.uniform(-66, -46), -90.0),
        haze_near_db=of("haze", draws.uniform(0, 22), 0.0),
        haze_depth=draws.uniform(0.12, 0.45),
        edge_db=draws.uniform(0, 9),
        haze_memory=draws.uniform(0.4, 0.95),
        decorrelation=draws.uniform(0.2, 1.0),
        lateral_dropout_db=of("dropout", -draws.sometimes(0.4, 6, 28), 0.0),
        septal_dropout_db=of("dropout", -draws.sometimes(0.25, 4, 20), 0.0),
        num_shadows=of("shadows", draws.count((0.6, 0.3, 0.1)), 0),
        num_reverberations=of("reverberation", draws.count((0.4, 0.3, 0.2, 0.1)), 0),
    )


def _sample_artefacts(draws):
    of = draws.of
    contact = draws.rarely(0.2)
    side = int(draws.rng.choice((-1, 1))) if contact else 0
    ladder = 3 + draws.count((0.25, 0.25, 0.25, 0.25)) if draws.rarely(0.3) else 0
    resampled, compressed = draws.rarely(0.2), draws.rarely(0.4)
    size, quality = round(draws.uniform(92, 150)), round(draws.uniform(45, 95))
    return Artefacts(
        num_clouds=of("clouds", draws.count((0.45, 0.35, 0.2)), 0),
        cloud_db=draws.uniform(-50, -30),
        num_ladder_echoes=of("reverberation", ladder, 0),
        ladder_db=draws.uniform(-40, -20),
        septal_fade_db=of("fading", draws.sometimes(0.4, 6, 26), 0.0),
        septal_fade_at=draws.uniform(0.2, 0.65),
        lateral_fade_db=of("fading", draws.sometimes(0.4, 6, 26), 0.0),
        lateral_fade_at=draws.uniform(0.1, 0.9),
        contact_side=of("contact", side, 0),
        contact_db=draws.uniform(12, 45),
        contact_width=draws.uniform(0.15, 0.6),
        num_streaks=of("streaks", draws.count((0.35, 0.3, 0.2, 0.15)), 0),
        source_px=of("resampling", size if resampled else SIZE_PX, SIZE_PX),
        jpeg_quality=of("jpeg", quality if compressed else 100, 100),
    )


def _sample_background(draws, wall_db):
    """Lung and chest beside the heart: often as bright as the wall, sometimes black."""
    level = wall_db + draws.normal(-9, 5) if draws.usually(0.7) else draws.uniform(-56, -36)
    return draws.of("contrast", level, wall_db - 9)
