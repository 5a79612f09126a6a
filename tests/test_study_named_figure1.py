"""Figure 1's facts against torchvision's networks, and its files."""

from pathlib import Path

import polars as pl
import pytest
import torchvision
from torch import nn

from jftdata.study.named import figure1


@pytest.mark.parametrize(("name", "model"), [("AlexNet", "alexnet"), ("VGG-19", "vgg19"), ("ResNet-152", "resnet152")])
def test_layers_are_those_of_the_network(name: str, model: str) -> None:
    import torch

    with torch.device("meta"):
        net = torchvision.models.get_model(model)
    layers = sum(isinstance(m, nn.Conv2d | nn.Linear) and "downsample" not in at for at, m in net.named_modules())
    assert figure1.table().filter(name=name)["value"].item() == layers


def test_the_table_is_in_years_from_the_first_of_each_kind() -> None:
    facts = figure1.table()
    for _, rows in facts.group_by("kind"):
        assert rows["year"].is_sorted()
        assert rows.row(0, named=True)["times"] == 1
        assert rows.row(0, named=True)["year"] == 2012
    assert facts.filter(name="JFT-300M")["times"].item() == pytest.approx(234, abs=1)


def test_both_files_are_written(tmp_path: Path) -> None:
    said = figure1.write(None, tmp_path / "out")  # type: ignore[arg-type]
    assert "images of a training set 1.0 times, layers of a model 19.0 times" in said
    assert pl.read_csv(tmp_path / "out" / "figure-1.csv").equals(figure1.table())
    assert (tmp_path / "out" / "figure-1.svg").read_text().count("layers of a model") == 1
