"""COCO: `<split>/<id>.jpg` and `annotations/instances_<split>.json`, with an annotation for each label of each image.

Labels are of whole images, so annotations have neither `bbox`, `area` nor `segmentation`: none is made up, and readers that filter
by area find nothing to filter by. `score` is there where the
label has one, `neg_category_ids`, as in LVIS, where there are verified negatives. A category is a label, its `supercategory` the first
parent. Images are numbered from 1 in the order of their ids, since many readers keep 32 bits.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jftdata import __version__, storage
from jftdata.export.driver import Image, Job, Layout, Writer
from jftdata.export.table import short


@contextmanager
def _writer(job: Job, split: str, number: int) -> Iterator[Writer]:
    top = job.splits[split]
    (job.folder / top).mkdir(exist_ok=True)

    def write(image: Image) -> str:
        (job.folder / top / image.name).write_bytes(image.data)
        return f"{top}/{image.name}"

    yield write


def _finish(job: Job) -> None:
    (job.folder / "annotations").mkdir(exist_ok=True)
    for split, top in job.splits.items():
        path = job.folder / "annotations" / f"instances_{top}.json"
        with storage.atomic_path(path) as temp, temp.open("w", encoding="utf-8") as file:
            info = {"description": f"labels of whole images, split {split}", "version": f"jftdata {__version__}"}
            file.write(f'{{"info": {json.dumps(info, ensure_ascii=False)},\n"categories": ')
            _write_list(file, _categories(job))
            file.write(',\n"images": ')
            _write_list(file, _images(job, split))
            file.write(',\n"annotations": ')
            _write_list(file, _annotations(job, split))
            file.write("}\n")


def _write_list(file: Any, items: Iterator[dict[str, Any]]) -> None:
    file.write("[")
    for i, item in enumerate(items):
        file.write(f"{',' if i else ''}\n{json.dumps(item, ensure_ascii=False)}")
    file.write("]")


def _categories(job: Job) -> Iterator[dict[str, Any]]:
    tree = job.tree
    for i, label in enumerate(tree.labels):
        above = tree.parent_lists[i]
        yield {"id": i + 1, "name": label, "supercategory": tree.labels[above[0]] if above else "none"}


def _images(job: Job, split: str) -> Iterator[dict[str, Any]]:
    rows = (row for part in job.written(split) for row in part.iter_rows(named=True))
    for number, row in enumerate(rows, 1):
        yield {
            "id": number, "file_name": row["file"].split("/")[1], "width": row["width"], "height": row["height"],
            "image_id": str(row["image"]), "source": row["source"],
            **({"neg_category_ids": [label + 1 for label in row["negatives"]]} if job.survey.negatives else {}),
            **({"weight": row["weight"]} if job.survey.weights else {}),
        }  # fmt: skip


def _annotations(job: Job, split: str) -> Iterator[dict[str, Any]]:
    rows = (row for part in job.written(split) for row in part.iter_rows(named=True))
    number = 0
    for image, row in enumerate(rows, 1):
        for label, score in zip(row["labels"], row["scores"] or [None] * len(row["labels"]), strict=True):
            number += 1
            told = {} if score is None else {"score": short(score)}
            yield {"id": number, "image_id": image, "category_id": label + 1, "iscrowd": 0, **told}


def _how_to_read(job: Job) -> str:
    top = next(iter(job.splits.values()))
    return f"""Labels are of whole images: annotations have a category and no box.

```python
pycocotools.coco.COCO("annotations/instances_{top}.json")
tree = jftdata.Hierarchy.load("hierarchy.tsv")
jftdata.sources.from_coco("annotations/instances_{top}.json", images="{top}", hierarchy=tree, out="new.catalog")
```"""


LAYOUT = Layout("coco", _writer, _finish, _how_to_read, data_files=None, a_file="one image")
