"""Studies beyond the paper: their arms hold what they are called, and epochs are as long as they should be."""

import numpy as np
import polars as pl
import pytest

from jftdata.errors import BadInput
from jftdata.results import SCHEMA
from jftdata.study import cells
from jftdata.study.named import STUDIES, beyond, planted
from jftdata.study.named.data import WorldSettings, world
from jftdata.world import files

SIZES = (40, 80, 160)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    settings = WorldSettings(
        num_images=240, sizes=SIZES, seeds=(0, 1), total_epochs=2.0, num_clean_train=60, num_clean_test=30
    )
    return world(tmp_path_factory.mktemp("beyond"), settings, workers=1)


def arms_of(study):
    return {arm.name: arm for arm in study.arms}


def labels_of(catalog):
    names = catalog.hierarchy.labels
    rows = catalog.scan().select("image", "labels").collect().iter_rows()
    return {image: {names[x] for x in labels} for image, labels in rows}


def share_wrong(data, images):
    """Of the given labels of a subset, by the world's own truth."""
    tree, held = images.catalog.hierarchy, {}
    for image, label in data.truth().iter_rows():
        held.setdefault(image, set()).update((label, *tree.ancestors(label)))
    given = labels_of(images.catalog)
    told = [label in held[image] for image in images.images.tolist() for label in given[image]]
    return 1 - float(np.mean(told))


@pytest.mark.parametrize("name", [*beyond.QUESTIONS, "noise-rate-images-seen"])
def test_each_study_has_a_name_and_cells_of_every_seed(data, name):
    study = STUDIES[name].make(data)
    assert study.name == name
    assert study.question == STUDIES[name].question
    assert len(cells(study)) == len(study.arms) * (1 + len(study.judges)) * 2
    assert "not known yet" in study.verdict(pl.DataFrame([dict.fromkeys(("arm", *SCHEMA), "")]).with_columns(value=1.0))


def test_the_world_s_wrong_labels_are_those_put_right(data):
    named = data.noisy().scan().select("image", path=pl.col("source").str.split(":").list.last()).collect()
    told = pl.read_parquet(files(data.at / "world").truth_labels)
    wrong = told.filter(pl.col("error") != "").join(named, on="path").select("image", "label")
    found = planted.corrections(data.noisy(), data.truth())
    assert set(found.select("image", "label").iter_rows()) == set(wrong.iter_rows())
    assert len(found) > 30


def test_noise_rates_share_their_images_and_have_the_share_of_wrong_labels(data):
    arms = arms_of(beyond.noise_rate(data))
    chosen = {share: arms[f"wrong{share:g}-160"].subset(0) for share in beyond.ERRORS}
    assert len({one.fingerprint for one in chosen.values()}) == 1
    for share, images in chosen.items():
        assert share_wrong(data, images) == pytest.approx(share, abs=0.12 if share else 0)
    small = arms["wrong0.4-40"].subset(0)
    assert len(small) == 40
    assert set(small.images) <= set(chosen[0.4].images)


def test_epochs_or_images_seen_are_kept(data):
    for fixed in ("epochs", "images-seen"):
        arms = beyond.noise_rate(data, fixed=fixed).arms
        kept = {
            (arm.recipe.total_epochs, arm.num_images * arm.recipe.total_epochs)[fixed == "images-seen"] for arm in arms
        }
        assert len(kept) == 1


def test_copies_are_the_share_they_should_be_and_dropping_them_leaves_the_rest(data):
    arms = arms_of(beyond.dedup(data))
    _, named = planted.with_copies(data, beyond._drawn(data, 80, 1), seed=1)
    copies = set(named["copy"])
    assert len(arms["replaced"].subset(1)) == 80
    assert not copies & set(arms["replaced"].subset(1).images.tolist())
    for share in beyond.COPIES:
        kept = set(arms[f"copies{share:g}"].subset(1).images.tolist())
        assert len(kept) == 80
        assert len(kept & copies) == 80 * share
        assert set(named.filter(pl.col("copy").is_in(kept & copies))["image"]) <= kept
        seen = arms[f"dropped{share:g}-images-seen"]
        assert set(seen.subset(1).images.tolist()) == kept - copies
        assert seen.num_images * seen.recipe.total_epochs == pytest.approx(80 * 2.0)
        assert arms[f"dropped{share:g}-epochs"].recipe.total_epochs == 2.0


def test_the_tail_is_weighed_as_the_arms_say(data):
    arms = arms_of(beyond.tail_handling(data))
    whole = arms["as-is"].subset(0)
    capped = arms["cap-epochs"].subset(0)
    assert capped.counts["num_given"].max() <= round(beyond.CAP_SHARE * 160) < whole.counts["num_given"].max()
    repeated = arms["repeat-epochs"].subset(0)
    assert repeated.weights.sum() > 160
    for name, base in (("cap-images-seen", capped), ("repeat-images-seen", repeated)):
        images = arms[name].subset(0)
        assert images.weights.sum() == pytest.approx(160)
        assert np.array_equal(images.images, base.images)
    assert arms["balanced"].subset(0).weights.sum() == pytest.approx(160)
    assert arms["adjusted"].recipe.logit_adjustment == 1.0


def test_labels_are_better_and_fewer_at_a_higher_precision(data, monkeypatch):
    monkeypatch.setattr(beyond, "TARGETS", (0.6,))
    monkeypatch.setattr(planted, "JUDGED", 200)
    arms = arms_of(beyond.selection_precision(data))
    everything, kept = (arms[f"target{target}-epochs"].subset(0) for target in ("0", "0.6"))
    assert share_wrong(data, everything) == 0.5
    assert len(kept) <= len(everything) == 160
    assert share_wrong(data, kept) < 0.45
    assert arms["target0.6-images-seen"].subset(0).weights.sum() == pytest.approx(160)
    assert len(arms["target0.6-images"].subset(1)) == 40


def test_selection_needs_the_truth(data):
    blind = data.__class__(
        name="photos", at=data.at, noisy=data.noisy, recipe=data.recipe, sizes=SIZES, classification=data.classification
    )
    with pytest.raises(BadInput, match="photos has no `truth`"):
        beyond.selection_precision(blind)


def test_mixtures_have_their_share_of_clean_images(data):
    arms = arms_of(beyond.mixing(data))
    clean, both, noisy = (arms[name].subset(0) for name in ("clean-epochs", "mixed", "noisy"))
    assert share_wrong(data, clean) == 0
    assert share_wrong(data, noisy) == pytest.approx(beyond.NOISE, abs=0.12)
    assert 0.1 < share_wrong(data, both) < share_wrong(data, noisy)
    assert set(clean.images) <= set(both.images) == set(noisy.images)
    for share in beyond.CLEAN:
        images = arms[f"mixed{share:g}"].subset(0)
        assert images.weights.sum() == pytest.approx(160)
        assert images.weights[np.isin(images.images, clean.images)].sum() == pytest.approx(160 * share)
    after = arms["noisy-then-clean"]
    assert (after.init, after.num_images) == ("noisy", 40)
    assert arms["clean-images-seen"].subset(0).weights.sum() == pytest.approx(160)
    assert share_wrong(data, arms["all-clean"].subset(0)) == 0
