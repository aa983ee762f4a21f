# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The audit: from embeddings, head and metadata to findings."""

from __future__ import annotations

from monai_shortcut.audit.assembly import audit, probabilities
from monai_shortcut.audit.record import Audit, Finding
from monai_shortcut.audit.settings import AuditSettings

__all__ = ["Audit", "AuditSettings", "Finding", "audit", "probabilities"]
