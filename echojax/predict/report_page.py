"""`report.html` of one clip: one file that opens from disk and asks nothing of the network."""

import html
import json
import pathlib

import numpy as np

from echojax.files import write_text
from echojax.predict.overlay import Overlay, draw_frames
from echojax.predict.prediction import Prediction
from echojax.predict.report_style import CONTENT_POLICY, SCRIPT, STYLE
from echojax.predict.result import METHOD
from echojax.report import page
from echojax.report.area_curve import plot_area_curve
from echojax.report.inline import encode_file, encode_picture, encode_plot

LIMITS = (
    "One apical plane is measured and taken for round: wall motion outside of it is not seen, and volumes of a "
    "misshapen ventricle are wrong.",
    "Masks come from a network. Look at the contour in the video: where it does not follow the cavity's border, no "
    "number on this page holds.",
    "Two experts measuring one heart differ by about 6 points of LVEF; a single clip can do no better.",
    "The interval holds on average for clips like those it was calibrated on. For another machine, view or kind of "
    "heart it may be too narrow.",
)
# What stands where a value is not known.
UNKNOWN = "–"


def write_report(path: pathlib.Path, prediction: Prediction, overlay_path: pathlib.Path, overlay: Overlay) -> None:
    """Writes the page; video, stills and curve are part of it."""
    parts = [
        _header(prediction),
        "<main>",
        _headline(prediction),
        _flags(prediction),
        _player(prediction, overlay_path, overlay),
        page.format_table(_beats_table(prediction)),
        _method(prediction),
        _list_section("Limits", LIMITS),
        page.format_table(_clip_table(prediction)),
        _files(),
        "</main>",
        f"<footer><p><strong>{page.DISCLAIMER}</strong> Made by echojax.</p></footer>",
    ]
    title = f"{prediction.clip.name}: LVEF {format_percent(prediction.lvef_percent)}"
    text = page.format_document(title, "\n".join(parts), SCRIPT, STYLE, CONTENT_POLICY)
    write_text(path, text)


def format_percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0f} %"


def format_interval(prediction: Prediction) -> str:
    """Such as "49 to 65 %"; a dash where there is none."""
    interval = prediction.interval
    return UNKNOWN if interval.low is None else f"{interval.low:.0f} to {interval.high:.0f} %"


def _header(prediction: Prediction) -> str:
    return f"""<header>
<h1>{html.escape(prediction.clip.name)}</h1>
<aside class="notice" aria-label="Intended use">
<p><strong>{page.DISCLAIMER}</strong> Not for diagnosis. An automatic measurement of the left ventricle, to be checked
against the pictures below.</p>
</aside>
</header>"""


def _headline(prediction: Prediction) -> str:
    interval = prediction.interval
    if interval.reason is None:
        about = (
            f"{100 * interval.level:.0f} % interval {format_interval(prediction)}, calibrated on "
            f"{interval.calibrated_on}"
        )
    else:
        about = f"No interval: {interval.reason}"
    facts = "".join(f"<div><dt>{name}</dt><dd>{html.escape(value)}</dd></div>" for name, value in _facts(prediction))
    return f"""<section class="headline">
<p class="lvef"><span>LVEF</span> <strong>{format_percent(prediction.lvef_percent)}</strong></p>
<p>{html.escape(about)}.</p>
{_correction(prediction)}<dl class="facts">{facts}</dl>
</section>"""


def _correction(prediction: Prediction) -> str:
    if prediction.correction is None or prediction.lvef_percent is None:
        return ""
    read = prediction.measurement.lvef_percent
    return (
        f"<p>The volumes below say {format_percent(read)}; {prediction.lvef_percent - read:+.0f} points make up for "
        "what this network misses, on average, on the clips it was calibrated on.</p>\n"
    )


def _facts(prediction: Prediction) -> list[tuple[str, str]]:
    measurement, used = prediction.measurement, prediction.measurement.used_beats
    volumes = [[getattr(beat, name) for beat in used] for name in ("edv", "esv")]
    edv, esv = (_volume(float(np.median(v)) if v else None, measurement.is_metric) for v in volumes)
    rate = prediction.heart_rate_bpm
    facts = [
        ("EDV", edv),
        ("ESV", esv),
        ("LVEF, area-length", format_percent(measurement.pooled_percent("area_length"))),
        ("Beats", f"{len(used)} used of {len(measurement.beats)}"),
        ("Heart rate", UNKNOWN if rate is None else f"{rate:.0f} / min"),
    ]
    if measurement.regression_percent is not None:
        facts.insert(3, ("LVEF, direct regression", format_percent(float(measurement.regression_percent.mean()))))
    return facts


def _volume(value: float | None, is_metric: bool) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.0f} mL" if is_metric else f"{value:,.0f} pixels³"


def _flags(prediction: Prediction) -> str:
    texts = list(dict.fromkeys(flag.text for flag in prediction.flags))
    if not texts:
        return '<section class="flags"><h2>What is doubtful</h2><p>Nothing was found.</p></section>'
    return _list_section("What is doubtful", [f"{text[0].upper()}{text[1:]}." for text in texts], "flags")


def _player(prediction: Prediction, overlay_path: pathlib.Path, overlay: Overlay) -> str:
    measurement, clip = prediction.measurement, prediction.clip
    unit = "cm²" if measurement.is_metric else "px"
    figure = plot_area_curve(
        measurement.function.curves.area,
        "LV area with ED and ES of every beat",
        fps=clip.fps,
        lvef_percent=measurement.function.lvef_percent["simpson"],
        unit=unit,
    )
    last = len(clip.frames) - 1
    plot = encode_plot(figure, 0, last / clip.fps)
    timing = {
        "fps": overlay.fps,
        "step": overlay.step,
        "last": last,
        "left": round(100 * plot.left, 3),
        "right": round(100 * plot.right, 3),
    }
    marker = f"top:{100 * plot.top:.2f}%;height:{100 * (plot.bottom - plot.top):.2f}%;left:{100 * plot.left:.2f}%"
    cut = "" if overlay.num_shown * overlay.step > last else f" Only the first {overlay.num_shown} pictures are shown."
    return f"""<section>
<h2>Clip, curve, ED and ES</h2>
<div class="player">
<figure>
<video src="{encode_file(overlay_path)}" controls autoplay muted loop playsinline
 aria-label="The clip with the left ventricle's contour, long axis and discs"></video>
<figcaption>Contour amber, long axis blue, discs white.{cut}</figcaption>
</figure>
<div>
<figure>
<div class="scroll" tabindex="0"><div class="curve" data-timing="{html.escape(json.dumps(timing))}" role="img"
 aria-label="Area of the left ventricle over time, with ED and ES of {len(measurement.beats)} beats">
{plot.svg}
<div class="marker" style="{marker}"></div>
</div></div>
<figcaption>The line moves with the video; click the curve to go to a moment. Hollow points lie at the clip's ends:
their beats are cut.</figcaption>
</figure>
{_stills(prediction)}
</div>
</div>
</section>"""


def _stills(prediction: Prediction) -> str:
    """ED and ES of the beat whose LVEF is nearest to the pooled one."""
    used, pooled = prediction.measurement.used_beats, prediction.measurement.lvef_percent
    if not used or pooled is None:
        return ""
    beat = min(used, key=lambda beat: abs(beat.simpson_lvef_percent - pooled))
    pictures = draw_frames(prediction, [beat.ed_frame, beat.es_frame])
    figures = []
    for phase, frame, picture in zip(("ED", "ES"), (beat.ed_frame, beat.es_frame), pictures, strict=True):
        caption = f"{phase}: frame {frame}, {prediction.clip.frame_times_s[frame]:.2f} s"
        alt = f"{'End diastole' if phase == 'ED' else 'End systole'} with the left ventricle outlined"
        figures.append(
            f'<figure><img src="{encode_picture(picture)}" alt="{alt}"><figcaption>{caption}</figcaption></figure>'
        )
    return f'<div class="stills">{"".join(figures)}</div>'


def _beats_table(prediction: Prediction) -> page.Table:
    measurement, times = prediction.measurement, prediction.clip.frame_times_s
    rows = [
        (
            str(number),
            f"{beat.ed_frame} ({times[beat.ed_frame]:.2f} s)",
            f"{beat.es_frame} ({times[beat.es_frame]:.2f} s)",
            _volume(beat.edv, measurement.is_metric),
            _volume(beat.esv, measurement.is_metric),
            format_percent(beat.simpson_lvef_percent),
            format_percent(beat.area_length_lvef_percent),
            "yes" if beat.is_used else "no, cut",
        )
        for number, beat in enumerate(measurement.beats, 1)
    ]
    columns = ("Beat", "ED frame", "ES frame", "EDV", "ESV", "LVEF, Simpson", "LVEF, area-length", "Used")
    corrected = ", corrected as said above" if prediction.correction else ""
    used = f"The clip's LVEF is the median over the beats used{corrected}."
    caption = used if rows else "No beat was found in this clip."
    return page.Table("Beats", columns, rows, caption, numeric=range(1, 7))


def _method(prediction: Prediction) -> str:
    clip, network = prediction.clip, prediction.networks["segmentation"]
    spacing = (
        f"Volumes are in mL; the size of a pixel comes from {clip.spacing_source}."
        if prediction.measurement.is_metric
        else "The file does not tell the size of a pixel: volumes are in the clip's own pixels cubed. LVEF needs none."
    )
    text = (
        f"The sector is found and what lies outside blacked out; a network ({network['family']}, "
        f"{network['num_parameters']:,} parameters) outlines the left ventricle in every frame. {METHOD}. {spacing}"
    )
    return f"<section><h2>Method</h2><p>{html.escape(text)}</p></section>"


def _clip_table(prediction: Prediction) -> page.Table:
    clip, network = prediction.clip, prediction.networks["segmentation"]
    num_frames, height, width = clip.frames.shape[:3]
    spacing = f"{clip.spacing_cm[0]:.4g} x {clip.spacing_cm[1]:.4g} cm" if clip.spacing_cm else "not known"
    rows = [
        ("File", f"{clip.kind}, {num_frames} frames of {width}x{height} pixels"),
        ("Frame rate", f"{clip.fps:.4g} per second ({clip.fps_source})"),
        ("Size of a pixel", spacing),
        ("Network", f"{network['family']}, weights {network['weights_sha256']}"),
    ]
    return page.Table("Clip", ("What", "Value"), rows)


def _files() -> str:
    meanings = {
        "result.json": "every number of this page, and the curves",
        "masks.npz": "the mask of every frame at the clip's own size (key masks)",
        "overlay.mp4": "the video above",
    }
    items = "".join(f'<dt><a href="{name}">{name}</a></dt><dd>{text}</dd>' for name, text in meanings.items())
    return f'<section><h2>Files</h2><dl class="files">{items}</dl></section>'


def _list_section(title: str, texts, kind: str = "") -> str:
    items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return f'<section class="{kind}"><h2>{title}</h2><ul>{items}</ul></section>'
