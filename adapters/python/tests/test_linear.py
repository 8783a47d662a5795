"""Output layer and loss in one: against torch's product followed by the loss."""

import unittest

import surprisal
import torch
from surprisal.torch import linear_loss, loss
from torch.nn import functional


def run(function, tensors):
    copies = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    value = function(*copies)
    (3.0 * value).backward()
    return value.item(), [copy.grad for copy in copies]


class Linear(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)
        self.tensors = torch.randn(3, 50, 24), torch.randn(301, 24) / 5, torch.randn(301)
        self.targets = torch.randint(0, 301, (3, 50))
        self.targets[:, ::3] = -100
        self.inputs = {"cu_seqlens": torch.tensor([0, 50, 100, 150])}

    def agrees(self, tensors, relative, objective="dft", **keywords):
        value, slopes = run(lambda h, w, b: linear_loss(h, w, self.targets, objective, bias=b, **keywords, **self.inputs), tensors)
        # The same numbers, in float32 throughout.
        expected, wanted = run(lambda h, w, b: loss(functional.linear(h, w, b), self.targets, objective, **self.inputs), [t.float() for t in tensors])
        self.assertAlmostEqual(value, expected, delta=1e-5 * abs(expected))
        for slope, want, tensor in zip(slopes, wanted, tensors, strict=True):
            self.assertEqual((slope.dtype, slope.shape), (tensor.dtype, tensor.shape))
            self.assertLess((slope.float() - want).norm(), relative * want.norm())

    def test_against_the_composed_loss(self):
        for objective in ("sft", "dft", "talr-auto"):
            for keywords in ({}, {"chunk_rows": 7}, {"threads": 1}, {"threads": 3, "chunk_rows": 64}):
                self.agrees(self.tensors, 1e-5, objective, **keywords)

    def test_types(self):
        hidden, weight, bias = self.tensors
        for dtype, relative in ((torch.bfloat16, 4e-3), (torch.float16, 1e-3)):
            self.agrees([tensor.to(dtype) for tensor in self.tensors], relative)
            self.agrees([hidden.to(dtype), weight, bias], relative)

    def test_transposed_weights_are_taken_as_they_lie(self):
        hidden, weight, bias = self.tensors
        self.agrees([hidden, weight.t().contiguous().t(), bias], 1e-5)

    def test_threads_share_what_lies_between_the_products(self):
        from surprisal.torch import _product

        hidden, weight, targets = torch.randn(300, 8), torch.randn(1000, 8), torch.randint(0, 1000, (300,))
        lanes, kept = [], _product.each
        _product.each = lambda count, work: (lanes.append(count), kept(count, work))[1]
        try:
            runs = [run(lambda h, w: linear_loss(h, w, targets, threads=threads), (hidden, weight)) for threads in (1, 2)]
        finally:
            _product.each = kept
        self.assertEqual(set(lanes), {1, 2})
        self.assertEqual(runs[0][0], runs[1][0])
        self.assertTrue(all((one == two).all() for one, two in zip(runs[0][1], runs[1][1])))

    def test_autocast_does_not_round_the_products(self):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = linear_loss(*self.tensors[:2], self.targets, chunk_rows=7)
        self.assertEqual(value.item(), linear_loss(*self.tensors[:2], self.targets, chunk_rows=7).item())

    def test_only_what_requires_a_gradient_gets_one(self):
        hidden, weight, _ = self.tensors
        for wanted in ((True, False), (False, True)):
            h, w = hidden.clone().requires_grad_(wanted[0]), weight.clone().requires_grad_(wanted[1])
            value = linear_loss(h, w, self.targets)
            value.backward(retain_graph=True)
            once = [None if t.grad is None else t.grad.clone() for t in (h, w)]
            self.assertEqual(tuple(slope is not None for slope in once), wanted)
            value.backward()
            for tensor, slope in zip((h, w), once):
                self.assertTrue(slope is None or (tensor.grad == 2 * slope).all())
        with torch.no_grad():
            self.assertEqual(linear_loss(h, w, self.targets).item(), value.item())

    def test_compiled_without_a_break(self):
        compiled = torch.compile(lambda h, w, b: linear_loss(2 * h, w, self.targets, bias=b), fullgraph=True, backend="aot_eager")
        value, slopes = run(compiled, self.tensors)
        expected, wanted = run(lambda h, w, b: linear_loss(2 * h, w, self.targets, bias=b), self.tensors)
        self.assertEqual(value, expected)
        self.assertTrue(all((slope == want).all() for slope, want in zip(slopes, wanted)))

    def test_what_is_wrong_is_named(self):
        hidden, weight, bias = self.tensors
        for sentence, arguments, keywords in (
            ("weight: has shape", (hidden, weight[:, :3], self.targets), {}),
            ("bias: has shape", (hidden, weight, self.targets), {"bias": bias[:4]}),
            ("hidden: is on meta", (hidden.to("meta"), weight, self.targets), {}),
            ("weight: is expanded", (hidden, weight[:1].expand(301, 24), self.targets), {}),
            ("targets: outside", (hidden, weight[:5], self.targets), {}),
        ):
            with self.assertRaisesRegex(surprisal.Error, sentence):
                linear_loss(*arguments, **keywords)

    def test_an_exception_in_a_product_arrives(self):
        from surprisal.torch import _product

        def broken(*_):
            raise MemoryError("no memory for the product")

        kept, _product.product = _product.product, broken
        try:
            with self.assertRaisesRegex(MemoryError, "no memory"):
                linear_loss(*self.tensors[:2], self.targets)
        finally:
            _product.product = kept


if __name__ == "__main__":
    unittest.main()
