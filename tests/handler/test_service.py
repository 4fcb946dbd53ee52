"""Requirements of TorchServe on the module and the class that it loads."""

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


def test_service_module_has_no_function_named_handle():
    assert not hasattr(service, "handle")


def test_handler_has_the_methods_of_torchserve_handlers():
    methods = ("initialize", "preprocess", "inference", "postprocess", "handle")

    assert all(method in vars(ChandraHandler) for method in methods)
