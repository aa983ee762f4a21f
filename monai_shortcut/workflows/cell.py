# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""One cell of a region study: a bundle trained on one strategy and fold, and its scores under every strategy."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from monai.bundle import ConfigParser
from monai.data import decollate_batch
from monai.engines.utils import IterationEvents
from monai.utils import set_determinism
from torch import nn

from monai_shortcut.heads.embeddings import first_output
from monai_shortcut.region_study.fits import TRAINING
from monai_shortcut.regions.strategies import RegionError
from monai_shortcut.storage.files import file_digest, replacing
from monai_shortcut.storage.folders import owned
from monai_shortcut.storage.tables import write_csv
from monai_shortcut.workflows.cell_attribution import Looks
from monai_shortcut.workflows.cell_embeddings import TestReader
from monai_shortcut.workflows.configuration import cell_parser, digest_of, first_difference, with_contents
from monai_shortcut.workflows.containment import redirected, saved_best
from monai_shortcut.workflows.preparation import require_shown

Item = dict[str, Any]
Result = TypeVar("Result")
_ENDED = "cell.json"
_SWAPPED = "swapped_roi"
_WEIGHTS = ("last.pt", "model.pt")
_SAVED, _BEST = "saved", "best.pt"  # what the bundle saves while it trains, and its best weights among it
_ROUNDING = 1e-3  # by which probabilities of half precision do not sum to 1
_PATIENCE = 600.0  # seconds to wait for a worker whose study was killed, and which ends the cell


@dataclass(frozen=True)
class Evaluation:
    """What a trained model is tested on.

    Attributes:
        cohort: name of an external cohort, "training" or "validation" for the images that the model was made with, or
            "" for the study's own test images.
        strategy: masking strategy.
        margin: margin of the region, in the study's unit.
    """

    cohort: str
    strategy: str
    margin: float = 0.0

    @property
    def words(self) -> str:
        """The evaluation, to be read."""
        margin = f" with margin {self.margin:g}" if self.margin else ""
        return f"{self.strategy}{margin}{f' in {self.cohort}' if self.cohort else ''}"


@dataclass(frozen=True)
class Cell:
    """Everything a worker needs to train one model and test it; plain values that any back end can send.

    Attributes:
        trained_on: masking strategy of the training images.
        fold: index of the patients that are left out.
        config: the bundle's training configuration, merged and not yet parsed.
        folder: folder of the results.
        seed: seed of the training.
        train: items to train on.
        validation: items that choose the checkpoint.
        test: items to test on, by name of the cohort; "" is the study's own. On "training" the weights of the last
            epoch are tested, which show what the training could fit, on all others the chosen ones.
        evaluations: what to test on, in order.
        labels: names of the columns of scores.
        exclusive: whether an image has one of the labels only, so that the network's outputs belong together.
        threads: number of threads of torch; results are equal for equal numbers only.
        embedded: names of test images whose embeddings are kept.
        looks: what is asked about where the model looks; None if nothing is.
    """

    trained_on: str
    fold: int
    config: Mapping[str, Any]
    folder: str
    seed: int
    train: Sequence[Item]
    validation: Sequence[Item]
    test: Mapping[str, Sequence[Item]]
    evaluations: Sequence[Evaluation]
    labels: Sequence[str]
    exclusive: bool = False
    threads: int = 1
    embedded: frozenset[str] = frozenset()
    looks: Looks | None = None

    @property
    def name(self) -> str:
        """Of the cell's folder."""
        return f"{self.trained_on}_fold{self.fold}"

    def path(self, evaluation: Evaluation) -> Path:
        """Of the file of its scores; that of an external cohort changes with its images."""
        parts = [evaluation.strategy, f"{evaluation.margin:g}"]
        if evaluation.cohort:
            images = [[item["image_id"], item["label"]] for item in self.test[evaluation.cohort]]
            parts = [f"{evaluation.cohort}-{digest_of(images)[:8]}", *parts]
        return Path(self.folder, "_".join(parts) + ".csv")

    def embeddings(self, evaluation: Evaluation) -> Path | None:
        """The file of what the head reads, None where it is not kept.

        It is of the study's own images: those that the model was trained on full images for, under every strategy, and
        those of any model on full images and on its own strategy.
        """
        own = self.trained_on == "full" or evaluation.strategy in ("full", self.trained_on)
        if not self.embedded or evaluation.cohort or evaluation.margin or not own:
            return None
        return self.path(evaluation).with_suffix(".npz")

    def lacks(self, evaluation: Evaluation, digests: Mapping[str, str] | None = None) -> bool:
        """Whether an evaluation is still to be done.

        Args:
            evaluation: what to test on.
            digests: of the files of the cell, by name: others are none of it. Cells of former versions have none.
        """
        files = [file for file in (self.path(evaluation), self.embeddings(evaluation)) if file is not None]
        if not all(file.is_file() for file in files):
            return True
        return digests is not None and any(digests.get(file.name) != file_digest(file) for file in files)

    def weights(self, evaluation: Evaluation) -> Path:
        """Of the file of the weights that are tested; cells of former versions have none of the last epoch."""
        return Path(self.folder, "last.pt" if evaluation.cohort == TRAINING else "model.pt")

    def configuration(self) -> dict[str, Any]:
        """What decides the results: the configuration without paths, the seed, and who is in which part.

        External cohorts are no part of it: adding one leaves trained models as they are.
        """
        parts = {"train": self.train, "validation": self.validation, "test": self.test[""]}
        rows = {part: [[item["image_id"], item["label"]] for item in items] for part, items in parts.items()}
        return {
            "config": with_contents(self.config),
            "trained_on": self.trained_on,
            "fold": self.fold,
            "seed": self.seed,
            "threads": self.threads,
            "images": rows,
        }


@dataclass
class _Curve:
    """Loss and validation metric of each epoch."""

    losses: list[float] = field(default_factory=list)
    epochs: list[tuple[int, float, float]] = field(default_factory=list)

    def attach(self, trainer: Engine, validator: Engine) -> None:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._loss)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._epoch, validator)

    def _loss(self, engine: Engine) -> None:
        output = engine.state.output
        self.losses.append(float((output[0] if isinstance(output, list) else output)["loss"]))

    def _epoch(self, engine: Engine, validator: Engine) -> None:
        name = getattr(validator.state, "key_metric_name", None)
        metric = float(validator.state.metrics.get(name, float("nan"))) if name else float("nan")
        loss = float(np.mean(self.losses)) if self.losses else float("nan")
        self.epochs.append((engine.state.epoch, loss, metric))
        self.losses.clear()


def run_cell(cell: Cell) -> float:
    """Train the model of a cell unless that is done, test it where that is not done, and keep the results.

    The folder then holds ``model.pt``, ``last.pt`` (the weights of the last epoch), ``cell.json`` (digest,
    configuration, learning curve, who trained, who could not be masked, digests of the other files) and a CSV file of
    scores per evaluation. Every file appears at once or not at all, so a worker may be killed at any moment. One worker
    at a time has the folder.

    Args:
        cell: what to do.

    Returns:
        Seconds that it took; 0 if nothing was left to do.

    Raises:
        ValueError: If the folder holds a cell of another configuration, or weights of another training.
        FolderInUseError: If another process has the folder for long.
    """
    with owned(cell.folder, wait=_PATIENCE) as folder:
        begun, configuration = time.monotonic(), cell.configuration()
        done = finished(folder, configuration)
        missing = list(cell.evaluations)
        if done:
            digests = _kept(folder).get("files")
            missing = [one for one in missing if cell.lacks(one, digests) and cell.weights(one).is_file()]
            if not missing and not _asks(cell):
                return 0.0
        torch.set_num_threads(cell.threads)
        # Many cells at once would write their progress over each other.
        with _output_to(folder / "log.txt"):
            if not done:
                _train(cell, folder, configuration)
            for evaluation in missing:
                _test(cell, evaluation)
            if _asks(cell):
                _explain(cell)
        return time.monotonic() - begun


def finished(folder: Path, configuration: Mapping[str, Any]) -> bool:
    """Whether a folder holds a trained cell of this configuration.

    Raises:
        ValueError: If it holds one of another configuration, or weights of another training.
    """
    if not (folder / _ENDED).is_file():
        return False
    kept = _kept(folder)
    if kept["digest"] != digest_of(configuration):
        where = first_difference(kept["configuration"], configuration)
        raise ValueError(
            f"the cells of a folder must have one configuration, got {folder} with another ({where}): "
            "choose another output folder, or remove this one to train anew."
        )
    digests = kept.get("files", {})
    for name in _WEIGHTS:
        if name in digests and (folder / name).is_file() and file_digest(folder / name) != digests[name]:
            raise ValueError(
                f"the weights of a cell must be those that it was trained to, got others in {folder / name}: "
                "put the file back, or remove the folder to train anew."
            )
    return True


def _kept(folder: Path) -> dict[str, Any]:
    """What the record of a trained cell says."""
    return dict(json.loads((folder / _ENDED).read_text(encoding="utf-8")))


def _keep(folder: Path, record: Mapping[str, Any], files: Iterable[Path]) -> None:
    """Write the record of a trained cell, with the digests of further files."""
    digests = {**record.get("files", {}), **{file.name: file_digest(file) for file in files}}
    with replacing(folder / _ENDED) as part:
        part.write_text(json.dumps({**record, "files": digests}, default=str), encoding="utf-8")


def _train(cell: Cell, folder: Path, configuration: Mapping[str, Any]) -> None:
    for stale in [path for end in ("csv", "json", "npz", "part", "pt") for path in folder.glob(f"*.{end}")]:
        stale.unlink()
    saved, started = folder / _SAVED, time.monotonic()

    def attempt(excluded: Mapping[str, str]) -> tuple[_Curve, dict[str, Any], dict[str, Any]]:
        shutil.rmtree(saved, ignore_errors=True)
        saved.mkdir()
        set_determinism(cell.seed)
        parser = cell_parser(
            cell.config,
            {"seed": cell.seed, "strategy": cell.trained_on, "margin": 0.0, "ckpt_path": str(saved / _BEST)}
            | {"output_dir": str(folder)},
            {"train#dataset#data": _for(cell.train, cell.trained_on, excluded)}
            | {"validate#dataset#data": _for(cell.validation, cell.trained_on, excluded)},
            saved,
        )
        if "initialize" in parser:
            parser.get_parsed_content("initialize")
        trainer, curve = parser.get_parsed_content("train#trainer"), _Curve()
        validator, network = (parser.get_parsed_content(name) for name in ("validate#evaluator", "network"))
        redirected(trainer, saved)
        savers = redirected(validator, saved)
        curve.attach(trainer, validator)
        trainer.run()
        if not curve.epochs or not trainer.state.iteration:
            raise ValueError(
                f"there must be images for at least one batch of training, got {len(cell.train)} images: "
                "choose a smaller batch_size or fewer folds."
            )
        last = {name: value.cpu() for name, value in network.state_dict().items()}
        return curve, last, _best(saved, savers, network) or last

    (curve, last, weights), excluded = _usable_only(
        attempt, cell, [*cell.train, *cell.validation], Evaluation("", cell.trained_on)
    )
    shutil.rmtree(saved, ignore_errors=True)
    for name, values in zip(_WEIGHTS, (last, weights), strict=True):
        with replacing(folder / name) as part:
            torch.save(values, part)
    record = {
        "digest": digest_of(configuration),
        "configuration": configuration,
        "curve": curve.epochs,
        "trained": [item["image_id"] for item in cell.train if item["image_id"] not in excluded],
        "excluded": dict(excluded),
        "seconds": round(time.monotonic() - started, 1),
        "software": {"torch": torch.__version__},
    }
    _keep(folder, record, [folder / name for name in _WEIGHTS])


def _best(saved: Path, savers: Sequence[Checkpoint], network: nn.Module) -> dict[str, Any] | None:
    """The weights that the bundle's saver kept: at the path that it was given, else by the validator's score."""
    found = {path: saver for saver in savers if (path := saved_best(saver)) is not None}
    path = saved / _BEST if (saved / _BEST).is_file() else next(iter(found), None)
    if path is None:
        return None
    kept: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    names = [name for saver in savers for name, value in saver.to_save.items() if value is network]
    return next((kept[name] for name in (*names, "model") if name in kept), kept)


def require_controls(cell: Cell) -> None:
    """Refuse a preparation that erases what the masking strategy of a cell shows, as `require_shown`."""
    evaluation = Evaluation("", cell.trained_on)
    prepare = _evaluation(cell, evaluation, []).get_parsed_content("validate#preprocessing")
    require_shown(prepare, _for(cell.train, cell.trained_on, {}), cell.trained_on)


def _test(cell: Cell, evaluation: Evaluation) -> None:
    path, items, embeddings = cell.path(evaluation), cell.test[evaluation.cohort], cell.embeddings(evaluation)
    weights = torch.load(cell.weights(evaluation), map_location="cpu", weights_only=True)

    def attempt(excluded: Mapping[str, str]) -> tuple[dict[str, list[float]], TestReader]:
        set_determinism(cell.seed)
        parser = _evaluation(cell, evaluation, _for(items, evaluation.strategy, excluded))
        network = parser.get_parsed_content("network")
        network.load_state_dict(weights)
        evaluator, reader = parser.get_parsed_content("validate#evaluator"), TestReader(network)
        scores: dict[str, list[float]] = {}
        returned: list[torch.Tensor] = []

        def forward(engine: Engine) -> None:  # what follows may turn it into a class, which has no order
            returned[:] = [first_output(engine.state.output["pred"])]

        def record(engine: Engine) -> None:
            batch = engine.state.batch
            batch = batch if isinstance(batch, list) else decollate_batch(batch)
            for item, values in zip(batch, *returned, strict=True):
                scores[str(item["image_id"])] = scores_of(values, len(cell.labels), exclusive=cell.exclusive)

        if embeddings is not None:
            reader.attach(evaluator)
        evaluator.add_event_handler(IterationEvents.FORWARD_COMPLETED, forward)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, record)
        evaluator.run()
        return scores, reader

    (scores, reader), excluded = _usable_only(attempt, cell, items, evaluation)
    frame = pd.DataFrame(list(scores.values()), pd.Index(list(scores), name="image_id"), list(cell.labels))
    left_out = path.with_suffix(".json")
    left_out.unlink(missing_ok=True)
    if excluded:
        with replacing(left_out) as part:
            part.write_text(json.dumps(excluded), encoding="utf-8")
    if embeddings is not None:
        reader.save(embeddings, cell.embedded)
    with replacing(path) as part:
        write_csv(frame, part, index=True, float_format="%.9g")
    record = _kept(path.parent)
    if "files" in record:  # cells of former versions have none, and stay so
        _keep(path.parent, record, [path, *([] if embeddings is None else [embeddings])])


def _asks(cell: Cell) -> bool:
    """Whether where the model looks is still to be found, and can be."""
    folder, whole = Path(cell.folder), Evaluation("", "full")
    return cell.looks is not None and not cell.looks.answered(folder) and cell.weights(whole).is_file()


def _explain(cell: Cell) -> None:
    assert cell.looks is not None
    set_determinism(cell.seed)
    whole = Evaluation("", "full")
    parser = _evaluation(cell, whole, [])
    network = parser.get_parsed_content("network")
    network.load_state_dict(torch.load(cell.weights(whole), map_location="cpu", weights_only=True))
    items = {str(item["image_id"]): item for item in _for(cell.test[""], whole.strategy, {})}
    cell.looks.ask(Path(cell.folder), network, parser.get_parsed_content("validate#preprocessing"), items)


def _evaluation(cell: Cell, evaluation: Evaluation, items: Sequence[Item]) -> ConfigParser:
    """The bundle's validation on other images, without the handlers that go with training."""
    settings = {"seed": cell.seed, "strategy": evaluation.strategy, "margin": evaluation.margin}
    return cell_parser(
        cell.config,
        settings | {"output_dir": cell.folder, "validate#evaluator#val_handlers": []},
        {"validate#dataset#data": items},
        Path(cell.folder, _SAVED),
    )


def _usable_only(
    attempt: Callable[[Mapping[str, str]], Result], cell: Cell, items: Sequence[Item], evaluation: Evaluation
) -> tuple[Result, Mapping[str, str]]:
    """Try with all images; if a region cannot be used, find all such images, and try once more without them."""
    try:
        return attempt({}), {}
    except Exception as error:
        if not _about_a_region(error):
            raise
    prepare = _evaluation(cell, evaluation, []).get_parsed_content("validate#preprocessing")
    excluded = {}
    for item in _for(items, evaluation.strategy, {}):
        try:
            prepare(dict(item))
        except Exception as error:
            if not _about_a_region(error):
                raise
            excluded[str(item["image_id"])] = _reason(error)
    return attempt(excluded), excluded


def _for(items: Sequence[Item], strategy: str, excluded: Mapping[str, str]) -> list[Item]:
    """Items without the excluded images, and without another patient's region where that is not asked for."""
    chosen = [item for item in items if item["image_id"] not in excluded]
    if strategy == _SWAPPED:
        return chosen
    return [{key: value for key, value in item.items() if key != _SWAPPED} for item in chosen]


def _causes(error: BaseException | None) -> list[BaseException]:
    return [] if error is None else [error, *_causes(error.__cause__ or error.__context__)]


def _about_a_region(error: BaseException) -> bool:
    """MONAI wraps errors of transforms, and workers send them as text."""
    return any(isinstance(cause, RegionError) or RegionError.__name__ in str(cause) for cause in _causes(error))


def _reason(error: BaseException) -> str:
    return next((str(cause) for cause in _causes(error) if isinstance(cause, RegionError)), str(error).splitlines()[-1])


def scores_of(output: torch.Tensor, columns: int, *, exclusive: bool = False) -> list[float]:
    """One score per label from what a network returns for one image.

    Args:
        output: as many values as labels, of any shape; or two, of two classes with one label.
        columns: number of labels.
        exclusive: whether an image has one of the labels only. Logits then become probabilities, since the logit of a
            class has no order between images.

    Returns:
        The values; of two classes, how far the second is ahead.

    Raises:
        ValueError: If there are more or fewer values.
    """
    values = torch.as_tensor(output).double().flatten()
    together = len(values) > 1 and (exclusive or len(values) > columns)
    if together and not (bool((values >= 0).all()) and abs(float(values.sum()) - 1) < _ROUNDING):
        values = values.softmax(dim=0)
    if columns == 1 and len(values) == 2:
        return [float(values[1] - values[0])]
    if len(values) != columns:
        raise ValueError(f"the network must return {columns} values per image, got {len(values)}.")
    return [float(value) for value in values]


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Write to a file what is printed and logged."""
    with path.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        # Not by setStream, which flushes the old stream: that of a handler made long ago may be closed.
        streams = {handler: handler.stream for handler in _stream_handlers()}
        for handler in streams:
            handler.stream = log
        try:
            yield
        finally:
            # Loggers made meanwhile write to the file that is about to be closed.
            for handler in _stream_handlers():
                if handler.stream is log:
                    handler.stream = streams.get(handler, sys.__stdout__)


def _stream_handlers() -> list[logging.StreamHandler[Any]]:
    """Handlers of all loggers that write to a stream; MONAI's keep the standard output of when they were made."""
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    found = [handler for logger in loggers if isinstance(logger, logging.Logger) for handler in logger.handlers]
    return [handler for handler in found if type(handler) is logging.StreamHandler]
