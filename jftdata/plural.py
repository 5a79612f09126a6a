"""A number with its noun, for what people read."""


def plural(num: int, one: str, many: str | None = None) -> str:
    """A number and what there is so many of.

    Args:
        num: how many.
        one: the words after a 1.
        many: those after any other number; None is `one` with an s.

    >>> plural(1, "image"), plural(2000, "image"), plural(0, "label is missing", "labels are missing")
    ('1 image', '2,000 images', '0 labels are missing')
    """
    return f"{num:,} {one if num == 1 else many or one + 's'}"
