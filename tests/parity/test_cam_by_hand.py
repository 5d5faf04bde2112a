"""2 x 2 cases worked out with pencil and paper; no library produced an expected number."""

import pytest
import torch

from lightning_vlmxai.attribution import normalize_saliency
from lightning_vlmxai.attribution.methods import (
    cam,
    eigencam,
    gradcam,
    gradcam_plus_plus,
    hirescam,
    layercam,
    xgradcam,
)

# Two channels. A_1 = [[1, 2], [0, 1]] with sum 4, A_2 = [[2, 0], [2, 0]] with sum 4.
A = torch.tensor([[[[1.0, 2.0], [0.0, 1.0]], [[2.0, 0.0], [2.0, 0.0]]]])
# g_1 = [[1, 3], [0, 0]] with mean 1, g_2 = [[-1, 0], [1, -2]] with mean -1/2.
G = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]], [[-1.0, 0.0], [1.0, -2.0]]]])


def test_gradcam_by_hand() -> None:
    """Weights 1 and -1/2 give [[1-1, 2], [0-1, 1]], and the ReLU takes the -1."""
    assert torch.equal(gradcam(A, G)[0], torch.tensor([[0.0, 2.0], [0.0, 1.0]]))


def test_gradcam_plus_plus_by_hand() -> None:
    """Weights 13/42 and 1/6: a_1 is 1/6 and 9/126 times 1 and 3; a_2 is 1/6 where g is 1."""
    # Channel 1: 1 / (2 + 4) = 1/6 at g = 1; 9 / (18 + 27 * 4) = 1/14 at g = 3, times 3.
    first = 1 / 6 + 3 / 14
    # Channel 2: 1 / (2 + 4) at g = 1; at g = -1 and -2 the ReLU of the gradient is 0.
    second = 1 / 6
    expected = torch.tensor(
        [[first + 2 * second, 2 * first], [2 * second, first]],
    )
    torch.testing.assert_close(gradcam_plus_plus(A, G)[0], expected, atol=1e-6, rtol=1e-6)


def test_xgradcam_by_hand() -> None:
    """Weights (1 + 6) / 4 and (-2 + 2) / 4 give 7/4 of the first channel."""
    expected = torch.tensor([[1.75, 3.5], [0.0, 1.75]])
    torch.testing.assert_close(xgradcam(A, G)[0], expected, atol=1e-6, rtol=1e-6)


def test_hirescam_by_hand() -> None:
    """The products are [[1-2, 6], [0+2, 0]], and the ReLU takes the -1."""
    assert torch.equal(hirescam(A, G)[0], torch.tensor([[0.0, 6.0], [2.0, 0.0]]))


def test_layercam_by_hand() -> None:
    """Without negative gradients the products are [[1, 6], [2, 0]]."""
    assert torch.equal(layercam(A, G)[0], torch.tensor([[1.0, 6.0], [2.0, 0.0]]))


def test_cam_by_hand() -> None:
    """Class weights 1 and -1 give [[1-2, 2], [0-2, 1]] before the ReLU."""
    assert torch.equal(
        cam(A, torch.tensor([[1.0, -1.0]]))[0], torch.tensor([[0.0, 2.0], [0.0, 1.0]])
    )


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_eigencam_by_hand(flip: float) -> None:
    """One direction (3, 4), position on it 0, 1, 2, 5: centred -2, -1, 0, 3, times its length 5.

    The larger extreme is 3, whichever way the features point.
    """
    along = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    activations = flip * torch.stack([3 * along, 4 * along])[None]
    expected = torch.tensor([[0.0, 0.0], [0.0, 15.0]])
    torch.testing.assert_close(eigencam(activations)[0], expected, atol=1e-4, rtol=1e-5)


def test_min_max_by_hand() -> None:
    """A map from 2 to 6 becomes one from 0 to 1, and doubling the size repeats the corners."""
    raw = torch.tensor([[[2.0, 6.0], [4.0, 2.0]]])
    torch.testing.assert_close(
        normalize_saliency(raw, size=(2, 2))[0], torch.tensor([[0.0, 1.0], [0.5, 0.0]])
    )
    assert normalize_saliency(raw, size=(4, 4))[0, 0, 3] == 1.0


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1.0, 1e30])
def test_min_max_ignores_the_scale_of_the_logits(scale: float) -> None:
    """A map of tiny values is stretched to [0, 1] as any other (the peer's 1e-7 would dim it)."""
    raw = torch.tensor([[[0.0, 1.0], [0.5, 0.25]]])
    torch.testing.assert_close(normalize_saliency(raw * scale, size=(2, 2)), raw)
