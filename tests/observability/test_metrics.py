import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import Counter, generate_latest
from prometheus_client.core import Metric

from observability import metrics

FORBIDDEN_LABELS = re.compile(r"session|user|event_id|flag_id|ip|address|device|fingerprint|page|offset")
OTHERS = ("python_gc_", "process_")
SHELL = Path(__file__).parents[2] / "dataflows"


def ours() -> Iterator[Metric]:
    return (family for family in metrics.REGISTRY.collect() if not family.name.startswith(OTHERS))


def declared() -> dict[str, object]:
    """Give what the catalogue declares, by its name in the code."""
    constants = {name: value for name, value in vars(metrics).items() if name.isupper() and name != "REGISTRY"}
    return {name: value for name, value in constants.items() if hasattr(value, "collect")}


def test_every_metric_has_our_prefix_and_a_meaning() -> None:
    families = list(ours())

    assert len(families) == len(declared())
    assert [family.name for family in families if not family.name.startswith("fraud_")] == []
    assert [family.name for family in families if len(family.documentation) < 15] == []


def test_names_end_with_their_unit_in_base_units() -> None:
    names = [family.name for family in ours()]

    assert [name for name in names if re.search(r"(_ms|_millis|_minutes|_kb|_mb|_percent)(_|$)", name)] == []


def test_every_counter_ends_with_total_for_prometheus() -> None:
    text = generate_latest(metrics.REGISTRY).decode()
    counters = [family.name for family in ours() if family.type == "counter"]

    assert len(counters) == sum(isinstance(value, Counter) for value in declared().values())
    assert [name for name in counters if f"# TYPE {name}_total counter\n" not in text] == []


def test_no_label_can_tell_a_person_or_grow_with_the_traffic() -> None:
    labels = {
        label
        for value in declared().values()
        for label in getattr(value, "_labelnames", ())
        if FORBIDDEN_LABELS.search(label)
    }

    assert labels == set()


def test_every_metric_is_set_somewhere() -> None:
    code = "\n".join(file.read_text() for file in SHELL.rglob("*.py"))

    assert [name for name in declared() if f"metrics.{name}." not in code] == []


def test_counts_of_known_outcomes_are_there_before_the_first_one() -> None:
    text = generate_latest(metrics.REGISTRY).decode()

    for sample in (
        'fraud_events_total{outcome="late"}',
        'fraud_flags_emitted_total{level="block"}',
        'fraud_redis_errors_total{use="wrong_type"}',
        'fraud_registry_requests_total{outcome="failed"}',
        'fraud_degraded_events_total{dependency="redis"}',
    ):
        assert f"\n{sample} " in text
