"""Images as files, as Hugging Face's ImageFolder reads them: `<split>/<label>/<id>.jpg` and `<split>/metadata.jsonl`.

Images lie in folders by label where every image has exactly one, else all in `<split>`. A folder's name is that of the label made
safe; `metadata.jsonl` and `labels.csv` have the true one.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from jftdata import storage
from jftdata.export import croissant
from jftdata.export.driver import Image, Job, Layout, Writer
from jftdata.export.table import TABLE, said, write_table


@contextmanager
def _writer(job: Job, split: str, number: int) -> Iterator[Writer]:
    top = job.splits[split]

    def write(image: Image) -> str:
        below = f"{job.folders[job.tree.labels[image.labels[0]]]}/" if job.survey.single else ""
        name = f"{top}/{below}{image.name}"
        path = job.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.data)
        return name

    yield write


def _finish(job: Job) -> None:
    for split, top in job.splits.items():
        (job.folder / top).mkdir(exist_ok=True)
        with ExitStack() as stack:
            temp = stack.enter_context(storage.atomic_path(job.folder / top / "metadata.jsonl"))
            file = stack.enter_context(temp.open("w", encoding="utf-8"))
            for part in job.written(split):
                for row in part.iter_rows(named=True):
                    told = said(job, row["labels"], row["scores"], row["negatives"], row["weight"])
                    if job.survey.single:
                        told = {"label": told["labels"][0], **told}
                        del told["labels"]
                    whole = {
                        "file_name": row["file"].removeprefix(f"{top}/"), **told, "image_id": row["image"],
                        "width": row["width"], "height": row["height"], "split": split, "source": row["source"],
                    }  # fmt: skip
                    file.write(json.dumps(whole, ensure_ascii=False) + "\n")
    write_table(job)
    croissant.write(
        job.folder,
        {
            "@type": "cr:FileObject", "encodingFormat": "text/csv", "contentUrl": TABLE,
            "sha256": storage.sha256_file(job.folder / TABLE),
        },
        {"image": "sc:Text", "label": "sc:Text", "confidence": "sc:Float", "source": "sc:Text", "split": "sc:Text",
         "image_id": "sc:Integer"},
        about=job.about,
    )  # fmt: skip


def _how_to_read(job: Job) -> str:
    where = "in a folder by label" if job.survey.single else "side by side, since not every image has exactly one label"
    return f"""Images are files, {where}; `metadata.jsonl` of each split says everything of each, `labels.csv` has
a row an image and label. Names of folders are made safe for any file system; the true labels are in these two.

```python
datasets.load_dataset("path/of/this/folder")
tree = jftdata.Hierarchy.load("hierarchy.tsv")
jftdata.sources.from_table("labels.csv", images=".", hierarchy=tree, out="new.catalog")
```"""


LAYOUT = Layout("folder", _writer, _finish, _how_to_read, data_files="{split}/**", a_file="one image")
