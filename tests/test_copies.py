import numpy as np
import polars as pl
import pytest

from jftdata import calibrate, copies, neighbors, register, world
from jftdata.changes import KINDS, change
from jftdata.errors import BadArgument, BadInput, OutputExists
from jftdata.images import encode_jpeg
from jftdata.sources import from_folder
from tests.strategies import encoded, picture

ORIGINALS = 110


def catalog_of(folder, files):
    """A catalog of {name: bytes}."""
    (folder / "p" / "a").mkdir(parents=True)
    for name, content in files.items():
        (folder / "p" / "a" / name).write_bytes(content)
    return from_folder(folder / "p", out=folder / "c", workers=1)


def named(catalog, pairs, a="image_a", b="image_b"):
    """Pairs of file names without their endings, each pair in order of name."""
    other = catalog if isinstance(catalog, tuple) else (catalog, catalog)
    names = [
        {i: s.split("/")[-1].split(".")[0] for i, s in c.scan().select("image", "source").collect().rows()}
        for c in other
    ]
    return [tuple(sorted((names[0][x], names[1][y]))) for x, y in pairs.select(a, b).rows()]


def drawn(index):
    return world.scene(3, index, stream="eval").image


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """110 different scenes, and 17 copies of as many of them, one of each kind."""
    files = {f"o{i}.jpg": encode_jpeg(drawn(i)) for i in range(ORIGINALS) if world.copy_of(3, i, stream="eval") is None}
    kept = [int(name[1:-4]) for name in files]
    for i, kind in zip(kept, KINDS, strict=False):
        files[f"copy_{i}_{kind}.jpg"] = encode_jpeg(change(drawn(i), kind=kind, image=i, seed=0), quality=95)
    catalog = catalog_of(tmp_path_factory.mktemp("planted"), files)
    return catalog, {tuple(sorted((f"o{n.split('_')[1]}", n[:-4]))) for n in files if n.startswith("copy")}


@pytest.fixture(scope="module")
def found(planted):
    return copies.find(planted[0], workers=1)


# ---- what is found ---------------------------------------------------------------------------------------------------


def test_planted_copies_of_every_kind_are_found_and_nothing_else(planted, found):
    catalog, truth = planted
    pairs = named(catalog, found.pairs)
    assert len(truth & set(pairs)) >= len(truth) - 1
    assert len(set(pairs) - truth) <= 1


def test_pairs_have_the_stated_schema_and_sort(found):
    assert dict(found.pairs.schema) == copies.PAIRS
    assert (found.pairs["image_a"] < found.pairs["image_b"]).all()
    p = found.pairs["probability"].to_numpy()
    assert (np.diff(p) <= 0).all()
    assert p.min() >= copies.MIN_PROBABILITY
    assert p.max() <= 1


def test_the_kind_of_change_and_its_transform_are_told(planted, found):
    catalog, _ = planted
    told = {}
    for pair, kind, mirror in zip(named(catalog, found.pairs), found.pairs["kind"], found.pairs["mirror"], strict=True):
        told[pair[0].split("_", 2)[-1]] = (kind, mirror)
    assert told["flipped"] == ("mirrored", True)
    assert told["recompressed"] == ("same frame", False)
    assert told["cropped_75"][0] == "cropped"
    assert "stretched" in told["stretched"][0]
    assert "turned" in told["rotated"][0]
    assert "recoloured" in told["grey"][0]


def test_the_result_does_not_depend_on_threads(planted, found):
    again = copies.find(planted[0], workers=3)
    assert again.pairs.equals(found.pairs)
    assert again.calibration == found.calibration


def test_the_result_does_not_depend_on_blocks(planted, found, monkeypatch):
    monkeypatch.setattr(copies, "_BLOCK", 100)
    monkeypatch.setattr(register, "_CHUNK", 7)
    assert copies.find(planted[0], workers=2).pairs.equals(found.pairs)


def test_copies_between_two_sets_are_those_inside_their_union(tmp_path):
    train = {f"t{i}.jpg": encode_jpeg(drawn(i)) for i in range(30)}
    test = {f"q{i}.jpg": encode_jpeg(change(drawn(i), kind="cropped_75", image=i, seed=0)) for i in range(20, 26)}
    test |= {f"n{i}.jpg": encode_jpeg(drawn(i)) for i in range(200, 220)} | {"same.jpg": train["t3.jpg"]}
    one, other = catalog_of(tmp_path / "q", test), catalog_of(tmp_path / "t", train)
    found = copies.find_between(one, other, workers=1)
    pairs = named((one, other), found.pairs, "test_image", "train_image")
    assert set(pairs) >= {(f"q{i}", f"t{i}") for i in range(20, 26)} | {("same", "t3")}
    assert not [pair for pair in pairs if pair[0].startswith("n")]
    first = found.pairs.row(0, named=True)
    assert (first["probability"], first["kind"]) == (1.0, "same pixels")
    assert first["test_image"] == first["train_image"]


def test_an_approximate_search_finds_the_same_copies(planted, found, monkeypatch):
    monkeypatch.setattr(neighbors, "EXACT_PRODUCTS", 1)
    monkeypatch.setattr(copies, "_ALL", 1)
    again = copies.find(planted[0], workers=1, calibration=found.calibration)
    assert set(named(planted[0], again.pairs)) >= planted[1] & set(named(planted[0], found.pairs))


# ---- edges -----------------------------------------------------------------------------------------------------------


def test_the_same_pixels_in_other_bytes_are_found_even_when_flat(tmp_path):
    flat = np.full((40, 40, 3), 200, np.uint8)
    files = {"a.png": encoded(flat, "PNG"), "b.bmp": encoded(flat, "BMP"), "c.png": encoded(flat[:30], "PNG")}
    catalog = catalog_of(tmp_path, files)
    found = copies.find(catalog, workers=1)
    assert named(catalog, found.pairs) == [("a", "b")]
    assert found.pairs.select("probability", "kind", "mirror", "scale_x").rows() == [(1.0, "same pixels", False, 1.0)]


def test_flat_images_are_not_copies_of_each_other(tmp_path):
    files = {f"{v}.png": encoded(np.full((32, 32, 3), v, np.uint8), "PNG") for v in range(200, 240)}
    assert len(copies.find(catalog_of(tmp_path, files), workers=1).pairs) == 0


def test_many_copies_of_one_image_are_a_star(tmp_path):
    original = picture(0)
    files = {f"{i}.png": encoded(original, "PNG", compress_level=i % 10) + b"\0" * i for i in range(300)}
    found = copies.find(catalog_of(tmp_path, files), workers=1)
    assert len(found.pairs) == 299
    assert found.num_candidates == 299
    assert found.pairs["image_a"].n_unique() == 1


@pytest.mark.parametrize("count", [0, 1])
def test_none_or_one_image_has_no_pairs(tmp_path, count):
    files = {"bad.jpg": b""} | {f"{i}.jpg": encode_jpeg(picture(i)) for i in range(count)}
    (tmp_path / "p" / "a").mkdir(parents=True)
    for name, content in files.items():
        (tmp_path / "p" / "a" / name).write_bytes(content)
    catalog = from_folder(tmp_path / "p", out=tmp_path / "c", max_rejected=1.0, workers=1)
    found = copies.find(catalog, workers=1)
    assert len(found.pairs) == 0
    assert dict(found.pairs.schema) == copies.PAIRS
    assert found.num_images == count
    assert len(copies.find_between(catalog, catalog, workers=1).pairs) == count


def test_an_image_that_is_gone_is_counted_and_in_no_pair(tmp_path):
    files = {f"{i}.jpg": encode_jpeg(drawn(i)) for i in range(4)}
    files |= {f"{i}c.jpg": encode_jpeg(drawn(i), quality=60) for i in range(4)}
    catalog = catalog_of(tmp_path, files)
    (tmp_path / "p" / "a" / "2.jpg").unlink()
    (tmp_path / "p" / "a" / "3.jpg").write_bytes(files["1.jpg"][: len(files["3.jpg"])].ljust(len(files["3.jpg"]), b"x"))
    found = copies.find(catalog, workers=1)
    assert sorted(found.rejected["reason"]) == ["damaged", "missing"]
    assert found.num_images == 6
    assert set(named(catalog, found.pairs)) == {("0", "0c"), ("1", "1c")}


def test_a_kept_result_is_the_same_and_is_not_made_twice(planted, found, tmp_path, monkeypatch):
    kept = copies.find(planted[0], out=tmp_path / "k", workers=1)
    assert kept.pairs.equals(found.pairs)
    assert kept.calibration == found.calibration
    assert sorted(p.name for p in (tmp_path / "k").iterdir()) == ["artefact.json", "pairs.parquet", "rejected.parquet"]
    monkeypatch.setattr(copies, "_search", None)
    assert copies.find(planted[0], out=tmp_path / "k").pairs.equals(found.pairs)
    assert copies.open_copies(tmp_path / "k").num_candidates == found.num_candidates
    with pytest.raises(OutputExists, match="seed: there 0, now 1"):
        copies.find(planted[0], out=tmp_path / "k", seed=1)


def test_a_stopped_run_goes_on_and_ends_with_the_same_pairs(planted, found, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    reads = []
    read = type(planted[0]).read
    monkeypatch.setattr(type(planted[0]), "read", lambda *given: reads.append(given) or read(*given))
    with monkeypatch.context() as patch:
        patch.setattr(copies, "_verify", stop)
        with pytest.raises(KeyboardInterrupt):
            copies.find(planted[0], out=tmp_path / "k", workers=1, calibration=found.calibration)
    assert len(reads) == found.num_images
    again = copies.find(planted[0], out=tmp_path / "k", workers=1, calibration=found.calibration)
    assert again.pairs.equals(found.pairs)
    assert len(reads) == found.num_images  # nothing was read twice


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_probability": 1.2}, r"`min_probability` must be in \[0, 1\]\. Got 1\.2"),
        ({"k": 0}, r"`k` must be at least 1\. Got 0"),
    ],
)
def test_arguments_out_of_range_are_refused(photo_catalog, options, message):
    with pytest.raises(BadArgument, match=message):
        copies.find(photo_catalog, **options)


# ---- calibration -----------------------------------------------------------------------------------------------------


def test_a_calibration_tells_its_recall_by_kind(found):
    made = found.calibration
    assert set(made.kinds) == set(KINDS)
    assert min(k["recall_at_99"] for k in made.kinds.values()) >= 0.9
    assert made.false_alarms < 0.1
    assert made.tail_slope > 0.5
    assert made.num_copies % len(KINDS) == 0
    assert "seed 0" in made.learned_on


def test_a_small_catalog_takes_the_shipped_calibration(photo_catalog):
    assert copies.find(photo_catalog, workers=1).calibration == calibrate.SHIPPED


def test_a_calibration_comes_back_from_json(found):
    value = found.calibration.to_json()
    assert calibrate.Calibration.from_json(value) == found.calibration
    with pytest.raises(BadInput, match="Calibrate again"):
        calibrate.Calibration.from_json({**value, "features": ["overlap"]})
    with pytest.raises(BadInput, match="not whole"):
        calibrate.Calibration.from_json({k: v for k, v in value.items() if k != "offset"})


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    good, bad = (np.clip(rng.normal(m, 0.15, (400, len(register.FEATURES))), 0, 1) for m in (0.75, 0.35))
    return good, np.zeros(400, np.int64), bad


def test_more_agreement_never_lowers_a_probability(features):
    made = calibrate.fit(*features, learned_on="toy")
    assert min(made.weights) >= 0
    base = np.full((1, len(register.FEATURES)), 0.5)
    for at, name in enumerate(register.FEATURES):
        more = base.copy()
        more[0, at] += 0.2 if name != "move" else -0.2
        assert made.probability(more)[0] >= made.probability(base)[0]


def test_scores_are_those_of_a_reference(features):
    from sklearn.linear_model import LogisticRegression

    good, _, bad = features
    made = calibrate.fit(*features, learned_on="toy")
    x = calibrate.expand(np.concatenate([good, bad]))
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    y = np.repeat([1, 0], 400)
    reference = LogisticRegression(C=1 / (2 * 1e-3 * 800), max_iter=1000).fit(z, y)
    ours = 1 / (1 + np.exp(-made.score(np.concatenate([good, bad]))))
    theirs = reference.predict_proba(z)[:, 1]
    assert np.abs(ours - theirs).mean() < 0.01  # some of its weights are below 0, which ours may not be
    assert ((ours >= 0.5) == (theirs >= 0.5)).mean() > 0.99


@pytest.mark.parametrize("num_copies", [30, 300, 3000])
def test_probabilities_fit_however_rare_copies_are(num_copies):
    def draw(seed, num, mean, spread):
        rng = np.random.default_rng(seed)
        return np.clip(rng.normal(mean, spread, (num, len(register.FEATURES))), 0.01, 0.99)

    kinds = np.zeros(2000, np.int64)
    made = calibrate.fit(draw(0, 2000, 0.75, 0.2), kinds, draw(1, 5000, 0.3, 0.15), learned_on="toy")
    pairs = np.concatenate([draw(2, num_copies, 0.75, 0.2), draw(3, 30_000, 0.3, 0.15)])
    p = made.probability(pairs)
    right = np.arange(len(pairs)) < num_copies
    assert right[p >= 0.5].mean() > 0.9
    assert p[right].mean() > 0.9
    assert abs(p.sum() - num_copies) < 0.15 * num_copies + 5


def test_marks_move_probabilities_and_more_of_them_move_them_further(features):
    made = calibrate.fit(*features, learned_on="toy")
    pairs = np.concatenate([features[0], features[2]])
    odds = made.probability(pairs)
    near = np.argsort(abs(odds - 0.5))[:40]
    none = made.with_marks(pairs, near[:0], np.zeros(0, bool))
    assert none == made
    few, many = (made.with_marks(pairs, near[:n], np.zeros(n, bool)) for n in (4, 40))
    assert (few.num_marks, many.num_marks) == (4, 40)
    mean = [m.probability(pairs)[near].mean() for m in (made, few, many)]
    assert mean[0] > mean[1] > mean[2]
    agreed = made.with_marks(pairs, near, odds[near] >= 0.5)
    assert abs(agreed.probability(pairs)[near] - odds[near]).mean() < 0.3
    assert calibrate.Calibration.from_json(many.to_json()) == many


def test_what_a_person_said_stands(planted, found):
    pairs = found.pairs.sort("probability")
    marks = pl.concat(
        [pairs.head(1).with_columns(answer=pl.lit("yes")), pairs.tail(1).with_columns(answer=pl.lit("no"))]
    )
    marks = marks.select("image_a", "image_b", "answer")
    again = copies.find(planted[0], workers=1, marks=marks, min_probability=0.0)
    told = marks.join(again.pairs, on=["image_a", "image_b"])
    assert dict(told.select("answer", "probability").rows()) == {"yes": 1.0, "no": 0.0}
    assert again.calibration.num_marks == 2


def test_pairs_with_no_agreement_have_probability_zero():
    assert calibrate.SHIPPED.probability(np.zeros((2, len(register.FEATURES)))).tolist() == [0.0, 0.0]


def test_twins_share_only_what_does_not_count():
    one, other = (np.stack([register.view(picture(i + s)) for i in range(5)]) for s in (0, 50))
    framed, mixed = np.split(calibrate.twins(one, other), 2)
    assert np.array_equal(framed[:, 0], one[:, 0])
    assert np.array_equal(framed[:, 8:-8, 8:-8], other[:, 8:-8, 8:-8])
    cells = [x.reshape(5, 8, 4, 8, 4, 3).mean(axis=(2, 4)) for x in (mixed, one)]
    assert np.abs(cells[0] - cells[1]).mean() < 12
    at = np.arange(5)
    for twin in (framed, mixed):
        assert calibrate.SHIPPED.score(register.align(one, twin, at, at).features).max() < calibrate.SHIPPED.copies_from


def test_nothing_to_fit_is_an_error():
    none = np.zeros((0, len(register.FEATURES)))
    with pytest.raises(BadInput, match="0 copies, 0 non-copies"):
        calibrate.fit(none, np.zeros(0, np.int64), none, learned_on="toy")


def test_probabilities_are_saved_with_the_result(planted, tmp_path):
    kept = copies.find(planted[0], out=tmp_path / "k", workers=1, min_probability=0.9)
    assert kept.pairs["probability"].min() >= 0.9
    assert isinstance(kept.rejected, pl.DataFrame)
