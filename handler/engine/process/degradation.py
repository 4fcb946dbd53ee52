"""Settings of an engine process's next start, after earlier processes have died.

If a process dies during a check of its self-test, the next one starts without the
optimisation that was checked. Processes that died after they were ready lose CUDA
graphs after three deaths within an hour, and the attention operator after a fourth,
because the self-test cannot try every step that pages lead to. A page that kills its
engine does so twice and then fails; the second of these deaths does not count.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from handler.engine.engine import EngineInfo
from handler.engine.fallbacks import Check, Fallback, settings_after_death
from handler.settings import EngineSettings

__all__ = ["Degradation"]

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 3600.0
"""Deaths longer ago than this do not count. The time between two deaths of a full batch
may be ten minutes, because its pages are read again one at a time."""
_DEATHS_WITH_GRAPHS = 3
_DEATHS_WITH_OPERATOR = 4


class Degradation:
    """Settings of accelerator `index`, and the optimisations that deaths removed.

    On a CPU no optimisation is given up, because neither CUDA graphs nor the attention
    operator is used there.
    """

    def __init__(
        self, settings: EngineSettings, index: int, clock: Callable[[], float]
    ) -> None:
        self.settings = settings
        """Settings of the next start."""
        self.fallbacks: tuple[Fallback, ...] = ()
        self._index = index
        self._clock = clock
        self._deaths: list[float] = []

    def record_check_death(self, check: Check, cause: str) -> bool:
        """Give up the optimisation that was checked when a process died.

        `cause` describes how the process ended, for the log. Returns False if no
        optimisation is left to give up.
        """
        chosen = settings_after_death(check, self.settings)
        if chosen is None:
            return False
        self._give_up(*chosen, "self-test failed", check=check, how=cause)
        return True

    def record_death(self, info: EngineInfo | None, cause: str) -> None:
        """Count the death of a process that was ready.

        `info` describes the engine that ran in it, and `cause` how it ended. Removes an
        optimisation from the settings after too many deaths.
        """
        if info is None or not (info.cuda_graphs or info.attention == "flash"):
            return
        now = self._clock()
        self._deaths = [at for at in self._deaths if now - at <= WINDOW_SECONDS]
        self._deaths.append(now)
        num_deaths = len(self._deaths)
        if info.cuda_graphs:
            if num_deaths >= _DEATHS_WITH_GRAPHS:
                self._give_up(
                    replace(self.settings, cuda_graphs=False),
                    Fallback.CUDA_GRAPHS_CRASHED,
                    "repeated crashes",
                    deaths=num_deaths,
                    how=cause,
                )
        elif num_deaths >= _DEATHS_WITH_OPERATOR:
            self._give_up(
                replace(self.settings, attention="torch"),
                Fallback.ATTENTION_CRASHED,
                "repeated crashes",
                deaths=num_deaths,
                how=cause,
            )

    def _give_up(
        self,
        settings: EngineSettings,
        fallback: Fallback,
        message: str,
        **facts: object,
    ) -> None:
        """Change the settings of the next start, and log the fallback as an error."""
        self.settings = settings
        self.fallbacks = (*self.fallbacks, fallback)
        logger.error(
            message, extra={"engine": self._index, "fallback": fallback, **facts}
        )
