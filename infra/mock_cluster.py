"""librdkafka's mock Kafka cluster, out of the shared library that the confluent-kafka wheel carries.

Other processes reach it over loopback TCP. It has no CreateTopics, compaction, TLS, persistence or real transactions,
and drops the oldest data beyond 5 MiB or 100,000 batches a partition: for development and fault tests only.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import confluent_kafka

_BROKER = 1
_PRODUCER = 0
_TOPIC_EXISTS = 36
_ERRORS_ONLY = b"3"
"""Log level of the handle: without an address to connect to it would print a warning."""


class MockClusterError(RuntimeError):
    """The mock cluster refused what was asked."""


def _library_file() -> Path:
    package = Path(confluent_kafka.__file__).parent
    folders = (package.with_name("confluent_kafka.libs"), package / ".dylibs")
    found = [file for folder in folders for file in sorted(folder.glob("librdkafka*"))]
    if not found:
        msg = f"no librdkafka beside {package}: the mock cluster needs the confluent-kafka wheel of Linux or macOS"
        raise MockClusterError(msg)
    return found[0]


@cache
def _library() -> ctypes.CDLL:
    """Load librdkafka once, with the types of the functions used here."""
    library = ctypes.CDLL(str(_library_file()))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
        "rd_kafka_mock_broker_set_down": (number, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_broker_set_up": (number, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_broker_set_rtt": (number, [pointer, ctypes.c_int32, number]),
        "rd_kafka_mock_push_request_errors_array": (
            None,
            [pointer, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(number)],
        ),
        "rd_kafka_mock_clear_request_errors": (None, [pointer, ctypes.c_int16]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


class MockCluster:
    """A cluster of one broker on a random loopback port, in this process."""

    def __init__(self) -> None:
        self._handle: int | None = None
        self._cluster: int | None = None

    def start(self) -> str:
        """Start the broker and give its address, `127.0.0.1:PORT`.

        Raises:
            MockClusterError: If it runs already or librdkafka cannot start it.
        """
        if self._cluster is not None:
            msg = "the mock cluster runs already"
            raise MockClusterError(msg)
        library, error = _library(), ctypes.create_string_buffer(512)
        settings = library.rd_kafka_conf_new()
        library.rd_kafka_conf_set(settings, b"log_level", _ERRORS_ONLY, error, len(error))
        self._handle = library.rd_kafka_new(_PRODUCER, settings, error, len(error))
        if not self._handle:
            msg = f"librdkafka gave no handle: {error.value.decode()}"
            raise MockClusterError(msg)
        self._cluster = library.rd_kafka_mock_cluster_new(self._handle, 1)
        address: bytes = library.rd_kafka_mock_cluster_bootstraps(self._running())
        return address.decode()

    def stop(self) -> None:
        """End the broker and forget its data; harmless when it is not running."""
        if self._cluster is not None:
            _library().rd_kafka_mock_cluster_destroy(self._cluster)
        if self._handle is not None:
            _library().rd_kafka_destroy(self._handle)
        self._cluster = self._handle = None

    def create_topic(self, name: str, partitions: int) -> None:
        """Create a topic (replication 1).

        Raises:
            MockClusterError: If it exists already, or the name or number is refused.
        """
        code = _library().rd_kafka_mock_topic_create(self._running(), name.encode(), partitions, 1)
        if code:
            why = "it exists already" if code == _TOPIC_EXISTS else f"error {code}"
            msg = f"cannot create topic {name!r} with {partitions} partitions: {why}"
            raise MockClusterError(msg)

    def broker_down(self) -> None:
        """Close all connections and refuse new ones; the data stays."""
        _check("take the broker down", _library().rd_kafka_mock_broker_set_down(self._running(), _BROKER))

    def broker_up(self) -> None:
        """Accept connections again, on the same port."""
        _check("bring the broker up", _library().rd_kafka_mock_broker_set_up(self._running(), _BROKER))

    def set_latency(self, milliseconds: int) -> None:
        """Delay every answer by this much; 0 ends it."""
        _check("slow the broker", _library().rd_kafka_mock_broker_set_rtt(self._running(), _BROKER, milliseconds))

    def fail_requests(self, api_key: int, errors: Sequence[int]) -> None:
        """Answer the next requests of one kind with these errors, one each; an empty list takes back what is left.

        Args:
            api_key: Kafka's number of the request: 0 Produce, 1 Fetch, 3 Metadata, ...
            errors: Kafka error codes (`KafkaError.NOT_LEADER_FOR_PARTITION`, ...); 0 lets one request pass.
        """
        if errors:
            codes = (ctypes.c_int * len(errors))(*errors)
            _library().rd_kafka_mock_push_request_errors_array(self._running(), api_key, len(errors), codes)
        else:
            _library().rd_kafka_mock_clear_request_errors(self._running(), api_key)

    def _running(self) -> int:
        if not self._cluster:
            msg = "the mock cluster is not running"
            raise MockClusterError(msg)
        return self._cluster


def _check(what: str, code: int) -> None:
    if code:
        msg = f"cannot {what}: error {code}"
        raise MockClusterError(msg)
