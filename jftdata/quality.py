"""What an image looks like in numbers: sharpness, brightness, contrast, colour. Findings to look at and to choose by."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jftdata.catalog import Catalog
from jftdata.errors import ImageRejected
from jftdata.images import decode_small, shrink
from jftdata.pixels import PLACE, UNREAD, map_images
from jftdata.progress import progress
from jftdata.ragged import unique

MEASURES = {
    "image": pl.Int64(),
    "sharpness": pl.Float32(),  # variance of the Laplacian of the luminance; low is blurred or flat
    "brightness": pl.Float32(),  # mean luminance, 0..255
    "contrast": pl.Float32(),  # standard deviation of the luminance
    "colour": pl.Float32(),  # colourfulness of Hasler and Suesstrunk 2003; 0 is grey
}
SIDE = 256
"""Images are measured at this longest side, so that a large photograph is not called blurred."""
_PIECE = 1 << 16
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def measure(
    catalog: Catalog, *, images: NDArray[np.int64] | None = None, workers: int | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Measure the images of a catalog.

    Args:
        catalog: with pixels.
        images: only these image ids.
        workers: threads; None is one a core.

    Returns:
        Columns of `MEASURES`, in image-id order; and what could not be read, columns of `pixels.UNREAD`.

    Cost: about that of decoding; memory is 24 bytes an image.

    Source: Hasler and Suesstrunk 2003 for colour; Pech-Pacheco et al. 2000 for the variance of the Laplacian.
    """
    catalog.need_pixels()
    ids = catalog.images() if images is None else unique(images)
    found, unread = [pl.DataFrame(schema=MEASURES)], [pl.DataFrame(schema=UNREAD)]
    with progress("quality", total=len(ids), unit="image") as bar:
        for first in range(0, len(ids), _PIECE):
            piece = ids[first : first + _PIECE]
            rows: list[tuple[float, ...]] = []
            bad: list[tuple[int, str, str]] = []
            looks = map_images(catalog, catalog.rows(piece, columns=PLACE), _look, workers=workers, on_reject=_reject)
            for image, look in zip(piece.tolist(), looks, strict=True):
                bar.update()
                if isinstance(look, ImageRejected):
                    bad.append((image, look.reason, str(look)))
                else:
                    rows.append((image, *look))
            found.append(pl.DataFrame(rows, MEASURES, orient="row"))
            unread.append(pl.DataFrame(bad, UNREAD, orient="row"))
    return pl.concat(found), pl.concat(unread)


def _look(_: int, data: bytes) -> tuple[float, ...] | ImageRejected:
    return of_pixels(shrink(decode_small(data, side=SIDE), side=SIDE))


def _reject(_: int, error: ImageRejected) -> tuple[float, ...] | ImageRejected:
    return error


def of_pixels(pixels: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """Sharpness, brightness, contrast and colour of an (H, W, 3) uint8 array.

    >>> of_pixels(np.full((8, 8, 3), 100, np.uint8))
    (0.0, 100.0, 0.0, 0.0)
    """
    rgb = pixels.astype(np.float32)
    luma = rgb @ _LUMA
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    red_green = rgb[..., 0] - rgb[..., 1]
    yellow_blue = (rgb[..., 0] + rgb[..., 1]) / 2 - rgb[..., 2]
    spread = np.hypot(red_green.std(), yellow_blue.std())
    colour = spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean())
    numbers = (laplacian.var() if laplacian.size else 0.0, luma.mean(), luma.std(), colour)
    sharpness, brightness, contrast, colour = (round(float(number), 3) for number in numbers)
    return sharpness, brightness, contrast, colour
