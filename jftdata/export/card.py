"""The card: a README.md that says what is in an export, where it came from and what is known to be wrong with it.

Its front matter is that of Hugging Face dataset cards. What was not measured is said to be so.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from jftdata import storage, tail
from jftdata.dedup import PAIRS, group_pairs
from jftdata.errors import BadArgument, BadInput
from jftdata.markdown import plain, table
from jftdata.ragged import in_sorted

if TYPE_CHECKING:
    from jftdata.subset import Subset

_SIZES = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6), ("1M<n<10M", 10**7),
          ("10M<n<100M", 10**8), ("100M<n<1B", 10**9), ("1B<n<10B", 10**10))  # fmt: skip
_PLOT = "tail.svg"
_TOP = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Card:
    """What a card says beyond what is counted."""

    license: str = "unknown"
    """Licence of the images and labels, best as an identifier such as `cc-by-4.0`."""
    title: str | None = None
    """Name of the set; None is the name of the folder."""
    noise: pl.DataFrame | None = None
    """What `noise.audit` returned: columns `image` and `wrong`."""
    pairs: pl.DataFrame | None = None
    """Near-duplicates: columns `image_a` and `image_b`, as `dedup.find_pairs` and `copies.find` return them."""

    def __post_init__(self) -> None:
        for name, text in (("license", self.license), ("title", self.title)):
            if text is not None and (not text.strip() or "\n" in text):
                raise BadArgument(f"`{name}` must be a line of text. Got {text!r}.")
        for name, frame, columns in (
            ("noise", self.noise, ("image", "wrong")),
            ("pairs", self.pairs, tuple(PAIRS)[:2]),
        ):
            missing = [column for column in columns if frame is not None and column not in frame.columns]
            if frame is not None and missing:
                raise BadInput(f"`{name}` has no column {missing[0]!r}, only {frame.columns}. Name it so.")

    def told(self, subset: "Subset") -> dict[str, Any]:
        """Everything that shapes the card, as JSON values: the findings in numbers, on the images of the subset."""
        return {
            "license": self.license,
            "title": self.title,
            "noise": self._noise(subset),
            "copies": self._copies(subset),
        }

    def about(self, folder: str, num_images: int, num_labels: int) -> dict[str, str]:
        """Name, description and licence, for catalogues of data sets."""
        description = f"{num_images:,} images under {num_labels:,} labels, exported by jftdata."
        return {"name": self.title or folder, "description": description, "license": self.license}

    def _noise(self, subset: "Subset") -> dict[str, Any] | None:
        if self.noise is None:
            return None
        mine = self.noise.filter(pl.Series(in_sorted(self.noise["image"].to_numpy(), subset.images)))["wrong"]
        return {"num_scored": mine.count(), "num_wrong": int((mine > 0.5).sum()), "expected": float(mine.sum())}

    def _copies(self, subset: "Subset") -> dict[str, int] | None:
        if self.pairs is None:
            return None
        here = np.ones(len(self.pairs), np.bool_)
        for column in tuple(PAIRS)[:2]:
            here &= in_sorted(self.pairs[column].to_numpy(), subset.images)
        groups = group_pairs(self.pairs.filter(pl.Series(here)))
        num_groups = groups["group"].n_unique()
        return {"num_groups": num_groups, "num_images": len(groups), "num_extra": len(groups) - num_groups}


def write_card(
    build: storage.Build, made_with: Mapping[str, Any], card: Card, subset: "Subset", *, counts: pl.DataFrame, title: str,
    how_to_read: str, data_files: Mapping[str, str],
) -> None:  # fmt: skip
    """Write `README.md`, and `tail.svg` where a label has an image.

    Args:
        build: the export, with its facts.
        made_with: its arguments.
        card: what to say beyond them.
        subset: what was exported.
        counts: images of each label among those written, as `tail.label_counts` returns them.
        title: the heading.
        how_to_read: Markdown of the format.
        data_files: pattern of the files of each split; empty where readers of the front matter cannot load them.
    """
    from jftdata import plots

    facts = build.facts
    numbers = tail.summary(counts)
    if numbers["num_used"]:
        plots.rank_frequency({"images": counts}, build.folder / _PLOT)
    kind = "labels, ancestors filled in," if made_with["labels"] == "filled" else "given labels"
    storage.write_text(build.folder / "README.md", "\n\n".join([
        _front(card, title, facts["num_images"], data_files),
        f"# {plain(title)}",
        f"{facts['num_images']:,} images, {facts['num_bytes'] / 1e6:,.1f} MB; {facts['num_labels']:,} {kind} of the "
        f"{numbers['num_labels']:,} in `hierarchy.tsv`; {facts['num_unlabelled']:,} images without a label; "
        f"{facts['num_negatives']:,} labels verified not to hold.",
        table(("split", "images"), [(plain(split), num) for split, num in facts["splits"].items()]),
        "## Licence", _licence(card),
        "## How to read it", how_to_read,
        "`sha256sum -c SHA256SUMS` checks every file. Names of image files are ids: the first 63 bits of the SHA-256 of the bytes"
        + (" that the image had before it was made smaller." if facts["num_reencoded"] else "."),
        "## Labels", *_tail(counts, numbers),
        "## Where it comes from", _lineage(build, subset),
        "## Known problems", _problems(facts, made_with),
    ]) + "\n")  # fmt: skip


def _front(card: Card, title: str, num_images: int, data_files: Mapping[str, str]) -> str:
    known = re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", card.license) is not None
    lines = ["---", f"license: {card.license if known else 'other'}"]
    lines += [] if known else [f"license_name: {json.dumps(card.license, ensure_ascii=False)}"]
    lines += [f"pretty_name: {json.dumps(title, ensure_ascii=False)}", "task_categories:", "- image-classification"]
    lines += ["size_categories:", f"- {next((name for name, most in _SIZES if num_images < most), 'n>1T')}"]
    if data_files:
        lines += ["configs:", "- config_name: default", "  data_files:"]
        for split, pattern in data_files.items():
            lines += [f"  - split: {split}", f"    path: {json.dumps(pattern, ensure_ascii=False)}"]
    return "\n".join([*lines, "---"])


def _licence(card: Card) -> str:
    if card.license == "unknown":
        return (
            "Unknown: nobody has said under which licence these images and labels may be used. Find out before you do."
        )
    return plain(card.license)


def _tail(counts: pl.DataFrame, numbers: Mapping[str, Any]) -> list[str]:
    if not numbers["num_used"]:
        return ["No image has a label."]
    top = counts.filter(pl.col("num_given") > 0).sort("num_given", "label", descending=[True, False]).head(_TOP)
    rows = [(plain(label if name == label else f"{label} ({name})"), given, filled)
            for label, name, _, given, filled in top.iter_rows()]  # fmt: skip
    return [
        f"With ancestors filled in: {tail.describe(numbers)}.",
        f"![Images of each label against its rank]({_PLOT})",
        f"The {len(rows)} that are given to the most images:",
        table(("label", "images it is given to", "with ancestors filled in"), rows),
    ]


def _lineage(build: storage.Build, subset: "Subset") -> str:
    catalog = subset.catalog
    facts = catalog.sidecar.facts
    steps = "\n".join(
        f"{i}. `{json.dumps(step, ensure_ascii=False)}`" for i, step in enumerate(build.facts["recipe"], 1)
    )
    read = ""
    if "num_input" in facts:
        left_out = f"{facts['num_duplicates']:,} copies and {facts['num_rejected']:,} rejected"
        read = f" It was made of {facts['num_input']:,} images: {left_out} left out."
    return f"""Catalog `{catalog.path.name}`, {len(catalog):,} images, made by {catalog.sidecar.made_by}, fingerprint
`{catalog.fingerprint}`.{read}

These {len(subset):,} images of it, fingerprint `{subset.fingerprint}`, were chosen by:

{steps}"""


def _problems(facts: Mapping[str, Any], made_with: Mapping[str, Any]) -> str:
    told = made_with["card"]
    lines = []
    if (noise := told["noise"]) is not None:
        lines.append(
            f"- Wrong labels: an audit calls {noise['num_wrong']:,} of {noise['num_scored']:,} given labels wrong (probability above "
            "0.5). Such a probability is too high where the model behind it is weak; only people's answers give a rate."
        )
    else:
        lines.append("- Wrong labels: not measured.")
    if (copies := told["copies"]) is not None:
        lines.append(
            f"- Near-duplicates: {copies['num_images']:,} images in {copies['num_groups']:,} groups of copies, {copies['num_extra']:,} "
            "more than one of each."
        )
    else:
        lines.append("- Near-duplicates: not measured. No two images have the same bytes.")
    if facts["num_rejected"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in facts["rejected"].items())
        lines.append(
            f"- {facts['num_rejected']:,} of {facts['num_asked']:,} images could not be read ({reasons}); see `rejected.csv`."
        )
    if facts["num_reencoded"]:
        lines.append(
            f"- {facts['num_reencoded']:,} images were made smaller, to at most {made_with['size']:,} pixels a side, as JPEGs of "
            "quality 90; the others have their own bytes."
        )
    if facts["num_conflicts"]:
        lines.append(
            f"- {facts['num_conflicts']:,} labels verified not to hold were left out: they are ancestors of given ones."
        )
    if facts["num_zero_scores"] and made_with["format"] in ("folder", "list"):
        lines.append(
            f"- {facts['num_zero_scores']:,} scores of exactly 0 are left out of `labels.csv`; their labels are there."
        )
    lines += [
        f"- The split {plain(split)} is called `{name}` in file names."
        for split, name in facts["renamed_splits"].items()
    ]
    return "\n".join(lines)
