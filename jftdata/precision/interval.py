"""Wilson's interval, and how many answers one of a wanted width needs."""

import math
from statistics import NormalDist

import polars as pl

from jftdata.errors import BadArgument, BadInput

POWER = {"stratum": pl.String(), "population": pl.Int64(), "num": pl.Int64()}


def wilson(share: float, num: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share.

    Args:
        share: seen, 0..1.
        num: answers it was seen in; a fraction for an effective number, infinite for no doubt.
        confidence: in (0, 1).

    Returns:
        Low and high end, within 0..1.

    Raises:
        BadArgument: a number out of range.

    Source: Wilson 1927.

    >>> [round(x, 3) for x in wilson(1.0, 50)]
    [0.929, 1.0]
    """
    _in("share", share, 0, 1)
    if not num > 0:
        raise BadArgument(f"`num` must be above 0. Got {num}.")
    _in("confidence", confidence, 0, 1, open=True)
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2 / num
    middle = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    low, high = min(share, middle - half), max(share, middle + half)  # whatever the rounding
    return max(0.0, low), min(1.0, high)


def power(
    *, width: float, precision_guess: float = 0.8, design_effect: float = 1.0, unsure: float = 0.0,
    sample: pl.DataFrame | None = None, confidence: float = 0.95,
) -> pl.DataFrame:  # fmt: skip
    """How many answers an interval of a wanted width needs.

    Args:
        width: from its low to its high end, in (0, 1).
        precision_guess: what the precision may be, 0..1; 0.5 needs most.
        design_effect: how many answers of the sample are worth one of a simple random sample, above 0: the column of
            `estimate` on earlier answers, or 1.
        unsure: share of answers that will be unsure, in [0, 1).
        sample: a sample of the population at hand, which bounds what is needed and tells its strata.
        confidence: in (0, 1).

    Returns:
        `stratum`, `population` (null where unknown) and `num`: for an interval of all pairs (stratum `all`), and with a
        sample for an interval of each stratum's own, which is a simple random sample.

    Raises:
        BadArgument: a number out of range.
        BadInput: a sample without the columns `stratum` and `population`.

    >>> power(width=0.1)["num"].to_list(), power(width=0.1, design_effect=1.3)["num"].to_list()
    ([245], [318])
    """
    _in("width", width, 0, 1, open=True)
    _in("precision_guess", precision_guess, 0, 1)
    _in("confidence", confidence, 0, 1, open=True)
    if not 0 <= unsure < 1:
        raise BadArgument(f"`unsure` must be in [0, 1). Got {unsure}.")
    if not 0 < design_effect < math.inf:
        raise BadArgument(f"`design_effect` must be a number above 0. Got {design_effect}.")

    def needed(population: int | None, effect: float) -> int:
        def wide(num: int) -> bool:
            rest = 1.0 if population is None else 1 - num / population
            effective = num * (1 - unsure) / effect / rest if rest else math.inf
            low, high = wilson(precision_guess, effective, confidence=confidence)
            return high - low > width

        high = 1
        while (population is None or high < population) and wide(high):
            high *= 2
        high = high if population is None else min(high, population)
        low = 0
        while high - low > 1:  # too few at `low`, enough at `high`
            middle = (low + high) // 2
            low, high = (middle, high) if wide(middle) else (low, middle)
        return high

    if sample is None:
        return pl.DataFrame([("all", None, needed(None, design_effect))], schema=POWER, orient="row")
    if not {"stratum", "population"} <= set(sample.columns):
        raise BadInput(
            f"a sample has the columns stratum and population. Got {sample.columns}. Give what `sample` drew."
        )
    parts = sample.select("stratum", "population").unique().sort("stratum")
    total = int(parts["population"].sum())
    rows: list[tuple[str, int, int]] = [("all", total, needed(total, design_effect))]
    rows += [(name, size, needed(size, 1.0)) for name, size in parts.iter_rows()] if len(parts) > 1 else []
    return pl.DataFrame(rows, schema=POWER, orient="row")


def _in(name: str, value: float, low: float, high: float, *, open: bool = False) -> None:
    if not (low < value < high if open else low <= value <= high):
        ends = f"({low}, {high})" if open else f"[{low}, {high}]"
        raise BadArgument(f"`{name}` must be in {ends}. Got {value}.")
