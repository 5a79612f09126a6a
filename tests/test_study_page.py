"""What every page has: a policy that names its one style and one script, and colours that can be read in both schemes."""

import base64
import hashlib
import re
from html import unescape
from pathlib import Path

import pytest

from jftdata.study import page

FOLDER = Path(page.__file__).parent
LEAST = {"ink": 4.5, "muted": 4.5, "accent": 4.5, "second": 4.5, "flag": 4.5, **{f"s{i}": 3.0 for i in range(6)}}
"""Least contrast: 4.5 for text, 3 for parts of figures. Source: WCAG 2.2, success criteria 1.4.3 and 1.4.11."""


def schemes() -> dict[str, dict[str, str]]:
    """Colours by name, on a light and a dark screen and on paper, which sets but some anew."""
    light, dark, paper = re.findall(r":root \{(.*?)\}", (FOLDER / "page.css").read_text(), re.DOTALL)
    read = {k: dict(re.findall(r"--(\w+): (#\w+)", v)) for k, v in (("light", light), ("dark", dark), ("paper", paper))}
    return {**read, "paper": read["light"] | read["paper"]}


def luminance(color: str) -> float:
    full = color if len(color) == 7 else "#" + "".join(2 * c for c in color[1:])
    shares = [int(full[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, two: str) -> float:
    dark, light = sorted((luminance(one), luminance(two)))
    return (light + 0.05) / (dark + 0.05)


def test_black_on_white_has_the_contrast_of_the_standard() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark", "paper"])
def test_text_and_figures_stand_out_from_the_page(scheme: str) -> None:
    colors = schemes()[scheme]
    for name, least in LEAST.items():
        assert contrast(colors[name], colors["paper"]) >= least, name
    for ground in ("panel", "bar"):  # of fields, and of labels found
        assert contrast(colors["ink"], colors[ground]) >= 4.5, ground
    assert contrast(colors["accent"], colors["panel"]) >= 3  # a bar on its track


def test_the_policy_names_the_one_style_and_the_one_script() -> None:
    text = page.render("page.html.jinja", {"title": "<b>"})
    policy = unescape(re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[0])
    for tag, kind in (("style", "style-src"), ("script", "script-src")):
        ((inside),) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert "<title>&lt;b&gt;</title>" in text
