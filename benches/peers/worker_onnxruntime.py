"""ONNX Runtime as a worker: a model that is one operator, forward only."""

import onnxruntime
from onnx import TensorProto, helper

from protocol import Setup, read_setup, serve


def model(rows: int, vocab: int) -> bytes:
    node = helper.make_node("SoftmaxCrossEntropyLoss", ["logits", "targets"], ["loss"])
    graph = helper.make_graph(
        [node],
        "loss",
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [rows, vocab]),
            helper.make_tensor_value_info("targets", TensorProto.INT64, [rows]),
        ],
        [helper.make_tensor_value_info("loss", TensorProto.FLOAT, [])],
    )
    opset = helper.make_opsetid("", 13)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


class OnnxRuntime:
    def __init__(self, setup: Setup) -> None:
        if (setup.task, setup.dtype) != ("ce-forward", "f32"):
            raise ValueError("forward and f32 only")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setup.threads
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(model(setup.rows, setup.vocab), options, providers)
        self.inputs = {"logits": setup.logits, "targets": setup.targets.astype("int64")}

    def prepare(self) -> None:
        pass

    def call(self) -> float:
        return float(self.session.run(None, self.inputs)[0])

    def release(self) -> None:
        """A run that gives the arena back when it is done."""
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self.session.run(None, self.inputs, options)


if __name__ == "__main__":
    serve(lambda *arguments: OnnxRuntime(read_setup(*arguments)))
