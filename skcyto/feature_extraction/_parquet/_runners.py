"""Where the parts of a data set are embedded: in this process, or by the workers of a cluster."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from skcyto.feature_extraction._parquet._manifest import Part, describe_embedder
from skcyto.feature_extraction._parquet._parts import (
    PartResult,
    embed_part,
    find_missing,
)
from skcyto.utils._optional import import_optional

if TYPE_CHECKING:
    from distributed import Client

    from skcyto.feature_extraction._embedding._embedder import EVA02TokenEmbedder

# Tasks for each thread of a cluster, those that it works on among them: enough that none is idle,
# few enough that the scheduler never holds many paths.
_TASKS_PER_THREAD = 2


class Runner(Protocol):
    """What embeds parts."""

    def describe(self) -> dict[str, Any]:
        """Say what determines the features, where they are computed."""

    def find_missing(self, parts: Iterable[Part]) -> Iterator[dict[int, str]]:
        """Look for missing files, part by part and in any order."""

    def embed(self, parts: Iterable[Part], *where: Any) -> Generator[PartResult, None, None]:
        """Embed parts, in any order."""


class LocalRunner:
    """Embed parts in this process, one after the other.

    Parameters
    ----------
    embedder : EVA02TokenEmbedder
        Fitted.
    """

    def __init__(self, embedder: EVA02TokenEmbedder) -> None:
        self._embedder = embedder

    def describe(self) -> dict[str, Any]:
        """Say what determines the features."""
        return describe_embedder(self._embedder)

    def find_missing(self, parts: Iterable[Part]) -> Iterator[dict[int, str]]:
        """Look for missing files, part by part."""
        return map(find_missing, parts)

    def embed(self, parts: Iterable[Part], *where: Any) -> Generator[PartResult, None, None]:
        """Embed parts in their order."""
        return (embed_part(self._embedder, part, *where) for part in parts)


class ClusterRunner:
    """Embed parts on the workers of a Dask cluster.

    Parameters
    ----------
    embedder : EVA02TokenEmbedder
        Fitted.
    client : distributed.Client
        The cluster.
    """

    def __init__(self, embedder: EVA02TokenEmbedder, client: Client) -> None:
        self._dask = import_optional("dask.distributed", extra="dask", purpose="client=")
        self._client = client
        # The result of a task, not scattered data: if the last worker that holds it dies, the
        # scheduler knows how to make it again. It is sent once, so that its size, which is that of
        # the weights where they were fine-tuned, is nothing to warn of.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sending large graph")
            self._embedder = client.submit(_pass, embedder, pure=False)

    def describe(self) -> dict[str, Any]:
        """Say what determines the features, as a worker sees it."""
        return self._client.submit(describe_embedder, self._embedder, pure=False).result()

    def find_missing(self, parts: Iterable[Part]) -> Iterator[dict[int, str]]:
        """Look for missing files from the workers, part by part and in any order."""
        return self._run(find_missing, ((part,) for part in parts))

    def embed(self, parts: Iterable[Part], *where: Any) -> Generator[PartResult, None, None]:
        """Embed parts, in any order."""
        return self._run(embed_part, ((self._embedder, part, *where) for part in parts))

    def _run(
        self, function: Callable[..., Any], tasks: Iterator[tuple[Any, ...]]
    ) -> Generator[Any, None, None]:
        """Yield results as they come, with a bounded number of tasks on the cluster."""
        running = self._dask.as_completed()
        pending: set[Any] = set()

        def fill() -> None:
            # Asked each time: workers come and go.
            limit = _TASKS_PER_THREAD * max(1, sum(self._client.nthreads().values()))
            for task in islice(tasks, max(0, limit - len(pending))):
                future = self._client.submit(function, *task, pure=False)
                pending.add(future)
                running.add(future)

        try:
            fill()
            for future in running:
                result = future.result()
                pending.discard(future)
                future.release()
                fill()
                yield result
        finally:
            self._client.cancel(list(pending))


def _pass(embedder: EVA02TokenEmbedder) -> EVA02TokenEmbedder:
    return embedder
