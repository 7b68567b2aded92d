import json
from pathlib import Path

from tlkit.record import epoch_lines

SCORES = {"loss": 2.194, "accuracy": 0.238}
FIRST = {"epoch": 1, "train": SCORES, "validation": None, "test": SCORES, "seconds": 1.5}
OF_OTHER_TYPES = [
    {"epoch": "two"}, {"phase": 0}, {"lr": [0.1]}, {"train": None}, {"validation": {"loss": 1.0}}, {"test": {"accuracy": 1.0}},
    {"train_evaluated": {"images": 40}}, {"times": {"steps": "long"}}, {"also": {"other": 1.0}}, {"target": {"snd": "high"}},
]  # fmt: skip


def test_epochs_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert epoch_lines.read(tmp_path) == []
    lines = [FIRST | {"phase": 1, "lr": {"head": 0.1}}, FIRST | {"epoch": 2, "phase": 2, "lr": {}, "best": True}]
    epoch_lines.write(tmp_path, lines)
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == lines
    assert epoch_lines.read(tmp_path) == lines
    epoch_lines.write(tmp_path, [FIRST])
    assert epoch_lines.read(tmp_path) == [FIRST | {"phase": 1, "lr": {}}]  # what a line without phase and rates is read as


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    first, last = (json.dumps(FIRST | {"epoch": epoch}).encode() for epoch in (1, 3))
    damaged = [b'{"epoch": 2, "train": {"lo', b"[]", b"\xff\xfe", b"[" * 100_000]
    damaged += [json.dumps(FIRST | {"epoch": 2} | change).encode() for change in OF_OTHER_TYPES]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([first, *damaged, last]))
    assert [line["epoch"] for line in epoch_lines.read(tmp_path)] == [1, 3]
