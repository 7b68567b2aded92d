"""An executor that carries out work in this process, as it comes out of a pickle: as a worker gets it."""

import pickle
from collections.abc import Callable, Iterator, Mapping

from tlkit.plugin import Demand, Executor, Work


def run(work: Mapping[str, Work], demand: Demand, watch: Callable[[], None]) -> Iterator[tuple[str, str | Exception]]:
    """Carry it out."""
    for name, each in work.items():
        watch()
        yield name, pickle.loads(pickle.dumps(each))()


here = Executor(run="tlkit_toy_executor:run", summary="in this process, out of a pickle")
