"""A file list: `labels.csv` names the images where they are, and nothing is copied. Each is read and checked first."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from jftdata.errors import BadInput, ImageRejected
from jftdata.export.driver import Image, Job, Layout, Writer
from jftdata.export.survey import Survey
from jftdata.export.table import write_table


def _check(survey: Survey) -> None:
    if not survey.whole_files:
        raise BadInput(
            "some images are no files of their own, they lie inside shards, so a list cannot name them. Export to a folder."
        )


@contextmanager
def _writer(job: Job, split: str, number: int) -> Iterator[Writer]:
    def write(image: Image) -> str:
        if os.path.getsize(image.place) != len(image.data):
            raise ImageRejected("damaged", f"{image.place} holds more than the image")
        return os.path.relpath(image.place, job.survey.root)

    yield write


def _how_to_read(job: Job) -> str:
    return f"""Images stay where they are: `image` in `labels.csv` starts from `{job.survey.root}`.

```python
tree = jftdata.Hierarchy.load("hierarchy.tsv")
jftdata.sources.from_table("labels.csv", images="{job.survey.root}", hierarchy=tree, out="new.catalog")
```"""


LAYOUT = Layout("list", _writer, write_table, _how_to_read, data_files=None, a_file="none", check=_check)
