"""The functions over numpy arrays: against PyTorch's vectors in float64 and against the oracle."""

import os
import signal
import unittest

import numpy
import surprisal
from support import cases, close, everything
from surprisal import reference


class Values(unittest.TestCase):
    def test_vectors(self):
        seen = set()
        for name, logits, targets, objective, keywords, expected in cases():
            with self.subTest(name):
                result = surprisal.forward_backward(logits, targets, objective, outputs=("nll",), **keywords)
                close(result.loss, float(expected["loss"]))
                close(result.dlogits.reshape(-1), [float(entry) for entry in expected["dlogits"]])
                close(result.outputs["nll"], [float(nll) for nll in expected["nll"]])
                self.assertEqual((result.report.tokens, result.report.correct), (expected["tokens"], expected["correct"]))
                seen.add(objective)
        self.assertEqual(seen, set(surprisal.objectives()))

    def test_every_objective_is_the_oracles_in_every_type(self):
        logits, targets, inputs = everything(40, 300)
        for objective in surprisal.objectives():
            for dtype, rounding, scaled in (("float32", 1e-6, {}), ("float16", 1e-3, {"grad_scale": 64.0})):
                with self.subTest(objective, dtype=dtype):
                    z = logits.astype(dtype)
                    expected = reference.forward_backward(z, targets, objective, **inputs, **scaled)
                    result = surprisal.forward_backward(z, targets, objective, **inputs, **scaled)
                    self.assertEqual(result.dlogits.dtype, dtype)
                    close(result.loss, expected.loss)
                    close(result.dlogits, expected.dlogits, relative=max(1e-5, rounding), scale=rounding)
                    self.assertFalse(result.dlogits[targets == -100].any())

    def test_per_token_outputs(self):
        logits, targets, _ = everything(7, 11)
        outputs = surprisal.forward(logits, targets, "dft", outputs=tuple(surprisal.OUTPUTS)).outputs
        wide = logits.astype("float64")
        log_p = wide - numpy.log(numpy.exp(wide).sum(1, keepdims=True))
        counts = targets >= 0
        target = numpy.where(counts, log_p[numpy.arange(7), targets.clip(0)], 0.0)
        close(outputs["log_probs"], target)
        close(outputs["nll"], -target)
        close(outputs["weights"], numpy.exp(target) * counts)
        close(outputs["losses"], -numpy.exp(target) * target)
        close(outputs["entropy"], -(numpy.exp(log_p) * log_p).sum(1) * counts)
        self.assertEqual(outputs["argmax"].tolist(), numpy.where(counts, logits.argmax(1), 2**32 - 1).tolist())
        self.assertEqual(outputs["correct"].tolist(), (counts & (logits.argmax(1) == targets)).tolist())
        close(surprisal.log_softmax(logits), log_p)
        close(surprisal.entropy(logits), -(numpy.exp(log_p) * log_p).sum(1))
        close(surprisal.log_sum_exp(logits), numpy.log(numpy.exp(wide).sum(1)))
        close(surprisal.token_log_probs(logits, targets), target)

    def test_gradient_of_the_oracle(self):
        logits, targets, inputs = everything(6, 5)
        for objective in ("focal", "dft", "talr-auto"):
            gradient = reference.forward_backward(logits, targets, objective, **inputs).dlogits
            worst = reference.check_gradient(lambda z: reference.surrogate(z, logits, targets, objective, **inputs), logits, gradient)
            self.assertLess(worst, 1e-8, objective)
            self.assertGreater(reference.check_gradient(lambda z: reference.surrogate(z, logits, targets, objective, **inputs), logits,
                                                        1.01 * gradient), 1e-3)

    def test_an_exception_in_a_checked_function_arrives(self):
        with self.assertRaises(ZeroDivisionError):
            reference.check_gradient(lambda x: 1 / 0, numpy.ones(2), numpy.ones(2))


class Layouts(unittest.TestCase):
    def setUp(self):
        self.logits, self.targets, self.inputs = everything(600, 500)
        self.expected = surprisal.forward_backward(self.logits, self.targets, "talr", threads=1)

    def test_threads_change_no_bit(self):
        for objective in ("talr", "talr-auto"):
            one = surprisal.forward_backward(self.logits, self.targets, objective, outputs=("losses",), threads=1, **self.inputs)
            for threads in (2, 3, 7):
                many = surprisal.forward_backward(self.logits, self.targets, objective, outputs=("losses",), threads=threads, **self.inputs)
                self.assertTrue((many.dlogits == one.dlogits).all() and (many.outputs["losses"] == one.outputs["losses"]).all())
                self.assertAlmostEqual(many.loss, one.loss, places=12)

    def test_a_fork_has_threads_of_its_own(self):
        surprisal.forward(self.logits, self.targets, threads=2)
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends a child that waits for threads of its parent
            surprisal.forward(self.logits, self.targets, threads=2)
            os._exit(0)
        self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_in_place_and_other_types(self):
        z = self.logits.copy()
        result = surprisal.forward_backward(z, self.targets, "talr", out=z)
        self.assertIs(result.dlogits, z)
        self.assertTrue((z == self.expected.dlogits).all())
        half = numpy.empty(self.logits.shape, "float16")
        surprisal.forward_backward(self.logits, self.targets, "talr", out=half, grad_scale=65536.0)
        close(half.astype("float64") / 65536.0, self.expected.dlogits, relative=1e-3, scale=1e-4)

    def test_strides_and_dimensions(self):
        padded = numpy.full((600, 512), numpy.nan, "float32")
        padded[:, :500] = self.logits
        for z in (padded[:, :500], numpy.asfortranarray(self.logits), self.logits.reshape(20, 30, 500)):
            result = surprisal.forward_backward(z, self.targets.reshape(z.shape[:-1]), "talr")
            self.assertEqual(result.dlogits.shape, z.shape)
            self.assertTrue((result.dlogits.reshape(600, 500) == self.expected.dlogits).all())
        gradient = padded.copy()
        surprisal.forward_backward(self.logits, self.targets, "talr", out=gradient[:, :500])
        self.assertTrue((gradient[:, :500] == self.expected.dlogits).all() and numpy.isnan(gradient[:, 500:]).all())

    def test_nothing(self):
        result = surprisal.forward_backward(self.logits[:0], self.targets[:0])
        self.assertEqual((result.loss, result.dlogits.shape, result.report.tokens), (0.0, (0, 500), 0))


class Errors(unittest.TestCase):
    def refused(self, argument, *arguments, row=None, **keywords):
        with self.assertRaises(surprisal.Error) as caught:
            surprisal.forward_backward(*arguments, **keywords)
        self.assertEqual((caught.exception.argument, caught.exception.row), (argument, row), str(caught.exception))
        return caught.exception

    def test_what_is_wrong_is_named(self):
        z, ids = numpy.zeros((4, 3), "float32"), numpy.array([0, 1, 2, 0])
        error = self.refused("targets", z, numpy.array([0, 1, 3, 0]), row=2)
        self.assertEqual((error.value, error.status), (3.0, surprisal.Status.TARGET))
        self.refused("targets", z, ids[:3])
        self.refused("targets", z, ids.astype("int16"))
        self.refused("logits", z.astype("float64"), ids)
        self.refused("logits", numpy.broadcast_to(z[:1], (4, 3)), ids)
        self.refused("logits", z[0], ids)
        self.refused("objective", z, ids, "no-such-objective")
        self.refused("gamma", z, ids, "talr", gamma=1.0)
        self.refused("tau", z, ids, "talr", tau=-1.0)
        self.refused("tau", z, ids, "talr", tau=[1.0])
        self.refused("ref_log_probs", z, ids, "iw-token")
        self.refused("token_weights", z, ids, token_weights=[1.0, 1.0])
        self.refused("token_weights", z, ids, token_weights=[1.0, -1.0, 1.0, 1.0], row=1)
        self.refused("class_weights", z, ids, class_weights=[1.0] * 4)
        self.refused("groups", z, ids, "sft-go", groups=[0, 1, 2**32, 0])
        self.refused("keep", z, ids, "rft", cu_seqlens=[0, 4], keep=[1, 1])
        self.refused("pairs", z, ids, "dpo", ref_log_probs=[0.0] * 4, cu_seqlens=[0, 2, 4], pairs=[0, 1])
        self.refused("out", z, ids, out=numpy.empty((4, 4), "float32"))
        self.refused("out", z, ids, out=numpy.empty((3, 4), "float32").T)
        self.refused("outputs", z, ids, outputs=("loss",))
        self.assertFalse(z.any())


if __name__ == "__main__":
    unittest.main()
