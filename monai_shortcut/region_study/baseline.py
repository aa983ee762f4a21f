# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the metadata alone tell: a model of the attributes, tested on patients it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

MODELS = ("logistic", "gradient_boosting")
_MOST_LEVELS = 255  # that gradient boosting takes; rarer ones are pooled


def metadata_scores(
    attributes: pd.DataFrame,
    outcomes: pd.DataFrame,
    patients: pd.Series[Any],
    train: Sequence[str],
    test: Sequence[str],
    *,
    fold: int = 0,
    model: str = "logistic",
    seed: int = 0,
) -> pd.DataFrame:
    """Fit a model of the attributes in one fold, and score the images that are left out.

    Columns of numbers are standardised, the median of the training images standing for missing values, with a further
    column that says so; all others are categories, of which "missing" is one and unseen ones are none.

    Args:
        attributes: (N, A) indexed by image_id; float with NaN where missing, or categories with None where missing.
        outcomes: (N, L) indexed by image_id: 1, 0, or NaN where unknown.
        patients: patient of each image, indexed by image_id.
        train: image ids to fit on; those whose outcome is unknown are left out, label by label.
        test: image ids to score, of other patients.
        fold: number to write beside the scores.
        model: "logistic" (with scikit-learn's default ridge penalty) or "gradient_boosting".
        seed: seed of gradient boosting.

    Returns:
        Columns fold, image_id, and a probability for each label; NaN for a label of which the training images show one
        class only.

    Raises:
        ValueError: If there is no attribute, an image is unknown, a patient is in both sets, or there is no such model.

    References:
        Sourget et al. (2025), Mask of truth, whose baseline is a logistic regression on age, sex and view.

    Example:
        >>> table = pd.DataFrame({"site": [1.0, 2.0, 1.0, 2.0], "ill": [0, 1, 0, 1]}, index=list("abcd"))
        >>> patients = pd.Series(list("abcd"), index=table.index)
        >>> scores = metadata_scores(table[["site"]], table[["ill"]], patients, ["a", "b"], ["c", "d"])
        >>> scores["ill"].round(2).tolist()
        [0.34, 0.66]
    """
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, got {model!r}.")
    if not len(attributes.columns):
        raise ValueError("attributes must have at least one column, got none.")
    for what, table in (("attributes", attributes), ("outcomes", outcomes), ("patients", patients)):
        absent = sorted(({*train, *test}) - set(table.index))
        if absent:
            raise ValueError(f"{what} must hold every image of train and test, got none for {absent[:3]}.")
    shared = sorted(set(patients.loc[list(train)]) & set(patients.loc[list(test)]))
    if shared:
        raise ValueError(f"patients of test must not be in train, got {shared[:3]} in both.")
    numbers = [str(name) for name in attributes if _numeric(attributes[name])]
    columns = {str(name): _values(attributes[name], str(name) in numbers) for name in attributes}
    table = pd.DataFrame(columns, attributes.index)
    result: dict[str, Any] = {"fold": fold, "image_id": list(test)}
    for label in outcomes:
        known = outcomes[label].loc[list(train)].astype(np.float64).dropna()
        probability = np.full(len(test), np.nan)
        if known.nunique() == 2:
            # What no training image has can say nothing, and trees refuse it.
            empty = {name: 0.0 for name in numbers if table[name].loc[known.index].isna().all()}
            shown = table.assign(**empty)
            fitted = _model(model, numbers, [n for n in columns if n not in numbers], seed)
            fitted.fit(shown.loc[known.index], known)
            probability = fitted.predict_proba(shown.loc[list(test)])[:, 1]
        result[str(label)] = probability
    return pd.DataFrame(result)


def _numeric(column: pd.Series[Any]) -> bool:
    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _values(column: pd.Series[Any], numeric: bool) -> pd.Series[Any]:
    if numeric:
        return column.astype(np.float64).replace([np.inf, -np.inf], np.nan)
    # A prefix keeps a level that is called "missing" apart from values that are.
    return pd.Series(
        ["missing" if pd.isna(value) else f"level {value}" for value in column], column.index, dtype=object
    )


def _model(model: str, numbers: list[str], categories: list[str], seed: int) -> Pipeline:
    if model == "logistic":
        filled = SimpleImputer(strategy="median", add_indicator=True)
        columns = ColumnTransformer(
            [
                ("numbers", make_pipeline(filled, StandardScaler()), numbers),
                ("categories", OneHotEncoder(handle_unknown="ignore"), categories),
            ]
        )
        return make_pipeline(columns, LogisticRegression(max_iter=1000))
    coded = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=_MOST_LEVELS)
    columns = ColumnTransformer([("categories", coded, categories), ("numbers", "passthrough", numbers)])
    trees = HistGradientBoostingClassifier(categorical_features=list(range(len(categories))), random_state=seed)
    return make_pipeline(columns, trees)
