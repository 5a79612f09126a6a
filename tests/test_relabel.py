import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jftdata import relabel as module
from jftdata.catalog import Catalog
from jftdata.cli import run
from jftdata.errors import BadInput, OutputExists, UnknownName
from jftdata.images import encode_jpeg
from jftdata.relabel import relabel
from jftdata.sources import from_folder
from jftdata.storage import verify
from tests.strategies import picture


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Twelve images of the labels a, b and c, one of them under two."""
    folder = tmp_path_factory.mktemp("relabel")
    for i in range(12):
        at = folder / "p" / "abc"[i % 3] / f"{i}.jpg"
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(encode_jpeg(picture(i), quality=90))
    (folder / "p" / "b" / "twin.jpg").write_bytes((folder / "p" / "a" / "0.jpg").read_bytes())
    return from_folder(folder / "p", out=folder / "c", workers=1)


def labels_of(catalog):
    names = catalog.hierarchy.labels
    return {
        image: {names[x] for x in labels}
        for image, labels in catalog.scan().select("image", "labels").collect().iter_rows()
    }


def changes(*rows):
    return pl.DataFrame(rows, schema=module.CHANGES, orient="row")


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_labels_are_those_of_a_plain_loop(catalog, data, tmp_path_factory):
    before = labels_of(catalog)
    pairs = sorted((image, label) for image, labels in before.items() for label in labels)
    picked = data.draw(st.lists(st.sampled_from(pairs), unique=True, min_size=1, max_size=8))
    rows = [(*pair, data.draw(st.sampled_from([None, "a", "b", "c"]))) for pair in picked]
    expected = {image: set(labels) for image, labels in before.items()}
    for image, label, _ in rows:
        expected[image].remove(label)
    for image, _, new in rows:
        expected[image] |= {new} - {None}
    made = relabel(catalog, changes(*rows), out=tmp_path_factory.mktemp("made") / "c")
    assert labels_of(made) == {image: labels for image, labels in expected.items() if labels}
    facts = made.sidecar.facts
    assert facts["num_input"] == facts["num_images"] + facts["num_duplicates"] + facts["num_rejected"]
    assert facts["num_removed_labels"] + facts["num_replaced_labels"] == len(rows)
    lost = pl.read_parquet(made.path / "rejected.parquet")
    assert len(lost) == sum(not labels for labels in expected.values()) == sum(facts["rejected"].values())
    for row in made.rows(made.images(), columns=("image", "shard", "offset", "length")).iter_rows():
        assert len(made.read(*row[1:])) == row[3]


def test_the_same_call_returns_the_same_catalog_and_another_is_refused(catalog, tmp_path):
    image = min(labels_of(catalog))
    label = min(labels_of(catalog)[image])
    made = relabel(catalog, changes((image, label, "c")), out=tmp_path / "c")
    verify(made.path)
    again = relabel(catalog, changes((image, label, "c")), out=tmp_path / "c")
    assert again.fingerprint == made.fingerprint
    with pytest.raises(OutputExists):
        relabel(catalog, changes((image, label, None)), out=tmp_path / "c")
    assert isinstance(made, Catalog)


def test_what_was_wrong_with_changes_is_said(catalog, tmp_path):
    image, own = next((i, x) for i, x in labels_of(catalog).items() if len(x) == 1)
    (label,) = own
    other = ({"a", "b", "c"} - own).pop()
    for frame, error, message in (
        (changes((image, label, "zebra")), UnknownName, "zebra"),
        (changes((image, other, None)), BadInput, f"was not given the label '{other}'"),
        (changes((image, label, None), (image, label, "a")), BadInput, "changed twice"),
        (changes((7, label, None)), BadInput, "7"),
        (changes((image, label, None)).drop("new_label"), BadInput, "no column 'new_label'"),
    ):
        with pytest.raises(error, match=message):
            relabel(catalog, frame, out=tmp_path / "c")
        assert not (tmp_path / "c").exists()


def test_an_audit_is_applied_from_the_command_line(catalog, tmp_path, capsys):
    pairs = [(image, min(labels)) for image, labels in sorted(labels_of(catalog).items()) if len(labels) == 1]
    rows = [(*pairs[0], 0.9, "c"), (*pairs[1], 0.6, None), (*pairs[2], 0.4, "a"), (*pairs[3], None, None)]
    schema = {"image": pl.Int64(), "label": pl.String(), "wrong": pl.Float64(), "other_label": pl.String()}
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(tmp_path / "audit.parquet")
    command = ["noise", "relabel", str(catalog.path), str(tmp_path / "audit.parquet"), "--json", "--quiet"]
    told = []
    for options in ([], ["--correct"], ["--above", "0.7"]):
        capsys.readouterr()
        assert run([*command, *options, "--out", str(tmp_path / f"c{len(told)}")]) == 0
        told.append(json.loads(capsys.readouterr().out))
    counts = [(t["num_removed_labels"], t["num_replaced_labels"], t["num_lost"]) for t in told]
    assert counts == [(2, 0, 2), (1, 1, 1), (1, 0, 1)]
    assert run([*command, "--above", "1.5", "--out", str(tmp_path / "x")]) == 2
    assert "`--above` must be in (0, 1]. Got 1.5" in capsys.readouterr().err
