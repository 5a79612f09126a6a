"""Networks of torchvision, timm and transformers, with weights drawn at random and saved: no network is needed."""

import sys
import urllib.error

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import models
from torchvision.transforms import functional

from jftdata import embed, pretrained
from jftdata.errors import BadArgument, BadInput, MissingInput, UnknownOption
from tests.strategies import picture

PICTURES = [picture(i, width=w, height=h) for i, (w, h) in enumerate([(300, 200), (61, 250), (64, 64), (500, 375)])]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def drawn(net):
    """A net with random weights, and batch statistics that keep pictures apart down to its end."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.randn(8, 3, 96, 96, generator=torch.Generator().manual_seed(0)))
    return net.eval()


def vectors(maker):
    maker._precision = "fp32"
    return maker(np.stack([maker.prepare(p) for p in PICTURES]))


def forward(net, pixels):
    """What a library's own pipeline gives: (n, 3, H, W) through the net."""
    with torch.inference_mode():
        return net(pixels).float().flatten(1).numpy()


def assert_alike(ours, theirs):
    """Far closer to each other than two pictures are."""
    assert ours.shape == theirs.shape
    between = theirs.std(axis=0).max()
    assert between > 0
    assert np.abs(ours - theirs).max() < 1e-2 * between, (np.abs(ours - theirs).max(), between)


# ---- torchvision -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    net = drawn(models.resnet18(weights=None, num_classes=7))
    file = tmp_path_factory.mktemp("weights") / "net.pth"
    torch.save(net.state_dict(), file)
    return net, file


def test_a_torchvision_net_gives_what_its_own_transforms_and_forward_pass_give(resnet):
    net, file = resnet
    maker = embed.resolve(f"torchvision:resnet18@{file}", device="cpu")
    assert maker.size == 224
    preset = models.ResNet18_Weights.DEFAULT.transforms()
    theirs = torch.stack([preset(Image.fromarray(p)) for p in PICTURES])
    trunk = torch.nn.Sequential(*list(net.children())[:-1])
    assert_alike(vectors(maker), forward(trunk, theirs))


def test_the_last_layer_of_a_classifier_of_several_is_what_is_taken_off(tmp_path):
    name, width = "mobilenet_v3_small", 1024
    net = drawn(models.get_model(name, weights=None))
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    maker = pretrained.load("torchvision", f"{name}@{tmp_path / 'w.safetensors'}", device="cpu")
    features = vectors(maker)
    assert features.shape == (4, width)
    last = [m for m in net.modules() if isinstance(m, torch.nn.Linear)][-1]
    preset = models.get_model_weights(name).DEFAULT.transforms()
    theirs = forward(net, torch.stack([preset(Image.fromarray(p)) for p in PICTURES]))
    assert_alike(forward(last, torch.from_numpy(features)), theirs)


def test_the_name_changes_with_any_weight_of_the_trunk_and_with_the_preprocessing_only(resnet, tmp_path):
    net, file = resnet
    name = pretrained.load("torchvision", f"resnet18@{file}", device="cpu").name
    assert name.startswith("torchvision:resnet18/")
    assert str(file) not in name
    state = {key: value.clone() for key, value in net.state_dict().items()}
    state["fc.bias"] += 1
    save_file(state, tmp_path / "head.safetensors")
    assert pretrained.load("torchvision", f"resnet18@{tmp_path / 'head.safetensors'}", device="cpu").name == name
    state["layer4.1.bn2.running_var"][3] *= 1.001
    save_file(state, tmp_path / "trunk.safetensors")
    assert pretrained.load("torchvision", f"resnet18@{tmp_path / 'trunk.safetensors'}", device="cpu").name != name
    model = pretrained._torchvision("resnet18", str(file))
    other = pretrained._Model(model.net, model.crop, model.mean, model.std, model.described.replace("256", "232"))
    assert pretrained._digest(other) != pretrained._digest(model)


def test_weights_that_are_named_bring_their_own_preprocessing(monkeypatch):
    asked = []

    def instead(self, **_):
        asked.append(self.name)
        return models.mobilenet_v3_large(weights=None).state_dict()

    monkeypatch.setattr(models.MobileNet_V3_Large_Weights, "get_state_dict", instead)
    first = pretrained.load("torchvision", "mobilenet_v3_large@IMAGENET1K_V1", device="cpu")
    default = pretrained.load("torchvision", "mobilenet_v3_large", device="cpu")
    assert asked == ["IMAGENET1K_V1", "IMAGENET1K_V2"]
    want = functional.center_crop(functional.resize(Image.fromarray(PICTURES[0]), 256), 224)
    assert np.array_equal(first.prepare(PICTURES[0]), np.asarray(want))
    assert not np.array_equal(default.prepare(PICTURES[0]), np.asarray(want))  # resized to 232


def test_a_catalog_is_embedded_with_a_network_and_again_at_once(tmp_path, photo_catalog, resnet):
    _, file = resnet
    made = embed.run(photo_catalog, embedder=f"torchvision:resnet18@{file}", out=tmp_path / "e", device="cpu")
    assert made.vectors.shape == (24, 512)
    assert made.embedder.startswith("torchvision:resnet18/")
    again = embed.run(photo_catalog, embedder=f"torchvision:resnet18@{file}", out=tmp_path / "e", device="cpu")
    assert again.fingerprint == made.fingerprint


def test_weights_that_cannot_be_had_are_one_sentence_with_the_remedy(monkeypatch):
    def offline(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(
        MissingInput, match=r"neither in the local cache nor can they be downloaded .* give a file"
    ) as caught:
        embed.resolve("torchvision:resnet18", device="cpu")
    assert "\n" not in str(caught.value)


def test_what_is_wrong_with_a_name_or_a_file_is_said(tmp_path, resnet):
    _, file = resnet
    with pytest.raises(UnknownOption, match="Did you mean 'resnet18'"):
        embed.resolve("torchvision:resnet-18")
    with pytest.raises(UnknownOption, match="Did you mean 'IMAGENET1K_V1'"):
        embed.resolve("torchvision:resnet18@IMAGENET_V1")
    with pytest.raises(MissingInput, match=r"nowhere\.pth does not exist"):
        embed.resolve("torchvision:resnet18@nowhere.pth")
    with pytest.raises(BadInput, match="could not be loaded"):
        embed.resolve(f"torchvision:resnet34@{file}")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(BadInput, match="holds no weights that can be read"):
        embed.resolve(f"torchvision:resnet18@{tmp_path / 'text.pth'}")
    with pytest.raises(BadInput, match="no linear classifier"):
        embed.resolve(f"torchvision:squeezenet1_0@{file}")


@pytest.mark.parametrize(("spec", "library"), [("timm:resnet18", "timm"), ("hf:some/model", "transformers")])
def test_a_library_that_is_not_installed_is_an_error_with_the_command(monkeypatch, spec, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(BadArgument, match=rf"need {library}.*pip install 'jftdata\[{spec.split(':')[0]}\]'"):
        embed.resolve(spec)


# ---- timm ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
@pytest.mark.filterwarnings("default")
def test_a_timm_net_gives_what_its_own_transforms_and_forward_pass_give(tmp_path, name):
    timm = pytest.importorskip("timm")
    net = timm.create_model(name, pretrained=False).eval()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    maker = embed.resolve(f"timm:{name}@{tmp_path / 'w.safetensors'}", device="cpu")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(net), is_training=False)
    pixels = torch.stack([transform(Image.fromarray(p)) for p in PICTURES])
    assert maker.size == pixels.shape[-1]
    theirs = forward(lambda x: net.forward_head(net.forward_features(x), pre_logits=True), pixels)
    assert_alike(vectors(maker), theirs)


@pytest.mark.filterwarnings("default")
def test_a_timm_model_that_is_not_there_is_suggested_and_one_without_weights_refused():
    pytest.importorskip("timm")
    with pytest.raises(UnknownOption, match="Did you mean 'resnet18'"):
        embed.resolve("timm:resnet-18")


# ---- transformers ----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["vit", "vit without pooler", "convnext", "clip"])
def test_a_transformers_model_gives_what_its_own_processor_and_forward_pass_give(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    if kind.startswith("vit"):
        config = transformers.ViTConfig(**small, image_size=32, patch_size=8)
        net = transformers.ViTModel(config, add_pooling_layer=kind == "vit")
        processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=MEAN, image_std=STD)
    elif kind == "convnext":
        net = transformers.ConvNextModel(transformers.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1]))
        processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.875)
    else:
        text = transformers.CLIPTextConfig(
            **small, vocab_size=50, bos_token_id=0, eos_token_id=1, max_position_embeddings=8
        )
        vision = transformers.CLIPVisionConfig(**small, image_size=32, patch_size=8)
        net = transformers.CLIPModel(
            transformers.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
        )
        processor = transformers.CLIPImageProcessor(
            size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}, do_center_crop=True
        )
    net.eval().save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    maker = embed.resolve(f"hf:{tmp_path / 'model'}", device="cpu")
    assert maker.name.startswith("hf:model/")
    assert embed.resolve(f"hf:{tmp_path / 'model'}", device="cpu").name == maker.name
    own = processor(images=[Image.fromarray(p) for p in PICTURES], return_tensors="pt")["pixel_values"]

    def theirs(x):
        out = net.get_image_features(x) if kind == "clip" else net(x)
        return out if isinstance(out, torch.Tensor) else out.last_hidden_state[:, 0] if "without" in kind else out[1]

    assert_alike(vectors(maker), forward(theirs, own))


@pytest.mark.filterwarnings("default")
def test_a_folder_without_a_transformers_model_is_refused(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(MissingInput, match="neither in the local cache"):
        embed.resolve(f"hf:{tmp_path}", device="cpu")
    (tmp_path / "config.json").write_text('{"model_type": "no such"}')
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor"}')
    with pytest.raises(BadInput, match="could not be loaded"):
        embed.resolve(f"hf:{tmp_path}", device="cpu")
