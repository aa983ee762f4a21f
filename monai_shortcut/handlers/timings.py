# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Where the time of an evaluation goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timings:
    """Seconds by part.

    Attributes:
        seconds: by name of the part. "audit/encoding" is a part of "audit"; what runs several times adds up.

    Example:
        >>> timings = Timings()
        >>> with timings.of("audit"):
        ...     timings.seconds["audit/encoding"] = 1.5
        >>> timings.seconds["audit"] += 2
        >>> print(timings)
        audit 2.0 s (encoding 1.5 s)
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Measure a part, also if it raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began

    def __str__(self) -> str:
        return ", ".join(self._line(part) for part in self.seconds if "/" not in part)

    def _line(self, part: str) -> str:
        inner = [self._line(name) for name in self.seconds if name.rpartition("/")[0] == part]
        own = f"{part.rpartition('/')[2]} {self.seconds[part]:.1f} s"
        return f"{own} ({', '.join(inner)})" if inner else own
