"""Looks and behaviour of a clip's report and of the index, on top of those of every page."""

from echojax.report import page_style

# The browser itself refuses whatever would leave the page.
CONTENT_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; media-src data:; '
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
)

STYLE = (
    page_style.STYLE
    + """
.headline .lvef { margin: 0 0 6px; font-size: 1.15rem; color: var(--muted); }
.headline .lvef strong { font-size: 2.6rem; line-height: 1.1; color: var(--ink); letter-spacing: -0.02em; }
.facts { display: flex; flex-wrap: wrap; gap: 10px 34px; margin: 14px 0 0; }
.facts dt { color: var(--muted); font-size: 0.85rem; }
.facts dd { margin: 0; font-weight: 650; font-variant-numeric: tabular-nums; }
.flags li { max-width: 85ch; }
.player { display: grid; gap: 20px; grid-template-columns: minmax(0, 320px) minmax(0, 1fr); align-items: start; }
.curve { position: relative; min-width: 540px; background: #ffffff; border-radius: 8px; cursor: pointer; }
.curve svg { display: block; width: 100%; height: auto; border-radius: 8px; }
.marker { position: absolute; width: 2px; margin-left: -1px; background: #c24a00; pointer-events: none; }
.stills { display: grid; gap: 20px; grid-template-columns: repeat(2, minmax(0, 220px)); margin-top: 18px; }
.stills img { width: 100%; }
.nowrap { white-space: nowrap; }
.failed { color: var(--muted); }
@media (max-width: 760px) { .player { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 560px) { .stills { gap: 10px; } }
"""
)

# Moves the marker with the video, and the video with clicks on the curve. Starts paused where the system asks for less
# motion.
SCRIPT = """
const video = document.querySelector("video");
const curve = document.querySelector(".curve");
const marker = document.querySelector(".marker");
const timing = JSON.parse(curve.dataset.timing);
const place = () => {
  const shown = Math.floor(video.currentTime * timing.fps + 1e-3);
  const frame = Math.min(timing.last, shown * timing.step);
  const share = timing.last ? frame / timing.last : 0;
  marker.style.left = `${timing.left + (timing.right - timing.left) * share}%`;
};
const follow = () => { place(); requestAnimationFrame(follow); };
follow();
curve.addEventListener("click", (event) => {
  const box = curve.getBoundingClientRect();
  const percent = 100 * (event.clientX - box.left) / box.width;
  const share = Math.min(1, Math.max(0, (percent - timing.left) / (timing.right - timing.left)));
  video.currentTime = share * timing.last / timing.step / timing.fps;
});
if (matchMedia("(prefers-reduced-motion: reduce)").matches) { video.autoplay = false; video.pause(); }
"""
