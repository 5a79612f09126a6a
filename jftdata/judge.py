"""A page on which a person answers yes, no or unsure to one question about many pictures, and the answers read back.

The page is one file that needs no server and no network: it opens from a disk, is worked by keyboard, mouse or touch, keeps
the answers in the browser and saves them to a small JSON file. Everything it shows is data to it, never markup.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup

from jftdata import __version__, storage
from jftdata.errors import BadArgument, BadInput, Damaged, MissingInput, UnknownName, nearest

PAGE_FORMAT = "jftdata.judge/1"
FORMAT = "jftdata.judgements/1"
ANSWERS = ("yes", "no", "unsure")
JUDGEMENTS = {"item": pl.String(), "answer": pl.String()}
MAX_ITEMS = 1_000
"""Items of a page; a person answers about as many in an hour."""
MAX_BYTES = 64 * 2**20
"""Bytes of a page; browsers slow down beyond that."""
_DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
_UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&"}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of an item and what is written below it."""

    jpeg: bytes | None
    """None where there is none to show; `alt` is shown in its place."""
    alt: str
    """The picture in words, or why there is none."""
    lines: Sequence[str] = ()
    labels: Sequence[str] = ()
    """Labels by name."""
    conflicts: Sequence[str] = ()
    """More labels, marked as in conflict."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing to answer."""

    id: str
    """What the answer is saved under; unlike that of any other item of the page."""
    heading: str
    pictures: Sequence[Picture]
    lines: Sequence[str] = ()
    group: str = ""
    """What the item belongs to, in words."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page that was written."""

    path: Path
    fingerprint: str
    """SHA-256 of all it shows; answers belong to it."""
    num_items: int
    num_bytes: int


def write(
    items: Sequence[Item], *, out: Path | str, title: str, question: str, guide: str = "", note: str = ""
) -> Page:  # fmt: skip
    """Write a page, whole or not at all; equal inputs give equal bytes.

    Args:
        items: what to answer, in this order.
        out: a .html to write.
        title: names the page, and the file that answers are saved to.
        question: answered for every item.
        guide: what counts as yes and as no.
        note: what else there is to know, such as how the items were chosen.

    Raises:
        BadArgument: another ending, or more than `MAX_ITEMS` items.
        BadInput: no items, two items with one id or one without, or a page of more than `MAX_BYTES`.

    Cost: four thirds of the bytes of the pictures, and 20 KB.
    """
    out = Path(out)
    if out.suffix != ".html":
        raise BadArgument(f"`out` must end in .html. Got {out}.")
    if not items:
        raise BadInput("there are no items to judge, so there is no page to write. Give at least one.")
    if len(items) > MAX_ITEMS:
        raise BadArgument(
            f"a page holds at most {MAX_ITEMS:,} items. Got {len(items):,}. Give fewer, or several pages."
        )
    seen: set[str] = set()
    for item in items:
        if not item.id or item.id in seen:
            raise BadInput(f"every item needs an id of its own. Got {item.id!r}{' twice' if item.id else ''}.")
        seen.add(item.id)
    shown = {"format": PAGE_FORMAT, "title": title, "question": question, "guide": guide, "note": note,
             "items": [_item(item) for item in items]}  # fmt: skip
    fingerprint = _fingerprint(shown)
    text = _render(shown | {"fingerprint": fingerprint})
    num_bytes = len(text.encode())
    if num_bytes > MAX_BYTES:
        raise BadInput(
            f"the page has {num_bytes:,} bytes, at most {MAX_BYTES:,} are allowed. Give fewer items or smaller pictures."
        )
    storage.write_text(out, text)
    return Page(path=out, fingerprint=fingerprint, num_items=len(items), num_bytes=num_bytes)


def _item(item: Item) -> dict[str, Any]:
    pictures = []
    for picture in item.pictures:
        uri = None if picture.jpeg is None else f"data:image/jpeg;base64,{base64.b64encode(picture.jpeg).decode()}"
        pictures.append({**asdict(picture), "jpeg": uri})
    return {**asdict(item), "pictures": pictures}


def _json(value: Any) -> str:
    """JSON in ASCII that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False).translate(_UNSAFE)


def _fingerprint(shown: Any) -> str:
    return hashlib.sha256(_json(shown).encode()).hexdigest()


def _render(page: dict[str, Any]) -> str:
    folder = Path(__file__).parent
    script = (folder / "judge.js").read_text(encoding="utf-8").strip()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("judge.html.jinja").render(
        page=page, data=Markup(_json(page)), script=Markup(script), digest=digest, version=__version__
    )


# ---- reading ---------------------------------------------------------------------------------------------------------


def read(paths: Path | str | Sequence[Path | str], *, page: Path | str | None = None) -> pl.DataFrame:
    """The answers in saved files of one page.

    Args:
        paths: one file, or several, of several people or sittings. The same answer twice counts once.
        page: the page they answer; None checks only that the files answer the same one.

    Returns:
        Columns of `JUDGEMENTS`, sorted by item. Items without an answer are not in it; `unsure` is an answer, and may be
        the only one there is.

    Raises:
        BadArgument: no path.
        MissingInput: no such file.
        BadInput: not a file of answers, another answer than yes, no or unsure, answers to another page, or an item that
            was answered in two ways, `unsure` being one of them.
        UnknownName: an item that is not on the page.
        Damaged: the page no longer matches its fingerprint.
    """
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(p) for p in paths]
    if not files:
        raise BadArgument("`paths` names no file. Give at least one.")
    expected, known = (None, None) if page is None else _page(Path(page))
    of = str(page)
    found: dict[str, tuple[str, Path]] = {}
    for file in files:
        fingerprint, answers = _answers(file)
        if expected is None:
            expected, of = fingerprint, f"the page of {file}"
        if fingerprint != expected:
            raise BadInput(
                f"{file} answers another page ({fingerprint[:12]}) than {of} ({expected[:12]}). Read them apart."
            )
        for item, answer in answers:
            if answer not in ANSWERS:
                raise BadInput(
                    f"{file} answers {item!r} with {answer!r}, expected yes, no or unsure. Mend that answer."
                )
            if known is not None and item not in known:
                raise UnknownName(f"{file} answers {item!r}, which is not on {of}.{nearest(item, known)} Remove it.")
            before, where = found.setdefault(item, (answer, file))
            if before != answer:
                raise BadInput(
                    f"{item!r} is {before!r} in {where} and {answer!r} in {file}. Agree on one and remove the other."
                )
    rows = sorted((item, answer) for item, (answer, _) in found.items())
    return pl.DataFrame(rows, schema=JUDGEMENTS, orient="row")


def _answers(file: Path) -> tuple[str, list[tuple[str, Any]]]:
    """The fingerprint of the page a file answers, and its answers; an item written twice is there twice."""
    wrong = f"{file} is no file of answers"
    text = _text(file)
    try:
        value = dict(json.loads(text, object_pairs_hook=tuple))
    except (ValueError, TypeError) as error:
        raise BadInput(f"{wrong} ({error}). Give what a page saved.") from error
    page, answers = value.get("page"), value.get("answers")
    if value.get("format") != FORMAT or not isinstance(page, str) or not isinstance(answers, tuple):
        raise BadInput(f"{wrong}: its format is {value.get('format')!r}, expected {FORMAT!r}. Give what a page saved.")
    return page, list(answers)


def _page(path: Path) -> tuple[str, set[str]]:
    """The fingerprint and the item ids of a page."""
    wrong = f"{path} is no page to judge items on"
    match = _DATA.search(_text(path))
    if match is None:
        raise BadInput(f"{wrong}: it holds no data. Give a page that jftdata wrote.")
    try:
        shown = json.loads(match[1])
        fingerprint = shown.pop("fingerprint")
    except (ValueError, AttributeError, KeyError) as error:
        raise Damaged(f"{path} is damaged ({type(error).__name__}: {error}). Write the page again.") from error
    if _fingerprint(shown) != fingerprint:
        raise Damaged(f"{path} is damaged: it does not match its fingerprint {fingerprint[:12]}. Write the page again.")
    return fingerprint, {item["id"] for item in shown["items"]}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is no text file ({error}). Give what the page saved.") from error
    except OSError as error:
        raise MissingInput(f"{path} cannot be read: {error.strerror}. Check the path.") from error
