"""The pictures of EchoDFKD's evaluation on one split, as a section of the page."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from echojax import evaluate, lv
from echojax.evaluate import MaskedVideo, VideoScores
from echojax.evaluate.dfkd import DICE, HALF, LVEF
from echojax.report import area_curve, contact_sheet, page, plots, style

# Finds a video by its name: its masks and what is known, and its frames, uint8 (t, h, w) or (t, h, w, c).
LoadVideo = Callable[[str], tuple[MaskedVideo, UInt8[np.ndarray, "t h w *c"]]]


def evaluation_section(
    scores: Sequence[VideoScores], load_video: LoadVideo, folder: Path, *, title: str, suffix: str = ""
) -> page.Section:
    """Contact sheet and area curves of the best, a middling and the worst video; LVEF against the known one.

    What no video allows, for want of tracings or of known LVEF, is left out.

    Args:
        scores: of `evaluate.score_video`.
        load_video: called for the few videos that are shown.
        folder: gets the figures.
        title: of the section and the figures.
        suffix: of the figures' file names, e.g. "_test".
    """
    figures = []
    groups = _ranked(scores)
    if groups:
        sheet = contact_sheet.plot_contact_sheet(_cases(groups, load_video), title)
        path, _ = style.save_figure(sheet, folder / f"cases{suffix}")
        figures.append(page.Figure(path, "Best, median and worst by Dice: ED and ES, predicted and traced.", wide=True))
    one_each = {group: of_group[0] for group, of_group in _ranked(scores, num_each=1).items()}
    shown = one_each or {"first": scores[0]} if scores else {}
    for group, of_video in shown.items():
        path, _ = style.save_figure(_curve(of_video, load_video), folder / f"area_{group}{suffix}")
        figures.append(page.Figure(path, f"{group.capitalize()}: area of the ventricle, beats and LVEF.", wide=True))
    known = [of_video for of_video in scores if np.isfinite([of_video.ef_percent, of_video.lvef_percent[LVEF]]).all()]
    if known:
        predicted, ef = np.array([(of_video.lvef_percent[LVEF], of_video.ef_percent) for of_video in known]).T
        for name, plot in (("lvef_scatter", plots.plot_scatter), ("lvef_bland_altman", plots.plot_bland_altman)):
            path, _ = style.save_figure(plot(predicted, ef, f"{title}, discs"), folder / f"{name}{suffix}")
            figures.append(page.Figure(path, "LVEF by the method of discs, all beats of a video pooled."))
    text = f"{len(scores)} videos, {sum(DICE in of_video.dice for of_video in scores)} of them traced."
    return page.Section(title, text, figures=figures)


def _ranked(scores: Sequence[VideoScores], num_each: int = 3) -> dict[str, list[VideoScores]]:
    traced = [of_video for of_video in scores if DICE in of_video.dice]
    if not traced:
        return {}
    picked = contact_sheet.pick_cases(np.array([1 - _dice(of_video) for of_video in traced]), num_each)
    return {group: [traced[position] for position in positions] for group, positions in picked.items()}


def _dice(of_video: VideoScores) -> float:
    ed, es = of_video.dice[DICE]
    return float(evaluate.dice_from_counts(ed + es))


def _cases(groups: dict[str, list[VideoScores]], load_video: LoadVideo) -> dict[str, list[contact_sheet.Case]]:
    return {group: [_case(of_video, load_video) for of_video in of_group] for group, of_group in groups.items()}


def _case(of_video: VideoScores, load_video: LoadVideo) -> contact_sheet.Case:
    video, frames = load_video(of_video.name)
    traced = list(video.traced_frames)
    caption = f"{of_video.name}\nDice {_dice(of_video):.3f}"
    return contact_sheet.Case(caption, frames[traced], video.masks[traced] > HALF, video.traced_masks)


def _curve(of_video: VideoScores, load_video: LoadVideo):
    video, _ = load_video(of_video.name)
    function = lv.measure_function(video.masks > HALF, video.fps)
    traced = None if video.traced_frames is None else dict(zip(("ED", "ES"), video.traced_frames, strict=True))
    known = f", known LVEF {video.ef_percent:.0f} %" if np.isfinite(video.ef_percent) else ""
    return area_curve.plot_area_curve(
        function.curves.area,
        f"{of_video.name}{known}",
        fps=video.fps,
        lvef_percent=function.lvef_percent["simpson"],
        traced=traced,
    )
