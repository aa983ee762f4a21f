# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The words of the pages, for people who do not do this every day."""

from __future__ import annotations

GLOSSARY = {
    "point": "A hundredth: from 30 % to 38 % are 8 points.",
    "limit": "The smallest difference that matters to you (tolerance in the settings). The software cannot know it.",
    "adjusted p": "How often chance alone gives a difference as large or larger, all attributes asked considered.",
    "interval": "The range that the true value lies in, with the confidence named, for each number by itself.",
    "AUC": "Area under the ROC curve: how often a case scores higher than another image. 0.5 is chance, 1 is best.",
    "calibration": "Whether the probabilities that a model says are the shares that turn out true.",
    "attribute": "A column of the table that a diagnosis should not depend on, such as the scanner.",
    "level": "A value of an attribute, such as one scanner, or a range of a number.",
    "label": "The true class of an image. Differences are always between images of one label.",
    "verdict": "What the record calls used; encoded, not used; not encoded; not used; or inconclusive.",
    "probe": "A small classifier that tries to read an attribute off what the last layer of the model reads.",
    "embedding": "The numbers that the last layer of the model reads of an image.",
    "region of interest": "The marked part of an image that the diagnosis should rest on, such as the lesion.",
}
