"""Studies beyond the paper: what wrong labels, extra copies, the long tail, the precision of chosen labels and a few clean images do.

Faults are planted on the noisy set (`planted.py`), so that their share is known. Where the number of images differs, epochs are kept in
some arms and images seen in others; `noise_rate` is two studies instead. On the built-in world each should take 4 to 16 minutes on two
cores, at 1,500 images a second.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from jftdata import subset
from jftdata.hashing import keyed_order
from jftdata.pretrain.config import PretrainConfig
from jftdata.study.named import planted
from jftdata.study.named.data import StudyData
from jftdata.study.named.verdict import Claim, more, same, verdict
from jftdata.study.plan import Arm, Factor, Study
from jftdata.study.sizes import Fixed, epochs_of
from jftdata.subset import Subset

QUESTIONS = {
    "noise-rate": "What do wrong labels cost, and do more images make up for them?",
    "dedup": "What is it worth to take copies out of the training set?",
    "tail-handling": "Does it help to give rare labels more weight than they come with?",
    "selection-precision": "Are fewer images under better labels worth more than many under worse ones?",
    "mixing": "What do a few clean images add to many noisy ones, and how are they best mixed in?",
}
"""By the study's name."""
ERRORS = (0.0, 0.2, 0.4, 0.8)
"""Shares of wrong labels."""
COPIES = (0.25, 0.5)
"""Shares of images that are copies of others."""
CAP_SHARE, REPEATED = 0.0125, 0.01
"""Images a label of a cap, as a share of all; labels on a smaller share are repeated."""
TARGETS = (0.6, 0.8, 0.9, 0.95)
"""Precisions at which labels are selected."""
NOISE = 0.4
"""Share of wrong labels in the noisy part of a mixture."""
CLEAN = (0.25, 0.5)
"""Shares of clean images in an epoch, beside the share there is."""
_GIVEN = "Where the truth is not known, labels as given count as right."


def noise_rate(data: StudyData, *, fixed: Fixed = "epochs") -> Study:
    """The number of images, with several shares of their labels wrong.

    Args:
        data: sets.
        fixed: what all sizes share: epochs, or images seen.
    """
    sizes = data.sizes[-3:]
    noisy = functools.cache(lambda share, seed: planted.with_errors(data, share=share, seed=seed))

    def arm(share: float, size: int) -> Arm:
        def images(seed: int) -> Subset:
            return subset.only(noisy(share, seed), images=_drawn(data, size, seed))

        recipe = epochs_of(data.recipe, size, largest=sizes[-1], fixed=fixed)
        return Arm(
            name=f"wrong{share:g}-{size}", subset=images, num_images=size, recipe=recipe, factors={"wrong": share}
        )

    some, most = sizes[-2:]
    right = f"wrong0-{most}"
    claims = [more(right, f"wrong{share:g}-{most}") for share in ERRORS[1:]]
    claims += [more(f"wrong{share:g}-{most}", f"wrong0-{some}") for share in ERRORS[1:]]
    return _study(
        "noise-rate", data, [arm(share, size) for share in ERRORS for size in sizes], claims, by=("wrong",), fixed=fixed,
        finding=f"wrong labels cost something, and {most:,} images with them are worth more than {some:,} without.",
        notes=f"All sizes share the {fixed.replace('-', ' ')}. {planted.ALIKE:.0%} of the errors name a label near the right one, the "
        f"others that of another image. {_GIVEN}",
    )  # fmt: skip


def dedup(data: StudyData) -> Study:
    """Sets in which copies are, against those from which they are dropped, with and without other images in their place."""
    num = data.sizes[-2]
    pairs = functools.cache(lambda seed: planted.with_copies(data, _drawn(data, num, seed), seed=seed))

    def arm(name: str, handling: str, share: float, originals: int, copies: int, fixed: Fixed = "epochs") -> Arm:
        def images(seed: int) -> Subset:
            catalog, named = pairs(seed)
            named = named[keyed_order(named["image"].to_numpy(), seed=seed, stream="study of copies")]
            ids = [named["image"][:originals].to_numpy(), named["copy"][:copies].to_numpy()]
            return subset.only(catalog, images=np.concatenate(ids))

        factors: dict[str, Factor] = {"handling": handling, "copies": share, "fixed": fixed}
        recipe = epochs_of(data.recipe, originals + copies, largest=num, fixed=fixed)
        return Arm(name=name, subset=images, num_images=originals + copies, recipe=recipe, factors=factors)

    arms, claims = [arm("replaced", "replaced", 0.0, num, 0)], []
    for share in COPIES:
        copies = round(share * num)
        kept, fewer, longer = f"copies{share:g}", f"dropped{share:g}-epochs", f"dropped{share:g}-images-seen"
        arms += [
            arm(kept, "kept", share, num - copies, copies),
            arm(fewer, "dropped", share, num - copies, 0),
            arm(longer, "dropped", share, num - copies, 0, "images-seen"),
        ]
        claims += [more("replaced", kept), same(longer, kept), more(kept, fewer)]
    return _study(
        "dedup", data, arms, claims, by=("handling", "fixed"),
        finding="other images in the place of copies help; dropping copies changes nothing at equal images seen, and costs "
        "training at equal epochs.",
        notes="No image has more than one planted copy, of a kind drawn from `changes.KINDS`; all copies are found.",
    )  # fmt: skip


def tail_handling(data: StudyData) -> Study:
    """A long-tailed set as it is, capped, with repeat factors, balanced, and with adjusted logits."""
    num = data.sizes[-1]
    most = max(1, round(CAP_SHARE * num))
    whole = functools.cache(lambda seed: _drawn(data, num, seed))
    capped = functools.cache(lambda seed: subset.cap(whole(seed), most=most, seed=seed))
    repeated = functools.cache(lambda seed: subset.repeat_factors(whole(seed), threshold=REPEATED))
    adjusted = dataclasses.replace(data.recipe, logit_adjustment=1.0)

    def arm(
        name: str, images: Callable[[int], Subset], handling: str, fixed: str = "both", recipe: PretrainConfig = data.recipe
    ) -> Arm:  # fmt: skip
        factors = {"handling": handling, "fixed": fixed}
        return Arm(name=name, subset=images, num_images=num, recipe=recipe, factors=factors)

    arms = [
        arm("as-is", whole, "none"),
        arm("cap-epochs", capped, "cap", "epochs"),
        arm("cap-images-seen", lambda seed: _an_epoch(capped(seed), num), "cap", "images-seen"),
        arm("repeat-epochs", repeated, "repeat factors", "epochs"),
        arm("repeat-images-seen", lambda seed: _an_epoch(repeated(seed), num), "repeat factors", "images-seen"),
        arm("balanced", lambda seed: subset.balanced(whole(seed), seed=seed), "balanced"),
        arm("adjusted", whole, "adjusted logits", recipe=adjusted),
    ]
    return _study(
        "tail-handling", data, arms,
        [more(one.name, "as-is") for one in arms[1:]], by=("handling", "fixed"),
        finding="on a test set with as many images of each label, more weight for rare labels helps.",
        notes=f"The cap is {most} images a label. Repeat factors lift labels on fewer than {REPEATED:.0%} of the images. Balanced "
        "images weigh 1 / sqrt(n) for n images of their rarest label. The test set decides what the tail is worth.",
    )  # fmt: skip


def selection_precision(data: StudyData) -> Study:
    """Labels chosen from candidates at rising precision: fewer and fewer images under better and better labels.

    Raises:
        BadInput: the truth is not known.
    """
    data.part("truth")
    num, few = data.sizes[-1], data.sizes[-2] // 2

    @functools.cache
    def candidates() -> planted.Candidates:
        return planted.with_candidates(data, _drawn(data, num, 0), seed=0)

    @functools.cache
    def kept(target: float) -> Subset:
        if not target:
            return subset.everything(candidates().catalog)
        out = data.at / f"selected-{target:g}.catalog"
        return subset.everything(planted.selected(candidates(), target=target, out=out))

    def sampled(target: float, seed: int) -> Subset:
        return subset.sample(kept(target), size=min(few, len(kept(target))), seed=seed)

    def arms(target: float) -> list[Arm]:
        def arm(fixed: str, images: Callable[[int], Subset], about: int) -> Arm:
            return Arm(
                name=f"target{target:g}-{fixed}", subset=images, num_images=about, recipe=data.recipe,
                factors={"target": target, "fixed": fixed},
            )  # fmt: skip

        return [
            arm("epochs", lambda _: kept(target), num),
            arm("images", lambda seed: sampled(target, seed), few),
            *([arm("images-seen", lambda _: _an_epoch(kept(target), num), num)] if target else []),
        ]

    claims: list[Claim] = []
    for fixed, before in (("epochs", "epochs"), ("images-seen", "epochs"), ("images", "images")):
        claims += [more(f"target{target:g}-{fixed}", f"target0-{before}") for target in TARGETS]
    return _study(
        "selection-precision", data, [one for target in (0.0, *TARGETS) for one in arms(target)], claims, by=("fixed",),
        finding="labels selected at a target precision are worth more than all candidates.",
        notes="An image has two candidate labels, its main true one and a wrong one, with drawn web signals; target 0 keeps all. "
        f"{planted.JUDGED:,} of the pairs are judged by the truth. `images` compares {few:,} images of each, or all there are. "
        "The selection is one for all seeds.",
    )  # fmt: skip


def mixing(data: StudyData) -> Study:
    """Many noisy images, a few clean ones, and both: as they come, with the clean ones more often, and one after the other."""
    few, num = data.sizes[max(0, len(data.sizes) - 3)], data.sizes[-1]
    clean = functools.cache(lambda seed: subset.only(planted.right_labels(data), images=_drawn(data, few, seed)))

    @functools.cache
    def both(seed: int) -> Subset:
        catalog = planted.with_errors(data, share=NOISE, seed=seed, but=clean(seed))
        return subset.only(catalog, images=_drawn(data, num, seed))

    def noisy(seed: int) -> Subset:
        return subset.only(planted.with_errors(data, share=NOISE, seed=seed), images=_drawn(data, num, seed))

    def mixed(seed: int, share: float) -> Subset:
        parts = {"clean": clean(seed).images, "noisy": subset.without(both(seed), images=clean(seed)).images}
        ratios = {"clean": share, "noisy": 1 - share}
        return subset.mix(both(seed), parts=parts, ratios=ratios, images_an_epoch=num)

    def arm(
        name: str, images: Callable[[int], Subset], share: float, *, size: int = num, order: str = "together", fixed: str = "both"
    ) -> Arm:  # fmt: skip
        factors: dict[str, Factor] = {"clean_share": share, "order": order, "fixed": fixed}
        return Arm(name=name, subset=images, num_images=size, recipe=data.recipe, factors=factors)

    after = arm("noisy-then-clean", clean, 1.0, size=few, order="after", fixed="epochs")
    arms = [
        arm("noisy", noisy, 0.0),
        arm("clean-epochs", clean, 1.0, size=few, fixed="epochs"),
        arm("clean-images-seen", lambda seed: _an_epoch(clean(seed), num), 1.0, size=few, fixed="images-seen"),
        arm("mixed", both, few / num),
        *(arm(f"mixed{share:g}", functools.partial(mixed, share=share), share) for share in CLEAN),
        dataclasses.replace(after, init="noisy"),
        arm("all-clean", lambda seed: subset.only(planted.right_labels(data), images=_drawn(data, num, seed)), 1.0),
    ]
    return _study(
        "mixing", data, arms,
        [more(one.name, "noisy") for one in arms[3:]] + [more("mixed", "clean-images-seen")], by=("order", "fixed"),
        finding="clean images among noisy ones help, the more so the more often they come, and both are worth more than the "
        "clean ones alone.",
        notes=f"Of the labels of noisy images {NOISE:.0%} are wrong; {few:,} of the {num:,} images are clean. `noisy-then-clean` sees "
        f"{few / num:.0%} more images than `noisy`. {_GIVEN}",
    )  # fmt: skip


def _study(
    name: str, data: StudyData, arms: Sequence[Arm], claims: Sequence[Claim], *, by: Sequence[str], finding: str, notes: str,
    fixed: Fixed = "epochs",
) -> Study:  # fmt: skip
    """A study with what one would expect of it."""
    return Study(
        name=name if fixed == "epochs" else f"{name}-{fixed}", question=QUESTIONS[name], arms=arms, judges=data.judges(),
        seeds=data.seeds, by=by, notes=notes, finding=f"Expected, not measured before: {finding}",
        verdict=lambda table: verdict(table, claims),
    )  # fmt: skip


def _drawn(data: StudyData, size: int, seed: int) -> Subset:
    """Images of the noisy set; a smaller number lies within a larger."""
    return subset.sample(data.images(), size=size, seed=seed)


def _an_epoch(images: Subset, num: int) -> Subset:
    """The same images, each so much more often that an epoch has `num`."""
    weights = np.ones(len(images)) if images.weights is None else images.weights
    frame = pl.DataFrame({"image": images.images, "weight": weights * (num / weights.sum())})
    return subset.weighted(images, weights=frame)
