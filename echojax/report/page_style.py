"""Looks and behaviour of the HTML page. Fonts are those of the reader's system: the page loads nothing."""

# Colours have a contrast of at least 4.5 to 1 with their ground, in both schemes. Plots keep their light ground.
STYLE = """
:root {
  --ground: #f6f8fa; --card: #ffffff; --ink: #1b2733; --muted: #566370; --line: #dde3e9;
  --link: #0a5a95; --notice-ground: #fff3d6; --notice-line: #b27700; --notice-ink: #4a3300;
  --real-ground: #e4f1fb; --real-line: #0a66a8; --real-ink: #0b3352;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f151b; --card: #18212a; --ink: #e6ebf0; --muted: #a4b0bc; --line: #2b3742;
    --link: #7cc0f4; --notice-ground: #38290a; --notice-line: #e0a325; --notice-ink: #ffe2a3;
    --real-ground: #0d2a40; --real-line: #56a8e0; --real-ink: #cfe8fb;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--ink); overflow-wrap: break-word;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
header, nav, main, footer { max-width: 1160px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 36px; }
h1 { font-size: clamp(1.6rem, 4vw, 2.3rem); line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 10px; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 0 0 12px; }
h3 { font-size: 1.05rem; margin: 16px 0 8px; }
p { margin: 0 0 12px; max-width: 72ch; }
a { color: var(--link); }
a:focus-visible, button:focus-visible, .scroll:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.summary { font-size: 1.08rem; color: var(--muted); }
.notice {
  margin: 18px 0 8px; padding: 12px 16px; border-left: 5px solid var(--notice-line); border-radius: 6px;
  background: var(--notice-ground); color: var(--notice-ink);
}
.notice.real { background: var(--real-ground); border-color: var(--real-line); color: var(--real-ink); }
.notice p { margin: 0; max-width: none; }
nav ul { display: flex; flex-wrap: wrap; gap: 8px; list-style: none; margin: 14px 0 0; padding: 0; }
nav a {
  display: block; padding: 5px 13px; border: 1px solid var(--line); border-radius: 999px; background: var(--card);
  text-decoration: none; font-size: 0.92rem;
}
nav a:hover { border-color: var(--link); }
main > section {
  margin: 20px 0; padding: 22px 24px; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
}
.scroll { overflow-x: auto; }
table { border-collapse: collapse; min-width: min(100%, 640px); font-size: 0.95rem; }
th, td { padding: 7px 14px 7px 0; text-align: left; vertical-align: baseline; font-weight: 400; }
thead th { color: var(--muted); font-size: 0.85rem; border-bottom: 2px solid var(--line); white-space: nowrap; }
tbody th.group { font-weight: 650; padding-top: 14px; }
tbody:not(:nth-child(2)) tr:first-child th { border-top: 1px solid var(--line); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.number + .number { padding-left: 10px; }
th:last-child, td:last-child { padding-right: 2px; }
.caption, figcaption { color: var(--muted); font-size: 0.88rem; margin: 8px 0 0; }
.figures { display: grid; gap: 20px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 310px), 1fr)); }
.videos { display: grid; gap: 20px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
.table + .videos, .table + .figures, .videos + .figures { margin-top: 24px; }
.pause { grid-column: 1 / -1; margin: 0; }
button {
  padding: 4px 14px; border: 1px solid var(--line); border-radius: 999px; background: var(--ground); color: var(--ink);
  font: inherit; font-size: 0.9rem; cursor: pointer;
}
button:hover { border-color: var(--link); }
figure { margin: 0; min-width: 0; }
figure.wide { grid-column: 1 / -1; }
figure img { display: block; width: 100%; height: auto; max-width: 560px; background: #ffffff; border-radius: 8px; }
figure.wide img { max-width: 920px; min-width: 680px; }
video { display: block; width: 100%; height: auto; background: #10161c; border-radius: 8px; }
.files { display: grid; grid-template-columns: minmax(0, max-content) 1fr; gap: 6px 20px; margin: 0; }
.files dt { overflow-wrap: anywhere; font: 0.88rem ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.files dd { margin: 0; color: var(--muted); }
ul { padding-left: 1.2em; margin: 0; }
li { margin: 4px 0; max-width: 75ch; }
footer { color: var(--muted); font-size: 0.9rem; padding-bottom: 36px; }
@media (max-width: 560px) {
  header, nav, main, footer { padding-left: 12px; padding-right: 12px; }
  main > section { padding: 16px 14px; border-radius: 10px; }
  table { font-size: 0.86rem; }
  th, td { padding-right: 9px; }
  .files { grid-template-columns: 1fr; gap: 0; }
  .files dd { margin-bottom: 10px; }
}
@media print { body { background: #ffffff; } nav { display: none; } main > section { break-inside: avoid; } }
"""

# Each group of videos has a button that pauses them. They start paused where the system asks for less motion.
SCRIPT = """
for (const group of document.querySelectorAll(".videos")) {
  const videos = group.querySelectorAll("video");
  const button = group.querySelector("button");
  const setPaused = (paused) => {
    for (const video of videos) { if (paused) { video.autoplay = false; video.pause(); } else { video.play(); } }
    button.textContent = paused ? "Play" : "Pause";
  };
  button.addEventListener("click", () => setPaused(button.textContent === "Pause"));
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) { setPaused(true); }
}
"""
