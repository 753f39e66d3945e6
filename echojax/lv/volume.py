"""Left-ventricular volume by the method of discs."""

import numpy as np
from jaxtyping import Float


def disc_volume(diameters: Float[np.ndarray, "*b d"], length: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """Volume of a stack of equally thick circular discs (monoplane method of discs, Simpson's rule):

        V = (π / 4) · (L / d) · Σᵢ aᵢ²

    Args:
        diameters: widths aᵢ of the ventricle at the middle of each of d equal parts of the long axis, in cm or pixels.
        length: long axis L, apex to the middle of the mitral plane, in the same unit.

    Returns:
        Volumes in that unit cubed: cm give mL.
    """
    diameters = np.asarray(diameters)
    length = np.asarray(length)
    num_discs = diameters.shape[-1]
    return np.pi / 4 * length / num_discs * np.sum(diameters**2, axis=-1)
