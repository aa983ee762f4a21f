# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Tables of configuration keys, from the overlays' JSON and the docstrings of what their values reach."""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from pydoc import locate
from typing import Any

from monai_shortcut.commands import COMMANDS
from monai_shortcut.installation import overlay

# Arguments that a component passes on, and whose docstring says what they mean.
_PASSED_ON = {
    "monai_shortcut.cohort.Cohort.from_csv": "monai_shortcut.cohort.Columns",
    "monai_shortcut.workflows.audit_cohort": "monai_shortcut.cohort.Columns",
    "monai_shortcut.handlers.ReaderExport": "monai_shortcut.reader_study.prepare",
}
_WITHOUT_ARGUMENT = {  # keys whose values reach no argument of ours, or only within an expression
    "audit_checkpoint": "file of the weights.",
    "audit_device": "where the network runs.",
    "audit_embeddings": "true: maps by t-SNE and UMAP too, in tens of seconds.",
    "audit_image_properties": "true: brightness, noise, text and the like, measured from the images, are audited too.",
    "audit_loader": "the data loader of the images.",
    "audit_model": "the network.",
    "audited_trainer": "the bundle's trainer.",
}
_PLACE = re.compile(r"^<!-- (keys|settings|commands|references|glossary) of ([\w.]+) -->$", re.M)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
_REFERENCES = re.compile(r"^References:\n((?: +.*\n?)+)", re.M)
_SECTION = re.compile(r"^ *(?:Args|Attributes):\n(.*?)(?=^ *[A-Z]\w+:\n|\Z)", re.M | re.S)
_ENTRY = re.compile(r"^    (\*{0,2}\w+(?:, \w+)*): (.*(?:\n(?:     .*)?)*)", re.M)


def filled(page: str) -> str:
    """The page with a table in place of each comment, such as `<!-- keys of OVERLAY -->`."""
    tables = {
        "keys": keys_table,
        "settings": settings_table,
        "commands": commands_tables,
        "references": references_table,
        "glossary": glossary_table,
    }
    return _PLACE.sub(lambda place: tables[place[1]](place[2]), page)


def keys_table(name: str) -> str:
    """Key, default and meaning of all that an overlay adds to a configuration, as a Markdown table."""
    content = json.loads(overlay(name).read_text(encoding="utf-8"))
    meanings = _meanings(content) | _WITHOUT_ARGUMENT
    rows = []
    for key, value in content.items():
        if key in ("run", "audit_import", "audit_contained"):  # of the overlay itself
            continue
        if isinstance(value, Mapping) and "_target_" in value:
            target = value["_target_"]
            rows.append((key, "", f"`{target}`: any argument, as `--{key}#ARGUMENT`."))
        else:
            rows.append((key, json.dumps(value), meanings.get(key, "")))
    return _table(("key", "default", "meaning"), rows)


def settings_table(path: str) -> str:
    """Name, default and meaning of each argument of a class or a function, as a Markdown table."""
    target = locate(path)
    known = described(target)
    return _table(
        ("name", "default", "meaning"), [(name, _default(given), known[name]) for name, given in _arguments(target)]
    )


def commands_tables(package: str) -> str:
    """Each command of `python -m PACKAGE` with a Markdown table of its arguments."""
    return "\n\n".join(
        f"### {package} {name}\n\n{command.HELP}\n\n{_arguments_of(command)}" for name, command in COMMANDS.items()
    )


def _arguments_of(command: Any) -> str:
    parser = argparse.ArgumentParser(add_help=False)
    command.add_arguments(parser)
    shown = [(action, ", ".join(action.option_strings) or action.dest) for action in parser._actions]
    rows = [(name, _default(action.default or MISSING), action.help or "") for action, name in shown]
    return _table(("argument", "default", "meaning"), rows)


def references_table(package: str) -> str:
    """What each module of a package refers to, as a Markdown table."""
    root, rows = Path(str(locate(package).__file__)).parent, []
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        owners = [node for node in ast.walk(tree) if isinstance(node, _DOCUMENTED)]
        texts = [_REFERENCES.search(ast.get_docstring(node) or "") for node in owners]
        named = dict.fromkeys(" ".join(found[1].split()) for found in texts if found)
        module = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        rows += [(module, text) for text in named]
    return _table(("module", "refers to"), rows)


def glossary_table(package: str) -> str:
    """The words of the reports with their meanings, as a Markdown table."""
    words: Any = locate(f"{package}.report.glossary.GLOSSARY")
    return _table(("word", "meaning"), list(words.items())).replace("`", "")


def described(*targets: Any) -> dict[str, str]:
    """What Google docstrings say of each argument or attribute, also those of the bases of a class."""
    found: dict[str, str] = {}
    owners = [owner for target in targets for owner in (target.mro()[::-1] if inspect.isclass(target) else [target])]
    for owner in owners:
        for section in _SECTION.findall(inspect.cleandoc(owner.__doc__ or "") + "\n"):
            for names, text in _ENTRY.findall(section):
                found |= {name: " ".join(text.split()) for name in names.split(", ") if not _known(text, name, found)}
    return found


def _known(text: str, name: str, found: Mapping[str, str]) -> bool:
    """Whether the docstring of a base says it, and that of the class points there."""
    return name in found and "as in `" in text


def _meanings(content: Mapping[str, Any]) -> dict[str, str]:
    """What docstrings of components say of the arguments that refer to a key, best of those that refer to it alone."""
    found: list[tuple[int, str, str]] = []
    components = [value for value in (*content.values(), *content.get("run", ())) if isinstance(value, Mapping)]
    for component in components:
        path = component.get("_target_", "")
        known = described(*(locate(one) for one in (_PASSED_ON.get(path, ""), path) if "." in one))
        for argument, value in component.items():
            keys = set(re.findall(r"@(\w+)", value)) if argument in known and isinstance(value, str) else set()
            found += [(len(keys), key, known[argument]) for key in sorted(keys)]
    return {key: text for _, key, text in sorted(found, reverse=True)}


def _arguments(target: Any) -> Iterator[tuple[str, Any]]:
    if is_dataclass(target):
        for one in fields(target):
            yield one.name, one.default if one.default_factory is MISSING else one.default_factory()
        return
    for name, one in inspect.signature(target).parameters.items():
        yield name, MISSING if one.default is one.empty else one.default


def _default(value: Any) -> str:
    return "" if value is MISSING else repr(value)


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Rows of two cells, or of three with a default; the first cells and defaults are code."""
    lines = [heads, ("---",) * len(heads)]
    lines += [(f"`{name}`", *(f"`{one}`" if one else "" for one in defaults), text) for name, *defaults, text in rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
