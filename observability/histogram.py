"""A histogram that takes a whole batch at once: one pass for thousands of events, not one call an event."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry


class BatchHistogram(Collector):
    """A Prometheus histogram without labels, filled by arrays.

    Args:
        name: The metric's name.
        documentation: Its meaning.
        buckets: Upper bounds in rising order, without infinity.
        registry: Where it is collected.
    """

    def __init__(self, name: str, documentation: str, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = np.array(buckets, dtype=np.float64)
        self._counts = np.zeros(len(buckets) + 1, dtype=np.int64)
        self._sum = 0.0
        registry.register(self)

    def observe(self, values: NDArray[np.float64]) -> None:
        """Count a batch of values."""
        place = np.searchsorted(self._bounds, values, side="left")
        self._counts += np.bincount(place, minlength=len(self._counts))
        self._sum += float(values.sum())

    def collect(self) -> Iterable[Metric]:
        """Give the cumulative counts to the registry."""
        bounds = [*map(str, self._bounds.tolist()), "+Inf"]
        counts = np.cumsum(self._counts).tolist()
        family = HistogramMetricFamily(self._name, self._documentation)
        family.add_metric([], list(zip(bounds, counts, strict=True)), self._sum)
        yield family
