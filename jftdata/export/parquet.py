"""Parquet as Hugging Face reads it: `data/<split>-<number>.parquet`, with an Image column and labels as ClassLabel numbers.

The features are in each file's metadata, so that `datasets.load_dataset`, which reads nothing else, knows them.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jftdata import storage
from jftdata.export import croissant
from jftdata.export.driver import Image, Job, Layout, Writer

_ROW_GROUP, _ROW_GROUP_BYTES = 1000, 32 << 20


@contextmanager
def _writer(job: Job, split: str, number: int) -> Iterator[Writer]:
    name = f"data/{job.splits[split]}-{number:06d}.parquet"
    path = job.folder / name
    path.parent.mkdir(exist_ok=True)
    schema = _schema(job)
    rows: list[dict[str, Any]] = []
    held = 0
    with (
        storage.atomic_path(path) as temp,
        pq.ParquetWriter(temp, schema, compression="none", use_dictionary=False, write_statistics=["image_id"]) as file,
    ):

        def flush() -> None:
            nonlocal held
            file.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()
            held = 0

        def write(image: Image) -> str:
            nonlocal held
            rows.append({
                "image": {"bytes": image.data, "path": image.name}, "label": image.labels[0] if image.labels else None,
                "labels": image.labels, "scores": image.scores, "negatives": image.negatives, "weight": image.weight,
                "image_id": image.image, "width": image.width, "height": image.height, "split": split,
                "source": image.source,
            })  # fmt: skip
            held += len(image.data)
            if len(rows) == _ROW_GROUP or held >= _ROW_GROUP_BYTES:
                flush()
            return name

        yield write
        if rows:
            flush()


def _schema(job: Job) -> pa.Schema:
    """Columns, and the same as features of `datasets`."""
    label = {"names": list(job.tree.labels), "_type": "ClassLabel"}
    columns: dict[str, tuple[pa.DataType, dict[str, Any]]] = {
        "image": (pa.struct([("bytes", pa.binary()), ("path", pa.string())]), {"_type": "Image"})
    }
    if job.survey.single:
        columns["label"] = (pa.int64(), label)
    else:
        columns["labels"] = (pa.list_(pa.int64()), _list(label))
    if job.survey.scores:
        columns["scores"] = (pa.list_(pa.float32()), _list(_value("float32")))
    if job.survey.negatives:
        columns["negatives"] = (pa.list_(pa.int64()), _list(label))
    if job.survey.weights:
        columns["weight"] = (pa.float64(), _value("float64"))
    for name, kind in (("image_id", pa.int64()), ("width", pa.int32()), ("height", pa.int32())):
        columns[name] = (kind, _value(str(kind)))
    for name in ("split", "source"):
        columns[name] = (pa.string(), _value("string"))
    features = {name: feature for name, (_, feature) in columns.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([(name, kind) for name, (kind, _) in columns.items()], metadata=metadata)


def _value(kind: str) -> dict[str, Any]:
    return {"dtype": kind, "_type": "Value"}


def _list(feature: dict[str, Any]) -> dict[str, Any]:
    return {"feature": feature, "_type": "List"}


def _finish(job: Job) -> None:
    label = "label" if job.survey.single else "labels"
    croissant.write(
        job.folder,
        {"@type": "cr:FileSet", "encodingFormat": "application/x-parquet", "includes": "data/*.parquet"},
        {"image_id": "sc:Integer", "image": "sc:ImageObject", label: "sc:Integer", "split": "sc:Text"},
        about=job.about,
        repeated=("labels",),
    )


def _how_to_read(job: Job) -> str:
    label = "label" if job.survey.single else "labels"
    more = "".join(f', {name}="{name}"' for name in ("scores", "negatives") if getattr(job.survey, name))
    return f"""Images are bytes in the column `image`; `{label}` holds ClassLabel numbers, which are rows of `hierarchy.tsv`.

```python
datasets.load_dataset("path/of/this/folder")
tree = jftdata.Hierarchy.load("hierarchy.tsv")
jftdata.sources.from_hub("data", label="{label}"{more}, hierarchy=tree, out="new.catalog")
```"""


LAYOUT = Layout("parquet", _writer, _finish, _how_to_read, data_files="data/{split}-*.parquet", a_file="many")
