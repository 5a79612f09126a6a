import polars as pl
import pytest
from huggingface_hub import DatasetCard

from jftdata import export
from jftdata.errors import BadArgument, BadInput
from jftdata.hierarchy import Hierarchy
from tests.export_cases import Said, catalog_of, write_files

TREE = Hierarchy.from_edges([("animal", "c*t"), ("animal", "dog"), ("thing", "bus")])


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    said = [Said(("c*t",)), Said(("bus",), split="val"), Said(("dog", "bus")), Said(), Said(("dog",), None, ("bus",))]
    return catalog_of(said, write_files(folder / "files", 5), folder / "catalogs", tree=TREE)


def card_of(catalog, out, **options):
    export.to_parquet(catalog, out=out, card=export.Card(**options))
    text = (out / "README.md").read_text()
    return text, DatasetCard(text).data


def test_the_front_matter_is_that_of_a_hugging_face_card(catalog, tmp_path):
    text, data = card_of(catalog, tmp_path / "out", license="cc-by-4.0", title='Birds: "all"')
    assert data.license == "cc-by-4.0"
    assert data.pretty_name == 'Birds: "all"'
    assert data.size_categories == ["n<1K"]
    assert data.task_categories == ["image-classification"]
    files = data.to_dict()["configs"][0]["data_files"]
    assert [(row["split"], row["path"]) for row in files] == [
        ("train", "data/train-*.parquet"), ("val", "data/val-*.parquet")
    ]  # fmt: skip
    assert '# Birds: "all"' in text


def test_a_licence_that_is_no_identifier_is_other_and_one_not_given_is_unknown(catalog, tmp_path):
    text, data = card_of(catalog, tmp_path / "a", license="Ask Ms. Ü")
    assert (data.license, data.license_name) == ("other", "Ask Ms. Ü")
    text, data = card_of(catalog, tmp_path / "b")
    assert data.license == "unknown"
    assert "Unknown: nobody has said" in text


def test_counts_lineage_and_problems_are_told(catalog, tmp_path):
    text, _ = card_of(catalog, tmp_path / "out")
    assert "5 images" in text
    assert "| train | 4 |" in text
    assert "5 given labels of the 5 in `hierarchy.tsv`; 1 images without a label; 1 labels verified not to hold" in text
    assert "| c\\*t | 1 | 1 |" in text
    assert "| animal |" not in text  # it is given to none
    assert catalog.fingerprint in text
    assert '"builder": "everything"' in text
    assert text.count("not measured") == 2
    assert (tmp_path / "out" / "tail.svg").stat().st_size > 1000


def test_findings_count_on_the_images_that_go_out(catalog, tmp_path):
    ids = catalog.images().tolist()
    noise = pl.DataFrame({"image": [*ids[:3], 77], "wrong": [0.9, 0.2, None, 0.9]})
    pairs = pl.DataFrame({"image_a": [ids[0], ids[1], ids[3]], "image_b": [ids[1], ids[2], 77]})
    text, _ = card_of(catalog, tmp_path / "out", noise=noise, pairs=pairs)
    assert "calls 1 of 2 given labels wrong" in text
    assert "3 images in 1 groups of copies, 2 more than one of each" in text
    assert "not measured" not in text


def test_what_a_card_cannot_say_is_refused(catalog):
    with pytest.raises(BadArgument, match="`license` must be a line of text"):
        export.Card(license=" ")
    with pytest.raises(BadArgument, match="`title`"):
        export.Card(title="a\nb")
    with pytest.raises(BadInput, match="`noise` has no column 'wrong'"):
        export.Card(noise=pl.DataFrame({"image": [1]}))
    with pytest.raises(BadInput, match="`pairs` has no column 'image_a'"):
        export.Card(pairs=pl.DataFrame({"image": [1]}))
