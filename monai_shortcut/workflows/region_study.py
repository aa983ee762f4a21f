# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Which region does a classifier need? Its bundle trained on every masking strategy, and tested on every one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from monai_shortcut.analyses.embedding_maps import METHODS
from monai_shortcut.attribution import AttributionSettings
from monai_shortcut.cohort.columns import FINDING_LEVELS
from monai_shortcut.cohort.levels import Levels, attribute_levels
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.explaining import checked_settings
from monai_shortcut.reader_study.record import Studies, studies_by_label
from monai_shortcut.region_study import ModelAttribution, RegionStudyRecord, metadata_scores, study_record
from monai_shortcut.region_study.embeddings import ModelEmbeddings, study_maps, study_moves
from monai_shortcut.region_study.fits import PARTS, TRAINING, VALIDATION
from monai_shortcut.region_study.record import IDENTITY
from monai_shortcut.regions.strategies import STRATEGIES, check_settings
from monai_shortcut.report.region_page import write_region_report
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.statistics.two_samples import patients_within
from monai_shortcut.storage.folders import owned, writable
from monai_shortcut.storage.privacy import Privacy
from monai_shortcut.storage.tables import read_csv
from monai_shortcut.versions import today, versions
from monai_shortcut.workflows.cell import Cell, Evaluation, Item, finished, require_controls, run_cell
from monai_shortcut.workflows.cell_attribution import Look, Looks
from monai_shortcut.workflows.cell_embeddings import read_embeddings
from monai_shortcut.workflows.configuration import PLACES, merged

_EMBEDDED = 1000  # images of a fold whose embeddings are kept


@dataclass(frozen=True)
class Split:
    """Who trains, who chooses the checkpoint and who is tested in one fold."""

    fold: int
    train: Cohort
    validation: Cohort
    test: Cohort


class RegionStudy:
    """Trains a bundle once per masking strategy and fold, tests each model under every strategy, and reads the result.

    The bundle's own training configuration is run, with its keys ``strategy``, ``margin``, ``seed``, ``ckpt_path``,
    ``output_dir``, ``train#dataset#data`` and ``validate#dataset#data`` changed for each cell. Its preprocessing must
    hold a `MaskROId` that reads ``@strategy`` and ``@margin``, before any step that computes from the pixels, such as
    ``ScaleIntensityd``. After training, the weights that the bundle saved at ``ckpt_path``, or else for the best
    validation, are taken, else the last ones. Nothing of the bundle's own files is changed.

    A study can be stopped at any moment and run again: finished cells are kept, unfinished ones done anew, with equal
    results. Cells run through joblib: ``n_jobs`` of them at once, or wherever ``parallel`` says, for example
    ``{"backend": "dask", "scheduler_host": "tcp://host:8786"}``; all workers must see the same folders.

    Args:
        config_file: the bundle's training configuration; one or more files.
        cohort: the images with regions. Without ``test``, its patients are split into ``folds`` parts, each of which is
            the test set once.
        output_dir: folder of the cells, the record and the report.
        overrides: settings of the training configuration by id, such as ``{"max_epochs": 5}``.
        strategies: masking strategies to train on and to test under; "full" among them.
        folds: number K of folds.
        test: images that are the test set of every fold, of other patients than ``cohort``; each fold of the cohort
            then chooses the checkpoint once, and trains otherwise.
        validation_folds: without ``test``: one part in this many of the patients who are not tested chooses the
            checkpoint.
        margins: margins of the curves, in the unit of the bundle's `MaskROId`; 0 is added. None are drawn if empty.
        margin_strategies: strategies whose region grows along the curves, for their own models and those of "full"; by
            default "without_roi" and "roi_only", where they are among the strategies.
        external: cohorts of other places by name, tested by every model; they need regions if a strategy does.
        external_strategies: what they are tested under.
        findings: findings of a multi-label cohort, the columns that the model tells apart; by default its label.
        attributes: columns of the metadata-only baseline; by default all of the cohort.
        baseline: "logistic" or "gradient_boosting".
        seed: seed of folds and trainings.
        n_jobs: cells at once; None leaves it to ``parallel``.
        threads: number of threads of torch in each cell.
        parallel: arguments of ``joblib.parallel_config``.
        level: level of the intervals.
        title: what is studied.
        embeddings: whether to keep what the models' heads read of a thousand test images of each fold, drawn by
            patient: of models trained on full images under every strategy, of others on full images and their own.
        embedding_maps: maps of the embeddings: "pca", and "tsne" and "umap", which take tens of seconds.
        attribution: whether to ask where each model trained on full images looks in its test images: true, or
            `AttributionSettings`, whose number of images is for each model and label.
        readers: the record of a reader study of these images, or the path of its JSON, for the page; of several
            findings, one by finding.
        privacy: what record and page may hold of images, as in `AuditSettings`: ids, paths, pixels.

    Raises:
        ValueError: If a setting is not as described, the cohort has no regions, patients are tested and trained on, or
            a step of the preprocessing erases what a strategy shows.
        PermissionError: If the folder cannot be written to.
        FolderInUseError: If another process writes there.

    References:
        Sourget et al. (2025), Mask of truth, arXiv 2412.04030.
    """

    def __init__(
        self,
        config_file: str | Path | Sequence[str | Path],
        cohort: Cohort,
        output_dir: str | Path,
        *,
        overrides: Mapping[str, Any] | None = None,
        strategies: Sequence[str] = STRATEGIES,
        folds: int = 5,
        test: Cohort | None = None,
        validation_folds: int = 5,
        margins: Sequence[float] = (),
        margin_strategies: Sequence[str] | None = None,
        external: Mapping[str, Cohort] | None = None,
        external_strategies: Sequence[str] = ("full",),
        findings: Sequence[str] | None = None,
        attributes: Sequence[str] | None = None,
        baseline: str = "logistic",
        seed: int = 0,
        n_jobs: int | None = 1,
        threads: int = 1,
        parallel: Mapping[str, Any] | None = None,
        level: float = 0.95,
        title: str = "Which region does the model need?",
        embeddings: bool = True,
        embedding_maps: Sequence[str] = ("pca",),
        attribution: bool | str | AttributionSettings = False,
        readers: Studies = None,
        privacy: Privacy | Mapping[str, Any] | None = None,
    ) -> None:
        self.privacy = Privacy.of(privacy or {})
        self.config = merged(config_file, overrides or {})
        files = [config_file] if isinstance(config_file, str | Path) else config_file
        self._files = tuple(Path(file).name for file in files)
        self.cohort, self.test, self.external = cohort, test, dict(external or {})
        self.strategies = tuple(strategies)
        usual = [name for name in ("without_roi", "roi_only") if name in self.strategies]
        self.margin_strategies = tuple(usual if margin_strategies is None else margin_strategies)
        self.external_strategies = tuple(external_strategies)
        self.margins = tuple(sorted({0.0, *map(float, margins)})) if margins else ()
        self.folds, self.validation_folds, self.seed, self.threads = folds, validation_folds, seed, threads
        self.findings = None if findings is None else tuple(findings)
        self.attributes = tuple(cohort.attributes if attributes is None else attributes)
        self.attributes = tuple(name for name in self.attributes if name not in (self.findings or ()))
        self.baseline, self.n_jobs, self.parallel = baseline, n_jobs, parallel
        self.level, self.title, self.output_dir = level, title, Path(output_dir)
        self.embeddings, self.embedding_maps = embeddings, tuple(embedding_maps)
        self.attribution, self.readers = checked_settings(attribution), studies_by_label(readers)
        self._check()
        writable(self.output_dir)
        self.splits = tuple(self._splits())
        self.outcomes = pd.concat([part.outcomes(self.findings) for part in self._cohorts()])

    def _check(self) -> None:
        for name in (*self.strategies, *self.margin_strategies, *self.external_strategies):
            check_settings(strategy=name)
        if "full" not in self.strategies or len(set(self.strategies)) < len(self.strategies):
            raise ValueError(f'strategies must hold "full" and each once, got {", ".join(self.strategies)}.')
        unknown_maps = [name for name in self.embedding_maps if name not in METHODS]
        if unknown_maps:
            raise ValueError(f"embedding_maps must be among {', '.join(METHODS)}, got {', '.join(unknown_maps)}.")
        odd = [name for name in self.margin_strategies if name not in self.strategies]
        if self.margins and odd:
            raise ValueError(f"margin_strategies must be among the strategies, got {', '.join(odd)}.")
        if "roi" not in self.cohort.table or self.cohort.table["roi"].isna().any():
            raise ValueError(
                "every image of the cohort must have a region of interest; see monai_shortcut.datasets.usable."
            )
        unknown = [name for name in self.attributes if name not in self.cohort.attributes]
        if unknown:
            raise ValueError(f"attributes must be among {list(self.cohort.attributes)}, got {unknown}.")
        names = [name for name in self.external if not name.replace("-", "").replace("_", "").isalnum()]
        if names:
            raise ValueError(f"names of external cohorts must be letters, digits, - and _, got {names}.")
        own = sorted(set(self.external) & set(PARTS))
        if own:
            raise ValueError(f"names of external cohorts must not be those of the study's own parts, got {own}.")
        taken = set(self.cohort.image_ids) | set(() if self.test is None else self.test.image_ids)
        for name, other in self.external.items():
            if other.label_names != self.cohort.label_names or taken & set(other.image_ids):
                shared_ids = len(taken & set(other.image_ids))
                raise ValueError(
                    f"an external cohort must have the labels {', '.join(self.cohort.label_names)} and other images, "
                    f"got {name} with {', '.join(other.label_names)} and {shared_ids} shared ids."
                )
            taken |= set(other.image_ids)
        shared = set(() if self.test is None else self.test.patients) & set(self.cohort.patients)
        if shared:
            raise ValueError(f"patients of test must not be in cohort, got {', '.join(sorted(shared)[:5])}.")

    def _cohorts(self) -> list[Cohort]:
        return [self.cohort, *([] if self.test is None else [self.test]), *self.external.values()]

    def _splits(self) -> Iterator[Split]:
        numbered = self.cohort.with_folds(self.folds, self.seed)
        for fold in range(self.folds):
            left_out = numbered.in_folds(fold)
            rest = numbered.in_folds(*(other for other in range(self.folds) if other != fold))
            if self.test is not None:
                yield Split(fold, rest, left_out, self.test)
                continue
            inner = rest.with_folds(self.validation_folds, self.seed)
            yield Split(fold, inner.in_folds(*range(1, self.validation_folds)), inner.in_folds(0), left_out)

    def cells(self) -> list[Cell]:
        """Everything there is to do, one entry per training."""
        external = {name: self._items(other) for name, other in self.external.items()}
        found = []
        for split in self.splits:
            train, validation = self._items(split.train), self._items(split.validation)
            tested = {"": self._items(split.test), TRAINING: train, VALIDATION: validation, **external}
            parts = {"train": train, "validation": validation, "test": tested, "embedded": self._embedded(split)}
            found += [self._cell(strategy, split.fold, parts) for strategy in self.strategies]
        return found

    def _cell(self, trained_on: str, fold: int, parts: Mapping[str, Any]) -> Cell:
        evaluations = [Evaluation("", strategy) for strategy in self.strategies]
        evaluations += [Evaluation(part, trained_on) for part in PARTS]
        evaluations += [Evaluation(name, strategy) for name in self.external for strategy in self.external_strategies]
        for strategy in self.margin_strategies:
            if trained_on in ("full", strategy):
                evaluations += [Evaluation("", strategy, margin) for margin in self.margins if margin != 0]
        return Cell(
            trained_on=trained_on,
            fold=fold,
            config=self.config,
            folder=str(self.output_dir / "cells" / f"{trained_on}_fold{fold}"),
            seed=int(np.random.SeedSequence([self.seed, fold]).generate_state(1)[0]),
            **parts,
            evaluations=evaluations,
            labels=tuple(self.outcomes.columns),
            exclusive=self.findings is None,
            threads=self.threads,
            looks=self._looks(self.splits[fold]) if trained_on == "full" else None,
        )

    def _looks(self, split: Split) -> Looks | None:
        """What is asked about where the model of a fold looks; None if nobody asked."""
        if self.attribution is None:
            return None
        # Of a fixed test set, each fold's model explains images of its own.
        names = split.test.image_ids if self.test is None else split.test.image_ids[split.fold :: self.folds]
        tested = split.test.select(names)
        draws = Resampling(confidence=self.level, seed=self.seed)
        if self.findings is None:
            label = self._look(tested, "", None, tested.label_names, tested.labels)
            return Looks(self.attribution, draws, (label,))
        outcomes = tested.outcomes(self.findings).fillna(-1)
        columns = enumerate(outcomes.columns)
        found = (self._look(tested, name, (at,), FINDING_LEVELS, outcomes[name].to_numpy()) for at, name in columns)
        return Looks(self.attribution, draws, tuple(found))

    def _look(
        self, tested: Cohort, label: str, outputs: tuple[int, ...] | None, names: Sequence[str], codes: Any
    ) -> Look:
        rows = np.flatnonzero(np.asarray(codes) >= 0)
        images, patients = (
            tuple(map(str, np.asarray(of, dtype=object)[rows])) for of in (tested.image_ids, tested.patients)
        )
        places = self._table.index.get_indexer(pd.Index(images, dtype=object))
        levels = {name: (tuple(one.codes[places].tolist()), one.names) for name, one in self._levels.items()}
        return Look(label, outputs, tuple(names), images, tuple(int(codes[row]) for row in rows), patients, levels)

    def _embedded(self, split: Split) -> frozenset[str]:
        """Test images whose embeddings are kept."""
        if not self.embeddings:
            return frozenset()
        codes = np.unique(split.test.patients, return_inverse=True)[1].astype(np.int64)
        rows = patients_within(codes, _EMBEDDED, np.random.default_rng([self.seed, split.fold]))
        return frozenset(np.array(split.test.image_ids, dtype=object)[rows].tolist())

    def _items(self, cohort: Cohort) -> list[Item]:
        with_roi = "roi" in cohort.table
        if with_roi and "swapped_roi" in self.strategies:
            cohort = cohort.with_swapped_roi(self.seed)
        return cohort.datalist(roi=with_roi, findings=self.findings)

    def run(self) -> RegionStudyRecord:
        """Do what is not done yet, then write the record, the tables, the figures and the page.

        Returns:
            The record, also in ``region_study.json``.

        Raises:
            ValueError: If a cell of the folder was made with another configuration, or its weights were changed.
            FolderInUseError: If another process writes to the folder.
        """
        with owned(self.output_dir):
            return self._run()

    def _run(self) -> RegionStudyRecord:
        cells = self.cells()
        for cell in cells:  # refuse before hours of training, not after
            if not finished(Path(cell.folder), cell.configuration()) and cell.fold == 0:
                require_controls(cell)
        context = joblib.parallel_config(**self.parallel) if self.parallel else nullcontext()
        with context:
            jobs = (joblib.delayed(run_cell)(cell) for cell in cells)
            done = joblib.Parallel(n_jobs=self.n_jobs, return_as="generator_unordered")(jobs)
            began = time.perf_counter()
            for count, seconds in enumerate(done, 1):
                left = _left(time.perf_counter() - began, count, len(cells))
                print(f"{count} of {len(cells)} cells done, the last in {seconds:.0f} s{left}", flush=True)
        print("all cells done; measuring, drawing and writing the report", flush=True)
        record = self._record(cells)
        page = write_region_report(record, self.output_dir)
        print(f"\n{self.title}\n")
        for reading in record.readings:
            print(f"{reading.label}:", *(f"- {sentence}" for sentence in reading.sentences), sep="\n")
        print(f"\nreport: {page} (beside it region_study.json, CSV tables and figures)\n", flush=True)
        return record

    def _record(self, cells: Sequence[Cell]) -> RegionStudyRecord:
        """The statistics of what the cells left on disk."""
        frames, fitted, curves, excluded = [], [], {}, dict(self.cohort.excluded)
        trained: dict[int, list[str]] = {}
        for cell in cells:
            folder = Path(cell.folder)
            kept = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
            curves[cell.trained_on, cell.fold] = kept["curve"]
            if cell.trained_on == "full":
                trained[cell.fold] = kept["trained"]
            excluded |= {f"{name}, trained on {cell.trained_on}": why for name, why in kept["excluded"].items()}
            for evaluation in cell.evaluations:
                if evaluation.cohort in PARTS:
                    if cell.path(evaluation).is_file():
                        fitted.append(_scores(cell, evaluation).rename(columns={"cohort": "part"}))
                    continue
                frames.append(_scores(cell, evaluation))
                left_out = cell.path(evaluation).with_suffix(".json")
                if left_out.is_file():
                    reasons = json.loads(left_out.read_text(encoding="utf-8"))
                    excluded |= {f"{name}, tested on {evaluation.words}": why for name, why in reasons.items()}
        scores, patients = pd.concat(frames, ignore_index=True), self._patients()
        record = study_record(
            scores,
            self.outcomes,
            patients,
            metadata=self._baseline(trained, patients),
            fitted=pd.concat(fitted, ignore_index=True) if fitted else None,
            title=self.title,
            level=self.level,
            learning_curves=curves,
            excluded=excluded,
            settings=self._settings(),
            software=versions(),
        )
        record = replace(record, attribution=self._attributions(cells), readers=self.readers, privacy=self.privacy)
        return self._with_embeddings(record, cells, patients)

    def _attributions(self, cells: Sequence[Cell]) -> tuple[ModelAttribution, ...]:
        """Where the models trained on full images look; images are shown of the first fold's model."""
        found = []
        for cell in cells:
            for label, looked in (cell.looks.answers(Path(cell.folder)) if cell.looks else {}).items():
                shown = looked if cell.fold == 0 else replace(looked, panels=(), masked=())
                found.append(ModelAttribution(label, cell.fold, shown))
        return tuple(found)

    def _with_embeddings(
        self, record: RegionStudyRecord, cells: Sequence[Cell], patients: pd.Series[Any]
    ) -> RegionStudyRecord:
        """The record with how embeddings move, of the models whose head was found."""
        models: list[ModelEmbeddings] = []
        problems: dict[str, str] = {}
        for cell in cells if self.embeddings else ():
            files = [(one.strategy, cell.embeddings(one)) for one in cell.evaluations]
            points = {name: read_embeddings(file) for name, file in files if file is not None}
            why = next((found for found in points.values() if isinstance(found, str)), "")
            if why:
                problems[f"trained on {cell.trained_on}, fold {cell.fold}"] = why
                continue
            frames = {name: found for name, found in points.items() if isinstance(found, pd.DataFrame)}
            models.append(ModelEmbeddings(cell.trained_on, cell.fold, frames))
        draws = Resampling(confidence=self.level, seed=self.seed)
        moves = study_moves(models, self.outcomes, patients, draws)
        shown = next((model for model in models if model.trained_on == "full"), None)
        if shown is None or not self.embedding_maps:
            return replace(record, moves=moves, not_moved=problems)
        maps = study_maps(shown, self.outcomes, patients, self._colours(), methods=self.embedding_maps, seed=self.seed)
        return replace(record, moves=moves, maps=maps, not_moved=problems)

    def _colours(self) -> pd.DataFrame:
        """Level of each of the study's images by attribute, "" where missing."""
        found = {name: np.array([*one.names, ""], dtype=object)[one.codes] for name, one in self._levels.items()}
        return pd.DataFrame(found, index=self._table.index)

    @cached_property
    def _table(self) -> pd.DataFrame:
        """Patient and attributes of each of the study's images."""
        parts = [self.cohort] + ([] if self.test is None else [self.test])
        return pd.concat([part.table.reindex(columns=["patient_id", *self.attributes]) for part in parts])

    @cached_property
    def _levels(self) -> dict[str, Levels]:
        """Levels of the attributes that have some, for the rows of the table."""
        patients, found = self._table["patient_id"].to_numpy(), {}
        for name in self.attributes:
            values, kind = self._table[name].to_numpy(), self.cohort.kinds[name]
            levels = attribute_levels(values, patients, minimum_patients=1, kind=kind)
            if not levels.problem:
                found[name] = levels
        return found

    def _patients(self) -> pd.Series[Any]:
        # Patients of another place are others, whatever their names.
        named = [("", self.cohort), ("", self.test), *self.external.items()]
        parts = [
            pd.Series([f"{name}/{patient}" for patient in cohort.patients], cohort.image_ids)
            for name, cohort in named
            if cohort is not None
        ]
        return pd.concat(parts)

    def _baseline(self, trained: Mapping[int, Sequence[str]], patients: pd.Series[Any]) -> pd.DataFrame | None:
        if not self.attributes:
            return None
        parts = [self.cohort] + ([] if self.test is None else [self.test])
        attributes = pd.concat([part.table.reindex(columns=list(self.attributes)) for part in parts])
        tested = {split.fold: split.test.image_ids for split in self.splits}
        frames = [
            metadata_scores(
                attributes,
                self.outcomes,
                patients,
                trained[fold],
                tested[fold],
                fold=fold,
                model=self.baseline,
                seed=self.seed,
            )
            for fold in tested
        ]
        return pd.concat(frames, ignore_index=True)

    def _settings(self) -> dict[str, str]:
        names = ("folds", "validation_folds", "seed", "threads", "baseline", "level")
        known = {name: str(getattr(self, name)) for name in names}
        known |= {"attributes of the baseline": ", ".join(self.attributes) or "none"}
        network = self.config.get("network_def")
        target = str(network.get("_target_", "")) if isinstance(network, Mapping) else ""
        values = (target.rpartition(".")[2], ", ".join(self._files), self.cohort.source, today())
        known |= {name: value for name, value in zip(IDENTITY, values, strict=True) if value}
        if self.margins:
            known |= {"margins": ", ".join(f"{margin:g}" for margin in self.margins)}
        chosen = {name: value for name, value in self.config.items() if self.privacy.paths or name not in PLACES}
        plain = {name: value for name, value in chosen.items() if isinstance(value, str | int | float | bool)}
        return known | {name: str(value) for name, value in plain.items() if not str(value).startswith(("$", "@"))}


def _scores(cell: Cell, evaluation: Evaluation) -> pd.DataFrame:
    """Scores of one evaluation in long form."""
    frame = read_csv(cell.path(evaluation), text=["image_id"]).reset_index(drop=True)
    return frame.astype(dict.fromkeys(cell.labels, np.float64)).assign(
        trained_on=cell.trained_on,
        fold=cell.fold,
        evaluated_on=evaluation.strategy,
        margin=evaluation.margin,
        cohort=evaluation.cohort,
    )


def _left(seconds: float, done: int, cells: int) -> str:
    """How long the other cells may take, if they take as long as those that are done; "" for less than a minute.

    Example:
        >>> _left(600, 1, 45), _left(30, 1, 2)
        ('; about 7 h 20 min left', '')
    """
    minutes = round(seconds / done * (cells - done) / 60)
    hours = f"{minutes // 60} h " if minutes >= 60 else ""
    return f"; about {hours}{minutes % 60} min left" if minutes else ""
