"""A borrowed model comes back exactly as it was."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_vlmxai import AttributionError
from lightning_vlmxai.errors import ModelChangedError
from lightning_vlmxai.explain.bits import checksums
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.explain.rng import isolated_generators, isolated_rng


class Counting(nn.Module):
    """Counts its forwards in a buffer, also in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("forwards", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the layer's output, having counted."""
        self.forwards += 1
        return self.norm(self.linear(inputs))


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_flags_buffers_generators_and_modes_are_restored(error: type[BaseException] | None) -> None:
    """On return and on any exception."""
    module = Counting().train()
    module.norm.eval()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    generators = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    try:
        with borrowed(module):
            assert not any(child.training for child in module.modules())
            assert not torch.is_grad_enabled()
            module(torch.rand(4, 2))
            random.random()  # noqa: S311
            np.random.rand()  # noqa: NPY002
            assert module.forwards == 1
            if error:
                raise error
    except (RuntimeError, KeyboardInterrupt):
        assert error is not None
    assert module.training
    assert module.linear.training
    assert not module.norm.training
    assert torch.is_grad_enabled()
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert random.getstate() == generators[1]
    assert np.random.get_state()[1].tolist() == generators[2]  # noqa: NPY002


def test_a_parameter_changed_by_forward_is_named() -> None:
    """Weights are the user's: a change is an error, not something to paper over."""
    module = nn.Linear(2, 2)
    with (
        pytest.raises(AttributionError, match=r"new values in weight\. Move the update"),
        borrowed(module),
    ):
        module.weight.add_(1)


def test_autograd_works_inside_although_the_caller_is_in_inference_mode() -> None:
    """`validate()` runs under inference mode, in which nothing can be differentiated."""
    module = nn.Linear(2, 1)
    with torch.inference_mode(), borrowed(module), torch.enable_grad():
        leaf = torch.ones(1, 2, requires_grad=True)
        (gradient,) = torch.autograd.grad(module(leaf).sum(), leaf)
    assert torch.equal(gradient, module.weight.detach())


class Hostile(nn.Module):
    """Does to itself, in its forward, whatever a model should not."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the layer's output, having replaced, hooked, frozen and switched."""
        self.seen = self.seen + 1
        self.linear.register_forward_hook(lambda *_: None)
        self.linear.register_forward_pre_hook(lambda *_: None)
        self.train()
        torch.set_autocast_enabled("cpu", True)
        torch.set_autocast_dtype("cpu", torch.float16)
        torch.set_grad_enabled(True)
        output = self.linear(inputs)
        output.sum().backward()
        self.linear.weight.requires_grad_(False)
        return output


def test_grads_hooks_frozen_flags_replaced_buffers_and_autocast_are_restored() -> None:
    """What a forward or a method leaves behind is gone; the `.grad` tensors are the same ones."""
    module = Hostile()
    grads = {name: torch.rand_like(p) for name, p in module.named_parameters()}
    for name, parameter in module.named_parameters():
        parameter.grad = grads[name]
    kept = {name: grad.clone() for name, grad in grads.items()}
    calls: list[str] = []
    module.linear.register_forward_hook(lambda *_: calls.append("mine"))
    seen = module.seen
    with borrowed(module):
        module(torch.rand(3, 2))
        assert module.linear.weight.grad is not grads["linear.weight"]
    for name, parameter in module.named_parameters():
        assert parameter.grad is grads[name]
        assert torch.equal(parameter.grad, kept[name])
        assert parameter.requires_grad
    assert len(module.linear._forward_hooks) == 1
    assert len(module.linear._forward_pre_hooks) == 0
    assert module.seen is seen
    assert float(seen) == 0
    assert not torch.is_autocast_enabled("cpu")
    assert torch.get_autocast_dtype("cpu") is torch.bfloat16
    assert torch.is_grad_enabled()
    module.linear(torch.rand(1, 2))
    assert calls == ["mine", "mine"]


class Remembering(nn.Module):
    """Keeps state where torch does not look."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.history, self.names, self.sums = 0, [0], {"a"}, {"x": torch.zeros(())}
        self.running = torch.zeros(2)
        self.generator = torch.Generator().manual_seed(0)
        self.adjacency = torch.eye(2).to_sparse()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs, having changed all of it."""
        self.calls += 1
        self.history.append(self.calls)
        self.names ^= {"a", "b"}
        self.sums["x"] += 1
        self.sums["y"] = inputs
        self.running += inputs.mean()
        self.later = torch.rand(1, generator=self.generator)
        return inputs


def test_plain_attributes_and_generators_of_a_module_are_restored() -> None:
    """Counters, lists, sets, dicts, tensors that are no buffers, a generator of its own."""
    module = Remembering()
    lists = module.history, module.names, module.sums, module.running
    before = module.generator.get_state()
    with borrowed(module):
        module(torch.ones(3))
        assert module.calls == 1
    assert (module.calls, module.history, module.names) == (0, [0], {"a"})
    assert {key: float(value) for key, value in module.sums.items()} == {"x": 0}
    assert torch.equal(module.running, torch.zeros(2))
    assert not hasattr(module, "later")
    assert torch.equal(module.generator.get_state(), before)
    assert all(
        a is b
        for a, b in zip(
            lists, (module.history, module.names, module.sums, module.running), strict=True
        )
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.complex64])
@pytest.mark.parametrize(
    "change",
    [
        lambda bias: setattr(bias, "data", bias.data * 0.9),
        lambda bias: bias.data.mul_(0.9),
        lambda bias: bias.data.view(torch.int8)[:1].bitwise_xor_(1),
    ],
    ids=["replaced", "in place", "one bit"],
)
def test_a_parameter_whose_data_was_changed_is_named(
    dtype: torch.dtype, change: Callable[[Tensor], object]
) -> None:
    """Momentum encoders write to `.data` in their forward, which no version counter sees."""
    module = nn.Linear(2, 2, dtype=dtype)
    with pytest.raises(ModelChangedError, match="new values in bias"), borrowed(module):
        change(module.bias)


@pytest.mark.parametrize("compiled", ["wrapped", "in place", "part", "function"])
def test_hooks_fire_on_compiled_models(compiled: str) -> None:
    """However a model was compiled, it runs eagerly while it is lent."""
    inner = nn.Linear(2, 2)
    module: nn.Module = nn.Sequential(nn.Flatten(), inner)
    if compiled == "wrapped":
        module = torch.compile(module, backend="eager")
    elif compiled == "in place":
        module.compile(backend="eager")
    elif compiled == "part":
        inner.compile(backend="eager")
    else:
        module.forward = torch.compile(module.forward, backend="eager")
    with torch.no_grad():
        module(torch.rand(1, 2))
    fired: list[int] = []
    with borrowed(module):
        inner.register_forward_hook(lambda *_: fired.append(1))
        module(torch.rand(1, 2))
    assert fired == [1]


def test_generators_that_hang_on_a_data_set_are_given_back() -> None:
    """Numpy's, python's and torch's, in attributes, wrapped data sets and lists of transforms."""

    class Holder:
        """Anything with attributes."""

    def draw_all() -> list[float]:
        return [
            outer.rng.random(),
            outer.dataset.legacy.random_sample(),
            outer.transforms[0].py.random(),
            float(torch.rand((), generator=outer.options["torch"])),
        ]

    outer, inner, transform = Holder(), Holder(), Holder()
    outer.rng = np.random.default_rng(0)
    outer.dataset, inner.parent = inner, outer
    inner.legacy = np.random.RandomState(1)
    outer.transforms, transform.py = [transform], random.Random(2)  # noqa: S311
    outer.options = {"torch": torch.Generator().manual_seed(3)}
    with isolated_generators(outer):
        inside = draw_all()
    assert draw_all() == inside
    assert draw_all() != inside


def test_a_resized_buffer_is_given_back_and_so_is_all_else() -> None:
    """Its size, its values, and the gradients beside it."""
    module = nn.Linear(2, 2)
    module.register_buffer("kept", torch.arange(4.0))
    module.weight.grad = torch.ones(2, 2)
    with borrowed(module) as lent:
        lent.kept.resize_(9).zero_()
    assert module.kept.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert module.weight.grad is not None


def test_what_cant_be_given_back_is_told_and_costs_nothing_else() -> None:
    """A view can't be resized; gradients are there all the same."""
    module = nn.Linear(2, 2)
    whole = torch.zeros(8)
    module.register_buffer("kept", whole[:4])
    module.weight.grad = torch.ones(2, 2)

    def spoil() -> None:
        with borrowed(module) as lent:
            lent.kept.set_(torch.ones(1)).requires_grad_()  # a leaf can't be resized

    with pytest.raises(ModelChangedError, match="can be given back"):
        spoil()
    assert module.weight.grad is not None


@pytest.mark.parametrize("bits", [0, -(2**31), 0x7FC00001])
def test_buffers_are_given_back_bit_by_bit(bits: int) -> None:
    """0.0 for -0.0 and the other way round, and a NaN's payload."""
    module = nn.Module()
    value = torch.tensor([bits], dtype=torch.int32).view(torch.float32)
    module.register_buffer("kept", value.clone())
    with borrowed(module) as lent:
        lent.kept.view(torch.int32)[0] = 0x7FC00000 if bits == 0x7FC00001 else ~bits & -(2**31)
    assert module.kept.view(torch.int32).tolist() == [bits]


@pytest.mark.parametrize("how", ["rolled", "negated", "swapped"])
def test_weights_that_change_places_or_signs_are_named(how: str) -> None:
    """Their bits sum up to the same."""
    module = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        module.weight[:] = torch.tensor([[1.0, -1.0], [-2.0, 2.0]])
    changed = {
        "rolled": module.weight.detach().roll(1),
        "negated": -module.weight.detach(),
        "swapped": module.weight.detach().flip(0),
    }[how]
    with pytest.raises(ModelChangedError, match="weight"), borrowed(module) as lent:
        lent.weight.data.copy_(changed)


def test_a_generator_without_a_state_is_left_alone() -> None:
    """The system's own."""
    with isolated_generators([random.SystemRandom()]):
        pass


@pytest.mark.parametrize(
    ("device", "is_there", "get", "give"),
    [
        ("cuda", "cuda.is_initialized", "get_rng_state_all", "set_rng_state_all"),
        ("xpu", "xpu.is_initialized", "get_rng_state_all", "set_rng_state_all"),
        ("mps", "backends.mps.is_available", "get_rng_state", "set_rng_state"),
    ],
)
def test_generators_of_every_kind_of_device_are_given_back(
    device: str, is_there: str, get: str, give: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where torch has such a device; one that isn't there is not asked."""
    given: list[object] = []
    monkeypatch.setattr(f"torch.{is_there}", lambda: True)
    monkeypatch.setattr(f"torch.{device}.{get}", lambda: "before")
    monkeypatch.setattr(f"torch.{device}.{give}", given.append)
    with isolated_rng():
        assert given == []
    assert given == ["before"]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 2**20 + 3, 2**21 + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8, torch.float64])
def test_checksums_see_any_one_bit_at_any_place(length: int, dtype: torch.dtype) -> None:
    """At the ends of words, chunks and tensors, and wherever a view of it begins."""
    values = torch.arange(length).to(dtype)
    (before,) = checksums([values])
    for place in {0, 1, length // 2, length - 2, length - 1} & set(range(length)):
        changed = values.clone()
        changed.view(torch.int8)[place * values.element_size()] ^= 1
        assert checksums([changed]) != [before]
    padded = torch.cat([values[:1], values])[1:]
    assert checksums([values.clone(), padded]) == [before, before]
    assert length < 3 or checksums([values.flip(0)]) != [before]
