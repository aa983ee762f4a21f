# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Every block of the guide to any classifier, and of the README's part on it, does what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import DataLoader, Dataset
from scanner_images import fitted, scanned
from torch import nn

from monai_shortcut.__main__ import main
from monai_shortcut.audit import Audit

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "how-to" / "any-classifier.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Audit any classifier")[2].partition("\n## ")[0]


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(5, 2)

    def forward(self, image: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([self.conv(image).mean((2, 3)), age], dim=1))


@pytest.fixture
def prepared(tmp_path, monkeypatch) -> dict[str, object]:
    """What the blocks take for granted, in a folder with their files."""
    monkeypatch.chdir(tmp_path)
    (images, table), (others, known) = scanned(120, 2, (16, 16), 0.5, 0), scanned(200, 2, (16, 16), 0.95, 1)
    pixels = [torch.as_tensor(group, dtype=torch.float32)[:, None] for group in (images, others)]
    encoder = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
    training = [{"image": one, "label": label} for one, label in zip(pixels[1], known["label"], strict=True)]
    network = fitted(nn.Sequential(encoder, nn.Linear(128, 2)), "1", training, lambda item: item)
    with torch.no_grad():
        points, answers = encoder(pixels[0]).numpy(), network(pixels[0]).softmax(dim=1).numpy()
    np.savez("e.npz", embeddings=points, image_id=table["image_id"].to_numpy(dtype=str))
    np.savez("head.npz", weight=network[1].weight.detach().numpy(), bias=network[1].bias.detach().numpy())
    pd.DataFrame(answers, columns=["0", "1"]).assign(image_id=table["image_id"]).to_csv("p.csv", index=False)
    table.to_csv("metadata.csv", index=False)
    items = [
        {"image": one, "age": torch.rand(1), "label": label}
        for one, label in zip(pixels[0], table["label"], strict=True)
    ]
    loader = DataLoader(Dataset(items), batch_size=40)
    return {"network": network, "loader": loader, "loader_with_age": loader, "fused": Fused(), "encoder": encoder}


@pytest.mark.slow  # every audit has 999 permutations
@pytest.mark.parametrize("text", [README, GUIDE], ids=["README", "guide"])
def test_every_block_does_what_it_says(text, prepared, tmp_path, capsys):
    blocks = re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)
    assert {language for language, _ in blocks} == {"python", "bash"}
    statuses = []
    for language, block in blocks:
        if language == "python":
            exec(block, prepared)
            assert isinstance(prepared["result"], Audit)
            continue
        command = shlex.split(block)
        assert command[:4] == ["python", "-m", "monai_shortcut", "audit"]
        statuses.append(main(command[3:]))
        assert ("--fail-on" in command) == (statuses[-1] == 2)  # the scanner is used
    assert 2 in statuses
    assert (tmp_path / "audit" / "report.html").is_file()
    assert "the audit takes about" in capsys.readouterr().out or text is README
    if text is GUIDE:
        assert prepared["verdict"] == "used"
        assert prepared["result"].notes
        assert list(prepared["table"]["attribute"]) == ["scanner", "operator"]


def test_every_argument_that_is_named_exists(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["audit", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    named = set(re.findall(r"`?(--[a-z-]+)\b", GUIDE + README)) - {"--help"}
    assert named
    assert all(name in shown for name in named)
