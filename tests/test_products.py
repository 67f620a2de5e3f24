"""The model's matrix products: the fast forms, and the plain ones where those are missing."""

import pytest
import torch

from chargen.recurrent import products
from chargen.recurrent.products import factors_of, linear, multiplies_bfloat16, repeated, times


def numbers(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


@pytest.fixture(params=["onednn", "plain", "double"])
def dtype(request, monkeypatch):
    """float32 by either form, and float64, which has one."""
    monkeypatch.setattr(products, "WORTH_ASKING", 0)
    if request.param == "plain":
        monkeypatch.setattr(products, "_has_onednn", lambda: False)
    return torch.float64 if request.param == "double" else torch.float32


@pytest.mark.parametrize(
    ("N", "F", "G"), [(0, 2, 3), (1, 1, 1), (3, 0, 2), (7, 5, 3), (64, 48, 65)]
)
def test_a_large_product(dtype, N, F, G):
    x, W, b = (numbers(*shape, dtype=dtype) for shape in ((N, F), (F, G), (G,)))
    for left in (x, x.t().contiguous().t()):
        for right in (W, W.t().contiguous().t()):
            torch.testing.assert_close(times(left, right), left @ right)
            torch.testing.assert_close(times(left, right, b), left @ right + b)


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5), (3, 2, 5)])
@pytest.mark.parametrize("wanted", [(0, 1, 2), (1, 2), (0,)])
def test_a_linear_map_and_its_gradients(dtype, shape, wanted):
    leaves = [numbers(*sizes, dtype=dtype) for sizes in (shape, (5, 4), (4,))]
    for index in wanted:
        leaves[index].requires_grad_()
    x, W, b = leaves
    if len(shape) == 3:
        x = x.transpose(0, 1)
    ours, expected = linear(x, W, b), x @ W + b
    torch.testing.assert_close(ours, expected)
    asked = [leaves[index] for index in wanted]
    torch.testing.assert_close(
        torch.autograd.grad(ours.cos().sum(), asked),
        torch.autograd.grad(expected.cos().sum(), asked),
    )


@pytest.mark.parametrize(("N", "F", "G"), [(1, 1, 1), (2, 3, 5), (16, 64, 48)])
def test_a_product_and_a_sum(dtype, N, F, G):
    x, y, W = (numbers(*shape, dtype=dtype) for shape in ((N, F), (N, G), (F, G)))
    for matrix in (W, W.t().contiguous().t()):
        product = repeated(matrix, N, 100)
        torch.testing.assert_close(product(x, y), y + x @ W)
        torch.testing.assert_close(product(x, y + 1), y + 1 + x @ W)


def test_a_matrix_that_is_used_once_is_not_laid_out_for_many(monkeypatch):
    """Or writing, which makes one step at a time, would lay it out for every character."""
    monkeypatch.setattr(products, "WORTH_ASKING", 0)
    assert products._has_onednn()
    monkeypatch.setattr(products, "_packed", lambda W, rows: pytest.fail("packed"))
    x, y, W = numbers(2, 3), numbers(2, 5), numbers(3, 5)
    torch.testing.assert_close(repeated(W, 2, 1)(x, y), y + x @ W)


def test_operators_that_went_away_are_done_without(monkeypatch):
    monkeypatch.setattr(products, "_packed", lambda W, rows: torch.ops.mkldnn.no_such_operator)
    products._has_onednn.cache_clear()
    assert not products._has_onednn()
    products._has_onednn.cache_clear()


def test_little_is_multiplied_without_asking_onednn(monkeypatch):
    """A call of it takes as long as the whole product of a small layer."""
    asked = []
    monkeypatch.setattr(products, "_has_onednn", lambda: asked.append(1) or False)
    few, many = numbers(16, 256), numbers(17, 256)
    W, b = numbers(256, 256), numbers(256)
    for rows, times_asked in ((few, 0), (many, 3)):
        repeated(W, len(rows), 100)
        linear(rows, W, b)
        times(rows, W)
        assert len(asked) == times_asked


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5)])
@pytest.mark.parametrize("biased", [True, False])
def test_rounded_factors(dtype, shape, biased):
    """Of the product and of its gradients, even where those are asked for later; no others."""
    leaves = [numbers(*sizes, dtype=dtype).requires_grad_() for sizes in (shape, (5, 4), (4,))]
    x, W, b = leaves
    asked = leaves if biased else leaves[:2]

    def rounded(values):
        return values.bfloat16().to(dtype)

    with factors_of("bfloat16"):
        ours = linear(x, W, b if biased else None)
    products = rounded(rounded(x) @ rounded(W))
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, products + b if biased else products, rtol=2**-7, atol=1e-6)
    d = numbers(*ours.shape, dtype=dtype)
    gradients = torch.autograd.grad(ours, asked, d)
    flat_x, flat_d = rounded(x).flatten(0, -2), rounded(d).flatten(0, -2)
    expected = [rounded(d) @ rounded(W).t(), flat_x.t() @ flat_d, d.flatten(0, -2).sum(0)]
    for gradient, wanted in zip(gradients, expected, strict=False):
        torch.testing.assert_close(gradient, wanted, rtol=2**-6, atol=0.02)
        assert gradient.dtype == dtype
    assert torch.equal(gradients[1], rounded(gradients[1]))  # they were rounded indeed
    torch.testing.assert_close(linear(x, W, b), x @ W + b)


def test_whether_the_processor_multiplies_bfloat16_is_asked_of_torch(monkeypatch):
    for answer, known in (({"amx_bf16": True}, True), ({"avx2": True}, False), ({}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda answer=answer: answer)
        assert multiplies_bfloat16() == known
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in an older torch
    assert not multiplies_bfloat16()
