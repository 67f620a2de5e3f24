"""The product that a step loop repeats: the fast form, and the plain one where that is missing."""

import pytest
import torch

from chargen.recurrent import products
from chargen.recurrent.products import repeated


def numbers(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize(("N", "F", "G"), [(1, 1, 1), (2, 3, 5), (16, 64, 48)])
def test_a_product_and_a_sum(monkeypatch, dtype, onednn, N, F, G):
    if not onednn:
        monkeypatch.setattr(products, "_has_onednn", lambda: False)
    x, y, W = (numbers(*shape, dtype=dtype) for shape in ((N, F), (N, G), (F, G)))
    for matrix in (W, W.t().contiguous().t()):
        product = repeated(matrix, N, 100)
        torch.testing.assert_close(product(x, y), y + x @ W)
        torch.testing.assert_close(product(x, y + 1), y + 1 + x @ W)


def test_a_matrix_that_is_used_once_is_not_laid_out_for_many(monkeypatch):
    """Or writing, which makes one step at a time, would lay it out for every character."""
    monkeypatch.setattr(products, "_packed", lambda W, rows: pytest.fail("packed"))
    x, y, W = numbers(2, 3), numbers(2, 5), numbers(3, 5)
    torch.testing.assert_close(repeated(W, 2, 1)(x, y), y + x @ W)


def test_operators_that_went_away_are_done_without(monkeypatch):
    monkeypatch.setattr(products, "_packed", lambda W, rows: torch.ops.mkldnn.no_such_operator)
    products._has_onednn.cache_clear()
    assert not products._has_onednn()
    products._has_onednn.cache_clear()
