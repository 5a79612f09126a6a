"""The report as plain data, from which Markdown, JSON and files of figures are written.

It says what the page says, without pictures of images. Cost: as the page's.
"""

from collections.abc import Sequence

import polars as pl

from jftdata import tail
from jftdata.checkpoint import Checkpoint
from jftdata.results import Results
from jftdata.study import figures, report_catalog, report_findings, report_scores, report_studies
from jftdata.study.curves import fit_log
from jftdata.study.report import Report
from jftdata.study.report_studies import StudySection
from jftdata.study.section import Plot, Section, Table

_SHARES = ("value", "low", "high", "value_clean", "low_clean", "high_clean")
_DIFFERENCES = ("difference", "difference_low", "difference_high")


def sections(report: Report) -> list[Section]:
    """A section for everything that a report knows.

    Raises:
        BadInput: findings that do not fit the catalog.
        UnknownName: a `noise_label` that was not audited.
    """
    found = []
    if report.catalog is not None:
        found += _catalog(report)
    if report.pairs is not None or report.overlap:
        found.append(_duplicates(report))
    if report.audit is not None:
        found.append(_noise(report))
    if report.checkpoints:
        found.append(training(report.checkpoints))
    if report.results is not None:
        found.append(scores(report.results, judged_on=report.judged_on))
    return found + [_study(one, number) for number, one in enumerate(report.studies, start=1)]


def training(checkpoints: Sequence[Checkpoint]) -> Section:
    """The runs, with their loss and mAP@100 against images seen."""
    view = report_scores.training(checkpoints)
    columns = ("name", "images", "seed", "architecture", "steps", "loss", "rate", "fingerprint")
    frame = pl.DataFrame(
        [{name: run[name] for name in columns} for run in view["runs"]], infer_schema_length=None, strict=False
    )
    plots = []
    for name, key, what in (("loss", "svg", "loss"), ("validation", "scores", "mAP@100")):
        if view[key] is not None:
            title = f"{what} against images seen, a line a run"
            plots.append(Plot(name=name, title=title, drawn=view[key], data=curve_of(checkpoints, what)))
    table = Table(name="runs", title="Runs, with the mean loss of the last twentieth and images a second", frame=frame)
    text = "A lower loss on fewer images is not a better network: small sets are learnt by heart."
    return Section(name="training", title="Training", text=[text], tables=[table], plots=plots)


def curve_of(checkpoints: Sequence[Checkpoint], what: str) -> pl.DataFrame:
    """What runs said of themselves: columns run, num_train_images, images (seen), and `loss` or `mAP@100`."""
    rows = [
        {"run": c.path.name, "num_train_images": c.num_train_images, "images": row["images"], what: row[what]}
        for c in checkpoints for row in c.metrics() if what in row
    ]  # fmt: skip
    kinds = {"run": pl.String(), "num_train_images": pl.Int64(), "images": pl.Int64(), what: pl.Float64()}
    return pl.DataFrame(rows, schema=kinds)


def scores(results: Results, *, judged_on: str = "") -> Section:
    """Scores by number of pretraining images, the lines through them, and every row."""
    curves = report_scores.score_curves(results)
    text = [t for t in report_scores.headline(curves, judged_on=judged_on) if t] if curves else []
    tables, plots = [], []
    if curves:
        named = [
            (pl.lit(c.task).alias("task"), pl.lit(c.mode).alias("mode"), pl.lit(c.metric).alias("metric"))
            for c in curves
        ]
        means = pl.concat([c.means.select(*own, pl.all()) for c, own in zip(curves, named, strict=True)])
        tables.append(
            Table(
                name="means", title="Mean over seeds, with half its 95% interval", frame=means, percent=("mean", "half")
            )
        )
        points = pl.concat([c.points.select(*own, pl.all()) for c, own in zip(curves, named, strict=True)])
        for panel in report_scores.panels(curves, prefix="score"):
            own = points.filter(task=panel["task"]).sort("mode", "num_train_images", "seed")
            title = f"{panel['task']}, {panel['metric']}: score against number of pretraining images"
            plots.append(Plot(name=f"scores-{panel['task']}", title=title, drawn=panel["svg"], data=own))
    if any(c.fit is not None for c in curves):
        several = results.rows.filter(pl.col("num_train_images") > 0)
        wanted = pl.DataFrame(
            [(c.task, c.metric) for c in curves if c.fit is not None], schema=["task", "metric"], orient="row"
        )
        lines = fit_log(several.join(wanted, on=["task", "metric"], how="semi")).select(
            "task", "mode", "metric", "slope", "slope_low", "slope_high", "r2", "num_points"
        )  # fmt: skip
        tables.append(
            Table(name="lines", title="Percentage points gained by ten times the images, with the 95% interval", frame=lines,
                  points=("slope", "slope_low", "slope_high"))
        )  # fmt: skip
    tables.append(results_table(results.rows))
    return Section(name="scores", title="What more data buys", text=text, tables=tables, plots=plots)


def results_table(rows: pl.DataFrame) -> Table:
    """Every score with its 95% interval over test images; columns in which nothing is known are left out."""
    title = "All scores, with the 95% interval over test images"
    known = [name for name in rows.columns if name != "settings" and rows[name].count()]
    return Table(name="scores", title=title, frame=rows.select(known), percent=_SHARES, points=_DIFFERENCES)


def _catalog(report: Report) -> list[Section]:
    catalog = report.catalog
    assert catalog is not None
    counts, facts = tail.label_counts(catalog), catalog.sidecar.facts
    used = int((counts["num_given"] > 0).sum())
    names = ("num_images", "num_input", "num_duplicates", "num_rejected", "num_unlabelled", "num_given_labels")
    numbers = [*((name, facts[name]) for name in names if name in facts),
               ("num_labels_given", used), ("num_labels", catalog.hierarchy.num_labels)]  # fmt: skip
    tables = [Table(name="numbers", title="The catalog in numbers", frame=_pairs(numbers), words=["what"])]
    splits = pl.DataFrame(sorted(catalog.splits.items()), schema=["split", "num_images"], orient="row")
    tables.append(Table(name="splits", title="Images by split", frame=splits))
    first = Section(
        name="catalog", title="The images", tables=tables, text=[f"{len(catalog):,} images with {used:,} labels."]
    )
    given, filled = tail.summary(counts.with_columns(num_images="num_given")), tail.summary(counts)
    both = pl.DataFrame({"what": list(given), "given": [float(x) for x in given.values()],
                         "with_ancestors": [float(x) for x in filled.values()]})  # fmt: skip
    ranked = counts.sort("num_given", "label", descending=[True, False])
    data = ranked.filter(pl.col("num_images") > 0).select("label", "name", "num_given", "num_images")
    plot = Plot(
        name="tail", title="Images of each label against its rank", drawn=figures.rank_frequency(counts), data=data
    )
    tables = [Table(name="tail", title="The tail in numbers", frame=both, words=["what"]),
              Table(name="commonest", title="The ten commonest labels", frame=data.head(10))]  # fmt: skip
    text = [report_catalog.long_tail(counts)["lead"]]
    return [first, Section(name="tail", title="The long tail", text=text, tables=tables, plots=[plot])]


def _duplicates(report: Report) -> Section:
    text, tables = [], []
    if report.pairs is not None and report.catalog is not None:
        found = report_findings.duplicates(report.catalog, report.pairs)
        names = ("num_pairs", "num_groups", "num_images", "num_extra", "num_conflicts")
        tables.append(
            Table(name="numbers", title="Near-duplicates", frame=_pairs([(name, found[name]) for name in names]))
        )
        text.append(
            "num_extra: images beyond one of each group; num_conflicts: pairs whose labels contradict each other."
        )
    if report.overlap:
        rows = [
            (x["name"], x["num"], x["of"], x["num"] / x["of"])
            for x in report_findings.overlaps(report.catalog, report.overlap)
        ]
        frame = pl.DataFrame(rows, schema=["test_set", "num_with_a_copy", "num_images", "share"], orient="row")
        tables.append(
            Table(name="overlap", title="Test images with a copy in training", frame=frame, percent=["share"])
        )
    return Section(name="duplicates", title="Near-duplicates", text=text, tables=tables)


def _noise(report: Report) -> Section:
    assert report.catalog is not None
    assert report.audit is not None
    found = report_findings.noise(
        report.catalog, report.audit, label=report.noise_label, wrong_labels=report.wrong_labels
    )
    text = [
        f"{found['num_nearer']:,} of {found['num_audited']:,} given labels sit on images that look more like another label. "
        "That is a reason to look, not a proof."
    ]
    if (truth := found["truth"]) is not None:
        text.append(
            f"Of the {truth['top']:,} most suspicious, {truth['hits']:,} are planted errors; of all labels {truth['share']:.1f}% are."
        )
    rows = [(c["label"], c["other"], c["num"], c["share"] / 100) for c in found["confusions"]]
    kinds = {"label": pl.String(), "nearer_to": pl.String(), "num_images": pl.Int64(), "share": pl.Float64()}
    table = Table(
        name="confusions", title="Labels most often nearer to another", frame=pl.DataFrame(rows, schema=kinds, orient="row"),
        percent=["share"],
    )  # fmt: skip
    return Section(name="noise", title="Label noise", text=text, tables=[table])


def _study(study: StudySection, number: int) -> Section:
    view = report_studies.study(study, number=number)
    paper = f"The paper: {study.finding}" if study.finding else ""
    tables = [results_table(study.table)]
    if study.paper is not None and not study.paper.is_empty():
        tables.append(Table(name="paper", title="The paper's numbers", frame=study.paper))
    plots = []
    for at, panel in enumerate(view["panels"]):
        judge = pl.col("cell").str.ends_with(f"-{panel['task']}") & (pl.col("metric") == panel["metric"])
        plots.append(Plot(
            name=f"study-{number}-{at}", title=f"{study.name}: {panel['task']}, {panel['metric']}", drawn=panel["svg"],
            data=study.table.filter(judge).drop("settings"),
        ))  # fmt: skip
    text = [t for t in (study.question, study.verdict, paper, study.notes) if t]
    return Section(name=f"study_{number}", title=f"Study: {study.name}", text=text, tables=tables, plots=plots)


def _pairs(rows: Sequence[tuple[str, int]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"what": pl.String(), "number": pl.Int64()}, orient="row")
