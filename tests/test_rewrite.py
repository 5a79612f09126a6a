import polars as pl

from jftdata.catalog import SCHEMA
from jftdata.rewrite import SAID, rewrite


def test_rows_are_changed_left_out_or_left_alone(photo_catalog, tmp_path):
    ids = photo_catalog.images()
    changes = pl.DataFrame(
        [(int(ids[0]), True, [1], [0.5], [0]), (int(ids[1]), False, [], None, [])],
        schema={"image": pl.Int64(), "kept": pl.Boolean(), **{c: SCHEMA[c] for c in SAID}}, orient="row",
    ).sort("image")  # fmt: skip
    counted = rewrite(photo_catalog, changes, tmp_path / "images", what="test")
    before = photo_catalog.scan().collect().sort("image")
    after = pl.concat([pl.read_parquet(f) for f in sorted((tmp_path / "images").glob("*.parquet"))]).sort("image")
    assert after["image"].to_list() == [int(i) for i in ids if i != ids[1]]
    assert after.filter(image=int(ids[0])).select(*SAID).row(0) == ([1], [0.5], [0])
    rest = [int(i) for i in ids[2:]]
    for column in ("labels", "split", "offset", "length"):
        own = [f.filter(pl.col("image").is_in(rest))[column].to_list() for f in (before, after)]
        assert own[0] == own[1]
    assert after["shard"].str.starts_with("/").all()
    assert counted["num_images"] == len(ids) - 1 == sum(counted["splits"].values())
    assert counted["num_given_labels"] == int(after["labels"].list.len().sum())
    assert counted["num_negatives"] == 1
