"""The paper's Figure 2 of the data at hand: for some labels, images by distance to the label's centroids; see `noise.figure`."""

from pathlib import Path

from jftdata import embed, noise
from jftdata.noise import figure
from jftdata.study.named.data import StudyData


def write(data: StudyData, out: Path | str) -> str:
    """Write `figure-2.html` into a folder; returns what is on it."""
    catalog, path = data.noisy(), Path(out) / "figure-2.html"
    audit = noise.audit(catalog, embed.run(catalog, out=data.at / "train.embeddings"))
    made = figure.write(catalog, audit, out=path)
    unread = f", {made.num_unread:,} of which could not be read" if made.num_unread else ""
    return (
        f"{path}: {made.num_images:,} images of the {made.num_labels} labels with most noise{unread}. How many labels are wrong in all "
        "is to be had from a judged sample: `jftdata noise sample` and `noise precision`."
    )
