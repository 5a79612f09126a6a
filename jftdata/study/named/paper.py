"""The paper's tables and figures as studies; what it asked, found and printed is in `paper_numbers.py`.

Each function makes a study of prepared data and reads nothing. Arms are called as in the paper's own comparison: `clean` stands for
ImageNet, `noisy` for JFT-300M, and a number for so many noisy images.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from jftdata import overlap, subset
from jftdata.catalog import Catalog
from jftdata.errors import BadInput
from jftdata.override import override
from jftdata.study.named.data import LABELLED, StudyData
from jftdata.study.named.few_labels import few_labels
from jftdata.study.named.paper_numbers import PAPER, REMARK
from jftdata.study.named.verdict import Claim, grows, more, same, slope, verdict
from jftdata.study.plan import Arm, Judge, Study
from jftdata.study.sizes import Fixed, size_arms
from jftdata.subset import Subset

VALIDATIONS = 8
"""Points on each curve of Figure 3."""


def figure_3(data: StudyData) -> Study:
    """Training on the noisy set from fresh weights and from a clean checkpoint, with mAP@100 on the way; see `figure3.py`.

    The table has what both are worth in the end.
    """
    dense: Callable[[], Catalog] = data.part("validation")

    def watched(arm: Arm) -> Arm:
        every = data.recipe.total_epochs / VALIDATIONS
        return dataclasses.replace(arm, validation=lambda _: subset.everything(dense()), validate_every=every)

    arms = [dataclasses.replace(_clean(data), judged=False), watched(_noisy(data)), watched(_both(data))]
    claims = [same("clean-then-noisy", "noisy", what="from a clean start against from fresh weights, in the end,")]
    return _study("figure-3", data, arms, data.judges(), claims)


def table_1(data: StudyData) -> Study:
    """Classification fine-tuned from fresh weights and from the noisy set's, for equally long."""
    judge = data.judge("classification", recipe=data.scratch_recipe)
    arms = [_fresh(data), _noisy(data)]
    notes = (
        "Both learn the task for equally long at one rate; the paper's learns from scratch at a rate of 0.05 for 5M steps, and "
        "fine-tunes at 0.001 for 4M."
    )
    return _study("table-1", data, arms, [judge], [more("noisy", "scratch")], notes=notes)


def table_2(data: StudyData) -> Study:
    """Detection by initialisation; with the average precision of each class it is Table 3, too."""
    return _study("table-2", data, _starts(data), [data.judge("detection")], _START_CLAIMS)


def table_4(data: StudyData) -> Study:
    """Epochs of the noisy set (Table 4) and of the clean one (Table 5)."""
    noisy = {f"noisy-{n:g}": n for n in data.epochs}
    clean = {f"clean-{n:g}": n for n in data.clean_epochs}
    arms = [
        *(_lasting(_noisy(data), name, epochs, "noisy") for name, epochs in noisy.items()),
        *(_lasting(_clean(data), name, epochs, "clean") for name, epochs in clean.items()),
    ]
    claims = [
        *(more(max(of, key=of.__getitem__), min(of, key=of.__getitem__)) for of in (noisy, clean)),
        Claim(
            "ten times the epochs, clean more than noisy by", lambda score: slope(score, clean) - slope(score, noisy)
        ),
    ]
    notes = (
        "Each number of epochs is a run of its own, as long as its schedule where that ends at zero; the paper's are checkpoints on "
        "the way of one run. Where the clean set has the labels of the task that judges, its checkpoints have an advantage."
    )
    return _study("table-4", data, arms, data.judges(), claims, x="epochs", by=("set",), notes=notes)


def figure_4(data: StudyData, *, fixed: Fixed = "epochs") -> Study:
    """The number of noisy images, each judged by `judged_by`; fresh weights are size 0.

    Args:
        data: sets.
        fixed: what all sizes share: epochs, as in the paper, or images seen.
    """
    arms = size_arms(data.images, data.recipe, sizes=data.sizes, fixed=fixed)
    notes = _NOTES[fixed]
    return _study(
        "figure-4",
        data,
        arms,
        data.judges(),
        [grows({str(n): n for n in data.sizes}, "images")],
        fixed=fixed,
        notes=notes,
    )


def table_6(data: StudyData) -> Study:
    """As many images with few labels as with all of them.

    The paper's two sets differ in images and labels: those with few labels are all of these labels. A third arm has the images of the
    first and the labels of the second.
    """
    size = data.vocabulary_images or data.sizes[-2]
    vocabulary: Callable[[], Sequence[str]] = data.part("vocabulary")

    @functools.cache
    def drawn(seed: int) -> Subset:
        with_one = subset.with_labels(data.images(), labels=list(vocabulary()))
        if len(with_one) < size:
            raise BadInput(
                f"only {len(with_one):,} images have a label of the vocabulary, and {size:,} are needed. Give fewer as "
                "`vocabulary_images`, or more labels."
            )
        return subset.sample(with_one, size=size, seed=seed)

    def limited(seed: int) -> Subset:
        catalog = few_labels(data.noisy(), vocabulary(), out=data.at / "few-labels.catalog")
        return subset.only(subset.everything(catalog), images=drawn(seed).images)

    def arm(name: str, images: Callable[[int], Subset], labels: str) -> Arm:
        factors = {"labels": labels, "images": "all" if name == "all-labels" else "of few labels"}
        return Arm(name=name, subset=images, num_images=size, recipe=data.recipe, factors=factors)

    arms = [
        arm("few-labels", limited, "few"),
        arm("all-labels", lambda seed: subset.sample(data.images(), size=size, seed=seed), "all"),
        arm("all-labels-same-images", drawn, "all"),
    ]
    claims = [same("all-labels", "few-labels"), same("all-labels-same-images", "few-labels")]
    return _study("table-6", data, arms, data.judges(), claims)


def figure_5(data: StudyData, *, fixed: Fixed = "epochs") -> Study:
    """Networks of several depths on few images and on all.

    The paper's few are ImageNet; here they are the size nearest to a tenth, so that only their number differs.
    """
    few, all_of_them = min(data.sizes[:-1], key=lambda size: abs(size - data.sizes[-1] / 10)), data.sizes[-1]
    arms: list[Arm] = []
    for name in data.architectures:
        arms += size_arms(
            data.images, override(data.recipe, [f"architecture={name}"]), sizes=(few, all_of_them), untrained=False, fixed=fixed,
            prefix=f"{name}-", factors={"layers": int(name.removeprefix("resnet"))},
        )  # fmt: skip

    def gain(score: Any, name: str) -> float:
        return float(score[f"{name}-{all_of_them}"] - score[f"{name}-{few}"])

    deep, flat = data.architectures[-1], data.architectures[0]
    claims = [
        Claim(f"what {all_of_them:,} images gain over {few:,}, {deep} more than {flat} by", lambda s: gain(s, deep) - gain(s, flat)),
        more(f"{deep}-{all_of_them}", f"{flat}-{all_of_them}"),
    ]  # fmt: skip
    notes = f"{few:,} noisy images stand in the place of ImageNet. {_NOTES[fixed]}"
    return _study("figure-5", data, arms, data.judges(), claims, by=("layers",), fixed=fixed, notes=notes)


def figure_6(data: StudyData, *, fixed: Fixed = "epochs") -> Study:
    """Segmentation from clean, noisy, and clean and then noisy pretraining, and from each size of the noisy set."""
    clean, noisy, both = _starts(data)
    smaller = size_arms(
        data.images, data.recipe, sizes=data.sizes, untrained=False, fixed=fixed, factors=noisy.factors
    )[:-1]  # fmt: skip
    arms = [clean, *smaller, noisy, both]
    claims = [*_START_CLAIMS, grows({arm.name: arm.num_images for arm in (*smaller, noisy)}, "images")]
    return _study(
        "figure-6",
        data,
        arms,
        [data.judge("segmentation")],
        claims,
        by=("pretraining",),
        fixed=fixed,
        notes=_NOTES[fixed],
    )


def table_7(data: StudyData) -> Study:
    """Pose by initialisation."""
    return _study("table-7", data, _starts(data), [data.judge("pose")], _START_CLAIMS)


def appendix_a(data: StudyData) -> Study:
    """Scores on all test images and on those without a copy in training, of checkpoints of which no copy was kept away.

    Copies are looked for when the first task runs; `difference` in the table is what they add to a score.
    """
    judges = [judge for judge in data.judges() if judge.task in LABELLED]
    if not judges:
        raise BadInput(
            f"copies are known of test images in a catalog, and {data.name} is judged by {', '.join(data.judged_by)}. Name one of "
            f"{', '.join(LABELLED)} in `judged_by`."
        )
    test: Callable[[], Catalog] = data.part("classification")

    @functools.cache
    def compared() -> Catalog:
        overlap.register(data.noisy(), {"classification": test()})
        return test()

    judges = [dataclasses.replace(judge, data=compared) for judge in judges]
    arm = dataclasses.replace(_noisy(data), subset=lambda seed: _sampled(data, seed, left_out=False))
    claims = [Claim("what copies add", lambda score: score["noisy"], "same")]
    return _study("appendix-a", data, [arm], judges, claims, column="difference")


_START_CLAIMS = (more("noisy", "clean"), more("clean-then-noisy", "clean"))
_NOTES: dict[Fixed, str] = {
    "epochs": "All sizes have the paper's rule, an equal number of epochs, so larger ones also make more steps.",
    "images-seen": "All sizes see equally many images, so smaller ones see theirs more often; the paper keeps the epochs instead.",
}


def _study(
    name: str, data: StudyData, arms: Sequence[Arm], judges: Sequence[Judge], claims: Sequence[Claim], *, fixed: Fixed = "epochs",
    x: str = "num_train_images", by: Sequence[str] = (), notes: str = "", column: str = "value",
) -> Study:  # fmt: skip
    """A study with what the paper says of it."""
    printed = PAPER[name]
    return Study(
        name=name if fixed == "epochs" else f"{name}-{fixed}", question=printed.question, arms=arms, judges=judges,
        seeds=data.seeds, x=x, by=by, notes=" ".join(part for part in (REMARK, notes) if part), finding=printed.finding,
        paper=printed.numbers, verdict=lambda table: verdict(table, claims, column=column),
    )  # fmt: skip


def _fresh(data: StudyData) -> Arm:
    """Weights as they are drawn."""
    recipe = dataclasses.replace(data.recipe, total_epochs=0.0, warmup_epochs=0.0)
    return dataclasses.replace(_noisy(data), name="scratch", recipe=recipe, factors={"pretraining": "none"})


def _clean(data: StudyData) -> Arm:
    """The clean set, in the place of ImageNet."""
    data.part("clean")
    return Arm(
        name="clean", subset=lambda _: data.clean_set(), num_images=data.clean_images, recipe=data.clean_recipe or data.recipe,
        factors={"pretraining": "clean"},
    )  # fmt: skip


def _noisy(data: StudyData) -> Arm:
    """As many images of the noisy set as the largest size, in the place of JFT-300M."""
    return Arm(
        name="noisy", subset=lambda seed: _sampled(data, seed), num_images=data.sizes[-1], recipe=data.recipe,
        factors={"pretraining": "noisy"},
    )  # fmt: skip


def _both(data: StudyData) -> Arm:
    """The noisy set from the weights of `clean`."""
    return dataclasses.replace(
        _noisy(data), name="clean-then-noisy", init="clean", factors={"pretraining": "clean, then noisy"}
    )


def _starts(data: StudyData) -> list[Arm]:
    """The three checkpoints of Tables 2, 3 and 7 and of Figure 6."""
    return [_clean(data), _noisy(data), _both(data)]


def _sampled(data: StudyData, seed: int, *, left_out: bool = True) -> Subset:
    return subset.sample(data.images(left_out=left_out), size=data.sizes[-1], seed=seed)


def _lasting(arm: Arm, name: str, epochs: float, of: str) -> Arm:
    """An arm for another number of epochs; warm-up keeps its share, and a decay counted in steps, images or epochs its pace."""
    warmup = arm.recipe.warmup_epochs * epochs / arm.recipe.total_epochs
    recipe = dataclasses.replace(arm.recipe, total_epochs=epochs, warmup_epochs=warmup)
    return dataclasses.replace(arm, name=name, recipe=recipe, factors={"set": of, "epochs": epochs})
