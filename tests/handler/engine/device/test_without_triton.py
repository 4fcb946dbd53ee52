"""Reading of pages without triton, which the image does not contain."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Runs in another process, because a module stays imported.
PROGRAM = """
import importlib.abc
import json
import sys
from pathlib import Path


class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("triton", "triton_kernels"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Block())

import torch

torch.set_num_threads(1)

import handler.engine.process.process
from handler.engine.selection.choice import choose_engine
from handler.engine.device.model import load_model
from handler.engine.request import EngineRequest
from handler.weights.source import MINI, Source, fetch
from handler.profiles import PROFILES
from handler.prompts import load_prompts
from handler.schema import Page
from handler.settings import EngineSettings

settings = EngineSettings(kv_cache_tokens=2048)
weights = fetch(Source("mini", str(MINI)), settings, Path("unused"))
engine = choose_engine(load_model(weights, "cpu"), settings, "mini").engine
prompt = load_prompts(PROFILES["mini"])["ocr_layout"]
page = Page(1, 256, 256, 256, 256, bytes([255]) * (256 * 256 * 3))
engine.submit(EngineRequest("a/1", "a", page, prompt, 4))
ended = []
while engine.has_work:
    ended += engine.step(lambda: None)
print(json.dumps([[page.num_output_tokens, page.error is None] for page in ended]))
assert "triton" not in sys.modules
"""


@pytest.mark.slow
def test_page_is_read_without_triton():
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120
    )

    assert finished.returncode == 0, finished.stderr
    [line] = finished.stdout.splitlines()
    assert line.endswith("true]]")
