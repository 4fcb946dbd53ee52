"""Settings of an engine process's next start, after earlier ones have died.

A process that dies during a check of its self-test loses what was checked. One that
was ready loses CUDA graphs after three deaths within an hour, and the attention
operator after a fourth: the self-test cannot try every step that pages lead to. A page
that kills its engine does so twice and then fails; the second death does not count.
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
"""Deaths longer ago than this do not count. Between two deaths of a full batch, all of
its pages are read again one at a time, which may take ten minutes."""
_DEATHS_WITH_GRAPHS = 3
_DEATHS_WITH_OPERATOR = 4


class Degradation:
    """The settings of accelerator `index`, and what deaths have taken from them.

    On a processor nothing is given up: it has neither CUDA graphs nor the operator.
    """

    def __init__(
        self, settings: EngineSettings, index: int, clock: Callable[[], float]
    ) -> None:
        self.settings = settings
        """Those of the next start."""
        self.fallbacks: tuple[Fallback, ...] = ()
        self._index = index
        self._clock = clock
        self._deaths: list[float] = []

    def note_check_death(self, check: Check, words: str) -> bool:
        """Give up what was checked when a process died, as `words` say.

        Returns False if there is nothing left to give up.
        """
        chosen = settings_after_death(check, self.settings)
        if chosen is None:
            return False
        self._give_up(*chosen, "self-test failed", check=check, how=words)
        return True

    def note_death(self, info: EngineInfo | None, words: str) -> None:
        """Count the death of a process that was ready, and that ran as `info` says."""
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
                    how=words,
                )
        elif num_deaths >= _DEATHS_WITH_OPERATOR:
            self._give_up(
                replace(self.settings, attention="torch"),
                Fallback.ATTENTION_CRASHED,
                "repeated crashes",
                deaths=num_deaths,
                how=words,
            )

    def _give_up(
        self,
        settings: EngineSettings,
        fallback: Fallback,
        message: str,
        **facts: object,
    ) -> None:
        self.settings = settings
        self.fallbacks = (*self.fallbacks, fallback)
        logger.error(
            message, extra={"engine": self._index, "fallback": fallback, **facts}
        )
