"""Maps that don't show what predictions hang on are told; others aren't."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lightning_vlmxai.attribution import Losses, Subject, find_losses, locate
from lightning_vlmxai.explain import Explainer, LiveModel, find_fault, pointing
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.explain.pointing import Pointing, ask, compare_layers, last_of_the_best
from lightning_vlmxai.tasks import Classification
from samples import make_probe

SIDE, CELL = 32, 8


class _Turned(nn.Module):
    """Gives its map on as a mirror shows it."""

    def forward(self, features: Tensor) -> Tensor:
        return features.flip(3)


class _Net(nn.Module):
    """Its class is whether the red or the green cell is brighter, wherever it stands."""

    def __init__(self, *, turned: bool = False, scale: float = 4.0) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 2, CELL, CELL, bias=False), nn.ReLU())
        self.turn = _Turned() if turned else nn.Identity()
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.stem[0].weight.zero_()
            for channel in range(2):
                self.stem[0].weight[channel, channel] = 1 / CELL**2
            self.head.weight.copy_(scale * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.turn(self.stem(images)).sum(dim=(2, 3)))


def _probes(count: int = 24, seed: int = 0) -> list:
    """Return dark pictures, each with one coloured cell, left of the middle or right of it."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for index in range(count):
        label = index % 2
        row, column = torch.randint(SIDE // CELL, (2,), generator=generator).tolist()
        image = 0.01 * torch.rand(3, SIDE, SIDE, generator=generator)
        image[label, row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = 1.0
        found.append(make_probe(index, image, label))
    return found


def _fault(net: nn.Module, method: str = "gradcam", layer: str | None = None) -> str:
    live, probes = LiveModel(net.eval()), _probes()
    explainer = Explainer(method=method, target_layer=layer).settle(live, probes)
    return find_fault(explainer, live, list(zip(probes, explainer(live, probes), strict=True)))


def test_losses_are_those_of_windows_hidden_one_by_one() -> None:
    """Beside a literal loop; windows of sides that 4 doesn't divide make the whole picture."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval()
    images = torch.randn(3, 3, 21, 30)
    with torch.no_grad():
        net(images)
        found = find_losses(
            Subject(module=net, layer=net, inputs=images, task=Classification()), batch_size=5
        )
        assert torch.equal(found.windows.sum(dim=0), torch.ones(21, 30))
        for row, image in enumerate(images):
            whole = net(image[None]).softmax(dim=1)[0]
            label = int(whole.argmax())
            for number, window in enumerate(found.windows):
                hidden = image.clone()
                for channel in range(3):
                    hidden[channel][window] = image[channel].mean()
                now = net(hidden[None]).softmax(dim=1)[0]
                assert found.values[row, number] == pytest.approx(
                    float(whole[label] - now[label]), abs=1e-6
                )


def test_the_peak_is_the_window_with_most_of_the_map() -> None:
    """Not the one with the single largest value."""
    net = _Net()
    images = torch.stack([p.input for p in _probes(2)])
    losses = find_losses(Subject(module=net, layer=net, inputs=images, task=Classification()))
    saliency = torch.zeros(2, SIDE, SIDE)
    saliency[:, 0, 0] = 1.0
    saliency[:, 8:16, 16:24] = 0.5
    assert torch.equal(losses.at_peak(saliency), losses.values[:, 6])
    saliency[1] = 0.7
    where = Pointing.of(losses, saliency)
    assert torch.equal(where.peak, torch.stack([losses.values[0, 6], torch.tensor(0.0)]))
    assert losses.values[1].abs().min() > 0


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "eigencam"])
def test_maps_that_lie_elsewhere_are_told_with_a_layer_that_works(method: str) -> None:
    """The message is pasted: at the layer that it names nothing is told."""
    line = _fault(_Net(turned=True), method, "turn")
    assert "don't show what predictions hang on: of 16 probes they lose" in line
    (layer,) = re.findall(r'`target_layer="([\w.]+)"`', line)
    assert layer == "stem.1"
    assert _fault(_Net(turned=True), method, layer) == ""
    (other,) = re.findall(r'`method="(\w+)"`', line)
    assert _fault(_Net(turned=True), other) == ""


def test_maps_of_an_attention_are_looked_at_as_well() -> None:
    """They have no layer to compare, so that the way out is to ask about each place."""
    live, probes = LiveModel(_Net().eval()), _probes()
    found = Explainer(target_layer="stem.1")(live, probes)
    explainer = Explainer(method="clip_exact")
    assert find_fault(explainer, live, list(zip(probes, found, strict=True))) == ""
    elsewhere = [replace(e, saliency=e.saliency.roll(SIDE // 2, dims=1)) for e in found]
    line = find_fault(explainer, live, list(zip(probes, elsewhere, strict=True)))
    assert line.startswith("maps by 'clip_exact' don't show what predictions hang on: of 16")
    assert 'Pass `method="occlusion"`' in line


def test_maps_that_lie_right_are_not_told() -> None:
    """Nor those of networks whose predictions hang on no place."""
    assert _fault(_Net()) == ""
    assert _fault(_Net(turned=True, scale=0.05), layer="turn") == ""


def test_without_a_better_layer_occlusion_is_named() -> None:
    """A layer of the user's own is compared; methods that ask about each channel aren't."""
    line = _fault(_Net(turned=True), "ablationcam", "turn")
    assert line.endswith('Pass `method="occlusion"`, which asks about each place')


def test_auto_explains_where_maps_point() -> None:
    """At the last layer whose maps do; a network of the usual kind is explained at its last."""
    live, probes = LiveModel(_Net(turned=True).eval()), _probes()
    with borrowed(live.module):
        assert locate(live.module, probes[0].call).name == "turn"
    with pytest.warns(UserWarning, match=r"explains at 'stem\.1': .* 0\.00 at 'turn'"):
        auto = Explainer(method="auto").settle(live, probes)
    assert (auto.method, auto.target_layer) == ("gradcam", "stem.1")
    plain = Explainer(method="auto").settle(LiveModel(_Net().eval()), probes)
    assert plain.target_layer == Explainer().settle(LiveModel(_Net().eval()), probes).target_layer


def test_flat_maps_point_nowhere_and_chance_is_blind() -> None:
    """Blind are maps that win nothing over a window drawn blindly, not those that win much."""
    most, mean = torch.full((16,), 0.8), torch.full((16,), 0.05)
    generator = torch.Generator().manual_seed(0)
    drawn = 0.8 * (torch.rand(16, generator=generator) < 1 / 16).float()
    assert Pointing(peak=drawn, most=most, mean=mean).is_blind
    half = 0.8 * (torch.arange(16) % 2).float()
    good = Pointing(peak=half, most=most, mean=mean)
    once = torch.zeros(16)
    once[:2] = torch.tensor([3.2, 1.6])  # a gain of .375 in the share, by two probes alone
    assert not Pointing(peak=torch.zeros(16), most=most, mean=mean).is_worse_than(
        Pointing(peak=once, most=most, mean=mean)
    )
    assert not good.is_blind
    assert good.share == pytest.approx(0.5)
    worse = Pointing(peak=torch.zeros(16), most=most, mean=mean)
    assert worse.is_worse_than(good)
    assert not good.is_worse_than(good)
    assert last_of_the_best([("late", worse), ("mid", good), ("early", good)])[0] == "mid"
    assert ask(Explainer(), LiveModel(_Net(scale=0.01).eval()), _probes(4)) is None


def test_the_last_of_shares_that_are_less_than_a_twentieth_apart_is_taken() -> None:
    """A layer that is worse by more is passed over, however late it comes."""

    def pointing_at(share: float) -> Pointing:
        most = torch.full((16,), 0.8)
        return Pointing(peak=share * most, most=most, mean=most / 16)

    layers = [("late", pointing_at(0.84)), ("mid", pointing_at(0.86)), ("early", pointing_at(0.9))]
    assert last_of_the_best(layers)[0] == "mid"
    assert last_of_the_best(layers[:2])[0] == "late"


def test_each_picture_is_asked_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40: 8, and 16 where these look bad, in a round; 32 at the start, 16 at a time."""
    asked: list[int] = []

    def count(subject: Subject) -> Losses:
        asked.append(len(subject.images))
        return find_losses(subject)

    monkeypatch.setattr(pointing, "find_losses", count)
    live, probes = LiveModel(_Net(turned=True).eval()), _probes(40)
    explainer = Explainer(target_layer="turn")
    assert find_fault(explainer, live, list(zip(probes, explainer(live, probes), strict=True)))
    assert asked == [8, 16]
    asked.clear()
    with pytest.warns(UserWarning, match="explains at"):
        Explainer(method="auto").settle(live, probes)
    assert asked == [16, 16]


def test_parts_are_joined_in_order() -> None:
    """What is lost, and where maps point, are those of one call."""
    live, probes = LiveModel(_Net(turned=True).eval()), _probes(24)
    losses = ask(Explainer(), live, probes)
    assert losses is not None
    images = torch.stack([p.input for p in probes])
    subject = Subject(module=live.module, layer=live.module, inputs=images, task=Classification())
    with borrowed(live.module):
        assert torch.allclose(losses.values, find_losses(subject).values, atol=1e-6)
    layers = dict(compare_layers(Explainer(), live, probes, losses))
    maps = Explainer(target_layer="stem.1")(live, probes)
    here = Pointing.of(losses, torch.stack([found.saliency for found in maps]))
    assert torch.allclose(layers["stem.1"].peak, here.peak, atol=1e-6)


def test_a_resumed_run_stays_at_what_auto_had_chosen() -> None:
    """The second half is explained as the first was, whatever the weights say by now."""
    live, probes = LiveModel(_Net(turned=True).eval()), _probes()
    with pytest.warns(UserWarning, match="explains at"):
        before = Explainer(method="auto").settle(live, probes)
    after = Explainer(method="auto").as_before(before.describe())
    assert (after.method, after.target_layer) == ("gradcam", "stem.1")
    assert Explainer(method="auto").as_before({}).method == "auto"
    own = Explainer(method="hirescam", target_layer="turn")
    assert own.as_before(before.describe()) is own


def test_maps_of_methods_without_a_layer_are_not_asked_about() -> None:
    """They asked about each place themselves."""
    live, probes = LiveModel(_Net().eval()), _probes()
    explainer = Explainer(method="occlusion").settle(live, probes)
    wrong = [replace(e, saliency=e.saliency.flip(1)) for e in explainer(live, probes)]
    assert find_fault(explainer, live, list(zip(probes, wrong, strict=True))) == ""
    named = replace(explainer, method="gradcam", target_layer="stem.1")
    assert find_fault(named, live, list(zip(probes, wrong, strict=True))) != ""


def test_few_probes_say_nothing() -> None:
    """Of seven no error can be told; auto stays at the usual layer."""
    live, probes = LiveModel(_Net(turned=True).eval()), _probes(7)
    explainer = Explainer(target_layer="turn").settle(live, probes)
    explained = list(zip(probes, explainer(live, probes), strict=True))
    assert find_fault(explainer, live, explained) == ""
    assert Explainer(method="auto").settle(live, probes).target_layer == "turn"
    more = _probes(8)
    explained = list(zip(more, explainer(live, more), strict=True))
    assert find_fault(explainer, live, explained) != ""


def test_auto_takes_occlusion_where_no_layer_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs none."""
    blind = Pointing(peak=torch.zeros(16), most=torch.ones(16), mean=torch.full((16,), 0.1))
    monkeypatch.setattr(pointing, "compare_layers", lambda *_: [("stem.1", blind)])
    auto = Explainer(method="auto").settle(LiveModel(_Net().eval()), _probes())
    assert (auto.method, auto.target_layer) == ("occlusion", None)
