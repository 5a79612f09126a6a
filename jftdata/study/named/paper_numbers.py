"""What the paper asked, found and printed, by study, and its numbers beside ours.

Scores are shares, as ours are; null where a plot shows a value without a number. `arm` and `metric` are those of our study where it has
the like; sizes are the paper's own. Source: Sun et al. 2017, the tables, figures and sections named in each title.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from jftdata.study.named.verdict import over_seeds
from jftdata.study.plan import Study

SOURCE = "Sun et al. 2017"
REMARK = (
    "The paper's numbers are those of 300M images of JFT and of ResNets of 50 to 152 layers, ours are not: what can be compared "
    "is which of two is better, not by how much."
)


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One table or figure."""

    title: str
    question: str
    finding: str
    """What the paper found."""
    numbers: tuple[dict[str, Any], ...] = ()
    """`arm`, `row` (as the paper calls it), `metric`, `value`, `source`."""


_VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""In the order of Table 3, by the names of the data set."""


def _rows(source: str, metric: str, values: Sequence[tuple[str, str, float | None]]) -> tuple[dict[str, Any], ...]:
    """Rows of (arm, row, per cent)."""
    return tuple(
        {
            "arm": arm, "row": row, "metric": metric, "value": None if value is None else round(value / 100, 4),
            "source": f"{SOURCE}, {source}",
        }
        for arm, row, value in values
    )  # fmt: skip


def _by_start(source: str, metric: str, clean: float, noisy: float, both: float) -> tuple[dict[str, Any], ...]:
    """Rows of the three checkpoints that most tables compare."""
    named = (("clean", "ImageNet", clean), ("noisy", "300M", noisy), ("clean-then-noisy", "ImageNet+300M", both))
    return _rows(source, metric, named)


def _of_voc(arm: str, row: str, values: Sequence[float]) -> tuple[dict[str, Any], ...]:
    """Per-class rows; that they are of eleven points is the rule of VOC 2007, the paper names none."""
    return tuple(
        _rows("Table 3", f"AP 11-point ({name})", [(arm, row, value)])[0]
        for name, value in zip(_VOC, values, strict=True)
    )


PAPER: dict[str, Printed] = {
    "figure-1": Printed(
        title="Figure 1: data sets, models and computers over the years",
        question="Have training sets grown with models and computers?",
        finding="From 2012 to 2016 computers and models grew, while the largest training set in common use kept its size.",
    ),
    "figure-2": Printed(
        title="Figure 2: what noise in the labels looks like",
        question="How are the noisy labels wrong?",
        finding="Labels are confused with others of like name or look (a tortoise with tortoise-shell glasses); about 20% are wrong.",
    ),
    "figure-3": Printed(
        title="Figure 3: random or clean-pretrained initialisation, mAP@100 over steps",
        question="Does a start from clean pretraining help training on the noisy set?",
        finding="The start from ImageNet is ahead for the first 15M of 36M steps, and on a par with a random one after that.",
        numbers=_rows("Figure 3", "weighted mAP@100", [
            ("noisy", "random initialisation, over 36M steps", None),
            ("clean-then-noisy", "ImageNet initialisation, over 36M steps", None),
        ]),
    ),
    "table-1": Printed(
        title="Table 1: classification from scratch and fine-tuned",
        question="Is classification better fine-tuned from the noisy set than learnt from scratch?",
        finding="Fine-tuning from JFT-300M gives ImageNet 1.7 points more top-1 and 0.8 more top-5 than random initialisation.",
        numbers=(
            *_rows("Table 1", "top-1", [
                ("", "MSRA checkpoint", 76.4), ("scratch", "random initialisation", 77.5), ("noisy", "from JFT-300M", 79.2),
            ]),
            *_rows("Table 1", "top-5", [
                ("", "MSRA checkpoint", 92.9), ("scratch", "random initialisation", 93.9), ("noisy", "from JFT-300M", 94.7),
            ]),
        ),
    ),
    "table-2": Printed(
        title="Tables 2 and 3: detection by initialisation",
        question="Which pretraining is best for detection: clean, noisy, or clean and then noisy?",
        finding=(
            "Noisy pretraining beats clean by 2.4 points of AP on COCO and 5.1 of AP at 0.5 on VOC 2007; clean and then noisy "
            "beats it by 3.1 and 5.0."
        ),
        numbers=(
            *_rows("Table 2", "AP.5", [("", "He et al.", 53.3), ("", "Inception ResNet", 56.3)]),
            *_by_start("Table 2", "AP.5", 53.6, 56.9, 58.0),
            *_rows("Table 2", "AP", [("", "He et al.", 32.2), ("", "Inception ResNet", 35.5)]),
            *_by_start("Table 2", "AP", 34.3, 36.7, 37.4),
            *_by_start("Table 3", "mAP (11-point)", 76.3, 81.4, 81.3),
            *_of_voc("clean", "ImageNet", (
                79.7, 80.6, 77.1, 65.9, 64.2, 85.3, 81.0, 88.4, 60.5, 83.1, 70.8, 86.7, 86.2, 79.7, 79.5, 49.5, 78.3, 80.2, 79.2,
                69.7,
            )),
            *_of_voc("noisy", "300M", (
                87.2, 88.8, 79.6, 75.2, 67.9, 88.2, 89.3, 88.6, 64.3, 86.1, 73.6, 88.7, 89.1, 86.5, 86.4, 57.7, 84.2, 82.1, 86.7,
                78.6,
            )),
            *_of_voc("clean-then-noisy", "ImageNet+300M", (
                86.9, 88.0, 80.1, 74.7, 68.8, 88.9, 89.6, 88.0, 69.7, 86.9, 71.9, 88.5, 89.6, 86.9, 86.8, 53.7, 78.2, 82.3, 87.7,
                77.9,
            )),
        ),
    ),
    "table-4": Printed(
        title="Tables 4 and 5: number of epochs",
        question="What do more passes over the same images buy?",
        finding="More epochs help on both sets, and ImageNet's checkpoints improve faster with them than JFT's.",
        numbers=(
            *_rows("Table 4", "AP", [
                ("noisy-1.3", "12M steps on JFT-300M", 35.0), ("noisy-2.6", "24M steps", 36.1), ("noisy-4", "36M steps", 36.8),
            ]),
            *_rows("Table 5", "AP", [
                ("clean-3", "100K steps on ImageNet", 22.2), ("clean-6", "200K steps", 25.9), ("clean-12", "400K steps", 27.4),
                ("clean-150", "5M steps", 34.5),
            ]),
        ),
    ),
    "figure-4": Printed(
        title="Figure 4: detection by number of pretraining images, fine-tuned and frozen",
        question="What would more images buy?",
        finding="Performance grows with the logarithm of the number of images, the more clearly with frozen features.",
        numbers=_rows("Figure 4, left", "AP", [
            ("", "10M", None), ("", "30M (printed in Table 6)", 31.9), ("", "100M", None), ("", "300M (printed in Table 4)", 36.8),
        ]),
    ),
    "table-6": Printed(
        title="Table 6: few labels or all of them, at equal images",
        question="Do more labels help, or only more images?",
        finding="At 30M images, 941 labels and 18,291 do about equally well: what helps is more images, not more labels.",
        numbers=_rows("Table 6", "AP", [
            ("few-labels", "1K ImageNet labels", 31.2), ("all-labels", "18K JFT labels", 31.9),
        ]),
    ),
    "figure-5": Printed(
        title="Figure 5: depth by data",
        question="Do deeper networks gain more from more images?",
        finding="Deeper networks gain more from 300M images: 3.0 points of AP over ImageNet at 152 layers, 1.9 at 50.",
        numbers=(
            *_rows("Figure 5", "AP", [
                ("", "50 layers, ImageNet", 31.6), ("", "101 layers, ImageNet", 34.5), ("", "152 layers, ImageNet", 34.7),
                ("", "50 layers, 300M", 33.5), ("", "101 layers, 300M", 36.8), ("", "152 layers, 300M", 37.7),
            ]),
        ),
    ),
    "figure-6": Printed(
        title="Figure 6: segmentation by initialisation and by number of images",
        question="What do noisy pretraining and more of its images buy in segmentation?",
        finding="Noisy pretraining beats clean by 1.7 points of mean IoU, clean and then noisy by 2.9; it grows with the logarithm.",
        numbers=(
            *_by_start("Figure 6, left", "mean IoU", 73.6, 75.3, 76.5),
            *_rows("Figure 6, right", "mean IoU", [("", "10M", None), ("", "30M", None), ("", "100M", None)]),
        ),
    ),
    "table-7": Printed(
        title="Table 7: human pose",
        question="Which pretraining is best for human pose: clean, noisy, or clean and then noisy?",
        finding="Noisy pretraining beats clean by 2.4 points of AP, clean and then noisy by 2.0.",
        numbers=(
            *_rows("Table 7", "AP", [("", "CMU Pose", 61.8)]), *_by_start("Table 7", "AP", 62.4, 64.8, 64.4),
            *_rows("Table 7", "AP.5", [("", "CMU Pose", 84.9)]), *_by_start("Table 7", "AP.5", 84.0, 85.8, 85.7),
            *_rows("Table 7", "AR", [("", "CMU Pose", 66.5)]), *_by_start("Table 7", "AR", 66.7, 69.4, 69.1),
            *_rows("Table 7", "AR.5", [("", "CMU Pose", 87.2)]), *_by_start("Table 7", "AR.5", 86.6, 88.4, 88.2),
        ),
    ),
    "appendix-a": Printed(
        title="Appendix A: test sets with and without copies of training images",
        question="How much of a score is due to test images that have a copy in training?",
        finding="Taking near-duplicates out of the test sets makes no significant difference in any experiment.",
        numbers=_rows("section 4.3", "share of test images with a copy", [
            ("", "ImageNet validation images with a copy in its training set, 890 of 50,000", 100 * 890 / 50_000),
        ]),
    ),
}  # fmt: skip

BESIDE = {
    "arm": pl.String(),  # of ours; empty where we have none
    "row": pl.String(),  # as the paper calls it
    "task": pl.String(),  # of ours
    "mode": pl.String(),
    "metric": pl.String(),
    "paper": pl.Float64(),  # null where it prints no number
    "ours": pl.Float64(),  # mean over seeds
    "low": pl.Float64(),  # 95% interval over seeds, infinite for one
    "high": pl.Float64(),
    "num_seeds": pl.Int64(),
}


def beside(study: Study, table: pl.DataFrame) -> pl.DataFrame:
    """Put the paper's numbers beside those of a finished study.

    Args:
        study: one of the paper's.
        table: what `study.table` returns.

    Returns:
        Columns of `BESIDE`: first the paper's rows, with ours where arm and metric are the same, then the rest of ours as the table
        lists them.
    """
    ours = []
    for (arm, task, mode, metric), rows in table.partition_by("arm", "task", "mode", "metric", as_dict=True).items():
        found = over_seeds(rows["value"].to_list())
        own = {"ours": found.mean, "low": found.low, "high": found.high, "num_seeds": found.num_seeds}
        ours.append({"arm": arm, "task": task, "mode": mode, "metric": metric, **own})
    printed = [
        {"row": row["row"], "arm": row["arm"], "metric": row["metric"], "paper": row["value"]} for row in study.paper
    ]
    kinds = {name: BESIDE[name] for name in ("row", "arm", "metric", "paper")}
    mine = {name: kind for name, kind in BESIDE.items() if name not in ("row", "paper")}
    joined = pl.DataFrame(printed, schema=kinds).join(
        pl.DataFrame(ours, schema=mine), on=["arm", "metric"], how="full", coalesce=True, maintain_order="left_right"
    )
    return joined.with_columns(pl.col("row").fill_null("")).select(*BESIDE)
