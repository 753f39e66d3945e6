"""Masks without islands and holes: a ventricle is one piece."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from echojax.errors import UserError

# How far beyond the border, in pixels, the soft values of a mask still belong to it.
SOFT_BORDER_PX = 3


def clean_masks(
    masks: Bool[np.ndarray, "*b h w"] | Float[np.ndarray, "*b h w"],
) -> Bool[np.ndarray, "*b h w"] | Float[np.ndarray, "*b h w"]:
    """Keeps the largest piece of each mask and fills its holes.

    Pieces are joined by edges, not by corners; of equally large ones the first in reading order stays. In a soft mask
    pieces are where it is above 1/2; values up to 3 pixels beyond the largest are kept, all others become 0, and holes
    become 1.

    Args:
        masks: bool, or shares in 0 .. 1.

    Returns:
        Masks of the same kind.

    Raises:
        UserError: values outside 0 .. 1: logits or grey levels are not masks.
    """
    masks = np.asarray(masks)
    if masks.dtype != bool:
        if not np.issubdtype(masks.dtype, np.floating) or not ((masks >= 0) & (masks <= 1)).all():
            raise UserError(
                f"masks are {masks.dtype}, not floats, or hold values beyond 0 .. 1; expected bool, or probabilities "
                "as floats: compare logits with 0 and stored masks with 127"
            )
        return _clean_soft(masks)
    cleaned = np.zeros_like(masks)
    for index in np.ndindex(masks.shape[:-2]):
        cleaned[index] = _largest_piece(masks[index])
    return cleaned


def _clean_soft(masks: Float[np.ndarray, "*b h w"]) -> Float[np.ndarray, "*b h w"]:
    cleaned = np.zeros_like(masks)
    for index in np.ndindex(masks.shape[:-2]):
        hard = masks[index] > 0.5
        piece = _largest_piece(hard)
        if piece.any():
            place = _box(piece, SOFT_BORDER_PX)
            hard, piece, soft = hard[place], piece[place], masks[index][place]
            near = ndimage.binary_dilation(piece, iterations=SOFT_BORDER_PX) & ~(hard & ~piece)
            cleaned[index][place] = np.where(piece & ~hard, 1, np.where(near, soft, 0))
    return cleaned


def _largest_piece(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    pieces, num_pieces = ndimage.label(mask)
    if num_pieces == 0:
        return mask
    piece = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    place = _box(piece)
    # Whatever is not connected to a frame around the piece is piece or hole.
    around, _ = ndimage.label(np.pad(~piece[place], 1, constant_values=True))
    piece[place] = (around != around[0, 0])[1:-1, 1:-1]
    return piece


def _box(piece: Bool[np.ndarray, "h w"], margin_px: int = 0) -> tuple[slice, slice]:
    """The rectangle around a piece, and a margin as far as the picture goes."""
    sides = []
    for axis, size in zip((1, 0), piece.shape, strict=True):
        filled = np.flatnonzero(piece.any(axis))
        sides.append(slice(max(0, filled[0] - margin_px), min(size, filled[-1] + 1 + margin_px)))
    return tuple(sides)
