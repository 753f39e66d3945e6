"""What the machine writes on the picture: probe marker, depth scale, ECG trace."""

import numpy as np

from data_prep.phantom.parameters import SIZE_PX, PhantomParameters


def burn_in(frames: np.ndarray, parameters: PhantomParameters, sector: np.ndarray) -> np.ndarray:
    """Draws the marks over uint8 frames (t, 112, 112), in place; `sector` bool (112, 112) is where echoes are."""
    look = parameters.appearance
    rng = parameters.generator(8)
    if look.marks:
        overlay = _probe_marker(parameters, rng) + _depth_scale(parameters, rng)
        overlay[sector] = 0
        np.maximum(frames, np.rint(np.clip(overlay, 0, 255)).astype(np.uint8), out=frames)
    if look.ecg:
        _draw_ecg(frames, parameters, rng)
    return frames


def _probe_marker(parameters, rng):
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    at_x = parameters.sector.apex_x_px + rng.uniform(3, 7)
    at_y = max(1.5, parameters.sector.apex_y_px - rng.uniform(3, 7))
    distance = np.abs(x - at_x) ** 1.5 + np.abs(y - at_y) ** 1.5
    return rng.uniform(90, 190) * np.exp(-distance / rng.uniform(1.5, 3.5))


def _depth_scale(parameters, rng):
    """Line pieces and dots that run along the right edge of the sector, a few pixels outside."""
    overlay = np.zeros((SIZE_PX, SIZE_PX))
    sector = parameters.sector
    angle = np.radians(sector.tilt_deg + sector.half_angle_deg)
    gap = rng.uniform(2, 12)
    x0, y0 = sector.apex_x_px + gap * np.cos(angle), sector.apex_y_px - gap * np.sin(angle)
    brightness = rng.uniform(120, 255)
    start = rng.uniform(15, 60)
    _draw_line(overlay, x0, y0, angle, start, start + rng.uniform(4, 24), brightness * rng.uniform(0, 1))
    for radius in np.arange(rng.uniform(5, 20), 75, rng.uniform(10, 24)):
        _draw_line(overlay, x0, y0, angle, radius, radius + rng.uniform(0, 1.5), brightness)
    return overlay


def _draw_line(overlay, x0, y0, angle, start, stop, brightness):
    radius = np.arange(start, stop + 0.5, 0.5)
    x = np.rint(x0 + radius * np.sin(angle)).astype(int)
    y = np.rint(y0 + radius * np.cos(angle)).astype(int)
    inside = (x >= 0) & (x < SIZE_PX) & (y >= 0) & (y < SIZE_PX)
    overlay[y[inside], x[inside]] = brightness


def _draw_ecg(frames, parameters, rng):
    """A trace along the lower edge with a spike at every end-diastole, and the sweep's gap moving through it."""
    beats = (np.arange(SIZE_PX) / SIZE_PX * rng.uniform(2, 4) + parameters.motion.start_phase) % 1
    wave = 6 * np.exp(-((np.minimum(beats, 1 - beats) / 0.03) ** 2)) + 2 * np.exp(-(((beats - 0.35) / 0.06) ** 2))
    rows = np.clip(np.rint(SIZE_PX - 4 - wave).astype(int), 0, SIZE_PX - 1)
    for k, frame in enumerate(frames):
        gap = (k + np.arange(4)) % SIZE_PX
        columns = np.setdiff1d(np.arange(SIZE_PX), gap)
        frame[rows[columns], columns] = 160
