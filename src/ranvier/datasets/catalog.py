"""What each data set inside the wheel is: its columns, classes, story, source and licence.

The numbers themselves are in ``files/`` and are read by ``bundled.py``; ``scripts/make_datasets.py`` writes both the
files and ``files/README.md``, the latter from this catalogue, so that facts and files cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CATALOG", "Entry"]

_UCI = "UCI Machine Learning Repository"
_LICENCE = "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)"


@dataclass(frozen=True)
class Entry:
    """The facts about one bundled data set. ``sha256`` is the checksum of its file in ``files/``."""

    name: str
    title: str
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    description: str
    source: str
    licence: str
    sha256: str


_CELL_FEATURES = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip

CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="digits",
            title="Optical recognition of handwritten digits",
            feature_names=tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8)),
            target_names=tuple(str(digit) for digit in range(10)),
            description=(
                "1,797 images of handwritten digits by 13 writers, 8 x 8 pixels with values 0 to 16. Each pixel counts "
                "the black points in a 4 x 4 block of a 32 x 32 bitmap taken from a printed form. This is the part for "
                "testing of the original collection, the part that scikit-learn ships."
            ),
            source=f"E. Alpaydin and C. Kaynak (1998), {_UCI}, https://doi.org/10.24432/C50P49",
            licence=_LICENCE,
            sha256="c1114d08e8c76da27ceff92e80b6a7fe07df3996f02bbc97a23ef75188ae5357",
        ),
        Entry(
            name="iris",
            title="Iris plants",
            feature_names=("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"),
            target_names=("setosa", "versicolor", "virginica"),
            description=(
                "150 irises of three species, 50 each, described by four lengths. The values are those of Fisher's "
                "paper of 1936; the copy at UCI differs from it in two rows."
            ),
            source=f"R. A. Fisher (1936), {_UCI}, https://doi.org/10.24432/C56C76",
            licence=_LICENCE,
            sha256="2a30834643a8f502159c4a399b076a4b9595b80483d85f7819b025e9a8e545cd",
        ),
        Entry(
            name="wine",
            title="Wine recognition",
            feature_names=(
                "alcohol",
                "malic_acid",
                "ash",
                "alcalinity_of_ash",
                "magnesium",
                "total_phenols",
                "flavanoids",
                "nonflavanoid_phenols",
                "proanthocyanins",
                "color_intensity",
                "hue",
                "od280/od315_of_diluted_wines",
                "proline",
            ),
            target_names=("class_0", "class_1", "class_2"),
            description=(
                "178 wines from one region of Italy, made by three growers (59, 71 and 48 wines), described by 13 "
                "chemical measurements on very different scales."
            ),
            source=f"S. Aeberhard and M. Forina (1992), {_UCI}, https://doi.org/10.24432/C5PC7J",
            licence=_LICENCE,
            sha256="5e11274f074c64a8a009a2c95d4abe307d89a31349617a9eae24e3d82312ad20",
        ),
        Entry(
            name="breast_cancer",
            title="Breast cancer Wisconsin (diagnostic)",
            feature_names=(
                *(f"mean {feature}" for feature in _CELL_FEATURES),
                *(f"{feature} error" for feature in _CELL_FEATURES),
                *(f"worst {feature}" for feature in _CELL_FEATURES),
            ),
            target_names=("malignant", "benign"),
            description=(
                "569 fine-needle aspirates of breast masses, 212 malignant and 357 benign, described by 30 features of "
                "the cell nuclei in the image: mean, standard error and worst value of ten measurements."
            ),
            source=(
                f"W. Wolberg, O. Mangasarian, N. Street and W. Street (1993), {_UCI}, https://doi.org/10.24432/C5DW2B"
            ),
            licence=_LICENCE,
            sha256="979c8d504d8035bba1df2a8e349b67468eeb234fc296bd4f306d87e7e5327830",
        ),
    )
}
