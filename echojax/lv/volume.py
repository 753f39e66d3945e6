"""Left-ventricular volume from one plane: the method of discs and the area-length formula.

With `spacing_cm` volumes are in mL, without it in pixels cubed.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from echojax.lv.shape import NUM_DISCS, Masks, Values, disc_diameters, find_line, pixels_of


def disc_volume(diameters: Float[np.ndarray, "*b d"], length: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """Volume of a stack of equally thick circular discs (monoplane method of discs, Simpson's rule):

        V = (π / 4) · (L / d) · Σᵢ aᵢ²

    Args:
        diameters: widths aᵢ of the ventricle at the middle of each of d equal parts of the long axis, in cm or pixels.
        length: long axis L, apex to the middle of the mitral plane, in the same unit.

    Returns:
        Volumes in that unit cubed: cm give mL.
    """
    num_discs = diameters.shape[-1]
    return np.pi / 4 * length / num_discs * (diameters**2).sum(axis=-1)


def simpson_volume(
    masks: Masks, spacing_cm: float | Sequence[float] | None = None, num_discs: int = NUM_DISCS
) -> Values:
    """Volume of the body that each mask cuts in one plane, by the method of discs.

    Discs stand across the long axis that `long_axis` finds in the mask: rotating mask or picture changes nothing. NumPy
    masks are cleaned first (`clean_masks`). JAX arrays are not: the function can be traced and differentiated then.

    Args:
        masks: (..., h, w), bool or the share of each pixel in 0 .. 1.
        spacing_cm: size of a pixel in cm, one number or (vertical, horizontal).
        num_discs: 20 by the guidelines.

    Returns:
        One volume per mask, mL with spacing, pixels cubed without; nan where a mask is empty. What the picture's border
        cuts off is missing from the volume.

    Raises:
        UserError: masks that are neither bool nor within 0 .. 1, or a spacing that is not above 0.
    """
    return disc_volume(*disc_diameters(masks, spacing_cm, num_discs))


def area_length_volume(masks: Masks, spacing_cm: float | Sequence[float] | None = None) -> Values:
    """Volume from the area and the long axis of each mask; see `area_length_from`.

    Arguments, returns and errors as in `simpson_volume`.
    """
    pixels = pixels_of(masks, spacing_cm)
    xp = pixels.xp
    area = xp.sum(pixels.area, axis=-1)
    length = xp.where(area > 0, find_line(pixels).length, xp.nan)
    return area_length_from(area, length)


def area_length_from(area: Values, length: Values) -> Values:
    """Volume from an area A that holds the long axis L:

        V = 8 A² / (3 π L)

    Exact for ellipsoids and half ellipsoids about the axis.
    """
    return 8 * area**2 / (3 * np.pi * length)
