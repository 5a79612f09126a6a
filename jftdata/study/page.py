"""A page: one HTML file that needs nothing else, from a template, with the style and the script that all pages share.

It loads nothing; its content-security policy names the one style and the one script by their SHA-256, so that nothing else can
run or restyle it, whatever labels and paths say. Without scripts it is complete. A template extends `page.html.jinja`.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from jftdata import __version__

_FOLDER = Path(__file__).parent


def render(template: str, values: Mapping[str, Any]) -> str:
    """A page as text; equal values give equal bytes.

    Args:
        template: a file beside this one. It fills the blocks `header`, `main` and `footer`.
        values: what it shows, escaped unless it is `Markup`; `title` names the page.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["comma"] = lambda n: f"{n:,}"
    style, script = ((_FOLDER / name).read_text(encoding="utf-8").strip() for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    fixed = {"policy": policy, "style": Markup(style), "script": Markup(script), "version": __version__}
    return environment.get_template(template).render({**values, **fixed}) + "\n"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
