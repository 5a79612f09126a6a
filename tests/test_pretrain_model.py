import dataclasses

import pytest
import torch

from jftdata import pretrain, recipes, subset
from jftdata.errors import BadInput
from jftdata.hierarchy import Hierarchy
from jftdata.pretrain.model import Trained, fresh, start_from
from jftdata.pretrain.objective import Logistic, Targets

TREE = Hierarchy.load("toy")


def config(**changes):
    return dataclasses.replace(recipes.tiny(total_epochs=1.0, image_size=32), precision="fp32", **changes)


def model(**changes):
    settings = config(**changes)
    return Trained(fresh(settings, TREE.num_labels), Logistic(), settings).train()


def batch():
    targets = Targets(4, TREE.num_labels, torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 1, 2]))
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), targets


def test_the_loss_is_that_of_the_whole_network():
    ours, (pixels, targets) = model(), batch()
    dense = torch.zeros(4, TREE.num_labels)
    dense[targets.image, targets.label] = 1
    expected = torch.nn.functional.binary_cross_entropy_with_logits(ours.net(pixels), dense, reduction="sum") / 4
    torch.testing.assert_close(ours(pixels, targets), expected)


@pytest.mark.parametrize("below", ["layer1", "layer3", "fc"])
def test_frozen_parts_keep_weights_and_statistics(below):
    ours = model(freeze_below=below)
    before = {name: value.clone() for name, value in ours.net.state_dict().items()}
    ours(*batch()).backward()
    optimizer = torch.optim.SGD([p for p in ours.parameters() if p.requires_grad], lr=1.0)
    optimizer.step()
    order = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"]
    for name, value in ours.net.state_dict().items():
        frozen = order.index(name.split(".")[0]) < order.index(below)
        assert torch.equal(value, before[name]) == frozen or value.numel() == 1, name
    assert not ours.net.bn1.training


def test_activations_computed_again_change_neither_gradients_nor_statistics():
    plain, saving = model(), model(checkpoint_activations=True)
    for one in (plain, saving):
        one(*batch()).backward()
    for (name, a), b in zip(plain.net.named_parameters(), saving.net.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    for name, value in plain.net.named_buffers():
        if "running" in name:
            torch.testing.assert_close(value, dict(saving.net.named_buffers())[name])


def test_activations_computed_again_are_not_kept():
    held = {}
    for name, again in (("plain", False), ("saving", True)):
        ours, total = model(checkpoint_activations=again), [0]

        def pack(tensor, total=total):
            total[0] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            ours(*batch())
        held[name] = total[0]
    assert held["saving"] < 0.5 * held["plain"]


def test_a_head_is_taken_over_label_by_label(photo_catalog, tmp_path):
    settings = dataclasses.replace(config(), total_epochs=0.0, warmup_epochs=0.0, batch_size=8)
    old = pretrain.run(subset.everything(photo_catalog), settings, out=tmp_path / "old")
    tree = Hierarchy.from_edges([("animal", "dog"), ("animal", "cow")], name="new")
    net = fresh(dataclasses.replace(settings, seed=1), tree.num_labels)
    own = net.fc.weight.detach().clone()
    assert start_from(net, None, old, tree) == 1
    kept = old.load_weights()
    assert torch.equal(net.fc.weight[tree.index("dog")], kept["fc.weight"][old.labels().index("dog")])
    assert torch.equal(net.fc.weight[tree.index("cow")], own[tree.index("cow")])
    assert torch.equal(net.conv1.weight, kept["conv1.weight"])
    other = fresh(dataclasses.replace(settings, architecture="resnet18"), tree.num_labels)
    with pytest.raises(BadInput, match="is a resnet10 whose weights do not fit"):
        start_from(other, None, old, tree)
    small = fresh(dataclasses.replace(settings, stem="small"), tree.num_labels)
    with pytest.raises(BadInput, match=r"conv1\.weight differs"):
        start_from(small, None, old, tree)
