"""Forward passes and training steps of narrow networks of full depth against PyTorch, in float64 on both sides.

In float32 no implementation repeats a training step to better than a percent, PyTorch itself included: a ReLU whose
input is within rounding of zero switches (docs/fidelity.md). In float64 none does, and both agree to the last digits.
"""

import jax
import numpy as np
import pytest
from float64_steps import (
    CASES,
    FULL_DEPTH,
    MASKED,
    RECORDED_DEPTH,
    RGB,
    Network,
    assert_as_recorded,
    assert_close,
    assert_same_outcome,
    our_outcome,
    segmentation_network,
    video_network,
)

from echojax.models import functional

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed: pip install .[port]")

import torch_steps  # noqa: E402
from torch_steps import channels_first, torch_outcome  # noqa: E402


@pytest.fixture(autouse=True)
def float64():
    """float64 in JAX for the length of a test."""
    with jax.enable_x64(True):
        yield


def forward(network: Network, x: np.ndarray) -> dict[str, np.ndarray]:
    def run(x):
        return functional.apply(network.definition, network.params, network.stats, x, train=False)[0]

    return jax.tree.map(np.asarray, jax.jit(run)(x))


@torch.no_grad()
def test_deeplab_in_eval_mode():
    blocks = FULL_DEPTH["css_step"]
    x = np.random.default_rng(1).standard_normal((2, 51, 116, RGB))
    outputs = forward(segmentation_network(blocks), x)
    logits, features = torch_steps.segmentation_network(blocks).eval()(channels_first(x))
    assert_close(outputs["logits"], logits.numpy(), "logits")
    assert_close(outputs["layer4"], features.movedim(1, -1).numpy(), "layer4")


@torch.no_grad()
def test_video_network_in_eval_mode():
    blocks = FULL_DEPTH["teacher_steps"]
    x = np.random.default_rng(1).standard_normal((2, 9, 37, 30, MASKED))
    ef = torch_steps.teacher_network(blocks).eval()(channels_first(x))
    assert_close(forward(video_network(blocks, MASKED), x)["ef"], ef.numpy(), "ef")


@pytest.mark.parametrize("case", CASES)
def test_steps(case):
    """Losses, gradients or movement of the parameters, and running statistics, element by element."""
    blocks = FULL_DEPTH[case]
    assert_same_outcome(our_outcome(case, blocks), torch_outcome(case, blocks))


@pytest.mark.parametrize("case", CASES)
def test_recording_is_what_pytorch_computes(case):
    assert_as_recorded(case, torch_outcome(case, RECORDED_DEPTH[case]))
