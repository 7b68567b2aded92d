"""The cost of busy machines: each setting reaches the process that is timed, and runs there."""

import json
import os
import subprocess
from collections.abc import Mapping

import pytest

from benchmarks import busy


def test_every_setting_has_its_turn_in_every_round_among_busy_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    turns: list[Mapping[str, str]] = []

    def took(setting: Mapping[str, str], steps: int) -> float:
        turns.append(setting)
        return float(len(turns) % 7) + steps

    monkeypatch.setattr(busy, "_process", took)
    busy.main(["--busy", "0", "1", "--rounds", "3", "--steps", "5", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert turns == [*busy.SETTINGS.values()] * 6
    assert [each["1"] for each in found["seconds"].values()] == [6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 5.0]


def test_a_process_has_its_setting_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    seen: dict[str, str] = {}

    def run(command: list[str], *, env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.update(env)
        return subprocess.CompletedProcess(command, 0, stdout="0.5\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert busy._process({"GOMP_SPINCOUNT": "0"}, 4) == 0.5
    assert seen["GOMP_SPINCOUNT"] == "0"
    assert seen["PATH"] == os.environ["PATH"]
    assert not {"OMP_WAIT_POLICY", "OMP_NUM_THREADS"} & seen.keys()
