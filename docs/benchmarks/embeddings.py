# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How embeddings of breast ultrasound move under the nine masking strategies, and where the trained network looks.

Run from the root of the repository. Prints the tables of embeddings.md and writes the figures; the trained model, what
it reads and where it looks are kept in the folder, so that a run goes on where the last one stopped:

    python docs/benchmarks/embeddings.py --busbra BUSBRA --weights SonoNet16.npz --folder output/embeddings
    python docs/benchmarks/embeddings.py --busbra BUSBRA --network densenet121 --networks trained --folder OTHER

Figures that show images stay in the folder; the others go where ``--images`` says.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before numpy is imported
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from monai.bundle import ConfigParser  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402

from monai_shortcut.analyses.embedding_moves import ALL, ANOTHER, EmbeddingMoves  # noqa: E402
from monai_shortcut.datasets import read_busbra  # noqa: E402
from monai_shortcut.heads import linear_head  # noqa: E402
from monai_shortcut.heads.embeddings import embed  # noqa: E402
from monai_shortcut.networks import SonoNet  # noqa: E402
from monai_shortcut.networks.sononet_weights import load_sononet_weights  # noqa: E402
from monai_shortcut.region_study.embeddings import ModelEmbeddings, study_maps, study_moves  # noqa: E402
from monai_shortcut.regions.strategies import STRATEGIES  # noqa: E402
from monai_shortcut.report.attribution import attribution_table, looks  # noqa: E402
from monai_shortcut.report.embeddings import PUBLISHED, cosines_table  # noqa: E402
from monai_shortcut.report.figures.attribution import attribution_figures  # noqa: E402
from monai_shortcut.report.figures.maps import embedding_figures  # noqa: E402
from monai_shortcut.report.files import png  # noqa: E402
from monai_shortcut.report.wording import limits, words  # noqa: E402
from monai_shortcut.statistics.resampling import Resampling  # noqa: E402
from monai_shortcut.statistics.two_samples import patients_within  # noqa: E402
from monai_shortcut.workflows import RegionStudy  # noqa: E402
from monai_shortcut.workflows.cell import Cell, run_cell  # noqa: E402
from monai_shortcut.workflows.cell_embeddings import read_embeddings  # noqa: E402
from monai_shortcut.workflows.configuration import cell_parser  # noqa: E402

BUNDLE = Path("bundles/breast_ultrasound_classification/configs/train.json")
PLANES = 14  # that the published network tells apart


def the_study(arguments: argparse.Namespace) -> RegionStudy:
    """The region study of the bundle, of which one model is wanted."""
    overrides = {"network_name": arguments.network, "dataset_dir": arguments.busbra, "max_epochs": arguments.epochs}
    cohort, folder = read_busbra(arguments.busbra), Path(arguments.folder)
    return RegionStudy(
        BUNDLE, cohort, folder, overrides=overrides, folds=3, attributes=["device", "side"], attribution=True
    )


def trained(cell: Cell) -> ModelEmbeddings:
    """Train on full images, and read the test images under every strategy."""
    own = [one for one in cell.evaluations if cell.embeddings(one) is not None]
    run_cell(replace(cell, evaluations=own))
    return ModelEmbeddings("full", cell.fold, {one.strategy: read_embeddings(cell.embeddings(one)) for one in own})


def published(cell: Cell, weights: str, images: int, patients: pd.Series) -> ModelEmbeddings:
    """What the network of fetal planes reads of some of the same images, scaled by what is visible as it expects."""
    network = load_sononet_weights(SonoNet(2, 1, PLANES, width=16), weights).eval()
    items = list(cell.test[""])
    codes = np.unique(patients.loc[[item["image_id"] for item in items]], return_inverse=True)[1]
    chosen = [items[row] for row in patients_within(codes, images, np.random.default_rng(0))]
    found, layer = {}, linear_head(network).layer
    for strategy in STRATEGIES:
        settings = {"seed": 0, "strategy": strategy, "margin": 0.0, "spatial_size": 224, "output_dir": cell.folder}
        parser: ConfigParser = cell_parser(cell.config, settings, {"validate#dataset#data": []})
        prepare, rows = parser.get_parsed_content("validate#preprocessing"), {}
        for item in chosen:
            given = item if strategy == "swapped_roi" else {k: v for k, v in item.items() if k != "swapped_roi"}
            try:
                image = torch.as_tensor(prepare(dict(given))["image"]).float()
            except RuntimeError:  # a large region cannot be shifted
                continue
            image = 255 * (image - image.mean()) / image.std().clamp_min(1e-6)
            rows[item["image_id"]] = embed(network, image[None], layer)[0][0].numpy()
        found[strategy] = pd.DataFrame.from_dict(rows, orient="index")
    return ModelEmbeddings("full", cell.fold, found)


def table(moves: EmbeddingMoves) -> str:
    """The rows of all images, in Markdown."""
    lines = ["| strategy | images | cosine | sd | centred | sd | chest X-ray | fundus |", "|---" * 8 + "|"]
    for strategy in (*STRATEGIES, ANOTHER):
        one = moves.get(strategy, ALL)
        if one is not None:
            known = " | ".join(f"{v[strategy]:.3f}" if strategy in v else "" for v in PUBLISHED.values())
            cells = f"{limits(one.mean)} | {one.spread:.2f} | {limits(one.centred)} | {one.centred_spread:.2f}"
            lines.append(f"| {words(strategy)} | {one.images} | {cells} | {known} |")
    return "\n".join(lines)


def write(model: ModelEmbeddings, study: RegionStudy, name: str, arguments: argparse.Namespace) -> None:
    """Print the table of a model, and write its table and figures."""
    patients = study._patients()
    moves = study_moves([model], study.outcomes, patients, Resampling())["full"]
    maps = study_maps(model, study.outcomes, patients, study._colours(), methods=arguments.maps, seed=0)
    print(f"\n{name}\n\n{table(moves)}\n", *moves.not_computed.items(), *maps.not_computed.items(), sep="\n")
    cosines_table({"full": moves}).to_csv(Path(arguments.folder) / f"cosines_{name}.csv", index=False)
    for figure_name, figure in embedding_figures(moves, maps):
        Path(arguments.images, f"embeddings_{name}_{figure_name}.png").write_bytes(png(figure))


def look(cell: Cell, arguments: argparse.Namespace) -> None:
    """Print where the trained network looks, and write the table and figures."""
    (found,) = cell.looks.answers(Path(cell.folder)).values()
    print(looks(found), *found.not_computed.items(), sep="\n")
    attribution_table(found).to_csv(Path(arguments.folder) / f"attribution_{arguments.network}.csv", index=False)
    for name, figure in attribution_figures(found):
        shows_images = name in ("attribution_panels", "attribution_masked")
        place = Path(arguments.folder if shows_images else arguments.images)
        (place / f"{name}_busbra_{arguments.network}.png").write_bytes(png(figure))


def main() -> None:
    """Both networks, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busbra", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--folder", default="output/embeddings")
    parser.add_argument("--images", default="docs/benchmarks/images")
    parser.add_argument("--network", default="sononet16", help="that is trained; one of the bundle's")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--published_images", type=int, default=200)
    parser.add_argument("--maps", nargs="*", default=["pca", "tsne", "umap"])
    parser.add_argument("--networks", nargs="*", default=["published", "trained"], choices=["published", "trained"])
    arguments = parser.parse_args()
    study = the_study(arguments)
    cell = next(cell for cell in study.cells() if cell.trained_on == "full")
    if "published" in arguments.networks:
        model = published(cell, arguments.weights, arguments.published_images, study._patients())
        write(model, study, "published", arguments)
    if "trained" in arguments.networks:
        model = trained(cell)
        write(model, study, f"trained_{arguments.network}", arguments)
        look(cell, arguments)
        scores = pd.read_csv(Path(cell.folder, "full_0.csv"), index_col="image_id")
        label = scores.columns[0]
        print(f"AUC on full images: {roc_auc_score(study.outcomes.loc[scores.index, label], scores[label]):.2f}")


if __name__ == "__main__":
    main()
