# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from monai_shortcut.region_study import metadata_scores

MODELS = ("logistic", "gradient_boosting")


@pytest.fixture
def tables(rng):
    """Attributes that tell the outcome a little, outcomes, patients, and ids of two halves."""
    count = 600
    ids = pd.Index([f"i{row}" for row in range(count)], name="image_id")
    patients = pd.Series([f"p{row // 2}" for row in range(count)], ids)
    ill = rng.integers(2, size=count).astype(float)
    age = 50 + 8 * ill + 10 * rng.normal(size=count)
    age[rng.random(count) < 0.2] = np.nan
    sites = np.where(rng.random(count) < 0.2 + 0.4 * ill, "north", rng.choice(["south", "west"], count))
    site = pd.Series([None if rng.random() < 0.1 else name for name in sites], ids, dtype=object)
    attributes = pd.DataFrame({"age": pd.Series(age, ids), "site": site})
    return attributes, pd.DataFrame({"ill": ill}, ids), patients, list(ids[:300]), list(ids[300:])


@pytest.mark.parametrize("model", MODELS)
def test_attributes_that_tell_the_outcome_are_found_in_new_patients_and_shuffled_ones_are_not(tables, rng, model):
    attributes, outcomes, patients, train, test = tables
    found = metadata_scores(attributes, outcomes, patients, train, test, fold=3, model=model)
    assert found["image_id"].tolist() == test
    assert set(found["fold"]) == {3}
    assert roc_auc_score(outcomes.loc[test, "ill"], found["ill"]) > 0.65
    shuffled = attributes.iloc[rng.permutation(len(attributes))].set_index(attributes.index)
    none = metadata_scores(shuffled, outcomes, patients, train, test, model=model)["ill"]
    assert 0.4 < roc_auc_score(outcomes.loc[test, "ill"], none) < 0.6


def test_the_logistic_model_is_that_of_columns_made_by_hand(tables):
    attributes, outcomes, patients, train, test = tables
    age, site = attributes["age"], attributes["site"]
    median = age[train].median()
    columns = pd.DataFrame({"age": age.fillna(median), "unknown": age.isna().astype(float)})
    columns = (columns - columns.loc[train].mean()) / columns.loc[train].std(ddof=0)
    for level in ("north", "south", "west"):
        columns[level] = (site == level).astype(float)
    columns["missing"] = site.isna().astype(float)
    fitted = LogisticRegression(max_iter=1000).fit(columns.loc[train], outcomes.loc[train, "ill"])
    expected = fitted.predict_proba(columns.loc[test])[:, 1]
    found = metadata_scores(attributes, outcomes, patients, train, test)["ill"]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_trees_are_those_of_codes_made_by_hand(tables):
    attributes, outcomes, patients, train, test = tables
    codes = attributes["site"].map({"north": 0.0, "south": 1.0, "west": 2.0}).fillna(3.0)
    columns = np.column_stack([codes, attributes["age"]])
    rows = dict(zip(attributes.index, columns, strict=True))
    trees = HistGradientBoostingClassifier(categorical_features=[0], random_state=0)
    trees.fit(np.stack([rows[name] for name in train]), outcomes.loc[train, "ill"])
    expected = trees.predict_proba(np.stack([rows[name] for name in test]))[:, 1]
    found = metadata_scores(attributes, outcomes, patients, train, test, model="gradient_boosting")["ill"]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_levels_not_seen_before_and_columns_without_values_are_taken(tables, rng, model):
    attributes, outcomes, patients, train, test = tables
    attributes = attributes.assign(height=np.nan, flag=(outcomes["ill"] == 1) ^ (rng.random(600) < 0.3))
    attributes.loc[test[0], "site"] = "elsewhere"
    attributes.loc[test[1], "height"] = 1.7
    found = metadata_scores(attributes, outcomes, patients, train, test, model=model)["ill"]
    assert found.between(0, 1).all()
    whole = metadata_scores(attributes[["age", "site"]], outcomes, patients, train, test, model=model)["ill"]
    assert abs(found - whole).max() > 1e-3  # the flag counts


def test_a_missing_value_is_no_level_of_that_name(tables):
    attributes, outcomes, patients, train, test = tables
    named = attributes.assign(site=attributes["site"].replace("north", "missing"))
    first, second = (metadata_scores(a, outcomes, patients, train, test)["ill"] for a in (attributes, named))
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_images_whose_outcome_is_unknown_do_not_train_and_one_class_is_no_model(tables):
    attributes, outcomes, patients, train, test = tables
    outcomes = outcomes.assign(old=1.0, odd=outcomes["ill"])
    outcomes.loc[train[:100], "odd"] = np.nan
    found = metadata_scores(attributes, outcomes, patients, train, test)
    assert found["old"].isna().all()
    expected = metadata_scores(attributes, outcomes, patients, train[100:], test)["ill"]
    np.testing.assert_array_equal(found["odd"], expected)


def test_what_cannot_be_scored_is_refused(tables):
    attributes, outcomes, patients, train, test = tables
    with pytest.raises(ValueError, match="model must be one of logistic, gradient_boosting, got 'forest'"):
        metadata_scores(*tables, model="forest")
    with pytest.raises(ValueError, match=r"patients of test must not be in train, got \['p0'\] in both"):
        metadata_scores(attributes, outcomes, patients, train, [*test, train[1]])
    with pytest.raises(ValueError, match="attributes must have at least one column, got none"):
        metadata_scores(attributes[[]], outcomes, patients, train, test)
    with pytest.raises(ValueError, match=r"outcomes must hold every image of train and test, got none for \['i599'\]"):
        metadata_scores(attributes, outcomes.iloc[:-1], patients, train, test)
