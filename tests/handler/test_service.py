"""What TorchServe finds when it loads the handler."""

from __future__ import annotations

import inspect

from ts.torch_handler.base_handler import BaseHandler

from handler import service
from handler.service import ChandraHandler


def test_torchserve_finds_exactly_one_class_to_load():
    """TorchServe refuses an entry module that defines two classes, or none."""
    defined_here = [
        cls
        for _, cls in inspect.getmembers(service, inspect.isclass)
        if cls.__module__ == service.__name__
    ]

    assert defined_here == [ChandraHandler]
    assert issubclass(ChandraHandler, BaseHandler)


def test_no_function_of_the_module_is_taken_for_the_entry_point():
    assert not hasattr(service, "handle")


def test_the_stages_have_the_names_readers_expect():
    stages = ("initialize", "preprocess", "inference", "postprocess", "handle")

    assert all(stage in vars(ChandraHandler) for stage in stages)
