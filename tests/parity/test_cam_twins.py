"""Every method against its slow literal twin."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import twins
from lightning_vlmxai.attribution import Perturbation, Subject, attribute, normalize_saliency
from lightning_vlmxai.attribution import methods as ours
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.tasks import Classification


def draw(seed: int, *, positive: bool) -> tuple[Tensor, Tensor]:
    """Return activations and gradients of 3 samples, 5 channels, 3 x 4 positions."""
    generator = torch.Generator().manual_seed(seed)
    activations = torch.randn(3, 5, 3, 4, generator=generator)
    gradients = torch.randn(3, 5, 3, 4, generator=generator)
    gradients[torch.rand(gradients.shape, generator=generator) < 0.2] = 0.0
    return activations.relu() if positive else activations, gradients


@pytest.mark.parametrize("positive", [True, False], ids=["after ReLU", "signed"])
@pytest.mark.parametrize(
    "name", ["gradcam", "gradcam_plus_plus", "xgradcam", "hirescam", "layercam"]
)
def test_formula_equals_its_literal_twin(name: str, positive: bool) -> None:
    """A formula in tensors gives what its loop over channels and pixels gives."""
    formula: Callable[[Tensor, Tensor], Tensor] = getattr(ours, name)
    for seed in range(5):
        a, g = draw(seed, positive=positive)
        found = formula(a, g)
        for i in range(3):
            expected = twins.as_tensor(getattr(twins, name)(a[i].tolist(), g[i].tolist()))
            # Grad-CAM++ divides by what can be near zero for signed activations.
            torch.testing.assert_close(found[i], expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (2, 3, 4, 4), (1, 40, 2, 3)])
def test_eigencam_equals_its_literal_twin(shape: tuple[int, ...]) -> None:
    """The first component is that of a power iteration, whichever Gram matrix is the smaller."""
    activations = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    # A clear first component, so that the iteration converges.
    activations += 3 * torch.linspace(0, 1, shape[2] * shape[3]).view(shape[2:])
    found = ours.eigencam(activations)
    for i in range(shape[0]):
        expected = twins.as_tensor(twins.eigencam(activations[i].tolist()))
        torch.testing.assert_close(found[i], expected, atol=1e-4, rtol=1e-4)


def test_normalisation_equals_its_literal_twin() -> None:
    """Resize and min-max are those of a loop over pixels."""
    raw = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(2))
    found = normalize_saliency(raw, size=(8, 11))
    for i in range(2):
        twin = twins.min_max(twins.enlarge(raw[i].tolist(), 8, 11))
        torch.testing.assert_close(found[i], twins.as_tensor(twin), atol=1e-6, rtol=1e-5)


class _Net(nn.Module):
    """A small convolutional classifier, with signed or positive features."""

    def __init__(self, *, positive: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.features = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.rectify = nn.ReLU() if positive else nn.Identity()
        self.head = nn.Linear(6, 4)
        with torch.no_grad():
            self.head.weight.mul_(4)

    def forward(self, images: Tensor) -> Tensor:
        features = self.rectify(self.features(images))
        # Not linear in the features, so that ablation and gradients differ.
        return self.head(torch.tanh(features).square().mean(dim=(2, 3)) + features.mean(dim=(2, 3)))


@pytest.fixture(params=[True, False], ids=["after ReLU", "signed"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """A small net, explained at its features, with three pictures that aren't square."""
    net = _Net(positive=request.param).eval()
    images = torch.randn(3, 3, 9, 12, generator=torch.Generator().manual_seed(4))
    return Subject(module=net, layer=net.rectify, inputs=images, task=Classification())


def _features_of(subject: Subject, image: Tensor) -> Tensor:
    net = subject.module
    assert isinstance(net, _Net)
    with torch.no_grad():
        return net.rectify(net.features(image[None]))[0]


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_scorecam_equals_its_literal_twin(subject: Subject, batch_size: int) -> None:
    """One masked picture at a time gives the weights that bounded batches give."""
    with borrowed(subject.module):
        found = attribute(subject, "scorecam", perturbation=Perturbation(batch_size=batch_size))
    for i, image in enumerate(subject.inputs):
        features = _features_of(subject, image).tolist()
        with torch.no_grad():
            c = int(subject.module(image[None]).argmax())
            scores = []
            for channel in features:
                mask = twins.min_max(twins.enlarge(channel, 9, 12, align_corners=True))
                scores.append(float(subject.module((image * twins.as_tensor(mask))[None])[0, c]))
        expected = twins.weighted_sum(twins.softmax(scores), features)
        torch.testing.assert_close(found.raw[i], twins.as_tensor(expected), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_ablationcam_equals_its_literal_twin(subject: Subject, batch_size: int) -> None:
    """One channel set to zero at a time gives the weights, for signed features as well."""
    with borrowed(subject.module):
        found = attribute(subject, "ablationcam", perturbation=Perturbation(batch_size=batch_size))
    for i, image in enumerate(subject.inputs):
        features = _features_of(subject, image)

        def score(values: Tensor, c: int | None = None) -> tuple[float, int]:
            net = subject.module
            assert isinstance(net, _Net)
            with torch.no_grad():
                logits = net.head(
                    torch.tanh(values).square().mean(dim=(1, 2)) + values.mean(dim=(1, 2))
                )
            c = int(logits.argmax()) if c is None else c
            return float(logits[c]), c

        whole, c = score(features)
        weights = []
        for k in range(len(features)):
            ablated = features.clone()
            ablated[k] = 0.0
            weights.append((whole - score(ablated, c)[0]) / whole)
        expected = twins.as_tensor(twins.weighted_sum(weights, features.tolist()))
        torch.testing.assert_close(found.raw[i], expected, atol=1e-5, rtol=1e-3)


def test_rise_equals_its_literal_twin() -> None:
    """The map is the mean of the masks, each weighted by the probability that it leaves."""
    net = _Net(positive=True).eval()
    images = torch.randn(2, 3, 9, 12, generator=torch.Generator().manual_seed(4))
    subject = Subject(module=net, layer=net.rectify, inputs=images, task=Classification())
    options = Perturbation(masks=40, cells=3, keep=0.4, seed=5, batch_size=7)
    with borrowed(net):
        found = attribute(subject, "rise", perturbation=options)
    # The masks again: draw cells, enlarge by one cell more than the picture, cut at an offset.
    generator = torch.Generator().manual_seed(5)
    cells = (torch.rand(40, 1, 3, 3, generator=generator) < 0.4).float()
    down = torch.randint(3, (40,), generator=generator)
    across = torch.randint(4, (40,), generator=generator)
    expected = torch.zeros(2, 9, 12)
    for n in range(40):
        large = twins.as_tensor(twins.enlarge(cells[n, 0].tolist(), 12, 16))
        mask = large[down[n] : down[n] + 9, across[n] : across[n] + 12]
        for i in range(2):
            with torch.no_grad():
                c = int(net(images[i][None]).argmax())
                probability = twins.softmax(net((images[i] * mask)[None])[0].tolist())[c]
            expected[i] += probability * mask / (40 * 0.4)
    torch.testing.assert_close(found.raw, expected, atol=1e-5, rtol=1e-4)


def test_occlusion_equals_its_literal_twin() -> None:
    """A pixel has the mean loss of the windows that cover it; the last one ends at the border."""
    net = _Net(positive=False).eval()
    images = torch.randn(2, 3, 10, 13, generator=torch.Generator().manual_seed(4))
    subject = Subject(module=net, layer=net.rectify, inputs=images, task=Classification())
    with borrowed(net):
        found = attribute(subject, "occlusion", perturbation=Perturbation(cells=2, batch_size=7))
    for i in range(2):
        with torch.no_grad():
            logits = net(images[i][None])[0]
        c = int(logits.argmax())
        total, covered = torch.zeros(10, 13), torch.zeros(10, 13)
        for top in (0, 2, 4, 5):  # windows of 5 x 7, moved by 2 and 3
            for left in (0, 3, 6):
                grey = images[i].clone()
                for channel in range(3):
                    mean = images[i, channel].mean()
                    grey[channel, top : top + 5, left : left + 7] = mean
                with torch.no_grad():
                    lost = float(logits[c] - net(grey[None])[0, c])
                total[top : top + 5, left : left + 7] += lost
                covered[top : top + 5, left : left + 7] += 1
        torch.testing.assert_close(found.raw[i], (total / covered).relu(), atol=1e-5, rtol=1e-4)
