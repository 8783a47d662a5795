"""JAX on the CPU as a worker: one jitted function for loss and gradient."""

import time

import jax
import jax.numpy as jnp
import ml_dtypes

from protocol import Setup, read_setup, serve


def log_p(logits: jax.Array, targets: jax.Array) -> jax.Array:
    # In f32, as trainers do; XLA fuses the conversion.
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return -log_p(logits, targets).mean()


def dft(logits: jax.Array, targets: jax.Array) -> jax.Array:
    value = log_p(logits, targets)
    return -(jax.lax.stop_gradient(jnp.exp(value)) * value).mean()


class Jax:
    """XLA takes its number of threads from the cores that the process is pinned to."""

    def __init__(self, setup: Setup) -> None:
        loss = dft if setup.task == "dft" else cross_entropy
        self.run = jax.jit(loss if setup.task == "ce-forward" else jax.value_and_grad(loss))
        logits = setup.logits
        if setup.dtype == "bf16":
            logits = logits.view(ml_dtypes.bfloat16)
        # A copy in XLA's own memory, as a model would have left them.
        self.logits = jnp.array(logits, copy=True)
        self.targets = jnp.array(setup.targets.astype("int32"))
        self.result: tuple[jax.Array, jax.Array] | jax.Array | None = None

    def prepare(self) -> None:
        self.result = None

    def call(self) -> float:
        result = self.result = jax.block_until_ready(self.run(self.logits, self.targets))
        return float(result[0] if isinstance(result, tuple) else result)

    def release(self) -> None:
        """XLA's own threads let go of the last result a moment after the call has returned."""
        time.sleep(0.2)


if __name__ == "__main__":
    serve(lambda *arguments: Jax(read_setup(*arguments)))
