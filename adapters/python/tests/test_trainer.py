"""The loss function of a trainer: labels are shifted here, and micro-batches add up."""

import types
import unittest

import torch
from surprisal.torch import compute_loss_func
from torch.nn import functional


class Trainer(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)
        self.logits, self.labels = torch.randn(4, 9, 17), torch.randint(0, 17, (4, 9))
        self.labels[1, 4:] = -100
        self.expected = functional.cross_entropy(self.logits[:, :-1].reshape(-1, 17), self.labels[:, 1:].reshape(-1), reduction="sum").item()
        self.tokens = (self.labels[:, 1:] != -100).sum()

    def test_labels_are_shifted(self):
        function = compute_loss_func("sft")
        for outputs in ({"logits": self.logits}, types.SimpleNamespace(logits=self.logits)):
            self.assertAlmostEqual(function(outputs, self.labels).item(), self.expected / self.tokens.item(), places=5)

    def test_micro_batches_add_up(self):
        function = compute_loss_func("sft")
        parts = [function({"logits": self.logits[rows]}, self.labels[rows], num_items_in_batch=self.tokens) for rows in (slice(0, 1), slice(1, 4))]
        self.assertAlmostEqual(sum(parts).item(), self.expected / self.tokens.item(), places=5)
        nothing = function({"logits": self.logits}, torch.full_like(self.labels, -100), num_items_in_batch=0)
        self.assertEqual(nothing.item(), 0.0)

    def test_options(self):
        weighted = compute_loss_func("talr", tau=2.0, in_place=True)
        z = self.logits.clone().requires_grad_()
        weighted({"logits": 1.0 * z}, self.labels).backward()
        self.assertTrue(z.grad[:, :-1].any() and not z.grad[:, -1].any())


if __name__ == "__main__":
    unittest.main()
