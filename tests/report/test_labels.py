import numpy as np
import pytest
from matplotlib.figure import Figure

from echojax.report.labels import Label, write_labels

NO_POINTS = np.zeros((0, 2))


@pytest.fixture
def axes():
    axes = Figure(figsize=(5, 4)).add_subplot()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    return axes


def boxes(texts) -> list:
    return [text.get_window_extent() for text in texts]


def test_a_label_with_room_stands_above_and_to_the_right(axes):
    (text,) = write_labels(axes, [Label("here", 5, 5, {"fontsize": 9})], NO_POINTS)
    x, y = axes.transData.transform((5, 5))
    box = text.get_window_extent()
    assert box.x0 > x and box.y0 > y
    assert (text.get_text(), text.get_fontsize()) == ("here", 9)


def test_close_labels_cover_neither_points_nor_one_another(axes):
    labels = [Label(f"network {i}", x, y, {}) for i, (x, y) in enumerate([(5, 5), (5.4, 5.2), (4.8, 4.6), (5.6, 4.7)])]
    texts = write_labels(axes, labels, np.array([(5.2, 5.9), (6.2, 5.2)]))
    covered = [
        (one, other) for i, one in enumerate(boxes(texts)) for other in boxes(texts)[i + 1 :] if one.overlaps(other)
    ]
    assert not covered
    points = axes.transData.transform([(label.x, label.y) for label in labels] + [(5.2, 5.9), (6.2, 5.2)])
    assert not any(box.contains(*point) for box in boxes(texts) for point in points)


def test_no_label_is_nearer_to_another_name_s_point(axes):
    labels = [Label("first", 5, 5, {}), Label("second", 6, 5, {})]
    texts = write_labels(axes, labels, NO_POINTS)
    points = axes.transData.transform([(label.x, label.y) for label in labels])
    for i, box in enumerate(boxes(texts)):
        nearest = np.clip(points, box.min, box.max)
        assert np.linalg.norm(points - nearest, axis=1).argmin() == i


@pytest.mark.parametrize("place", [(0, 0), (0, 10), (10, 0), (10, 10)])
def test_a_label_in_a_corner_stays_within_the_axes(axes, place):
    (text,) = write_labels(axes, [Label("corner", *place, {})], NO_POINTS)
    box = text.get_window_extent()
    assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
    assert axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1


def test_no_labels_are_no_error(axes):
    assert write_labels(axes, [], NO_POINTS) == []
