"""Training steps of narrow networks in float64, to 1e-9, against what PyTorch computed once; PyTorch is not needed."""

import pytest
from float64_steps import CASES, RECORDED_DEPTH, assert_as_recorded, our_outcome


@pytest.mark.parametrize("case", CASES)
def test_steps_as_recorded(case):
    """Losses, gradients or movement of the parameters, running statistics: norms of all, sixteen elements of each."""
    assert_as_recorded(case, our_outcome(case, RECORDED_DEPTH[case]))
