# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The arguments that handlers share, as configs give them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from monai.bundle import ConfigParser
from torch import nn

from monai_shortcut.audit import AuditSettings
from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers import (
    EmbeddingRecorder,
    MetadataProbe,
    ShortcutAudit,
    TrainingAudit,
    WeightSpaceCorrelation,
)

READING = {"embedding": "logit_map", "layer": "0", "output": "logits", "image_key": "scan", "id_key": "uid"}
COHORT = {"attributes": ["age"], "settings": AuditSettings(seed=7)}
OF_COHORT = (MetadataProbe, WeightSpaceCorrelation, ShortcutAudit, TrainingAudit)


@pytest.fixture
def cohort() -> Cohort:
    rows = {"image_id": ["a", "b"], "patient_id": [1, 2], "label": [0, 1], "age": ["old", "young"], "sex": ["F", "M"]}
    return Cohort.from_table(pd.DataFrame(rows))


def made(kind: type, cohort: Cohort, folder: Any, **arguments: Any) -> Any:
    needed = {} if kind is EmbeddingRecorder else {"cohort": cohort, "output_dir": folder}
    config = {"_target_": f"monai_shortcut.handlers.{kind.__name__}", "network": nn.Linear(2, 2), **needed, **arguments}
    return ConfigParser({"handler": config}).get_parsed_content("handler")


@pytest.mark.parametrize("kind", [EmbeddingRecorder, *OF_COHORT])
def test_every_handler_takes_what_is_read_of_network_and_batch(kind, cohort, tmp_path):
    handler = made(kind, cohort, tmp_path, **READING)
    assert {name: getattr(handler, name) for name in READING} == READING
    plain = made(kind, cohort, tmp_path)
    assert [getattr(plain, name) for name in READING] == ["pooled", None, None, "image", "image_id"]


@pytest.mark.parametrize("kind", OF_COHORT)
def test_every_handler_of_a_cohort_takes_what_is_studied(kind, cohort, tmp_path):
    handler = made(kind, cohort, tmp_path, **COHORT)
    assert (handler.attributes, handler.settings, handler.labels) == (("age",), COHORT["settings"], None)
    assert made(kind, cohort, tmp_path, settings=None).attributes == ("age", "sex")
    with pytest.raises(RuntimeError, match="ailed to instantiate") as found:
        made(kind, cohort, tmp_path, labels=["nodule"])
    assert "attribute must be one of the cohort's (age, sex), got 'nodule'" in str(found.value.__cause__)


@pytest.mark.parametrize("kind", [EmbeddingRecorder, *OF_COHORT])
def test_an_unknown_keyword_is_refused_as_by_python(kind, cohort, tmp_path):
    needed = [] if kind is EmbeddingRecorder else [cohort]
    folder = {} if kind is EmbeddingRecorder else {"output_dir": tmp_path}
    with pytest.raises(TypeError, match=r"got an unexpected keyword argument 'image_keys'"):
        kind(nn.Linear(2, 2), *needed, **folder, image_keys="scan")


def test_a_training_without_settings_has_cheaper_ones(cohort, tmp_path):
    assert made(TrainingAudit, cohort, tmp_path).settings.permutations < AuditSettings().permutations
