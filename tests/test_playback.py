"""Chromium plays what `write_video` writes for browsers, encoded in one piece or in parts at the same time."""

import numpy as np
import pytest
from chromium import chromium_page

from echojax import video
from echojax.report.inline import encode_file

NUM_FRAMES, HEIGHT, WIDTH = 51, 96, 64
FPS = (30.0, 50.0, 100.0)
# Grey levels of the frames, far enough apart for a lossy codec.
LEVELS = 30 + 4 * np.arange(NUM_FRAMES)

# Goes to the middle of every frame, the last first, and reads the time at which it begins and its grey level.
READ_FRAMES = """
window.found = {};
window.read = async (video) => {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", {willReadFrequently: true});
  const found = [];
  for (let frame = NUM_FRAMES - 1; frame >= 0; frame--) {
    const shown = new Promise(resolve => video.requestVideoFrameCallback((now, about) => resolve(about.mediaTime)));
    video.currentTime = (frame + 0.5) / video.dataset.fps;
    const time = await shown;
    context.drawImage(video, 0, 0);
    found.unshift([time, context.getImageData(video.videoWidth / 2, video.videoHeight / 2, 1, 1).data[0]]);
  }
  window.found[video.id] = found;
};
""".replace("NUM_FRAMES", str(NUM_FRAMES))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with a video per frame rate, in one part and in four."""
    folder = tmp_path_factory.mktemp("playback")
    frames = np.broadcast_to(LEVELS.astype(np.uint8)[:, None, None, None], (NUM_FRAMES, HEIGHT, WIDTH, 3))
    tags = []
    for fps in FPS:
        for num_parts in (1, 4):
            name = f"v{fps:.0f}_{num_parts}"
            video.write_video(folder / f"{name}.mp4", frames, fps, codec="vp09", num_parts=num_parts)
            source = encode_file(folder / f"{name}.mp4")
            tags.append(f'<video id="{name}" data-fps="{fps}" src="{source}" muted preload="auto"></video>')
    path = folder / "page.html"
    path.write_text(f"<!doctype html><title>t</title>{''.join(tags)}<script>{READ_FRAMES}</script>")
    with chromium_page(folder / "profile") as page:
        page.open(path)
        page.wait_for("[...document.querySelectorAll('video')].every(v => v.error || v.readyState >= 3)")
        yield page


@pytest.mark.parametrize("num_parts", [1, 4])
@pytest.mark.parametrize("fps", FPS)
def test_a_browser_shows_every_frame_at_its_time(page, fps, num_parts):
    name = f"v{fps:.0f}_{num_parts}"
    element = f"document.getElementById('{name}')"
    assert page.evaluate(f"{element}.error === null")
    assert page.evaluate(f"[{element}.videoWidth, {element}.videoHeight]") == [WIDTH, HEIGHT]
    assert page.evaluate(f"{element}.duration") == pytest.approx(NUM_FRAMES / fps, abs=0.5 / fps)
    page.evaluate(f"window.read({element})")
    page.wait_for(f"'{name}' in window.found")
    times_s, levels = np.transpose(page.evaluate(f"window.found['{name}']"))
    np.testing.assert_allclose(times_s, np.arange(NUM_FRAMES) / fps, atol=0.1 / fps)
    # The codec's whole numbers make all levels darker by one to three; neighbours differ by four.
    np.testing.assert_allclose(levels, LEVELS - 2, atol=1.5)
    assert page.problems == []


@pytest.mark.parametrize("num_parts", [1, 4])
@pytest.mark.parametrize("fps", FPS)
def test_a_browser_plays_to_the_end_without_a_decoding_error(page, fps, num_parts):
    element = f"document.getElementById('v{fps:.0f}_{num_parts}')"
    page.evaluate(f"{element}.currentTime = 0; {element}.play()")
    page.wait_for(f"{element}.ended || {element}.error")
    assert page.evaluate(f"{element}.error === null && {element}.currentTime === {element}.duration")
    assert page.evaluate(f"{element}.getVideoPlaybackQuality().corruptedVideoFrames || 0") == 0
    assert page.problems == []
