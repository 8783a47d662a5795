"""Losses that torch differentiates: against torch's own, against the vectors, and against the functions over numpy arrays."""

import unittest

import numpy
import surprisal
import torch
from support import cases, close, everything
from surprisal.torch import forward, log_probs, loss
from torch.nn import functional

DTYPES = {torch.float32: 1e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}


def tensors(keywords):
    return {name: torch.from_numpy(value) if isinstance(value, numpy.ndarray) else value for name, value in keywords.items()}


def gradient(logits, function, upstream=1.0):
    """Value and gradient of a function of logits."""
    z = logits.detach().clone().requires_grad_()
    value = function(z)
    (upstream * value).backward()
    return value.item(), z.grad


class AgainstTorch(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)
        self.logits, self.targets = 3 * torch.randn(4, 33, 257), torch.randint(0, 257, (4, 33))
        self.targets[:, ::4] = -100
        self.flat = self.targets.reshape(-1)

    def test_cross_entropy(self):
        weights = torch.rand(257)
        for dtype, rounding in DTYPES.items():
            for smoothing, classes in ((0.0, None), (0.1, None), (0.1, weights)):
                z = self.logits.to(dtype)
                value, slope = gradient(z, lambda z: loss(z, self.targets, "sft", label_smoothing=smoothing, class_weights=classes, reduction="mean-weights"))
                wide = None if classes is None else classes.double()
                expected, wanted = gradient(z.double(), lambda z: functional.cross_entropy(
                    z.flatten(0, 1), self.flat, label_smoothing=smoothing, weight=wide))
                close(value, expected)
                self.assertEqual((slope.dtype, slope.shape), (dtype, z.shape))
                close(slope.double(), wanted, relative=max(1e-5, rounding), scale=1e-5)

    def test_dft_as_it_is_written_in_torch(self):
        def written(z):
            log_p = functional.log_softmax(z.flatten(0, 1), -1)[self.flat >= 0]
            log_p = log_p.gather(1, self.flat[self.flat >= 0].unsqueeze(1))
            return -(log_p.exp().detach() * log_p).mean()

        value, slope = gradient(self.logits, lambda z: loss(z, self.targets, "dft"))
        expected, wanted = gradient(self.logits.double(), written)
        close(value, expected)
        close(slope, wanted)

    def test_finite_differences(self):
        z, step = self.logits[:1, :4, :6].double(), 1e-3
        targets = torch.tensor([[1, 5, -100, 0]])
        for objective in ("sft", "focal", "power"):
            _, slope = gradient(z.float(), lambda z: loss(z, targets, objective))
            for index in ((0, 0, 1), (0, 1, 2), (0, 3, 0), (0, 2, 0)):
                ends = []
                for sign in (1, -1):
                    moved = z.clone()
                    moved[index] += sign * step
                    ends.append(surprisal.reference.forward_backward(moved.numpy(), targets.numpy(), objective).loss)
                self.assertAlmostEqual(slope[index].item(), (ends[0] - ends[1]) / (2 * step), delta=2e-6)

    def test_log_probs(self):
        for dtype, rounding in DTYPES.items():
            z, upstream = self.logits.to(dtype), torch.randn(4, 33)
            value, slope = gradient(z, lambda z: (upstream * log_probs(z, self.targets, logit_scale=0.5)).sum())
            expected, wanted = gradient(z.double(), lambda z: (upstream.double().reshape(-1) * -functional.cross_entropy(
                0.5 * z.flatten(0, 1), self.flat, reduction="none")).sum())
            close(value, expected)
            close(slope.double(), wanted, relative=max(1e-5, rounding), scale=1e-5)
        self.assertEqual(log_probs(self.logits, self.targets)[0, 0].item(), 0.0)


class AgainstVectors(unittest.TestCase):
    def test_vectors(self):
        for name, logits, targets, objective, keywords, expected in cases():
            with self.subTest(name):
                value, slope = gradient(torch.from_numpy(logits), lambda z: loss(z, torch.from_numpy(targets), objective, **tensors(keywords)))
                close(value, float(expected["loss"]))
                close(slope.reshape(-1), [float(entry) for entry in expected["dlogits"]])

    def test_every_objective_has_the_bits_of_the_numpy_functions(self):
        logits, targets, inputs = everything(40, 300)
        for objective in surprisal.objectives():
            with self.subTest(objective):
                expected = surprisal.forward_backward(logits, targets, objective, **inputs)
                for in_place in (False, True):
                    value, slope = gradient(torch.from_numpy(logits), lambda z: loss(
                        z * 1.0, torch.from_numpy(targets), objective, in_place=in_place, **tensors(inputs)))
                    self.assertEqual(numpy.float32(value), numpy.float32(expected.loss))
                    self.assertTrue((slope.numpy() == expected.dlogits).all())


class Autograd(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(1)
        self.logits, self.targets = torch.randn(600, 500), torch.randint(0, 500, (600,))
        _, self.expected = gradient(self.logits, lambda z: loss(z, self.targets))

    def test_used_twice(self):
        z = self.logits.clone().requires_grad_()
        value = loss(z, self.targets)
        value.backward(retain_graph=True)
        value.backward()
        self.assertTrue((z.grad == 2 * self.expected).all())
        z.grad = None
        (loss(z, self.targets) + loss(z, self.targets)).backward()
        self.assertTrue((z.grad == 2 * self.expected).all())

    def test_the_upstream_factor_comes_before_rounding(self):
        z = self.logits.half()
        _, scaled = gradient(z, lambda z: loss(z, self.targets), upstream=65536.0)
        _, wide = gradient(z.float(), lambda z: loss(z, self.targets), upstream=65536.0)
        self.assertTrue((scaled == wide.half()).all())
        _, small = gradient(z, lambda z: loss(z, self.targets))
        self.assertTrue((small == 0).float().mean() > 0.1 > (scaled == 0).float().mean())

    def test_layouts(self):
        padded = torch.full((600, 512), float("nan"))
        padded[:, :500] = self.logits
        for z in (padded[:, :500], self.logits.t().contiguous().t(), self.logits.view(20, 30, 500), padded.view(20, 30, 512)[:, :, :500]):
            z = z.detach().requires_grad_()
            loss(z, self.targets.reshape(z.shape[:-1])).backward()
            self.assertTrue((z.grad.reshape(600, 500) == self.expected).all())

    def test_nothing(self):
        value, slope = gradient(self.logits[:0], lambda z: loss(z, self.targets[:0]))
        self.assertEqual((value, slope.shape), (0.0, (0, 500)))
        value, slope = gradient(self.logits, lambda z: loss(z, torch.full_like(self.targets, -100)))
        self.assertTrue(value == 0.0 and not slope.any())

    def test_threads_change_no_bit(self):
        for objective, inputs in (("dft", {}), ("talr-auto", {"cu_seqlens": torch.tensor([0, 250, 600])})):
            one = gradient(self.logits, lambda z: loss(z, self.targets, objective, threads=1, **inputs))
            for threads in (2, 3, 7):
                many = gradient(self.logits, lambda z: loss(z, self.targets, objective, threads=threads, **inputs))
                self.assertEqual(one[0], many[0])
                self.assertTrue((one[1] == many[1]).all())

    def test_compiled_without_a_break(self):
        def function(z):
            return loss(2 * z, self.targets, "dft", label_smoothing=0.1) + log_probs(z, self.targets).mean()

        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        (value, slope), (expected, wanted) = gradient(self.logits, compiled), gradient(self.logits, function)
        self.assertEqual(value, expected)
        self.assertTrue((slope == wanted).all())

    def test_operators_by_torchs_own_checks(self):
        from surprisal.torch._loss import terms
        from surprisal.torch._tensors import settled

        inputs, settings = settled("dft", -100, 1, {"token_weights": torch.ones(6)})
        torch.library.opcheck(terms, (self.logits[:6, :9].clone().requires_grad_(), self.targets[:6] % 9, inputs, settings),
                              test_utils=("test_schema", "test_faketensor", "test_autograd_registration"))

    def test_no_double_backward(self):
        z = self.logits.clone().requires_grad_()
        slope, = torch.autograd.grad(loss(z, self.targets), z, create_graph=True)
        with self.assertRaises(RuntimeError):
            slope.sum().backward()


class InPlace(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(2)
        self.leaf, self.targets = torch.randn(20, 30, requires_grad=True), torch.randint(0, 30, (20,))

    def test_the_logits_hold_the_gradient(self):
        z = 1.0 * self.leaf
        expected = surprisal.forward_backward(self.leaf.detach().numpy(), self.targets.numpy(), "dft").dlogits
        value = loss(z, self.targets, in_place=True)
        self.assertTrue((z.detach().numpy() == expected).all())
        (0.5 * value).backward(retain_graph=True)
        self.assertTrue((self.leaf.grad.numpy() == 0.5 * expected).all())
        with self.assertRaisesRegex(RuntimeError, "one backward pass"):
            value.backward()

    def test_without_a_gradient_the_logits_stay(self):
        z = self.leaf.detach().clone()
        with torch.no_grad():
            loss(z, self.targets, in_place=True)
        self.assertTrue((z == self.leaf).all())

    def test_what_cannot_be_right_is_refused(self):
        with self.assertRaisesRegex(surprisal.Error, "leaf"):
            loss(self.leaf, self.targets, in_place=True)
        with self.assertRaisesRegex(surprisal.Error, "contiguous"):
            loss((1.0 * self.leaf).t(), torch.zeros(30, dtype=torch.int64), in_place=True)
        with self.assertRaisesRegex(RuntimeError, "modified by an inplace operation"):
            loss(torch.tanh(self.leaf), self.targets, in_place=True).backward()
        z = 1.0 * self.leaf
        value = loss(z, self.targets, in_place=True)
        with torch.no_grad():
            z.zero_()
        with self.assertRaisesRegex(RuntimeError, "written to"):
            value.backward()


class Errors(unittest.TestCase):
    def test_what_is_wrong_is_named(self):
        z, ids = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])
        for sentence, arguments, keywords in (
            ("logits: is on meta: such tensors stay with torch's own kernels", (z.to("meta"), ids), {}),
            ("logits: is expanded", (z[:1].expand(4, 3), ids), {}),
            ("logits: is of torch.float64", (z.double(), ids), {}),
            ("logits: is no tensor", (z.numpy(), ids), {}),
            ("targets: are of torch.int16", (z, ids.short()), {}),
            ("targets: are 3 for 4 rows", (z, ids[:3]), {}),
            ("targets: outside the vocabulary .entry 1: 3", (z, torch.tensor([0, 3, 0, 0])), {}),
            ("token_weights: has shape", (z, ids), {"token_weights": torch.ones(3)}),
            ("token_weights: requires a gradient", (z, ids), {"token_weights": torch.ones(4, requires_grad=True)}),
            ("groups", (z, ids, "sft-go"), {"groups": torch.tensor([0, 2**32, 0, 0])}),
            ("gamma: is not a parameter", (z, ids), {"gamma": 1.0}),
        ):
            with self.assertRaisesRegex(surprisal.Error, sentence):
                loss(*arguments, **keywords)

    def test_report(self):
        z, ids = torch.randn(2, 3, 5), torch.tensor([[0, 1, -100], [4, 4, 2]])
        report, outputs = forward(z.bfloat16(), ids, "sft", outputs=("nll", "argmax"))
        self.assertEqual((report.tokens, outputs["nll"].shape), (5, ids.shape))
        self.assertEqual(outputs["argmax"].tolist(), torch.where(ids >= 0, z.bfloat16().argmax(-1), -1).tolist())


if __name__ == "__main__":
    unittest.main()
