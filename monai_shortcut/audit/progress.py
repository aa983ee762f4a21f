# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What a terminal shows of an audit: how far it has come, and where its time goes."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType

from tqdm import tqdm


def terminal_width() -> int | None:
    """Characters of a line of the terminal that is printed to; None where it is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


class Progress:
    """A bar over all attributes and analyses, and the seconds that each analysis took.

    Args:
        show: whether to show the bar; by default on a terminal.

    Attributes:
        seconds: by analysis, summed over attributes; attributes may be analysed side by side.
    """

    def __init__(self, show: bool | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._hidden = None if show is None else not show
        self._lock = Lock()
        self._bar: tqdm[None] | None = None

    def expect(self, steps: int) -> None:
        """Announce a number of further steps."""
        with self._lock:
            if self._bar is None:
                self._bar = tqdm(total=steps, disable=self._hidden, unit="step", leave=False, desc="audit")
            else:
                self._bar.total += steps
                self._bar.refresh()

    @contextmanager
    def step(self, analysis: str, attribute: str = "") -> Iterator[None]:
        """Time a step of the audit, and show it."""
        if self._bar is not None and not self._bar.disable:
            self._bar.set_postfix_str(f"{attribute}: {analysis}" if attribute else analysis)
        begun = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - begun
            with self._lock:
                self.seconds[analysis] = self.seconds.get(analysis, 0.0) + took
                if self._bar is not None:
                    self._bar.update()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __str__(self) -> str:
        """Seconds by analysis, longest first."""
        spent = sorted(self.seconds.items(), key=lambda item: -item[1])
        return ", ".join(f"{analysis} {seconds:.1f} s" for analysis, seconds in spent)
