"""Log events about the confinement and the fonts of the pools at their start."""

from __future__ import annotations

import logging

from handler.processes.pool import Pool
from handler.sandbox import landlock, seccomp
from handler.worker.pools import log_confinement, log_missing_fonts


def test_confinement_of_a_process_is_logged(caplog):
    caplog.set_level(logging.INFO, "handler.worker.pools")
    pool = Pool(1, memory_bytes=2**31)

    log_confinement("decoders", pool)

    pool.close()
    [line] = caplog.records
    fields = vars(line)
    assert line.message == "confined"
    assert (fields["of"], fields["memory_bytes"]) == ("decoders", 2**31)
    assert fields["landlock"] == landlock.supported_version()
    assert fields["seccomp"] == seccomp.is_supported()


def test_unknown_confinement_does_not_stop_the_start(caplog):
    pool = Pool(1)
    pool.close()

    log_confinement("decoders", pool)

    assert [line.message for line in caplog.records] == ["confinement unknown"]


def test_a_measure_that_the_kernel_lacks_is_a_warning(caplog):
    pool = Pool(1, modules=["tests.handler.sandbox.without_measures"])

    log_confinement("writers", pool)

    pool.close()
    [line] = caplog.records
    assert (line.levelname, vars(line)["seccomp"]) == ("WARNING", False)


def find_two_missing_scripts() -> list[str]:
    return ["Thai", "Korean"]


def find_no_missing_script() -> list[str]:
    return []


def test_scripts_without_a_font_are_a_warning(caplog):
    pool = Pool(1, modules=[__name__])

    log_missing_fonts(pool, find_two_missing_scripts)

    pool.close()
    [line] = caplog.records
    assert (line.levelname, line.message) == ("WARNING", "fonts missing")
    assert vars(line)["scripts"] == ["Thai", "Korean"]
    assert "apt-get install" in vars(line)["reason"]


def test_a_machine_with_all_fonts_logs_nothing(caplog):
    pool = Pool(1, modules=[__name__])

    log_missing_fonts(pool, find_no_missing_script)

    pool.close()
    assert caplog.records == []
