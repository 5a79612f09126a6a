"""What the report says of subsets: how they were chosen, how many images they have, and what their tail looks like."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jftdata import storage


def subsets(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """A row a subset, from what it says of itself; its catalog is not needed.

    Args:
        folders: of `Subset.save`.

    Raises:
        BadInput: an artefact of another kind.
    """
    rows = []
    for folder in folders:
        facts = storage.read_sidecar(folder, kind="jftdata.subset").facts
        numbers = facts["tail"]
        rows.append({
            "name": folder.name, "images": facts["num_images"], "epoch": f"{facts['images_an_epoch']:,.0f}",
            "labels": numbers["num_used"], "of": numbers["num_labels"], "below_20": numbers["below_20"] - numbers["below_1"],
            "imbalance": f"{numbers['imbalance']:,.0f} : 1", "gini": f"{numbers['gini']:.2f}",
            "steps": [_step(step) for step in json.loads((folder / "recipe.json").read_text(encoding="utf-8"))["steps"]],
        })  # fmt: skip
    return rows


def _step(step: dict[str, Any]) -> str:
    """A step of a recipe as it would be called.

    >>> _step({"name": "2", "builder": "cap", "most": 100, "seed": 0})
    'cap(most=100, seed=0)'
    """
    said = ", ".join(f"{key}={_short(value)}" for key, value in step.items() if key not in ("name", "builder", "from"))
    return f"{step['builder']}({said})" + (f" from {', '.join(step['from'])}" if step.get("from") else "")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"
