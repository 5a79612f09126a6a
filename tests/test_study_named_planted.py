"""Planted faults: as many as asked for, where they were asked for, and nothing else."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jftdata import recipes, sources, subset
from jftdata.errors import BadInput
from jftdata.hierarchy import Hierarchy
from jftdata.images import encode_jpeg
from jftdata.study.named import planted
from jftdata.study.named.data import StudyData
from tests.strategies import picture

TREE = Hierarchy.from_edges([(kind, leaf) for kind in "abc" for leaf in (f"{kind}{i}" for i in range(5))])
LEAVES = [f"{kind}{i}" for kind in "abc" for i in range(5)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """60 images, of five leaves below each of three labels; every fourth is under a label of another kind, and the truth is known."""
    folder = tmp_path_factory.mktemp("planted")
    true = {}
    for i in range(60):
        true[f"{i}.jpg"] = LEAVES[i % 15]
        given = LEAVES[(i + 5) % 15] if i % 4 == 0 else LEAVES[i % 15]
        at = folder / "photos" / given / f"{i}.jpg"
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(encode_jpeg(picture(i)))
    catalog = sources.from_folder(folder / "photos", out=folder / "photos.catalog", hierarchy=TREE, workers=1)
    named = catalog.scan().select("image", name=pl.col("source").str.split("/").list.last()).collect()
    truth = named.select("image", label=pl.col("name").replace_strict(true))
    made = StudyData(
        name="photos", at=folder, noisy=lambda: catalog, recipe=recipes.tiny(), sizes=(10, 20), truth=lambda: truth,
        classification=lambda: catalog,
    )  # fmt: skip
    return made


def labels_of(catalog):
    names = catalog.hierarchy.labels
    rows = catalog.scan().select("image", "labels").collect().iter_rows()
    return {image: {names[x] for x in labels} for image, labels in rows}


def truth_of(data):
    return {image: {label} for image, label in data.truth().iter_rows()}


def test_wrong_labels_are_put_right_and_right_ones_stay(data):
    assert labels_of(planted.right_labels(data)) == truth_of(data) != labels_of(data.noisy())


def test_a_label_above_the_true_one_is_right_and_a_wrong_one_beside_the_true_one_goes(data):
    first, second, *_ = sorted(truth_of(data))
    told = pl.DataFrame({"image": [first, second], "label": ["b1", "b1"]})
    catalog = planted.relabel(
        data.noisy(),
        pl.DataFrame(
            [(i, *labels_of(data.noisy())[i], new) for i, new in ((first, "b"), (second, "c2"))], planted.CHANGES, orient="row"
        ),
        out=data.at / "above.catalog",
    )  # fmt: skip
    assert planted.corrections(catalog, told).rows() == [(second, "c2", "b1")]


@settings(max_examples=8)
@given(shares=st.lists(st.floats(0.05, 0.95), min_size=2, max_size=2, unique=True), seed=st.integers(0, 9))
def test_errors_are_wrong_and_those_of_a_smaller_share_are_among_the_larger(data, shares, seed):
    true = truth_of(data)
    wrong = []
    for share in sorted(shares):
        found = labels_of(planted.with_errors(data, share=share, seed=seed))
        hit = {image: labels for image, labels in found.items() if labels != true[image]}
        assert all(labels.isdisjoint({*true[i], *TREE.ancestors(*true[i])}) for i, labels in hit.items())
        assert abs(len(hit) - 60 * share) <= 4.5 * (60 * share * (1 - share)) ** 0.5
        wrong.append(hit)
    assert wrong[0].items() <= wrong[1].items()


def test_most_errors_are_near_the_right_label(data):
    found = labels_of(planted.with_errors(data, share=1.0, seed=0))
    alike = [next(iter(labels))[0] == next(iter(truth_of(data)[i]))[0] for i, labels in found.items()]
    assert planted.ALIKE - 0.2 < sum(alike) / 60 < planted.ALIKE + 0.4 * 4 / 14 + 0.2


def test_spared_images_keep_their_labels(data):
    spared = subset.sample(data.noisy(), size=20, seed=0)
    found = labels_of(planted.with_errors(data, share=1.0, seed=0, but=spared))
    assert {image for image, labels in found.items() if labels == truth_of(data)[image]} == set(spared.images.tolist())


def test_no_label_can_be_wrong_where_all_hold(data, tmp_path):
    first = next(iter(truth_of(data)))
    everything = pl.DataFrame({"image": first, "label": LEAVES})
    one = StudyData(
        name="one", at=tmp_path, noisy=data.noisy, recipe=data.recipe, sizes=(10, 20), truth=lambda: everything
    )
    with pytest.raises(BadInput, match=f"holds for image {first}"):
        planted.with_errors(one, share=1.0, seed=0)


def test_each_image_has_one_copy_under_its_labels(data):
    images = subset.sample(data.noisy(), size=30, seed=1)
    catalog, named = planted.with_copies(data, images, seed=0)
    assert named["image"].to_list() == images.images.tolist()
    assert len(catalog) == 60 == len({*named["image"], *named["copy"]})
    found, before = labels_of(catalog), labels_of(data.noisy())
    assert all(found[copy] == found[image] == before[image] for image, copy in named.iter_rows())


def test_candidates_are_one_right_and_one_wrong_and_selection_keeps_the_right_ones(data, monkeypatch):
    monkeypatch.setattr(planted, "JUDGED", 60)
    made = planted.with_candidates(data, subset.everything(data.noisy()), seed=0)
    true = truth_of(data)
    for image, label, correct in made.pairs.select("image", "label", "correct").iter_rows():
        assert (label in true[image]) == correct
        assert label in labels_of(made.catalog)[image]
    assert made.pairs.group_by("image").agg(pl.len(), pl.col("correct").sum())["correct"].to_list() == [1] * 60
    found = labels_of(planted.selected(made, target=0.75, out=data.at / "selected.catalog"))
    kept = [(image, label) for image, labels in found.items() for label in labels]
    assert 0 < len(kept) < 120
    assert sum(label in true[image] for image, label in kept) / len(kept) > 0.6


def test_candidates_need_the_truth(data):
    blind = StudyData(name="photos", at=data.at, noisy=data.noisy, recipe=data.recipe, sizes=(10, 20))
    assert planted.right_labels(blind) is blind.noisy()
    with pytest.raises(BadInput, match="photos has no `truth`"):
        planted.with_candidates(blind, subset.everything(data.noisy()), seed=0)
