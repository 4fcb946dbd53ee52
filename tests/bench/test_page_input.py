"""Benchmark of page input, which times both processors."""

from __future__ import annotations

from bench.page_input import time_examination, time_page_input
from tests.documents import as_png, text_page


def test_each_step_is_timed_once_per_repetition():
    times = time_page_input(as_png(text_page(size=(256, 320))), 2)

    assert set(times) == {"decode", "patches", "ours", "reference"}
    assert all(len(values) == 2 and min(values) > 0 for values in times.values())


def test_the_examination_of_an_upright_page_is_timed():
    times = time_examination(as_png(text_page(size=(256, 320))), 3)

    assert len(times) == 3
    assert min(times) > 0
