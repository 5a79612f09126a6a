"""`croissant.json`: what the files and columns are, as Croissant 1.0 JSON-LD, which data set searches and `mlcroissant` read.

Source: MLCommons, Croissant format specification 1.0.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jftdata import storage

FILE = "croissant.json"
_CR, _SC, _DCT = "http://mlcommons.org/croissant/", "https://schema.org/", "http://purl.org/dc/terms/"
_TERMS = (
    "citeAs", "column", "extract", "field", "fileObject", "fileProperty", "fileSet", "format", "includes",
    "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
    "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
_CONTEXT = {
    "@language": "en", "@vocab": _SC, "cr": _CR, "sc": _SC, "dct": _DCT, "rai": f"{_CR}RAI/",
    "conformsTo": "dct:conformsTo", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    "equivalentProperty": "cr:equivalentProperty", **{term: f"cr:{term}" for term in _TERMS},
}  # fmt: skip


def write(
    folder: Path, files: Mapping[str, Any], columns: Mapping[str, str], *, about: Mapping[str, str],
    repeated: Sequence[str] = (),
) -> None:  # fmt: skip
    """Write the description.

    Args:
        folder: of the export.
        files: the FileObject or FileSet that holds the records.
        columns: type of each column to describe.
        about: `name`, `description` and `license` of the whole.
        repeated: columns that hold lists.
    """
    kind = "fileSet" if files["@type"] == "cr:FileSet" else "fileObject"

    def field(name: str, type: str) -> dict[str, Any]:
        image = {"transform": {"jsonPath": "bytes"}} if type == "sc:ImageObject" else {}
        return {
            "@type": "cr:Field", "@id": f"records/{name}", "name": name, "dataType": type,
            **({"repeated": True} if name in repeated else {}),
            "source": {kind: {"@id": "files"}, "extract": {"column": name}, **image},
        }  # fmt: skip

    storage.write_json(folder / FILE, {
        "@context": _CONTEXT, "@type": "sc:Dataset", "conformsTo": f"{_CR}1.0", **about,
        "distribution": [{"@id": "files", "name": "files", **files}],
        "recordSet": [{
            "@type": "cr:RecordSet", "@id": "records", "name": "records",
            "field": [field(name, type) for name, type in columns.items()],
        }],
    })  # fmt: skip
