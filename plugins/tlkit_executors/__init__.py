"""Executors: where the runs of a recipe are carried out."""

from tlkit.plugin import Executor

local = Executor(run="", summary="in this process, one run after the other")
ray = Executor(
    run="tlkit_executors.ray_tasks:run",
    ask="tlkit_executors.ray_address:ask",
    reach="tlkit_executors.ray_tasks:reached",
    shares=True,
    needs="ray",
    install="tlkit[ray]",
    summary="each run a task of a Ray cluster, or of a Ray of this machine",
)
