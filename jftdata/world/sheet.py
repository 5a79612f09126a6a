"""A contact sheet: what the world looks like, at a glance."""

from PIL import Image, ImageDraw, ImageFont

from jftdata.errors import BadArgument
from jftdata.world.copies import scene
from jftdata.world.scene import Stream, check_size


def contact_sheet(
    seed: int, *, num_images: int = 48, size: int = 128, columns: int = 8, labels: bool = True, stream: Stream = "main"
) -> Image.Image:
    """The first images of a world in a grid, each over its main object's label.

    Args:
        seed: the seed of the world.
        num_images: how many images, at least 1.
        size: pixels a side of each, 32 to 340.
        columns: images a row, at least 1.
        labels: write the main object's label under each image.
        stream: which of the world's sets.

    Raises:
        BadArgument: a number is out of range.

    >>> contact_sheet(0, num_images=4, size=32, columns=2, labels=False).size
    (72, 72)
    """
    check_size(size)
    if num_images < 1 or columns < 1:
        raise BadArgument(f"`num_images` and `columns` must be at least 1. Got {num_images} and {columns}.")
    gap, text = 4, max(12, size // 8) if labels else 0
    rows = -(-num_images // columns)
    sheet = Image.new("RGB", (columns * (size + gap), rows * (size + text + gap)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(max(9, round(text * 0.78))) if labels else None
    for i in range(num_images):
        drawn = scene(seed, i, size=size, stream=stream)
        x, y = (i % columns) * (size + gap) + gap // 2, (i // columns) * (size + text + gap) + gap // 2
        image = Image.fromarray(drawn.image)
        sheet.paste(image if image.size == (size, size) else image.resize((size, size)), (x, y))
        if labels:
            pen.text((x + 1, y + size), drawn.labels[0], fill="black", font=font)
    return sheet
