"""Settings given as text: `field=value` strings put onto a dataclass of settings."""

import dataclasses
import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

from jftdata.errors import BadArgument, one_of

T = TypeVar("T")


def override(config: T, assignments: Iterable[str]) -> T:
    """Settings with `field=value` strings applied, as from `--set` on the command line.

    Args:
        config: a dataclass whose fields are numbers, text, true or false, None, or tuples of these.
        assignments: a tuple is written with commas.

    Raises:
        UnknownName: no such field; the nearest is suggested.
        BadArgument: a value of the wrong type, or one that the dataclass refuses.

    >>> from jftdata import recipes
    >>> override(recipes.tiny(), ["batch_size=32"]).batch_size
    32
    """
    kinds = typing.get_type_hints(type(config))
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        if not sign:
            raise BadArgument(f"expected field=value. Got {assignment!r}.")
        if name not in kinds:
            raise one_of("config field", name, kinds)
        values[name] = _parse(name, kinds_of(kinds[name]), text)
    return dataclasses.replace(config, **values)  # type: ignore[type-var]


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone.

    >>> kinds_of(int | None), kinds_of(str)
    ((<class 'int'>, <class 'NoneType'>), (<class 'str'>,))
    """
    return (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
    )


def _parse(name: str, kinds: tuple[Any, ...], text: str) -> Any:
    if type(None) in kinds and text.lower() == "none":
        return None
    try:
        if bool in kinds:
            return {"true": True, "false": False}[text.lower()]
        if int in kinds:
            return int(text)
        if float in kinds:
            return float(text)
        for kind in kinds:
            if typing.get_origin(kind) is tuple:
                inside = typing.get_args(kind)[0]
                return tuple(inside(part) for part in text.split(",") if part)
    except (ValueError, KeyError):
        wanted = "true or false" if bool in kinds else "a whole number" if int in kinds else "numbers"
        raise BadArgument(f"config field `{name}` must be {wanted}. Got {text!r}.") from None
    return text
