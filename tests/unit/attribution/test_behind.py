"""A network run again from a layer on gives what a whole forward gives, or is run in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vlmxai import Classification
from lightning_vlmxai.attribution import Perturbation, Place, Subject, attribute, behind
from lightning_vlmxai.attribution.behind import Behind
from lightning_vlmxai.attribution.hooks import changed
from lightning_vlmxai.calls import as_call
from lightning_vlmxai.explain.live import borrowed

IMAGES = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class _Net(nn.Module):
    """A stem, a block with a way around it, a head; `way` is how they hang together."""

    def __init__(self, way: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6))
        self.act = nn.ReLU(inplace=True)
        self.first = nn.Conv2d(6, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.tanh(self.way(self, images)).mean(dim=(2, 3)))


def _plain(net: Any, images: Tensor) -> Tensor:
    stem = net.act(net.stem(images))
    return stem + net.second(torch.tanh(net.first(stem)))


def _in_place(net: Any, images: Tensor) -> Tensor:
    stem = net.stem(images)
    stem += 1.0
    return stem + net.second(F.relu(net.first(stem), inplace=True))


def _aliased(net: Any, images: Tensor) -> Tensor:
    stem = net.stem(images)
    net.act(stem)  # in place: what it gives is the stem's own
    return stem + net.second(net.first(stem))


def _remembered(net: Any, images: Tensor) -> Tensor:
    return net.second(net.first(net.stem(images))) + net.first.seen


class _Remembers(nn.Conv2d):
    def forward(self, images: Tensor) -> Tensor:
        self.seen = images.mean(dim=(1, 2, 3), keepdim=True)
        return super().forward(images)


def _twice(net: Any, images: Tensor) -> Tensor:
    return net.second(net.first(net.act(net.first(net.act(net.stem(images))))))


def _looks_at_rows(net: Any, images: Tensor) -> Tensor:
    # More where a batch is large: no row is by itself.
    return len(images) * net.second(net.first(net.stem(images)))


WAYS: dict[str, tuple[Callable[[Any, Tensor], Tensor], bool]] = {
    "plain": (_plain, True),
    "in place behind a layer": (_in_place, True),
    "in place by a layer": (_aliased, False),
    "runs twice before": (_twice, True),
    "counts its rows": (_looks_at_rows, False),
}
"""How it goes from pictures to maps, and whether the stem needs no second run."""


@contextmanager
def _counted(net: nn.Module) -> Iterator[Counter[str]]:
    """Count how often layers do their work, whether or not their hooks fire."""
    counts: Counter[str] = Counter()
    own = {name: one.forward for name, one in net.named_modules() if name}
    for name, one in net.named_modules():
        if name:
            vars(one)["forward"] = lambda *a, n=name, **k: (counts.update([n]), own[n](*a, **k))[1]
    yield counts
    for name, one in net.named_modules():
        if name:
            del vars(one)["forward"]


def _ablate(net: nn.Module, layer: str, place: str = "", at_once: int = 4) -> Tensor:
    with borrowed(net) as lent:
        subject = Subject(
            module=lent,
            layer=lent.get_submodule(layer),
            inputs=IMAGES,
            task=Classification(),
            place=Place.parse(place) if place else None,
        )
        options = Perturbation(batch_size=at_once)
        return attribute(subject, "ablationcam", perturbation=options).raw


def _in_full(net: nn.Module, layer: str, **more: Any) -> Tensor:
    """Return the same by whole forwards alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Behind, "again", lambda _self, run, *_a, **_k: run())
        return _ablate(net, layer, **more)


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("at_once", [1, 4, 64])
def test_ablation_behind_a_layer_is_ablation_of_whole_forwards(name: str, at_once: int) -> None:
    """Whatever a network does before the layer; what can be given back isn't done again."""
    way, is_short = WAYS[name]
    net = _Net(way).eval()
    wanted = _in_full(net, "second", at_once=at_once)
    assert wanted.any()
    _ablate(net, "second", at_once=at_once)  # finds out
    with _counted(net) as counts:
        found = _ablate(net, "second", at_once=at_once)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    forwards = -(-18 // at_once)
    assert counts["stem.0"] == (1 if is_short else 1 + forwards)
    assert counts["second"] == (1 if is_short else 1 + forwards)
    assert counts["head"] == 1 + forwards


def test_what_a_layer_is_given_counts_too() -> None:
    """Ablated before the layer, that runs again and what is before it doesn't."""
    net = _Net(_plain).eval()
    wanted = _in_full(net, "second", place="second.input()")
    _ablate(net, "second", "second.input()")
    with _counted(net) as counts:
        found = _ablate(net, "second", "second.input()")
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    assert (counts["first"], counts["second"]) == (1, 1 + 5)


def test_a_layer_that_runs_twice_is_run_in_full() -> None:
    """The second run hangs on what is changed in the first."""
    net = _Net(_twice).eval()
    wanted = _in_full(net, "first")
    with _counted(net) as counts:
        found = _ablate(net, "first")
    assert torch.equal(found, wanted)
    assert counts["stem.0"] == counts["head"]


def test_what_is_kept_on_the_network_is_no_silent_difference() -> None:
    """A layer leaves something behind: with other rows that would be another picture's."""
    net = _Net(_remembered).eval()
    net.first = _Remembers(6, 6, 3, padding=1)
    wanted = _in_full(net, "second", at_once=3)
    for _ in range(2):
        torch.testing.assert_close(_ablate(net, "second", at_once=3), wanted)


class _Tokens(nn.Module):
    """Tokens first, then the batch; as many tokens as rows, if so many are given."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 6, 4, stride=4)
        self.turn = _Turn()
        self.mix, self.norm, self.head = nn.Linear(9, 9), nn.LayerNorm(6), nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.turn(self.embed(images))
        mixed = tokens + self.mix(tokens.permute(1, 2, 0)).permute(2, 0, 1)
        return self.head(torch.tanh(self.norm(mixed)).mean(dim=0))


class _Turn(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.flatten(2).permute(2, 0, 1)


@pytest.mark.parametrize(("count", "is_short"), [(3, True), (9, False)])
def test_rows_are_found_on_either_axis_or_not_at_all(count: int, is_short: bool) -> None:
    """With as many rows as tokens the wrong ones would be taken: the network runs in full."""
    net = _Tokens().eval()
    images = torch.randn(count, 3, 12, 12)
    rows = torch.tensor([1, 0, 2, 2])
    call = as_call(images)
    with borrowed(net) as lent, torch.no_grad():
        one = Behind(lent, Place(name="norm"), call, in_rows=True)
        with one.whole():
            answer = call.run(lent)

        def run() -> Any:
            with changed(lent.norm, lambda features: features.flip(2)):
                return call.take(rows).run(lent)

        wanted = run()
        for _ in range(2):
            with _counted(lent) as counts:
                torch.testing.assert_close(one.again(run, rows, answer=answer), wanted)
    assert counts["embed"] == (0 if is_short else 1)


def test_an_exception_inside_gives_every_layer_back() -> None:
    """Layers are what they were, and what fails in full fails."""
    net = _Net(_plain).eval()
    before = {name: dict(vars(one)) for name, one in net.named_modules()}
    call = as_call(IMAGES)

    def fail() -> None:
        call.run(net)
        raise RuntimeError("of the user's own")

    with torch.no_grad():
        one = Behind(net, Place(name="second"), call, in_rows=False)
        with one.whole():
            answer = call.run(net)
        with pytest.raises(RuntimeError, match="of the user's own"):
            one.again(fail, answer=answer)
    after = {name: vars(layer) for name, layer in net.named_modules()}
    assert {n: v.keys() for n, v in after.items()} == {n: v.keys() for n, v in before.items()}
    assert all("forward" not in own for own in after.values())


def test_what_was_not_used_has_no_values() -> None:
    """A network that goes another way than before is run in full; nothing is made up."""
    net = _Net(lambda own, images: own.second(own.first(own.stem(images)))).eval()
    call = as_call(IMAGES)
    one = Behind(net, Place(name="second"), call, in_rows=False)
    with torch.no_grad():
        for turn in range(2):
            if turn:  # what the first convolution gives has a part of its own now
                net.way = lambda own, images: (f := own.first(own.stem(images))) + own.second(f)
            with one.whole():
                answer = call.run(net)
            assert one._kept["first"][0][0].is_meta == bool(turn)
            with _counted(net) as counts:
                found = one.again(lambda: call.run(net), answer=answer)
            torch.testing.assert_close(found, answer)
    assert counts["first"] == 1


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_scripts_and_compiled_parts_may_stand_before() -> None:
    """A script runs again, what is compiled doesn't; the map is the same."""
    net = _Net(_plain).eval()
    wanted = _in_full(net, "second")
    net.stem = torch.jit.script(net.stem)
    torch.testing.assert_close(_ablate(net, "second"), wanted)
    compiled = _Net(_plain).eval()
    compiled.first = torch.compile(compiled.first, backend="eager")
    torch.testing.assert_close(_ablate(compiled, "second"), wanted)


def test_what_was_found_out_falls_away_with_the_network() -> None:
    """Nothing of a network is kept alive."""
    net = _Net(_plain).eval()
    _ablate(net, "second")
    assert net in behind._known
    count = len(behind._known)
    del net
    assert len(behind._known) < count
