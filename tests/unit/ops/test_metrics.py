"""Metrics: buckets, and the text for Prometheus as Prometheus's own parser reads it."""

from __future__ import annotations

import re

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain

from gateway.ops.histogram import SECONDS, Histogram, RecentMax
from gateway.ops.metrics import TABLE, Kind, Metrics


def example(row):
    if row.kind is Kind.HISTOGRAM:
        histogram = Histogram()
        histogram.observe(0.002)
        histogram.observe(3600)
        return histogram
    return {"one": 1, "two": 2} if row.label else 7


def read(values, accept="", parse=plain):
    answer = Metrics(lambda: values).answer(accept)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse(answer.body.decode())
        for sample in family.samples
    }


def test_every_row_can_be_shown():
    values = {row.name: example(row) for row in TABLE}
    for parse, accept in ((plain, ""), (open_metrics, "application/openmetrics-text")):
        samples = read(values, accept, parse)
        for row in TABLE:
            if row.kind is Kind.HISTOGRAM:
                assert samples[f"{row.name}_bucket", "0.001"] == 0
                assert samples[f"{row.name}_bucket", "0.0025"] == 1
                assert samples[f"{row.name}_bucket", "+Inf"] == 2
                assert samples[f"{row.name}_count",] == 2
                assert samples[f"{row.name}_sum",] == 3600.002
            elif row.label:
                assert samples[row.name, "two"] == 2
            else:
                assert samples[row.name,] == 7


def test_what_has_no_value_is_left_out():
    assert not [name for name, *_ in read({}) if name.startswith("gateway_")]


def test_a_name_that_the_table_lacks_is_a_mistake():
    with pytest.raises(AssertionError, match="gateway_typo"):
        read({"gateway_typo": 1})


def test_the_process_is_shown_too():
    assert read({})["process_resident_memory_bytes",] > 1e6


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_names_are_as_prometheus_wants_them(row):
    """https://prometheus.io/docs/practices/naming/: base units, ``_total`` for counters."""
    assert re.fullmatch(r"gateway_[a-z_]+", row.name)
    assert row.name.endswith("_total") == (row.kind is Kind.COUNTER)
    assert not re.search(r"_(ms|milliseconds|kb|minutes)\b", row.name)
    assert row.kind is not Kind.HISTOGRAM or row.name.endswith(("_seconds", "_events"))


def test_a_value_on_a_bound_is_within_it():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.total == 7.5


def test_bounds_grow():
    assert sorted(SECONDS) == list(SECONDS)


def test_a_maximum_is_forgotten_after_a_minute():
    highest = RecentMax()
    assert highest.value(0) == 0
    highest.observe(5, 1000)
    highest.observe(3, 1030)
    highest.observe(2, 1031)
    assert highest.value(1050) == 5
    assert highest.value(1070) == 3
    assert highest.value(1100) == 0


def test_a_maximum_of_many_values_stays_small():
    highest = RecentMax()
    for now in range(10_000):
        highest.observe(now, now)
    assert highest.value(9_999) == 9_999
    assert len(highest._highest) < 10
