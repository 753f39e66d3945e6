"""Metrics of a benchmark as JSON and as a printed table."""

from collections.abc import Mapping

from echojax.evaluate import Interval, metric_entry

Groups = Mapping[str, Mapping[str, Interval]]


def to_entries(groups: Groups, data: str) -> dict[str, dict[str, dict]]:
    """{group: {metric: entry}} as in `metrics.json`; `data` is "phantom" or "real"."""
    return {
        group: {name: metric_entry(interval, data) for name, interval in metrics.items()}
        for group, metrics in groups.items()
    }


def print_metrics(groups: Groups) -> None:
    """A line per metric: value, 95 % interval over clips, number of clips."""
    for group, metrics in groups.items():
        print(group)
        for name, interval in metrics.items():
            ends = f"[{interval.low:8.3f}, {interval.high:8.3f}]"
            print(f"  {name:24}{interval.value:9.3f}  {ends}  n = {interval.n}")
