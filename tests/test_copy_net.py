import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jftdata import copy_net, embed, storage
from jftdata.changes import change
from jftdata.errors import BadArgument, BadInput, OutputExists
from jftdata.images import decode, encode_jpeg, resize
from jftdata.pretrain import state
from jftdata.pretrain.schedule import learning_rate
from jftdata.sources import from_folder
from tests.strategies import picture, unit_vectors


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A catalog of 96 pictures in two labels."""
    root = tmp_path_factory.mktemp("many")
    for i in range(96):
        folder = root / "p" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.jpg").write_bytes(encode_jpeg(picture(i, width=64 + 8 * (i % 3))))
    return from_folder(root / "p", out=root / "c", workers=1)


@pytest.fixture
def small(monkeypatch):
    """Batches of 16."""
    monkeypatch.setattr(copy_net, "_BATCH", 16)
    monkeypatch.setattr(copy_net, "_LOG", 2)


# ---- the loss --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.integers(2, 9), st.floats(0.05, 1.0), st.floats(0.0, 10.0))
def test_the_loss_is_what_a_plain_loop_gives(seed, n, temperature, entropy):
    z = unit_vectors(seed, 2 * n, 6).astype(np.float64)
    nce, spread = [], []
    for i in range(2 * n):
        mate = (i + n) % (2 * n)
        others = [j for j in range(2 * n) if j != i]
        nce.append(
            -np.log(np.exp(z[i] @ z[mate] / temperature) / sum(np.exp(z[i] @ z[j] / temperature) for j in others))
        )
        spread.append(np.log(min(np.linalg.norm(z[i] - z[j]) for j in others if j != mate)))
    want = np.mean(nce) - entropy * np.mean(spread)
    got = copy_net.loss(torch.from_numpy(z), temperature=temperature, entropy=entropy)
    assert float(got) == pytest.approx(want, rel=1e-6, abs=1e-6)


def test_the_loss_is_finite_with_a_gradient_where_all_vectors_are_one():
    z = torch.ones(8, 4, requires_grad=True)
    value = copy_net.loss(torch.nn.functional.normalize(z))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(z.grad).all()


# ---- pairs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (500, 375), (9, 300), (4, 4)])
@pytest.mark.parametrize("kind", ["cropped_50", "two", "flipped"])
def test_a_pair_is_an_image_and_its_copy_at_64_pixels(size, kind):
    data = encode_jpeg(picture(3, width=max(size[0], 9), height=max(size[1], 9))[: size[1], : size[0]])
    pair = copy_net._pair(data, 5, kind, 0)
    assert pair.shape == (2, 64, 64, 3)
    assert pair.dtype == np.uint8
    if size == (64, 64):
        assert np.array_equal(pair[0], decode(data)[0])
        copied = change(decode(data)[0], kind=kind, image=5, seed=0)
        assert np.array_equal(pair[1], resize(copied, width=64, height=64))


# ---- training --------------------------------------------------------------------------------------------------------


def test_a_run_that_broke_goes_on_to_the_same_network_for_any_number_of_threads(tmp_path, many, small, monkeypatch):
    whole = copy_net.train(many, out=tmp_path / "whole", num_steps=6, workers=1, device="cpu")
    assert whole.sidecar.facts == {"num_train_images": 96, "num_steps": 6, "num_unread": 0}
    assert [row["step"] for row in whole.metrics()] == [2, 4, 6]
    assert sorted(whole.sidecar.files) == ["metrics.jsonl", "model.safetensors"]
    save = state.save

    def breaks(folder, step, net, optimizer):
        save(folder, step, net, optimizer)
        if step == 4:
            raise RuntimeError("killed")

    arguments = {"num_steps": 6, "workers": 3, "device": "cpu", "save_every": 0.0}
    with monkeypatch.context() as patch:
        patch.setattr(state, "save", breaks)
        with pytest.raises(RuntimeError, match="killed"):
            copy_net.train(many, out=tmp_path / "net", **arguments)
    steps = []
    monkeypatch.setattr(
        copy_net, "learning_rate", lambda *a, step, **k: steps.append(step) or learning_rate(*a, step=step, **k)
    )
    again = copy_net.train(many, out=tmp_path / "net", **arguments)
    assert steps == [4, 5]
    assert again.fingerprint == whole.fingerprint


def test_another_seed_gives_another_network_and_the_same_call_returns_at_once(tmp_path, many, small, monkeypatch):
    one, other = (copy_net.train(many, out=tmp_path / f"{s}", num_steps=2, seed=s, device="cpu") for s in (0, 1))
    assert one.fingerprint != other.fingerprint
    monkeypatch.setattr(copy_net, "_train", None)
    assert copy_net.train(many, out=tmp_path / "0", num_steps=2, device="cpu").fingerprint == one.fingerprint
    with pytest.raises(OutputExists, match="num_steps: there 2, now 3"):
        copy_net.train(many, out=tmp_path / "0", num_steps=3, device="cpu")


def test_training_brings_copies_to_their_originals(tmp_path, many, small):
    """Mirrored pictures: the untrained network finds few of them first, the trained one most."""
    rows = many.rows(many.images(), columns=["image", "shard"])
    pixels = [decode((many.path / shard).read_bytes())[0] for shard in rows["shard"]]
    plain = np.stack([resize(p, width=64, height=64) for p in pixels])

    def found(num_steps):
        net = copy_net.train(many, out=tmp_path / f"{num_steps}", num_steps=num_steps, device="cpu")
        maker = copy_net.embedder(net, device="cpu")
        base, copies = (
            x / np.linalg.norm(x, axis=1, keepdims=True) for x in (maker(plain), maker(plain[:, :, ::-1].copy()))
        )
        return float(((copies @ base.T).argmax(axis=1) == np.arange(96)).mean())

    before, after = found(1), found(25)
    assert after > before + 0.2, (before, after)


def test_images_that_cannot_be_read_are_left_out_of_their_step_and_counted(tmp_path, small):
    for i in range(20):
        (tmp_path / "p" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / "a" / f"{i}.jpg").write_bytes(encode_jpeg(picture(i)))
    catalog = from_folder(tmp_path / "p", out=tmp_path / "c", workers=1)
    (tmp_path / "p" / "a" / "3.jpg").unlink()
    net = copy_net.train(catalog, out=tmp_path / "net", num_steps=3, device="cpu")
    assert 0 < net.sidecar.facts["num_unread"] <= 3
    assert sum(row["unread"] for row in net.metrics()) == net.sidecar.facts["num_unread"]
    shutil.rmtree(tmp_path / "p")
    with pytest.raises(BadInput, match="fewer than 2 can be read"):
        copy_net.train(catalog, out=tmp_path / "none", num_steps=3, device="cpu")


def test_too_few_steps_and_images_are_refused(tmp_path, many):
    with pytest.raises(BadArgument, match=r"`num_steps` must be at least 1\. Got 0"):
        copy_net.train(many, out=tmp_path / "n", num_steps=0)
    (tmp_path / "p" / "a").mkdir(parents=True)
    (tmp_path / "p" / "a" / "1.jpg").write_bytes(encode_jpeg(picture(1)))
    single = from_folder(tmp_path / "p", out=tmp_path / "c", workers=1)
    with pytest.raises(BadInput, match="learns from at least 2 images"):
        copy_net.train(single, out=tmp_path / "n", num_steps=1)


# ---- as an embedder --------------------------------------------------------------------------------------------------


def test_a_catalog_is_embedded_with_copies_and_another_one_with_the_same_network(tmp_path, many, photo_catalog, small):
    train = copy_net.train
    few = {"num_steps": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy_net, "train", lambda *a, **k: train(*a, **k, **few))
        made = embed.run(many, embedder="copies", out=tmp_path / "e", device="cpu")
    assert made.vectors.shape == (96, 256)
    net = tmp_path / "e.net"
    assert made.embedder == f"copies/{storage.verify(net).fingerprint}"
    assert json.loads((net / "artefact.json").read_text())["inputs"] == {"catalog": many.fingerprint}
    other = embed.run(photo_catalog, embedder=str(net), out=tmp_path / "other", device="cpu")
    assert other.embedder == made.embedder
    assert other.vectors.shape == (24, 256)
