"""Two catalogs or two runs side by side, as sections.

Catalogs: numbers, splits, images and labels that changed (`diff.py`), the tail. Runs: what was asked, images seen, loss at equal
images, scores. Cost: of catalogs that of `diff.catalogs` and two counts; of runs next to nothing.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from jftdata import diff, storage, tail
from jftdata.catalog import Catalog
from jftdata.checkpoint import Checkpoint
from jftdata.results import Results
from jftdata.study import figures, page
from jftdata.study.section import Plot, Section, Table, heading

_POINTS = 8
_NEAR = 1.25
"""A loss at so many images is the mean of what was said between this factor below and above."""
_FACTS = ("num_images", "num_input", "num_duplicates", "num_rejected", "num_unlabelled", "num_given_labels")


def catalogs(before: Catalog, after: Catalog) -> list[Section]:
    """What differs between two catalogs; images are the same when their bytes are, labels when their names are."""
    changes = diff.catalogs(before, after)
    kinds = diff.summary(changes)
    shared = len(before) - kinds["removed"]
    counts = [tail.label_counts(before), tail.label_counts(after)]
    facts = [_numbers(c, n) for c, n in zip((before, after), counts, strict=True)]
    images = Section(
        name="images", title="Images",
        text=[
            f"{shared:,} images are in both; {kinds['removed']:,} only in the first, {kinds['added']:,} only in the second. Of those "
            f"in both, {kinds['relabelled']:,} have other labels and {kinds['moved']:,} only another split."
        ],
        tables=[
            Table(name="numbers", title="In numbers", frame=_beside(*facts)),
            Table(name="splits", title="Images by split", frame=_beside(before.splits, after.splits)),
        ],
    )  # fmt: skip
    by_label = diff.by_label(changes)
    labels = Section(
        name="labels", title="Labels",
        text=["Images that gained or lost each label, most changes first." if len(by_label) else "No label gained or lost an image."],
        tables=[Table(name="labels", title="By label", frame=by_label)] if len(by_label) else [],
    )  # fmt: skip
    text = []
    if before.hierarchy.labels == after.hierarchy.labels:
        text.append(f"Ancestors filled in, {tail.describe_change(tail.compare(*counts))}.")
    plots = []
    for count, name in zip(counts, ("first", "second"), strict=True):
        title = f"The {name} catalog: images of each label against its rank"
        drawn = figures.rank_frequency(count, prefix=name)
        plots.append(
            Plot(
                name=f"tail-{name}",
                title=title,
                drawn=drawn,
                data=count.select("label", "name", "num_given", "num_images"),
            )
        )
    numbers = [{k: float(v) for k, v in tail.summary(c).items()} for c in counts]
    table = Table(name="tail", title="The tail, ancestors filled in", frame=_beside(*numbers))
    return [images, labels, Section(name="tail", title="The long tail", text=text, tables=[table], plots=plots)]


def runs(first: Checkpoint, second: Checkpoint, *, results: Results | None = None) -> list[Section]:
    """What differs between two training runs.

    Args:
        first: a checkpoint.
        second: another.
        results: scores of both; rows of other checkpoints are left out.
    """
    asked = [
        {**c.config, **{f"fingerprint of {role}": f[:12] for role, f in c.sidecar.inputs.items()}}
        for c in (first, second)
    ]
    there, here = ({k: str(v) for k, v in one.items()} for one in asked)
    differs = [(k, there.get(k), here.get(k)) for k in dict.fromkeys([*there, *here]) if there.get(k) != here.get(k)]
    kinds = {"what": pl.String(), "first": pl.String(), "second": pl.String()}
    table = Table(
        name="config", title="What was asked otherwise", frame=pl.DataFrame(differs, schema=kinds, orient="row")
    )
    same = f"{len(there.keys() | here.keys()) - len(differs):,} other settings and inputs are the same."
    found = [Section(name="config", title="What was asked", text=[same], tables=[table]), _seen(first, second)]
    if (loss := loss_at_equal_images(first, second)).height:
        text = "A loss is comparable only where labels and the kind of loss are the same."
        if first.labels() != second.labels():
            text += " Here the labels differ."
        title = "Mean loss around so many images seen"
        found.append(
            Section(name="loss", title="Loss", text=[text], tables=[Table(name="loss", title=title, frame=loss)])
        )
    if results is not None:
        found.append(_scores(first, second, results))
    return found


def loss_at_equal_images(first: Checkpoint, second: Checkpoint) -> pl.DataFrame:
    """Columns num_images, first, second, difference: losses averaged around numbers of images seen by both."""
    curves = [
        np.array([(r["images"], r["loss"]) for r in c.metrics() if "loss" in r], float).reshape(-1, 2)
        for c in (first, second)
    ]
    kinds = {"num_images": pl.Int64(), **dict.fromkeys(("first", "second", "difference"), pl.Float64())}
    if not all(len(curve) for curve in curves):
        return pl.DataFrame(schema=kinds)
    start, end = max(curve[0, 0] for curve in curves), min(curve[-1, 0] for curve in curves)
    rows = []
    for at in np.unique(np.geomspace(start, end, _POINTS).round()) if start <= end else []:
        near = [curve[(curve[:, 0] >= at / _NEAR) & (curve[:, 0] <= at * _NEAR), 1] for curve in curves]
        if all(len(part) for part in near):
            a, b = (float(part.mean()) for part in near)
            rows.append((int(at), a, b, b - a))
    return pl.DataFrame(rows, schema=kinds, orient="row")


def difference(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float, float]:
    """The difference of two scores with its interval, from the value and the 95% interval of each.

    The two are taken as independent. Judged on the same test images they are not, and the true interval is narrower. Source:
    Newcombe 1998, Statistics in Medicine 17, pp. 873-890, method 10.

    >>> [round(x, 3) for x in difference((0.5, 0.46, 0.54), (0.6, 0.57, 0.63))]
    [0.1, 0.05, 0.15]
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    return b - a, b - a - math.hypot(b - b_low, a_high - a), b - a + math.hypot(b_high - b, a - a_low)


def write(title: str, sections: list[Section], out: Path | str) -> Path:
    """Write the sections as one HTML page that needs nothing else, whole or not at all."""
    out = Path(out)
    shown = [
        {"section": section, "tables": [
            {"title": table.title, "rows": table.shown().rows(),
             "heads": [(heading(name), not table.is_number(name)) for name in table.frame.columns]}
            for table in section.tables
        ]}
        for section in sections
    ]  # fmt: skip
    storage.write_text(out, page.render("compare.html.jinja", {"title": title, "shown": shown}))
    return out


def _numbers(catalog: Catalog, counts: pl.DataFrame) -> dict[str, int]:
    facts = catalog.sidecar.facts
    return {
        **{name: facts[name] for name in _FACTS if name in facts},
        "num_labels_given": int((counts["num_given"] > 0).sum()),
        "num_labels": catalog.hierarchy.num_labels,
    }


def _beside(before: Mapping[str, Any], after: Mapping[str, Any]) -> pl.DataFrame:
    """Numbers of the two by name, and how far the second is from the first; null where one has none."""
    rows = [(name, before.get(name), after.get(name)) for name in dict.fromkeys([*before, *after])]
    frame = pl.DataFrame(rows, schema=["what", "first", "second"], orient="row", infer_schema_length=None)
    return frame.with_columns(difference=pl.col("second") - pl.col("first"))


def _seen(first: Checkpoint, second: Checkpoint) -> Section:
    trained = f"Trained on {first.num_train_images:,} and {second.num_train_images:,} images."
    if not (first.knows_images and second.knows_images):
        return Section(name="images", title="Images", text=[trained, "Which they were is not known of both."])
    a, b = first.images(), second.images()
    both = len(np.intersect1d(a, b, assume_unique=True))
    text = (
        f"{both:,} images were seen by both, {len(a) - both:,} only by the first, {len(b) - both:,} only by the second."
    )
    return Section(name="images", title="Images", text=[trained, text])


def _scores(first: Checkpoint, second: Checkpoint, results: Results) -> Section:
    key = ["task", "mode", "metric", "data"]
    a, b = (results.rows.filter(checkpoint=c.fingerprint).select(*key, "value", "low", "high") for c in (first, second))
    rows = []
    for *named, a_value, a_low, a_high, b_value, b_low, b_high in (
        a.join(b, on=key, nulls_equal=True).sort(key).iter_rows()
    ):
        told = difference((a_value, a_low, a_high), (b_value, b_low, b_high))
        rows.append((*named[:3], a_value, b_value, *told, told[1] > 0 or told[2] < 0))
    kinds = {**dict.fromkeys(("task", "mode", "metric"), pl.String()),
             **dict.fromkeys(("first", "second", "difference", "low", "high"), pl.Float64()), "differ": pl.Boolean()}  # fmt: skip
    text = [
        f"{len(rows):,} scores are there of both, on the same data; {len(a) + len(b) - 2 * len(rows):,} of one only are left out.",
        "The 95% interval of a difference is over test images, the two taken as independent: on the same test images it is narrower. "
        "It does not hold what another seed would change.",
    ]
    table = Table(
        name="scores", title="Scores, and the second less the first", frame=pl.DataFrame(rows, schema=kinds, orient="row"),
        percent=("first", "second"), points=("difference", "low", "high"),
    )  # fmt: skip
    return Section(name="scores", title="Scores", text=text, tables=[table])
