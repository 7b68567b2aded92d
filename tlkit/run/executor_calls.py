"""Call an executor, and hold what it gives to the contract."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext

from tlkit.errors import PluginError, TlkitError
from tlkit.plugin import Demand, Executor, Work, call


@contextmanager
def reached(executor: Executor, demand: Demand) -> Iterator[None]:
    """Hold the connection to an executor's cluster.

    Raises:
        TlkitError: it does not answer, or no node has what is asked for.
    """
    if not executor.reach:
        yield
        return
    try:
        entered = call(executor.reach, demand)
        if not isinstance(entered, AbstractContextManager):
            raise PluginError(f"{executor.reach}: gave {type(entered).__name__}, not a context manager.")
        entered.__enter__()
    except TlkitError:
        raise
    except Exception as error:
        raise PluginError(f"{executor.reach}: failed: {type(error).__name__}: {error}.") from error
    try:
        yield
    finally:
        entered.__exit__(None, None, None)


def done_by(
    executor: Executor, work: Mapping[str, Work], demand: Demand, watch: Callable[[], None]
) -> Iterator[tuple[str, str | Exception]]:
    """Let an executor do work; yield what it gives, as long as it is a name and what became of it.

    Raises:
        PluginError: it is something else, or the executor raised.
    """
    try:
        given = call(executor.run, work, demand, watch)
        if not isinstance(given, Iterable):
            raise PluginError(f"{executor.run}: gave {type(given).__name__}, not names with what became of them.")
        with closing(given) if isinstance(given, Generator) else nullcontext():
            waiting = set(work)
            for each in given:
                match each:
                    case (str() as label, (str() | Exception()) as answer) if label in waiting:
                        waiting.remove(label)
                        yield label, answer
                    case _:
                        raise PluginError(f"{executor.run}: gave {each!r}, not the name of a run and what became of it.")
    except TlkitError:
        raise
    except Exception as error:
        raise PluginError(f"{executor.run}: failed: {type(error).__name__}: {error}.") from error
