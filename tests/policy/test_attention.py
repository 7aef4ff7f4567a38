"""Attention's own arithmetic."""

import pytest
import torch

from harness.policy.attention import attention_weights


@pytest.mark.parametrize("width", [1, 3, 15, 16, 17])
def test_weights_of_rows_of_any_width_are_their_softmax(width):
    """Short rows are filled up, which must change nothing."""
    scores = torch.randn(5, 4, width, generator=torch.Generator().manual_seed(0))
    scores[:, :, : width // 3] = -torch.inf
    expected = scores.softmax(-1)
    for parts in ((scores,), scores.split((width - width // 2, width // 2), dim=-1)):
        weights = attention_weights(parts, torch.float32)
        torch.testing.assert_close(weights[..., :width], expected, rtol=0, atol=1e-6)
        assert (weights[..., width:] == 0).all()
