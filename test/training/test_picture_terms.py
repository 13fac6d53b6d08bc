"""Adversarial and perceptual terms: what they add to a loss, to whom, and from when on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer, ImageTokenizerConfig
from kyvo_ros.training.perceptual import PerceptualError, convolution_shapes, read_perceptual
from kyvo_ros.training.picture_terms import PatchDiscriminator, PictureModel, PictureSettings, adapted_factor
from kyvo_ros.training.recipe import RecipeError, load_recipe

#: Of torchvision's VGG-16: channels of its convolutions, and its poolings.
VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
#: Where LPIPS looks: behind these layers of it.
LOOKED_AT = (3, 8, 15, 22, 29)


@pytest.fixture(scope="module")
def vgg() -> nn.Sequential:
    """The layers by torchvision's numbers, with random weights."""
    torch.manual_seed(0)
    layers, before = [], 3
    for entry in VGG16:
        if entry == "M":
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.utils.skip_init(nn.Conv2d, before, entry, 3, padding=1), nn.ReLU()]
        nn.init.normal_(layers[-2].weight, std=(2 / (9 * before)) ** 0.5)
        nn.init.normal_(layers[-2].bias, std=0.1)
        before = entry
    return nn.Sequential(*layers).requires_grad_(False)


@pytest.fixture(scope="module")
def files(vgg: nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """torchvision's file, and LPIPS' weights of channels."""
    folder = tmp_path_factory.mktemp("vgg")
    torch.save({f"features.{name}": tensor for name, tensor in vgg.state_dict().items()}, folder / "vgg16.pth")
    torch.save({f"lin{i}.model.1.weight": torch.rand(1, size, 1, 1)
                for i, size in enumerate((64, 128, 256, 512, 512))}, folder / "lpips.pth")
    return [folder / "vgg16.pth", folder / "lpips.pth"]


def by_the_book(vgg: nn.Sequential, lins: list[Tensor], one: Tensor, other: Tensor) -> Tensor:
    """LPIPS as its paper has it, on torchvision's layers."""
    shift, scale = torch.tensor([-.030, -.088, -.188]), torch.tensor([.458, .448, .450])
    features = []
    for x in (one, other):
        x, found = (x - shift.view(3, 1, 1)) / scale.view(3, 1, 1), []
        for number, layer in enumerate(vgg):
            x = layer(x)
            if number in LOOKED_AT:
                found.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))
        features.append(found)
    return sum(F.conv2d((a - b) ** 2, lin).mean() for a, b, lin in zip(*features, lins))


def test_the_distance_is_that_of_lpips(vgg: nn.Sequential, files: list[Path]) -> None:
    one, other = torch.rand(2, 2, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    lins = list(torch.load(files[1], weights_only=True).values())
    distance = read_perceptual(files)
    assert float(distance(one, other)) == pytest.approx(float(by_the_book(vgg, lins, one, other)), rel=1e-4)
    assert float(distance(one, one)) == 0
    alike = [torch.full((1, lin.shape[1], 1, 1), 1 / lin.shape[1]) for lin in lins]
    expected = float(by_the_book(vgg, alike, one, other))
    assert float(read_perceptual(files[:1])(one, other)) == pytest.approx(expected, rel=1e-4)


def test_files_that_are_no_vgg_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PerceptualError, match="there is no file .*none.pth"):
        read_perceptual([tmp_path / "none.pth"])
    tensors = {name: torch.zeros(1).expand(shape) for name, shape in convolution_shapes().items()}
    tensors["features.2.weight"] = torch.zeros(64, 3, 3, 3)
    del tensors["features.28.bias"]
    torch.save({name.replace("features.", "net.slice1."): tensor for name, tensor in tensors.items()}
               | {"lin0.model.1.weight": torch.zeros(1, 64, 1, 1)}, tmp_path / "odd.pth")
    with pytest.raises(PerceptualError, match=r"features.28.bias is missing; features.2.weight has shape \(64, 3, 3, "
                                              r"3\), expected \(64, 64, 3, 3\); lin0 .. lin4 must weigh"):
        read_perceptual([tmp_path / "odd.pth"])
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(PerceptualError, match="no VGG-16 as torchvision or LPIPS name its weights"):
        read_perceptual([tmp_path / "other.safetensors"])


def picture_model(**settings) -> PictureModel:
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(ImageTokenizerConfig(32, 16, (8, 16), (0, 1), codebook_size=16, code_dim=8))
    return PictureModel(tokenizer, PictureSettings(
        discriminator_channels=4, discriminator_halvings=2, **settings), Path("."))


def run(model: PictureModel, images: Tensor) -> tuple[Tensor, dict[str, float], Tensor]:
    """The terms for pictures of fixed codes, and the rest of the loss."""
    drawn = model.tokenizer.pixels(torch.ones(len(images), 4, 8, 8))
    rest = (drawn - images).abs().mean()
    return *model.added(images, drawn, rest), rest


IMAGES = torch.rand(4, 3, 16, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_it_begins_at_its_step_and_a_checkpoint_knows_the_step() -> None:
    model = picture_model(adversarial=1.0, adversarial_from=2)
    assert [set(run(model, IMAGES)[1]) for _ in range(2)] == [set(), set()]
    again = picture_model(adversarial=1.0, adversarial_from=2)
    again.load_state_dict(model.state_dict())
    assert set(run(again, IMAGES)[1]) == {"fooled", "judged", "factor"}


def test_each_side_learns_from_its_own_term() -> None:
    """The discriminator's gradient is that of its hinge loss alone, whatever the decoder's weight of it."""
    gradients, decoders = [], []
    for weight in (0.1, 10.0):
        model = picture_model(adversarial=weight)
        added, _, _ = run(model, IMAGES)
        added.backward()
        gradients.append([p.grad for p in model.terms.discriminator.parameters()])
        decoders.append(torch.cat([p.grad.flatten() for p in model.tokenizer.decoder.parameters()]))
    *weights, last_bias = zip(*gradients)  # in the hinge's middle both halves pull at that bias alike, to nothing
    assert all(torch.equal(a, b) and a.any() for a, b in weights) and torch.equal(*last_bias)
    assert torch.allclose(100 * decoders[0], decoders[1], rtol=1e-3, atol=1e-5) and decoders[0].any()


def test_the_factor_makes_both_gradients_as_long() -> None:
    last = nn.Parameter(torch.tensor([1.0, -2.0]))
    rest, fooled = 3 * last.square().sum(), -0.5 * last.sum()
    factor = adapted_factor(rest, fooled, last)
    both = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (rest, factor * fooled)]
    assert float(both[0]) == pytest.approx(float(both[1]), rel=1e-3)


def test_a_discriminator_learns_to_tell() -> None:
    model = picture_model(adversarial=0.5)
    optimizer, course = torch.optim.Adam(model.terms.parameters(), 1e-2), []
    for _ in range(25):
        added, numbers, _ = run(model, IMAGES)
        optimizer.zero_grad()
        added.backward()
        optimizer.step()
        course.append(numbers["judged"])
    assert course[-1] < 0.3 * course[0]


@pytest.mark.parametrize(("halvings", "grid"), [(1, (38, 62)), (3, (8, 14))])
def test_a_patch_is_as_large_as_its_halvings(halvings: int, grid: tuple[int, int]) -> None:
    assert PatchDiscriminator(2, halvings)(torch.zeros(1, 3, 80, 128)).shape == (1, 1, *grid)


@pytest.mark.parametrize(("terms", "message"), [
    ("{perceptual: 1.0}", "perceptual and perceptual_weights belong together"),
    ("{perceptual_weights: vgg.pth}", "belong together"), ("{adversarial: -1}", "must not be negative"),
    ("{discriminator_halvings: 0}", "needs channels and halvings"), ("{gan: 1}", "has no setting gan")])
def test_wrong_settings_are_named(tmp_path: Path, terms: str, message: str) -> None:
    runs = "".join(f"{stage}: {{steps: 1}}\n" for stage in ("encoder", "codes", "pixels", "decoder"))
    (tmp_path / "wrong.yaml").write_text(f"name: wrong\n{runs}picture_terms: {terms}\n")
    with pytest.raises(RecipeError, match=message):
        load_recipe(tmp_path / "wrong.yaml")
