# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Neither the order of the rows nor names move a number of the audit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from audit_cases import QUICK, simulated
from threadpoolctl import threadpool_limits

from monai_shortcut.analyses.embedding_moves import MaskedEmbeddings
from monai_shortcut.audit import Audit, audit
from monai_shortcut.audit.epochs import audit_epoch
from monai_shortcut.storage.records import encode


def cohort(copies: bool = True) -> dict[str, Any]:
    """The simulated cohort with all that an audit can be given; ages are missing for some, and some images come twice.

    The copies are of one embedding and label each, and differ in their attributes.
    """
    given, rng = simulated(), np.random.default_rng(3)
    given["attributes"]["age"] = np.where(rng.random(120) < 0.1, np.nan, rng.normal(60, 9, size=120).round(1))
    for copy, image in ((3, 5), (40, 100)) if copies else ():
        given["embeddings"][copy], given["labels"][copy] = given["embeddings"][image], given["labels"][image]
    given["regions"] = {"roi_only": rng.dirichlet([2, 2], size=120)}
    given["counterfactuals"] = {"used": rng.dirichlet([2, 2], size=120)}
    given["folds"] = np.arange(120) // 30
    given["masked"] = MaskedEmbeddings.of({"roi_only": rng.normal(size=(60, 16))}, np.arange(60) * 2)
    given["image_ids"] = [f"image {number}" for number in range(120)]
    return given


def shuffled(given: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """The same rows in another order, of patients and images with other names."""
    rows = rng.permutation(120)
    names = dict(zip(sorted(set(given["patients"])), rng.permutation(1000).astype(str), strict=False))
    masked, place = given["masked"], np.argsort(rows)
    return given | {
        "embeddings": given["embeddings"][rows],
        "labels": given["labels"][rows],
        "patients": [names[given["patients"][row]] for row in rows],
        "image_ids": [f"x{number}" for number in rng.permutation(120)],
        "attributes": {name: np.asarray(values)[rows] for name, values in given["attributes"].items()},
        "folds": given["folds"][rows],
        "masked": MaskedEmbeddings.of(masked.points, place[masked.rows]),
        **{key: {name: values[rows] for name, values in given[key].items()} for key in ("regions", "counterfactuals")},
    }


def numbers(record: Audit) -> Any:
    """A record without the names of its images."""
    plain = [
        replace(finding, giveaways=tuple(replace(shown, image_id="") for shown in finding.giveaways))
        for finding in record.findings
    ]
    named = {"linked": (), "answers": None} if hasattr(record, "answers") else {"linked": ()}
    return encode(replace(record, findings=tuple(plain), **named))


def leaves(value: Any) -> list[Any]:
    """All numbers and texts of plain values, in order."""
    if isinstance(value, dict | list):
        return [leaf for item in (value.values() if isinstance(value, dict) else value) for leaf in leaves(item)]
    return [value]


@pytest.fixture(scope="module")
def whole() -> Audit:
    return audit(**cohort())


def test_shuffled_rows_and_new_names_give_the_same_record(whole, rng):
    """To the last bit, with one thread of BLAS."""
    assert numbers(audit(**shuffled(cohort(), rng))) == numbers(whole)


def test_embeddings_off_by_their_rounding_give_the_same_draws(rng):
    """As of another size of batch: p-values count draws."""
    given = cohort(copies=False)
    exact = audit(**given)
    found = audit(
        **shuffled(given | {"embeddings": given["embeddings"] * (1 + 1e-12 * rng.normal(size=(120, 16)))}, rng)
    )
    assert [one.verdict for one in found.findings] == [one.verdict for one in exact.findings]
    for now, before in zip(found.findings, exact.findings, strict=True):
        assert now.evidence.encoding_p_value == before.evidence.encoding_p_value
        assert now.evidence.differences_p_value == pytest.approx(before.evidence.differences_p_value, rel=1e-9)


def test_other_seeds_do_move_the_numbers(whole):
    """The draws are not the same whatever happens."""
    other = audit(**cohort() | {"settings": replace(QUICK, seed=1)})
    assert numbers(other)["findings"] != numbers(whole)["findings"]


def test_threads_of_blas_move_numbers_by_rounding_alone(whole):
    with threadpool_limits(2, user_api="blas"):
        found = audit(**cohort())
    for now, before in zip(leaves(numbers(found)), leaves(numbers(whole)), strict=True):
        if isinstance(before, float):
            assert now == pytest.approx(before, rel=1e-6, abs=1e-9)
        else:
            assert now == before


def test_new_names_do_not_move_an_epoch(rng):
    given = simulated()
    names = dict(zip(sorted(set(given["patients"])), rng.permutation(1000).astype(str), strict=False))
    renamed = given | {"patients": [names[name] for name in given["patients"]]}
    assert audit_epoch(1, **renamed) == audit_epoch(1, **given)
