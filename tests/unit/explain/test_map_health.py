"""How maps are beside another method's and beside those of a random head."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from lightning_vlmxai.attribution import Subject, attribute, find_head, randomized
from lightning_vlmxai.calls import Call
from lightning_vlmxai.explain import Explainer, LiveModel, look_at_health
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.explain.map_health import rank_correlation
from lightning_vlmxai.tasks import Classification
from samples import make_probe

COUNT, CHANNELS = 12, 16


class _Net(nn.Module):
    """Two convolutions, and a head that is a function of plain parameters."""

    def __init__(self, *, has_head: bool = True, is_shared: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.last = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        shape = (CHANNELS, 3 if is_shared else CHANNELS)
        self.hidden = nn.Parameter(torch.randn(shape)) if has_head else None
        self.unused = nn.Linear(2, 2)
        self.is_shared = is_shared

    def forward(self, images: Tensor) -> Tensor:
        if self.is_shared:
            images = images + self.hidden.mean() * images.square()
        features = self.last(self.stem(images).relu()).relu()
        pooled = features.mean(dim=(2, 3))
        if self.hidden is None:
            return pooled
        weights = self.hidden if not self.is_shared else self.hidden.T
        return F.linear(pooled, weights)


def _live(seed: int = 0, **options: bool) -> LiveModel:
    torch.manual_seed(seed)
    return LiveModel(_Net(**options).train())


def _health(live: LiveModel, method: str = "gradcam", count: int = COUNT):  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(1)
    probes = [make_probe(i, torch.rand(3, 12, 12, generator=generator)) for i in range(count)]
    explainer = Explainer(method=method, target_layer="last")
    explained = explainer(live, probes)
    return look_at_health(explainer, live, list(zip(probes, explained, strict=True))), probes


def _state(module: nn.Module) -> list[object]:
    return [
        (name, p.data_ptr(), p.detach().clone().numpy().tobytes(), p.requires_grad, p._version)
        for name, p in module.named_parameters()
    ]


def test_a_rank_correlation_is_scipys_with_ties() -> None:
    """It is that of `scipy.stats.spearmanr`; of constant rows there is none."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, 5, (20, 30), generator=generator).float()
    second = first + torch.randint(0, 9, (20, 30), generator=generator)
    ours = rank_correlation(first, second)
    for x, y, found in zip(first, second, ours, strict=True):
        assert float(found) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    assert rank_correlation(torch.ones(1, 4), torch.rand(1, 4)).isnan().all()


def test_agreements_are_means_of_scipys_over_the_probes() -> None:
    """Maps are made anew by hand, with and without random heads, and compared one by one."""
    live = _live()
    health, probes = _health(live)
    images = torch.stack([probe.call.images[0] for probe in probes])
    network = live.module

    def make(method: str, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        features = network.last(network.stem(images).relu()).detach().requires_grad_()
        logits = F.linear(features.relu().mean(dim=(2, 3)), network.hidden)
        chosen = logits.argmax(dim=1) if classes is None else classes
        (g,) = torch.autograd.grad(logits.gather(1, chosen[:, None]).sum(), [features])
        return (g.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).relu().detach(), chosen

    own, classes = make("gradcam")
    with borrowed(network):
        layer = network.last
        subject = Subject(
            module=network, layer=layer, inputs=Call.of_images(images), task=Classification()
        )
        other = attribute(subject, "eigencam").raw

    def mean(first: Tensor, second: Tensor) -> tuple[float, int]:
        found = [
            spearmanr(x.flatten(), y.flatten()).statistic
            for x, y in zip(first, second, strict=True)
            if x.max() > x.min() and y.max() > y.min()
        ]
        return sum(found) / len(found), len(found)

    expected, count = mean(own, other)
    assert (health.agreement, health.of_agreement) == (pytest.approx(expected, abs=1e-6), count)
    drawn = []
    for seed in range(3):
        with randomized([network.hidden], seed=seed):
            drawn.append(make("gradcam", classes)[0])
    expected, count = mean(own.repeat(3, 1, 1), torch.cat(drawn))
    assert (health.randomized, health.of_randomized) == (pytest.approx(expected, abs=1e-6), count)
    assert health.randomized < 0.8


def test_a_map_that_asks_nothing_of_the_head_is_doubted() -> None:
    """EigenCAM's are the same with any head; Grad-CAM's aren't, and nothing is doubted."""
    told, _ = _health(_live(), "eigencam")
    assert told.randomized == 1.0
    assert "say nothing about what the model predicts" in told.doubt
    assert _health(_live())[0].doubt == ""


@pytest.mark.parametrize("method", ["gradcam", "eigencam", "scorecam"])
def test_all_is_given_back(method: str) -> None:
    """Parameters are the same bits in the same place, and were never written to."""
    live = _live()
    before = _state(live.module)
    health, _ = _health(live, method)
    assert health.agreement is not None
    assert _state(live.module) == before


def test_the_head_is_what_the_score_depends_on_behind_the_layer() -> None:
    """A plain parameter counts, what lies before or is unused doesn't; the module may have none."""
    network = _Net()
    with borrowed(network):
        subject = Subject(
            module=network,
            layer=network.last,
            inputs=Call.of_images(torch.rand(2, 3, 8, 8)),
            task=Classification(),
        )
        assert [id(one) for one in find_head(subject)] == [id(network.hidden)]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"has_head": False}, "no parameter was found"), ({"is_shared": True}, "before it as well")],
)
def test_what_cannot_be_known_is_said(options: dict[str, bool], said: str) -> None:
    """Without a head, or with one that also makes the features, there is no figure."""
    health, _ = _health(_live(**options))
    assert health.randomized is None
    assert said in " ".join(health.unknown)
    assert health.agreement is not None


def test_methods_of_many_forwards_are_held_to_another_alone() -> None:
    """Occlusion isn't repeated with random heads; its maps are compared with a CAM's."""
    torch.manual_seed(0)
    live = LiveModel(_Net())
    probes = [make_probe(i, torch.rand(3, 12, 12)) for i in range(8)]
    explainer = Explainer(method="occlusion")
    explained = explainer(live, probes)
    health = look_at_health(explainer, live, list(zip(probes, explained, strict=True)))
    assert health is not None
    assert (health.randomized, health.constant, health.second) == (None, None, "eigencam")
    assert health.agreement is not None
    assert "many forwards" in health.text


def test_blank_and_constant_maps_are_counted() -> None:
    """Zero maps are empty; maps of one value are empty and constant."""
    live = _live()
    with torch.no_grad():
        live.module.last.weight.zero_()
        live.module.last.bias.fill_(1.0)
    health, _ = _health(live)
    hidden = live.module.hidden.detach()
    classes = F.linear(torch.ones(1, CHANNELS), hidden)
    is_zero = float(hidden[classes.argmax()].sum()) <= 0
    assert (health.maps, health.empty) == (COUNT, COUNT)
    assert health.constant == (0 if is_zero else COUNT)
    assert health.agreement is None


def test_few_probes_say_nothing() -> None:
    """Of fewer than eight there is no figure."""
    assert _health(_live(), count=7)[0] is None
