"""Validation: the pixels, the batches, the processes and the images that cannot be read."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, distributed

from jftdata import backbone, pretrain, processes, progress, recipes, sources, subset
from jftdata.catalog import Catalog, label_arrays
from jftdata.errors import BadArgument, BadInput
from jftdata.hierarchy import Hierarchy
from jftdata.hierarchy.targets import fill_in
from jftdata.pretrain import validate
from jftdata.ranking import Ranking
from tests.conftest import write_photos
from tests.strategies import picture

RESIZE, SIZE = 40, 32


def make(folder: Path, num: int = 11) -> Catalog:
    """Three leaves of the toy tree, which have ancestors."""
    for i in range(num):
        path = folder / "photos" / ("wolf", "house cat", "tractor")[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i, width=48, height=40)).save(path)
    return sources.from_folder(folder / "photos", out=folder / "catalog", hierarchy=Hierarchy.load("toy"), workers=1)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    progress.set_quiet(True)
    return make(tmp_path_factory.mktemp("validate"))


def net_of(catalog: Catalog) -> Any:
    return backbone.build("resnet10", num_outputs=catalog.hierarchy.num_labels, seed=0)


def by_colour(pixels: Tensor) -> Tensor:
    """Scores for the toy tree's labels from sums of integers, the same in any batch."""
    levels = ((pixels + 1) * 127.5).round().double()  # (n, 3, size, size)
    parts = levels.unfold(2, 16, 16).unfold(3, 16, 16).sum(dim=(4, 5)).flatten(1)  # (n, 12)
    return parts[:, : Hierarchy.load("toy").num_labels].float()


def ranked(chosen: Any, **options: Any) -> validate.Validation:
    cpu = torch.device("cpu")
    return validate.rank(by_colour, chosen, resize=RESIZE, image_size=SIZE, device=cpu, **options)


def same(a: validate.Validation, b: validate.Validation) -> bool:
    equal: bool = a.result().labels.equals(b.result().labels) and a.scores == b.scores and a.unread.equals(b.unread)
    return equal


def test_scores_are_those_of_centre_crops_sent_through_the_network_one_by_one(catalog: Catalog) -> None:
    net = net_of(catalog).eval()
    rows = catalog.rows(catalog.images(), columns=["image", "shard", "offset", "length", "labels"])
    scores = []
    for row in rows.iter_rows(named=True):
        data = catalog.read(row["shard"], row["offset"], row["length"])
        photo = Image.open(io.BytesIO(data)).convert("RGB").resize((RESIZE, RESIZE), Image.Resampling.BILINEAR)
        pixels = np.array(photo.crop((4, 4, 36, 36)), np.float32) / 127.5 - 1
        with torch.no_grad():
            scores.append(net(torch.from_numpy(pixels).permute(2, 0, 1)[None]).numpy()[0])
    expected = Ranking(catalog.hierarchy.num_labels, k=4)
    start, index = fill_in(catalog.hierarchy, *label_arrays(rows["labels"]))
    expected.add(rows["image"].to_numpy(), np.stack(scores), start=start, index=index)
    whole = subset.everything(catalog)
    found = validate.evaluate(net, whole, resize=RESIZE, image_size=SIZE, precision="fp32", k=4)
    assert found.result().labels.equals(expected.result().labels)
    leaves = [i for i, label in enumerate(catalog.hierarchy.labels) if not catalog.hierarchy.children(label)]
    assert found.scores == expected.result(classes=np.array(leaves)).scores
    assert found.scores["top-1"] is not None
    assert len(found.unread) == 0


def test_batch_size_and_threads_change_nothing_and_a_network_no_more_than_rounding(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = subset.everything(catalog)
    net = net_of(catalog)
    plain = ranked(whole, workers=1)
    through = validate.evaluate(net, whole, resize=RESIZE, image_size=SIZE, precision="fp32")
    for size in (1, 4, 10):
        monkeypatch.setattr(validate, "_BATCH", size)
        assert same(ranked(whole, workers=2), plain)
        other = validate.evaluate(net, whole, resize=RESIZE, image_size=SIZE, precision="fp32")
        assert other.scores == pytest.approx(through.scores, abs=1e-6)


def test_the_network_is_left_as_it_was(catalog: Catalog) -> None:
    net = net_of(catalog).train()
    net.bn1.eval()  # a frozen part
    before = {name: value.clone() for name, value in net.state_dict().items()}
    head, modes = net.fc, [m.training for m in net.modules()]
    validate.evaluate(net, subset.everything(catalog), resize=RESIZE, image_size=SIZE)
    assert net.fc is head
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_head_tells_apart_what_bfloat16_would_not(catalog: Catalog) -> None:
    net = net_of(catalog)
    net.fc.weight.data.zero_()
    net.fc.bias.data = 1 + 1e-4 * torch.arange(catalog.hierarchy.num_labels)
    found = validate.evaluate(net, subset.everything(catalog), resize=RESIZE, image_size=SIZE, precision="bf16", k=1)
    kept = found.result().labels["num_kept"].to_list()
    assert kept == [0] * (len(kept) - 1) + [len(catalog)]


def test_images_that_cannot_be_read_are_listed_and_not_scored(tmp_path: Path) -> None:
    catalog = make(tmp_path)
    places = catalog.rows(catalog.images(), columns=["image", "shard", "source"])
    gone, changed = places.row(2, named=True), places.row(7, named=True)
    (catalog.path / gone["shard"]).unlink()
    path = catalog.path / changed["shard"]
    path.write_bytes(bytes(path.stat().st_size))
    found = ranked(subset.everything(catalog))
    assert found.unread.select("image", "reason").rows() == [(gone["image"], "missing"), (changed["image"], "damaged")]
    others = subset.without(catalog, images=[gone["image"], changed["image"]])
    assert found.scores == ranked(others).scores
    assert found.result().num_images == len(catalog) - 2
    for shard in places["shard"]:
        (catalog.path / shard).unlink(missing_ok=True)
    with pytest.raises(BadInput, match="no image was added"):
        ranked(subset.everything(catalog)).result()


def test_scores_may_come_with_their_labels(catalog: Catalog) -> None:
    def best_three(pixels: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(by_colour(pixels).topk(3, dim=1))  # type: ignore[return-value]

    whole = subset.everything(catalog)
    cpu = torch.device("cpu")
    found = validate.rank(best_three, whole, resize=RESIZE, image_size=SIZE, device=cpu, k=3)
    assert same(found, ranked(whole, k=3))


def test_parts_are_called_as_often_with_as_many_images(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "_BATCH", 2)
    whole = subset.everything(catalog)
    calls: list[list[int]] = []

    def count(pixels: Tensor) -> Tensor:
        calls[-1].append(len(pixels))
        return by_colour(pixels)

    sizes = []
    for i in range(4):
        calls.append([])
        part = validate.rank(count, whole, resize=RESIZE, image_size=SIZE, device=torch.device("cpu"), part=(i, 4))
        sizes.append(part.result().num_images)
    assert sizes == [3, 3, 3, 2]
    assert calls == [[2, 2]] * 4


def joined(mine: int, meeting: str, path: Path) -> tuple[list[Any], dict[str, float | None]]:
    """What one of two processes gathers."""
    progress.set_quiet(True)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=mine, world_size=2)
    try:
        found = validate.gather(ranked(subset.everything(Catalog.open(path)), part=(mine, 2)))
        return found.result().labels.rows(), found.scores
    finally:
        distributed.destroy_process_group()


@pytest.mark.long
def test_two_processes_gather_what_one_would_find(catalog: Catalog, tmp_path: Path) -> None:
    with processes.pool(1) as pool:
        other = pool.submit(joined, 1, str(tmp_path / "meeting"), catalog.path)
        mine = joined(0, str(tmp_path / "meeting"), catalog.path)
        whole = ranked(subset.everything(catalog))
        assert mine == other.result(timeout=120) == (whole.result().labels.rows(), whole.scores)


def test_a_checkpoint_is_validated_on_images_it_did_not_see(catalog: Catalog, tmp_path: Path) -> None:
    config = dataclasses.replace(recipes.tiny(total_epochs=1.0, image_size=32), batch_size=4)
    few, rest = subset.nested(catalog, sizes=[4], seed=0)[0], subset.everything(catalog)
    checkpoint = pretrain.run(few, config, out=tmp_path / "checkpoint")
    found = validate.of_checkpoint(checkpoint, rest - few, k=3)
    settings = {"resize": config.resize, "image_size": config.image_size, "precision": config.precision, "k": 3}
    assert same(found, validate.evaluate(backbone.load(checkpoint), rest - few, **settings))
    with pytest.raises(BadInput, match="was trained on 4 of these images"):
        validate.of_checkpoint(checkpoint, rest)
    flat = sources.from_folder(write_photos(tmp_path / "flat", per_label=1), out=tmp_path / "other", workers=1)
    with pytest.raises(BadInput, match="has a head for other labels"):
        validate.of_checkpoint(checkpoint, subset.everything(flat))


def test_what_cannot_be_validated_is_refused(catalog: Catalog) -> None:
    whole = subset.everything(catalog)
    with pytest.raises(BadArgument, match=r"`part` must be \(i, of\)"):
        ranked(whole, part=(2, 2))
    with pytest.raises(BadArgument, match=r"`image_size` must be in 1\.\.resize"):
        validate.evaluate(net_of(catalog), whole, resize=32, image_size=40)
    with pytest.raises(BadInput, match="the network has 3 outputs"):
        validate.evaluate(backbone.build("resnet10", num_outputs=3, seed=0), whole, resize=40, image_size=32)
    net = net_of(catalog)
    net.fc.bias.data[1] = torch.nan
    with pytest.raises(BadInput, match=f"a score of image {catalog.images()[0]} is NaN"):
        validate.evaluate(net, whole, resize=40, image_size=32)
