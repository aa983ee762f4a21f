# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A reader study of the images that an evaluator has just seen, with what its model gives the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.utils import convert_to_tensor
from torch import nn

from monai_shortcut.audit.assembly import probabilities
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.cohort_handler import CohortHandler, CohortReading
from monai_shortcut.handlers.reading_items import ReadingItems, item_names
from monai_shortcut.handlers.tasks import ClinicalTask
from monai_shortcut.heads.embeddings import embed
from monai_shortcut.reader_study import READ, Display, StudyKey, prepare
from monai_shortcut.reader_study.preparation import Scorer
from monai_shortcut.regions.strategies import check_settings
from monai_shortcut.report.files import label_folders
from monai_shortcut.report.reading_page import write_reading_page
from monai_shortcut.types import Unmeasurable

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ReaderExport(CohortHandler):
    """Writes a page for readers, and its key, at the end of an evaluation.

    Cases are drawn by the model's probabilities and read once more from the dataset, whose transforms must not be
    random. The network then sees the very pictures that readers will see, so that both can be compared. The
    page is in ``for_readers``, the key in ``for_organisers``; `monai_shortcut.workflows.analyse_readers` reads the
    answers. ``keys`` holds the keys, by label.

    Args:
        network: the classifier that the evaluator runs.
        cohort: the images' table, as in `CohortHandler`.
        output_dir: folder of the study; of several labels, each has one in it.
        roi_key: entry of the dataset's items that holds the region of interest.
        strategies: masking strategies that readers see.
        positive: of more than two classes, the one that readers tell from all others; of two, the second.
        display: how images are masked and shown.
        dataset: where readers' images come from; by default the evaluator's dataset. Give another one where the network
            sees colours that nobody can read: the same items without the last transforms, and these as after_masking.
        after_masking: transform of one masked image before the network sees it, as in `ShortcutAudit`.
        percentiles, per_percentile, longest, levels, question, seed: as in `monai_shortcut.reader_study.prepare`.
        title: heading of the page; readers see it.
        **reading: as in `CohortHandler`.

    Raises:
        ValueError: If a strategy or class does not exist, an image is not in the dataset, or as in `CohortHandler` and
            `monai_shortcut.reader_study.prepare`.
        Unmeasurable: If no label has enough patients of both classes; of several labels, the others are left out.
        PermissionError: As in `CohortHandler`.
    """

    def __init__(
        self,
        network: nn.Module,
        cohort: Cohort | str | Path,
        output_dir: str | Path,
        *,
        roi_key: str = "roi",
        strategies: Sequence[str] = READ,
        positive: str | None = None,
        display: Display | None = None,
        dataset: Any = None,
        after_masking: Callable[[Any], Any] | None = None,
        percentiles: int | Sequence[float] = 3,
        per_percentile: int = 1,
        longest: int | None = None,
        levels: int = 5,
        title: str = "Reader study",
        question: str = "",
        seed: int | None = None,
        **reading: Unpack[CohortReading],
    ) -> None:
        super().__init__(network, cohort, output_dir=output_dir, **reading)
        for name in strategies:
            check_settings(name)
        self.roi_key, self.strategies, self.positive = roi_key, tuple(strategies), positive
        self.display, self.after_masking, self.title = display or Display(), after_masking, title
        self.drawing = {
            "percentiles": percentiles,
            "per_percentile": per_percentile,
            "longest": longest,
            "levels": levels,
            "seed": seed,
        }
        self.question, self.dataset = question, dataset
        self.keys: dict[str, StudyKey] = {}

    def _clear(self) -> None:
        super()._clear()
        self.keys = {}

    def _finish(self, engine: Engine, tasks: Sequence[ClinicalTask]) -> dict[str, float]:
        assert self.output_dir is not None
        dataset = engine.state.dataloader.dataset if self.dataset is None else self.dataset
        names = item_names(dataset, self.image_key, self.id_key)
        folders = label_folders(task.name for task in tasks) if self.labels else {"": "."}
        for task in tasks:
            try:
                self._export(task, dataset, names, self.output_dir / folders[task.name])
            except Unmeasurable as problem:
                self.problems[task.name] = str(problem)
                print(f"{task.titled('no reader study')}: {problem}", flush=True)
        if not self.keys:
            raise Unmeasurable(f"a reader study must have cases of both classes, got none: {self.problems}.")
        return {}

    def _export(self, task: ClinicalTask, dataset: Any, names: Sequence[str], folder: Path) -> None:
        matcher, cohort = self._matchers[task.name], task.cohort
        places = {image: place for place, name in enumerate(names) if (image := matcher.find(name)) is not None}
        if absent := [image for image in cohort.image_ids if image not in places]:
            raise ValueError(f"the dataset must hold every image of the run, got no {absent[0]}.")
        items = ReadingItems(dataset, [places[image] for image in cohort.image_ids], self.image_key, self.roi_key)
        positive = self._positive(cohort)
        others = [name for name in cohort.label_names if name != cohort.label_names[positive]]
        given = probabilities(task.embeddings, task.weight, task.bias)[:, positive]
        study = prepare(
            items,
            cohort.labels == positive,
            cohort.patients.tolist(),
            given,
            image_ids=cohort.image_ids,
            strategies=self.strategies,
            display=self.display,
            scorer=self._scorer(task, positive),
            answers=(" or ".join(others), cohort.label_names[positive]),
            title=task.titled(self.title),
            question=self.question or (f"Is it there: {task.name}?" if task.name else ""),
            **self.drawing,  # type: ignore[arg-type]  # of the types that `__init__` takes
        )
        self.keys[task.name] = study.key
        page = write_reading_page(study, folder)
        print(
            f"page for readers: {page}; its key, which they must not see, is in {folder / 'for_organisers'}", flush=True
        )

    def _positive(self, cohort: Cohort) -> int:
        names = cohort.label_names
        if self.positive is None and len(names) > 2:
            raise ValueError(
                f"positive must name one of {', '.join(names)}, which readers tell from the others, got None."
            )
        wanted = names[1] if self.positive is None else self.positive
        if wanted not in names:
            raise ValueError(f"positive must be one of {', '.join(names)}, got {wanted!r}.")
        return names.index(wanted)

    def _scorer(self, task: ClinicalTask, positive: int) -> Scorer:
        """What the network gives a picture: the probability of the positive class."""
        parameter = next(self.network.parameters())

        def score(image: int, strategy: str, masked: torch.Tensor) -> float | None:
            seen = masked
            if self.after_masking is not None:
                seen = convert_to_tensor(self.after_masking(masked), track_meta=False)
            pixels = seen[None].to(device=parameter.device, dtype=parameter.dtype)
            points, _ = embed(self.network, pixels, self._head().layer, reads=self._reads, output=self.output)
            given = probabilities(points.double().cpu().numpy(), task.weight, task.bias)[0, positive]
            return float(given) if np.isfinite(given) else None

        return score
