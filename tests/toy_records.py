"""A record of the benchmarks' history."""

from tlkit.record.benchmarks import Record

FIRST = "2027-01-02T03:04:05+00:00"


def record(ratio: float = 4.0, *, spread: float = 0.03, arm: str = "head_only", date: str = FIRST, **other: object) -> Record:
    figures = {"images": 64, "images_per_second": 120.5, "epoch_seconds": 30.0, "peak_anonymous": 400 * 2**20}
    named = {"recipe": "quickstart", "arm": arm, "date": date, "commit": "0123456789ab", **figures, **other}
    return Record.model_validate({"ratio": ratio, "spread": spread, "first_ratio": ratio, "later_ratio": ratio, **named})
