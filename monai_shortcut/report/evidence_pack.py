# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An audit as others file it: by items of guidelines, as a part of a bundle's metadata, and in Markdown."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from monai_shortcut.audit.record import Audit
from monai_shortcut.report.evidence_items import DOCUMENTS, ITEMS, Answer, Document, Item
from monai_shortcut.report.files import Files, as_file
from monai_shortcut.report.markdown import model_card, pull_request
from monai_shortcut.storage.records import as_json

VERSION = 1
RECORD, PACK, PACK_PAGE, SUMMARY = "audit.json", "evidence.json", "evidence.html", "summary.md"
METADATA, CARD = "metadata_audit.json", "model_card.md"
NOT_KNOWN = "not known"
Render = Callable[..., str]
_ALWAYS = ("record", "table", "checkpoint", "configuration")


@dataclass(frozen=True)
class EvidencePack:
    """An audit by items of guidelines.

    Attributes:
        title: what was audited.
        answers: each item with its answer.
        sha256: SHA-256 of the record and of what it was made from, by what the files hold; several of one kind in
            alphabetical order, "not known" where nobody said.
    """

    title: str
    answers: tuple[tuple[Item, Answer], ...]
    sha256: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, record: Audit, given: Mapping[str, Sequence[str]]) -> EvidencePack:
        """The pack of a record.

        Args:
            record: the audit, as it may be written.
            given: SHA-256 of its file ("record") and of others that it does not know, by what they hold.

        Raises:
            ValueError: If the record knows that it was made from another table or checkpoint than one given.
        """
        found: dict[str, Sequence[str]] = dict.fromkeys(_ALWAYS, ())
        found |= {name: (digest,) for name, digest in record.sources.items()}
        found["checkpoint"] = tuple(record.weights or found.get("head", ()))
        for name, digests in given.items():
            if found.get(name) and not set(digests) <= set(found[name]):
                raise ValueError(
                    f"the {name} must be what was audited, of SHA-256 {', '.join(found[name])}, got one of "
                    f"{', '.join(digests)}."
                )
        known = {name: tuple(sorted(digests)) or (NOT_KNOWN,) for name, digests in {**found, **given}.items()}
        return cls(record.title, tuple((item, item.answer(record)) for item in ITEMS), known)

    def by_document(self) -> list[tuple[Document, list[tuple[Item, Answer]]]]:
        """The answers by guideline."""
        return [(one, [row for row in self.answers if row[0].document is one]) for one in DOCUMENTS]

    def to_json(self) -> bytes:
        """The content of ``evidence.json``."""
        rows = [
            {"document": item.document.name, "number": item.number, "asks": item.asks, **asdict(answer)}
            for item, answer in self.answers
        ]
        documents = [asdict(one) for one in DOCUMENTS]
        content = {"version": VERSION, "title": self.title, "sha256": self.sha256}
        return as_json({**content, "documents": documents, "items": rows})


def record_files(record: Audit, render: Render) -> Files:
    """The file of a record, ``audit.json``, and its evidence pack.

    Args:
        record: the audit, as it may be written.
        render: fills a template.
    """
    content = as_json(record)
    return {RECORD: as_file(content), **pack_files(record, render, {"record": [hashlib.sha256(content).hexdigest()]})}


def pack_files(record: Audit, render: Render, given: Mapping[str, Sequence[str]], *, further: bool = False) -> Files:
    """The files of the evidence pack: ``evidence.json``, ``evidence.html`` and ``summary.md``.

    Args:
        record: the audit, as it may be written.
        render: fills a template.
        given: SHA-256 of files, as in `EvidencePack.of`.
        further: whether to add ``metadata_audit.json`` and ``model_card.md``, which go to other places from here.

    Raises:
        ValueError: As `EvidencePack.of`.
    """
    pack = EvidencePack.of(record, given)
    page = render("evidence", title=f"Evidence pack: {record.title}", pack=pack)
    files: Files = {PACK: as_file(pack.to_json()), SUMMARY: as_file(pull_request(record)), PACK_PAGE: as_file(page)}
    if not further:
        return files
    section = as_json({"audit": bundle_section(record, pack)})
    return {**files, METADATA: as_file(section), CARD: as_file(model_card(record))}


def bundle_section(record: Audit, pack: EvidencePack) -> dict[str, Any]:
    """What the ``metadata.json`` of a MONAI bundle may hold of an audit, under the key "audit".

    Args:
        record: the audit, as it may be written.
        pack: its evidence pack.
    """
    return {
        "title": record.title,
        "images": sum(record.labels.values()),
        "patients": record.patients,
        "verdicts": {one.attribute: one.verdict for one in record.findings},
        "reasons": {one.attribute: one.reason for one in record.findings},
        "auc": {one.label: one.auc.value for one in record.regions.scores if one.evaluated_on == "full"},
        "notes": list(record.notes),
        "software": record.software,
        "sha256": pack.sha256,
    }
