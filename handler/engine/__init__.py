"""The engine: a page and its prompt go in, text comes out. Independent of HTTP."""

from handler.engine.engine import Engine, EngineInfo
from handler.engine.process.process import Health
from handler.engine.process.processes import EngineProcesses
from handler.engine.request import EngineOutput, EngineRequest, FinishReason

__all__ = [
    "Engine",
    "EngineInfo",
    "EngineOutput",
    "EngineProcesses",
    "EngineRequest",
    "FinishReason",
    "Health",
]
