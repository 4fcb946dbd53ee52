"""Entry point that TorchServe loads, and its start-up checks."""

from __future__ import annotations

import inspect
import logging

from ts.torch_handler.base_handler import BaseHandler

from handler import service
from handler.processes.pool import Pool
from handler.sandbox import landlock, seccomp
from handler.service import ChandraHandler, log_confinement, log_missing_fonts


def test_torchserve_finds_exactly_one_class_to_load():
    """TorchServe refuses an entry module that defines two classes, or none."""
    defined_here = [
        cls
        for _, cls in inspect.getmembers(service, inspect.isclass)
        if cls.__module__ == service.__name__
    ]

    assert defined_here == [ChandraHandler]
    assert issubclass(ChandraHandler, BaseHandler)


def test_service_module_has_no_function_named_handle():
    assert not hasattr(service, "handle")


def test_the_stages_have_the_names_readers_expect():
    stages = ("initialize", "preprocess", "inference", "postprocess", "handle")

    assert all(stage in vars(ChandraHandler) for stage in stages)


def test_confinement_of_a_process_is_logged(caplog):
    caplog.set_level(logging.INFO, "handler.service")
    pool = Pool(1, memory_bytes=2**31)

    log_confinement("decoders", pool)

    pool.close()
    [line] = caplog.records
    held = vars(line)
    assert line.message == "confined"
    assert (held["of"], held["memory_bytes"]) == ("decoders", 2**31)
    assert held["landlock"] == landlock.supported_version()
    assert held["seccomp"] == seccomp.is_supported()


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


def no_fonts() -> list[str]:
    return ["Thai", "Korean"]


def all_fonts() -> list[str]:
    return []


def test_scripts_without_a_font_are_a_warning(caplog):
    pool = Pool(1, modules=[__name__])

    log_missing_fonts(pool, no_fonts)

    pool.close()
    [line] = caplog.records
    assert (line.levelname, line.message) == ("WARNING", "fonts missing")
    assert vars(line)["scripts"] == ["Thai", "Korean"]
    assert "apt-get install" in vars(line)["reason"]


def test_a_machine_with_all_fonts_logs_nothing(caplog):
    pool = Pool(1, modules=[__name__])

    log_missing_fonts(pool, all_fonts)

    pool.close()
    assert caplog.records == []
