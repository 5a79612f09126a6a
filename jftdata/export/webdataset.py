"""WebDataset: tar shards `data/<split>-<number>.tar` with `<id>.jpg` and `<id>.json`, and `<id>.cls` where an image has one label.

`cls` holds the label's number, its row of `hierarchy.tsv` counted from 0; `json` holds everything, labels by name.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from jftdata import tar
from jftdata.export.driver import Image, Job, Layout, Writer
from jftdata.export.table import said


@contextmanager
def _writer(job: Job, split: str, number: int) -> Iterator[Writer]:
    name = f"data/{job.splits[split]}-{number:06d}.tar"
    path = job.folder / name
    path.parent.mkdir(exist_ok=True)
    with tar.create(path) as file:

        def write(image: Image) -> str:
            key = f"{image.image:019d}"
            tar.add(file, image.name, image.data)
            if job.survey.single:
                tar.add(file, f"{key}.cls", str(image.labels[0]).encode())
            told = {
                "image_id": image.image, "split": split, "width": image.width, "height": image.height,
                **said(job, image.labels, image.scores, image.negatives, image.weight),
                "source": image.source,
            }  # fmt: skip
            tar.add(file, f"{key}.json", json.dumps(told, ensure_ascii=False).encode())
            return name

        yield write


def _how_to_read(job: Job) -> str:
    number = (
        "\nThe number in `cls` is a row of `hierarchy.tsv`, counted from 0 after its heading."
        if job.survey.single
        else ""
    )
    top = next(iter(job.splits.values()))
    more = "".join(f', {name}="json.{name}"' for name in ("scores", "negatives") if getattr(job.survey, name))
    return f"""Tar shards: `<id>.<ending>` is an image, `<id>.json` what is known of it, labels by name.{number}

```python
webdataset.WebDataset("data/{top}-000000.tar").decode("pil")
tree = jftdata.Hierarchy.load("hierarchy.tsv")
jftdata.sources.from_webdataset("data/{top}-*.tar", label="json.labels"{more}, hierarchy=tree, out="new.catalog")
```"""


LAYOUT = Layout(
    "webdataset", _writer, lambda job: None, _how_to_read, data_files="data/{split}-*.tar", a_file="many"
)  # fmt: skip
