"""Pages in, text out. Knows nothing of HTTP."""

from handler.engine.engine import Engine, EngineInfo
from handler.engine.process.process import Health
from handler.engine.process.processes import EngineProcesses
from handler.engine.request import FinishReason, Generation, Sequence

__all__ = [
    "Engine",
    "EngineInfo",
    "EngineProcesses",
    "FinishReason",
    "Generation",
    "Health",
    "Sequence",
]
