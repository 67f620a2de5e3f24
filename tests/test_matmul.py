"""Matrix products: the oneDNN forms, and the fallback without them."""

import pytest
import torch

from chargen.recurrent import matmul as module
from chargen.recurrent.matmul import linear, matmul, multiplies_bfloat16, repeated


def numbers(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


@pytest.fixture(params=["onednn", "fallback", "double"])
def dtype(request, monkeypatch):
    monkeypatch.setattr(module, "MIN_ONEDNN_SIZE", 0)
    if request.param == "fallback":
        monkeypatch.setattr(module, "_has_onednn", lambda: False)
    return torch.float64 if request.param == "double" else torch.float32


@pytest.mark.parametrize(
    ("N", "F", "G"), [(0, 2, 3), (1, 1, 1), (3, 0, 2), (7, 5, 3), (64, 48, 65)]
)
def test_matmul_and_repeated_equal_torch(dtype, N, F, G):
    x, W, b, y = (numbers(*shape, dtype=dtype) for shape in ((N, F), (F, G), (G,), (N, G)))
    for right in (W, W.t().contiguous().t()):
        for left in (x, x.t().contiguous().t()):
            torch.testing.assert_close(matmul(left, right), left @ right)
            torch.testing.assert_close(matmul(left, right, b), left @ right + b)
        if N and F:
            product = repeated(right, N, 100)
            torch.testing.assert_close(product(x, y), y + x @ W)
            torch.testing.assert_close(product(x, y + 1), y + 1 + x @ W)


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5), (3, 2, 5)])
@pytest.mark.parametrize("wanted", [(0, 1, 2), (1, 2), (0,)])
def test_linear_and_its_gradients_equal_torch(dtype, shape, wanted):
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


def test_missing_operators_are_detected(monkeypatch):
    monkeypatch.setattr(module, "_packed", lambda W, rows: torch.ops.mkldnn.no_such_operator)
    module._has_onednn.cache_clear()
    assert not module._has_onednn()
    module._has_onednn.cache_clear()


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5)])
@pytest.mark.parametrize("biased", [True, False])
def test_bfloat16_casts_operands_of_both_passes(dtype, shape, biased):
    leaves = [numbers(*sizes, dtype=dtype).requires_grad_() for sizes in (shape, (5, 4), (4,))]
    x, W, b = leaves
    asked = leaves if biased else leaves[:2]

    def rounded(values):
        return values.bfloat16().to(dtype)

    ours = linear(x, W, b if biased else None, "bfloat16")
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
    assert torch.equal(gradients[1], rounded(gradients[1]))


def test_bfloat16_instructions_are_detected(monkeypatch):
    for answer, known in (({"amx_bf16": True}, True), ({"avx2": True}, False), ({}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda answer=answer: answer)
        assert multiplies_bfloat16() == known
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in an older torch
    assert not multiplies_bfloat16()
