"""Human pose: where the keypoints of each person are, by G-RMI's network on a box around the person, judged by COCO's keypoint AP.

Training pictures are the people with a labelled keypoint, enlarged at random and mirrored every second time. Test boxes are those of
the people with a labelled keypoint, or a detector's from a file. Of the poses of an image that are alike, the ones with lower
scores are left out.

Source: Sun et al. 2017, section 5.4; Papandreou et al. 2017 (1701.01779), section 3.2.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jftdata.checkpoint import Checkpoint
from jftdata.errors import BadArgument, BadInput
from jftdata.pretrain.ranks import Ranks
from jftdata.progress import progress
from jftdata.ragged import owners
from jftdata.storage import sha256_file
from jftdata.transfer import body, coco_metrics, pictures, pose_crop, pose_decode
from jftdata.transfer.annotations import predictions, read
from jftdata.transfer.annotations.core import Annotated, Annotations, Objects, Skeleton
from jftdata.transfer.annotations.predictions import Detections
from jftdata.transfer.fit import ahead, fit, order, samples
from jftdata.transfer.oks import oks_nms, sigmas_of
from jftdata.transfer.pose_net import STRIDE, Pictures, PoseNet
from jftdata.transfer.recipe import Recipe
from jftdata.transfer.task import Inputs, Mode, Score

FILE = "keypoints.json"
"""Predictions in COCO's results format, in the folder of the run."""
_GROUP = 16
"""Test pictures that go through the network together, on any number of processes."""
_COCO_PEOPLE = 150_000
"""With a labelled keypoint, in COCO's train2017; rounded."""


@dataclass(frozen=True, kw_only=True)
class PoseRecipe(Recipe):
    """Training settings, and what a picture of a person is. `batch_size` counts people."""

    height: int = 353
    """Of a picture, 1 more than a multiple of 8."""
    width: int = 257
    radius: float = 25.0
    """Of the disks, in pixels of the picture (unverified)."""
    heat_weight: float = 4.0
    """Of the loss of heat maps (unverified)."""
    offset_weight: float = 1.0
    """Of the loss of offsets, in units of the radius; the weight is unverified, the unit is ours."""
    auxiliary_weight: float = 1.0
    """Of the heat maps at conv4, times `heat_weight` (ours); 0 does without. A frozen body has none, as they would teach nothing."""
    enlarge: float = 1.25
    """Times both sides of a test box (unverified)."""
    enlarge_training: tuple[float, float] = (1.0, 1.5)
    """Least and most, drawn for each training picture (unverified)."""
    mirror: bool = True
    """Mirror every second training picture, left keypoints for right ones."""
    nms: float = 0.5
    """Poses whose object keypoint similarity to a better one is above this are left out."""
    boxes: str | None = None
    """File with a detector's boxes on the test images, in COCO's results format; None takes the annotations' boxes."""
    least_box_score: float = 0.0
    """Boxes of the file below this are left out."""
    sigmas: tuple[float, ...] | None = None
    """How far apart people place each keypoint, as in COCO's similarity; None takes COCO's, for its 17 keypoints."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "enlarge_training", tuple(self.enlarge_training))  # a list of JSON
        if self.sigmas is not None:
            object.__setattr__(self, "sigmas", tuple(self.sigmas))
        for name in ("height", "width"):
            side = getattr(self, name)
            if side <= STRIDE or side % STRIDE != 1:
                nearest = max(1, round((side - 1) / STRIDE)) * STRIDE + 1
                raise BadArgument(f"`{name}` must be 1 more than a multiple of {STRIDE}. Got {side}. Give {nearest}.")
        for name in ("radius", "heat_weight", "offset_weight", "enlarge"):
            if not 0 < getattr(self, name) < np.inf:
                raise BadArgument(f"`{name}` must be above 0. Got {getattr(self, name)}.")
        if not 0 <= self.auxiliary_weight < np.inf:
            raise BadArgument(f"`auxiliary_weight` must be at least 0. Got {self.auxiliary_weight}.")
        ends = self.enlarge_training
        if len(ends) != 2 or not 0 < ends[0] <= ends[1] < np.inf:
            raise BadArgument(f"`enlarge_training` must be two factors above 0, the lower one first. Got {ends}.")
        if not 0 < self.nms <= 1:
            raise BadArgument(f"`nms` must be in (0, 1]; 1 leaves out none. Got {self.nms}.")
        if self.boxes is None and self.least_box_score:
            raise BadArgument(f"`least_box_score` is {self.least_box_score} and there are no `boxes`. Leave it out.")


_PAPER = PoseRecipe(
    batch_size=24, learning_rate=5e-3, epochs=450_000 * 24 / _COCO_PEOPLE, schedule="step",
    milestones=(250_000 / 450_000,), clip_norm=10.0,
)  # fmt: skip
RECIPES: dict[str, PoseRecipe] = {
    "modern": PoseRecipe(
        batch_size=64, learning_rate=0.02, epochs=30, warmup=0.02, height=257, width=193, radius=18.0, clip_norm=10.0
    ),
    "paper": _PAPER,
    "paper-literal": replace(_PAPER, epochs=None, steps=450_000, precision="fp32"),
    "tiny": PoseRecipe(
        batch_size=16, learning_rate=0.02, epochs=20, warmup=0.05, height=129, width=97, radius=9.0, clip_norm=10.0
    ),
}
"""`paper` makes as many passes over the people at hand as 450,000 steps are over COCO's, a tenth of the rate from 250,000 on; batch and
rate are G-RMI's (unverified), the paper names none, and as the loss's scale is ours its gradient is clipped, without which that rate
diverged on the world. `paper-literal` takes the steps. `modern` is ours and not yet tuned; `tiny` is for
the built-in world at 160 pixels on two CPU cores."""


class Pose:
    """AP and AR of keypoints."""

    modes: tuple[Mode, ...] = ("finetune", "frozen")
    recipes: Mapping[str, PoseRecipe] = RECIPES

    def read(self, data: Any, *, cache: Path, workers: int | None) -> Annotations:
        """See `annotations.read.keypoints`."""
        return read.keypoints(data, workers=workers)

    def __call__(self, inputs: Inputs[Annotations, PoseRecipe]) -> list[Score]:
        recipe, train, test, ranks = inputs.recipe, inputs.data.train, inputs.data.test, inputs.ranks
        objects, points, skeleton = parts(train)
        sigmas = sigmas_of(len(skeleton.names), recipe.sigmas)
        boxes, facts = boxes_of(test, recipe)
        people = _learnt_from(objects, points)
        net = network(
            inputs.checkpoint, recipe=recipe, num_keypoints=len(skeleton.names), mode=inputs.mode, seed=inputs.seed
        )
        net.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        stream = order(objects.id[people], recipe=recipe, seed=inputs.seed)
        num_steps = recipe.num_steps(len(people))
        row = owners(objects.start)[people]

        def load(at: int, draw: int) -> Sample:
            return sample(train, int(row[at]), int(people[at]), draw, recipe=recipe)

        def batches(first_step: int) -> Iterator[Pictures]:
            made = samples(
                load, stream, first_step=first_step, num_steps=num_steps, ranks=ranks, workers=inputs.workers
            )
            return (collate(batch).to(ranks.device) for batch in made)

        fit(
            net, batches, recipe=recipe, num_steps=num_steps, ranks=ranks, folder=inputs.folder, what="pose",
            fresh=lambda name: not name.startswith("body."),
        )  # fmt: skip
        found = predict(net, test, boxes, recipe=recipe, ranks=ranks, workers=inputs.workers)
        if not ranks.first:
            return []
        predictions.write_coco(inputs.folder / FILE, test, found)
        pictures.poses(test, found, folder=inputs.folder, seed=inputs.seed)
        matches = coco_metrics.keypoints(parts(test)[0], found, num_classes=len(test.classes), sigmas=sigmas)
        counts = {"num_people": len(people), "people_left_out": len(objects) - len(people), "num_poses": len(found)}
        return coco_metrics.scores(matches, test.classes, {**counts, **facts})


def network(checkpoint: Checkpoint, *, recipe: PoseRecipe, num_keypoints: int, mode: Mode, seed: int) -> PoseNet:
    """The network that is trained, its head fresh; in the frozen mode all but the head stays as it is."""
    fine = checkpoint.config.get("stem") == "small"  # at stride 8 with no stride taken out
    base = body.of_checkpoint(checkpoint, freeze_batch_norm=recipe.freeze_batch_norm, output_stride=32 if fine else 8)
    if mode == "frozen":
        base.freeze()
    return PoseNet(
        base, num_keypoints=num_keypoints, height=recipe.height, width=recipe.width, radius=recipe.radius,
        heat_weight=recipe.heat_weight, offset_weight=recipe.offset_weight,
        auxiliary_weight=0.0 if mode == "frozen" else recipe.auxiliary_weight, precision=recipe.precision, seed=seed,
    )  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A training picture."""

    pixels: NDArray[np.uint8]
    """(height, width, 3)."""
    keypoints: NDArray[np.float32]
    """(K, 3): x and y in the picture, and 0 not labelled, 1 hidden, 2 visible."""
    others: NDArray[np.float32]
    """(m, K, 3), of other people with a keypoint in the picture or near it."""


def sample(split: Annotated, row: int, person: int, draw: int, *, recipe: PoseRecipe) -> Sample:
    """A training picture of a person.

    Args:
        split: images and people.
        row: of the image.
        person: place among the objects.
        draw: a random number; the same one gives the same picture.
        recipe: sizes.
    """
    random = np.random.default_rng(draw)
    enlarge, coin = random.uniform(*recipe.enlarge_training), random.random()
    mirrored = recipe.mirror and coin < 0.5
    objects, keypoints, skeleton = parts(split)
    window = pose_crop.around(
        objects.box[person], height=recipe.height, width=recipe.width, enlarge=enlarge, mirrored=mirrored
    )
    here = np.arange(objects.start[row], objects.start[row + 1])
    here = np.concatenate([[person], here[(here != person) & ~objects.crowd[here]]])
    points = keypoints[here].astype(np.float64)
    if mirrored:
        points = points[:, list(skeleton.mirrored)]
    points[..., :2] = window.to_picture(points[..., :2])
    margin, size = recipe.radius, (recipe.width, recipe.height)
    near = ((points[..., :2] > -margin) & (points[..., :2] < np.array(size) + margin)).all(-1) & (points[..., 2] > 0)
    others = points[1:][near[1:].any(1)]
    return Sample(window.cut(split.pixels(row)), points[0].astype(np.float32), others.astype(np.float32))


def collate(batch: list[Sample]) -> Pictures:
    """Some samples as one batch."""
    owner = np.repeat(np.arange(len(batch)), [len(one.others) for one in batch])
    return Pictures(
        torch.from_numpy(np.stack([one.pixels for one in batch])),
        torch.from_numpy(np.stack([one.keypoints for one in batch])),
        torch.from_numpy(np.concatenate([one.others for one in batch])),
        torch.from_numpy(owner),
    )


def predict(
    net: PoseNet, split: Annotated, boxes: Detections, *, recipe: PoseRecipe, ranks: Ranks, workers: int | None
) -> Detections:
    """The poses in some boxes, less those that are like a better one of their image; the same on all ranks.

    Args:
        net: on its device, in evaluation.
        split: the images.
        boxes: of people; their scores do not count.
        recipe: sizes and similarity.
        ranks: who shares the work.
        workers: threads; None is one a core.

    Returns:
        Poses of each image by falling score, with the smallest boxes around their keypoints. A keypoint's score is the vote for it.
    """
    row, box = owners(boxes.start), boxes.box
    windows = [pose_crop.around(one, height=recipe.height, width=recipe.width, enlarge=recipe.enlarge) for one in box]
    points = np.zeros((len(box), net.num_keypoints, 3))
    groups = [slice(first, first + _GROUP) for first in range(0, len(box), _GROUP)][ranks.rank :: ranks.world_size]

    def cut(group: slice) -> NDArray[np.uint8]:
        decoded = {i: split.pixels(i) for i in np.unique(row[group]).tolist()}
        return np.stack([window.cut(decoded[i]) for window, i in zip(windows[group], row[group].tolist(), strict=True)])

    with (
        torch.inference_mode(),
        progress("poses", total=len(box), unit="person", hidden=not ranks.first) as bar,
    ):
        for group, cuts in zip(groups, ahead(cut, groups, workers=workers), strict=True):
            heat, offset = net.maps(torch.from_numpy(cuts).to(ranks.device))
            maps = heat.cpu().numpy(), offset.cpu().numpy()
            points[group] = pose_decode.decode(*maps, radius=recipe.radius, workers=workers)
            bar.update(len(points[group]))
    points = ranks.sum(torch.from_numpy(points).to(ranks.device)).cpu().numpy()  # a row is 0 on all ranks but one
    for one, window in zip(points, windows, strict=True):
        one[:, :2] = window.to_image(one[:, :2])
    return _without_doubles(boxes, points, recipe)


def _without_doubles(boxes: Detections, points: NDArray[np.float64], recipe: PoseRecipe) -> Detections:
    """The poses in some boxes by falling score, less those that are like a better one of their image."""
    score, area = points[:, :, 2].mean(axis=1), (boxes.box[:, 2:] - boxes.box[:, :2]).prod(axis=1)
    kept = []
    for first, last in pairwise(boxes.start.tolist()):
        of = slice(first, last)
        kept.append(first + oks_nms(points[of], score[of], area[of], threshold=recipe.nms, sigmas=recipe.sigmas))
    taken, place = np.concatenate(kept), points[:, :, :2]
    box = np.concatenate([place.min(axis=1), place.max(axis=1)], axis=1)
    start = np.concatenate([[0], np.cumsum([len(some) for some in kept])])
    return Detections(start, box[taken], score[taken], boxes.label[taken], points[taken])


def boxes_of(test: Annotated, recipe: PoseRecipe) -> tuple[Detections, dict[str, Any]]:
    """Where to look for people on the test images, and what is to be said of it.

    A file's boxes are clipped to the image; those that lie outside it are left out.

    Raises:
        BadInput: the file's boxes do not fit the images, see `annotations.predictions.read_coco`.
    """
    facts: dict[str, Any]
    if recipe.boxes is None:
        objects, points, _ = parts(test)
        kept = _labelled(objects, points)
        given = Detections(objects.start, objects.box, np.ones(len(objects)), objects.label)
        facts = {"boxes": "annotations", "boxes_without_keypoints": int((~kept).sum())}
    else:
        given = predictions.read_coco(recipe.boxes, test)
        size = np.stack([test.width, test.height, test.width, test.height], axis=1)
        given = replace(given, box=np.clip(given.box, 0, size[owners(given.start)]))
        inside = (given.box[:, 2:] > given.box[:, :2]).all(axis=1)
        kept = inside & (given.score >= recipe.least_box_score)
        facts = {
            "boxes": sha256_file(Path(recipe.boxes)), "boxes_of_other_classes": given.num_left_out,
            "boxes_outside": int((~inside).sum()), "boxes_below_score": int((inside & ~kept).sum()),
        }  # fmt: skip
    start = np.concatenate([[0], np.cumsum(kept)])[given.start]
    boxes = Detections(start, given.box[kept], given.score[kept], given.label[kept])
    return boxes, {**facts, "num_boxes": len(boxes)}


def parts(split: Annotated) -> tuple[Objects, NDArray[np.float32], Skeleton]:
    """The people of a split, their keypoints, and what these are.

    Raises:
        BadInput: a set without keypoints.
    """
    if split.objects is None or split.objects.keypoints is None or split.skeleton is None:
        raise BadInput("pose needs people with keypoints. Give a set with person keypoints.")
    return split.objects, split.objects.keypoints, split.skeleton


def _labelled(objects: Objects, points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Who has a labelled keypoint and is no crowd."""
    return (points[:, :, 2] > 0).any(axis=1) & ~objects.crowd


def _learnt_from(objects: Objects, points: NDArray[np.float32]) -> NDArray[np.int64]:
    """Places among the objects, by id."""
    there = np.flatnonzero(_labelled(objects, points))
    if not len(there):
        raise BadInput(f"none of the {len(objects)} people to learn from has a labelled keypoint. Give another split.")
    return there[np.argsort(objects.id[there], kind="stable")]
