import numpy as np
import pytest
import torch

from jftdata import backbone, images, noise, pretrain, recipes, sources, subset
from jftdata.errors import BadArgument, BadInput
from jftdata.pixels import PLACE
from tests.conftest import write_photos


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A net trained for one pass on other photos of the same labels."""
    folder = tmp_path_factory.mktemp("other")
    catalog = sources.from_folder(write_photos(folder / "p", per_label=4, seed=7), out=folder / "c", workers=1)
    recipe = recipes.tiny(total_epochs=1, image_size=32)
    config = pretrain.PretrainConfig(**{**recipe.__dict__, "batch_size": 4, "precision": "fp32"})
    return catalog, pretrain.run(subset.everything(catalog), config, out=folder / "net", workers=1)


def test_probabilities_are_the_sigmoids_of_the_head(checkpoint, photo_catalog):
    found = noise.of_checkpoint(checkpoint[1], photo_catalog, top_k=1, workers=1)
    net = backbone.load(checkpoint[1]).eval()
    heads = checkpoint[1].labels()
    for at, row in enumerate(photo_catalog.rows(found.images, columns=("labels", *PLACE)).iter_rows(named=True)):
        pixels = images.decode(photo_catalog.read(row["shard"], row["offset"], row["length"]))[0]
        small = images.resize(pixels, width=32, height=32)
        with torch.inference_mode():
            p = net(backbone.to_input(small[None].copy(), torch.device("cpu"))).sigmoid()[0].numpy()
        expected = {photo_catalog.hierarchy.index(heads[int(p.argmax())]), *row["labels"]}
        part = slice(found.start[at], found.start[at + 1])
        assert set(found.index[part].tolist()) == expected
        there = [p[heads.index(photo_catalog.hierarchy.labels[i])] for i in found.index[part]]
        assert np.allclose(found.value[part], there, atol=1e-4)
    assert not found.exclusive
    assert noise.audit(photo_catalog, probabilities=found)["wrong"].null_count() == 0


def test_images_that_the_checkpoint_saw_are_refused(checkpoint, photo_catalog):
    with pytest.raises(BadInput, match="was trained on 12 of these images"):
        noise.of_checkpoint(checkpoint[1], checkpoint[0])
    with pytest.raises(BadArgument, match=r"`top_k` must be at least 1. Got 0"):
        noise.of_checkpoint(checkpoint[1], photo_catalog, top_k=0)
