"""The output layer and cross-entropy in JAX on the CPU as a worker: one jitted function for loss and gradients."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from linear_data import IGNORED, Setup, read_setup
from protocol import serve
from worker_jax import Jax, log_p


def cross_entropy(operands: tuple[jax.Array, ...], frozen: tuple[jax.Array, ...], targets: jax.Array) -> jax.Array:
    hidden, weight = *operands, *frozen
    kept = targets != IGNORED
    value = log_p(hidden @ weight.T, jnp.where(kept, targets, 0))
    return -jnp.where(kept, value, 0).sum() / kept.sum()


class JaxLinear(Jax):
    def __init__(self, setup: Setup) -> None:
        gradient = jax.jit(jax.value_and_grad(cross_entropy))
        hidden, weight = array(setup.hidden), array(setup.weight)
        learned, frozen = ((hidden, weight), ()) if setup.task == "both" else ((hidden,), (weight,))
        targets = jnp.array(setup.targets.astype("int32"))
        self.run = lambda: gradient(learned, frozen, targets)
        self.write = setup.save
        self.result = None

    def call(self) -> float:
        self.result = jax.block_until_ready(self.run())
        return float(self.result[0])

    def save(self) -> None:
        _, gradients = self.result
        self.write(**dict(zip(("dhidden", "dweight"), map(np.asarray, gradients), strict=False)))


def array(values: np.ndarray) -> jax.Array:
    """A copy in XLA's own memory, as a model would have left it."""
    return jnp.array(values.view(ml_dtypes.bfloat16) if values.dtype == np.uint16 else values, copy=True)


if __name__ == "__main__":
    serve(lambda *arguments: JaxLinear(read_setup(*arguments)))
