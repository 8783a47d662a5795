"""The whole API from a language that reads no C: every function of the headers, through ctypes alone.

    python3 capi/tests/whole_api.py libsurprisal.so [libsurprisal_tools.so]

Without a second library, the first has the functions of both headers. No macro and no inline function of the headers is used: what they do, fields do.
Fails if a function that the headers declare was not called.
"""

import ctypes
import math
import re
import sys
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p, sizeof
from pathlib import Path

INCLUDE = Path(__file__).parent.parent.parent / "include"
ROWS, VOCAB = 4, 5
MAX = -sys.float_info.max


class Parameter(Structure):
    _fields_ = [("value", c_double), ("id", c_int32), ("reserved", c_int32)]


class Loss(Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("class_weights", POINTER(c_float)), ("reduction_by", c_double),
        ("objective", c_int32), ("reduction", c_int32), ("extras_scale", c_int32), ("moments", c_int32),
        ("label_smoothing", c_float), ("z_loss", c_float), ("logit_scale", c_float), ("softcap", c_float),
        ("grad_scale", c_float), ("reserved", c_int32), ("parameters", Parameter * 8),
    ]


class Pair(Structure):
    _fields_ = [("chosen", c_size_t), ("rejected", c_size_t)]


class Denominator(Structure):
    _fields_ = [("value", c_double), ("sequence_tokens", POINTER(c_uint32)), ("sequence_count", c_size_t),
                ("reduction", c_int32), ("reserved", c_uint32 * 7)]


class Batch(Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("rows", c_size_t), ("targets_i32", POINTER(c_int32)), ("targets_i64", POINTER(c_int64)),
        ("ignore_index", c_int64), ("token_weights", POINTER(c_float)), ("ref_log_probs", POINTER(c_float)),
        ("old_log_probs", POINTER(c_float)), ("advantages", POINTER(c_float)), ("groups", POINTER(c_uint32)),
        ("sequence_count", c_size_t), ("cu_seqlens_i32", POINTER(c_int32)), ("cu_seqlens_i64", POINTER(c_int64)),
        ("pairs", POINTER(Pair)), ("pair_count", c_size_t), ("keep", POINTER(c_uint8)),
        ("denominator", POINTER(Denominator)),
    ]


class Matrix(Structure):
    """Both surprisal_logits and surprisal_logits_mut: `last` is reserved or padding."""

    _fields_ = [
        ("struct_size", c_size_t), ("data", c_void_p), ("rows", c_size_t), ("vocab", c_size_t), ("row_stride", c_size_t),
        ("row_start", c_size_t), ("rows_total", c_size_t), ("vocab_start", c_size_t), ("vocab_total", c_size_t),
        ("dtype", c_int32), ("last", c_int32),
    ]


class Stats(Structure):
    _fields_ = [(name, c_double) for name in ("max", "others", "target_logit", "sum_logits", "sum_exp_logits", "sum_exp_squared")]


class Term(Structure):
    _fields_ = [(name, c_double) for name in ("loss", "coef", "dense")]


class Outputs(Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("stats", POINTER(Stats)), ("terms", POINTER(Term)), ("losses", POINTER(c_float)),
        ("nll", POINTER(c_float)), ("log_probs", POINTER(c_float)), ("entropy", POINTER(c_float)),
        ("weights", POINTER(c_float)), ("argmax", POINTER(c_uint32)), ("correct", POINTER(c_uint8)),
    ]


class Workspace(Structure):
    _fields_ = [("struct_size", c_size_t), ("data", c_void_p), ("size", c_size_t)]


PRODUCT = ctypes.CFUNCTYPE(None, c_void_p, c_size_t, c_size_t, c_size_t, POINTER(c_float), c_size_t, c_size_t, POINTER(c_float), c_size_t,
                           c_size_t, c_float, POINTER(c_float), c_size_t, c_size_t)
TASK = ctypes.CFUNCTYPE(None, c_void_p, c_size_t)
PARALLEL = ctypes.CFUNCTYPE(None, c_void_p, c_size_t, TASK, c_void_p)


class Gemm(Structure):
    _fields_ = [("struct_size", c_size_t), ("context", c_void_p), ("product", PRODUCT), ("parallel", PARALLEL)]


class Operand(Structure):
    """Both surprisal_matrix and surprisal_matrix_mut."""

    _fields_ = [
        ("struct_size", c_size_t), ("data", c_void_p), ("rows", c_size_t), ("cols", c_size_t), ("row_stride", c_size_t),
        ("col_stride", c_size_t), ("row_start", c_size_t), ("rows_total", c_size_t), ("dtype", c_int32), ("reserved", c_int32),
    ]


class Layer(Structure):
    _fields_ = [("struct_size", c_size_t), ("weight", POINTER(Operand)), ("bias", POINTER(c_float)), ("gemm", POINTER(Gemm))]


class Gradients(Structure):
    _fields_ = [("struct_size", c_size_t), ("hidden", POINTER(Operand)), ("weight", POINTER(Operand)), ("bias", POINTER(c_float))]


class Report(Structure):
    _fields_ = [
        ("tokens", c_size_t), ("correct", c_size_t), ("loss", c_double), ("loss_sum", c_double), ("nll_sum", c_double),
        ("weight_sum", c_double), ("invalid_row", c_int64), ("tau", c_double), ("reserved", c_uint64 * 6),
    ]


class Detail(Structure):
    _fields_ = [("status", c_int32), ("reserved", c_int32), ("index", c_int64), ("value", c_double),
                ("argument", c_char * 32), ("message", c_char * 160)]


class GradientCheck(Structure):
    _fields_ = [("index", c_size_t), ("analytic", c_double), ("numeric", c_double), ("error", c_double)]


FUNCTION = ctypes.CFUNCTYPE(c_double, POINTER(c_double), c_void_p)
RETURNS = {
    "const char *": c_char_p, "double ": c_double, "uint32_t ": c_uint32, "int32_t ": c_int32, "surprisal_status ": c_int32,
}


def declared(header):
    """The functions of a header, with what they return."""
    text = re.sub(r"//.*", "", (INCLUDE / header).read_text())
    found = re.findall(r"SURPRISAL_API\s+(?:SURPRISAL_NODISCARD\s+)?([a-z0-9_ ]+?[ *])(surprisal_[a-z0-9_]+)\(", text)
    return {name: RETURNS[kind] for kind, name in found}


class Library:
    """Functions by their names without `surprisal_`; statuses are raised, and every function that was called is remembered."""

    def __init__(self, paths):
        libraries = [ctypes.CDLL(path) for path in paths]
        self.declared = {}
        for header, library in (("surprisal.h", libraries[0]), ("surprisal_tools.h", libraries[-1])):
            for name, returns in declared(header).items():
                function = getattr(library, name)
                function.restype = returns
                self.declared[name] = (function, returns)
        self.called = set()

    def __getattr__(self, name):
        name = "surprisal_" + name
        function, returns = self.declared[name]

        def call(*arguments):
            self.called.add(name)
            if returns is not c_int32 or not name_has_detail(name):
                return function(*arguments)
            detail = Detail()
            status = function(*arguments, byref(detail))
            assert status == detail.status
            if status != 0:
                raise Refused(status, detail)
            return None

        return call


class Refused(Exception):
    def __init__(self, status, detail):
        super().__init__(detail.message.decode())
        self.status, self.argument, self.index = status, detail.argument.decode(), detail.index


def name_has_detail(name):
    """Functions with a status take a detail last, except those that fill a struct of a size and those that return a number."""
    without = {"surprisal_objective_scope", "surprisal_enum_value"}
    versioned = ("loss", "batch", "logits", "logits_mut", "outputs", "workspace", "gemm", "matrix", "matrix_mut", "linear_layer", "linear_gradients")
    return name not in without and name not in {f"surprisal_{struct}_init" for struct in versioned}


def close(actual, expected, within=1e-6):
    assert abs(actual - expected) <= within, (actual, expected)


def refused(status, argument, call):
    try:
        call()
    except Refused as error:
        assert (error.status, error.argument) == (status, argument), (error.status, error.argument)
    else:
        raise AssertionError(f"not refused: {argument}")


def new(library, kind, name):
    """A struct with its initial values; the library refuses any other size than its own."""
    struct = kind()
    assert getattr(library, f"{name}_init")(byref(struct), c_size_t(sizeof(struct))) == 0, name
    return struct


def floats(values):
    return (c_float * len(values))(*values)


def log_softmax(row):
    lse = max(row) + math.log(sum(math.exp(z - max(row)) for z in row))
    return [z - lse for z in row]


class World:
    def __init__(self, library):
        self.library = library
        self.z = [[2.0 * math.sin(3 * row + column) for column in range(VOCAB)] for row in range(ROWS)]
        self.data = floats([z for row in self.z for z in row])
        self.dlogits = floats([0.0] * (ROWS * VOCAB))
        self.ids = [1, -100, 4, 0]
        self.targets = (c_int32 * ROWS)(*self.ids)
        self.offsets = (c_int32 * 3)(0, 2, ROWS)
        self.batch = new(library, Batch, "batch")
        self.batch.rows, self.batch.targets_i32 = ROWS, self.targets
        self.batch.sequence_count, self.batch.cu_seqlens_i32 = 2, self.offsets
        self.loss = new(library, Loss, "loss")
        self.logits = self.matrix("logits", self.data)
        self.result = self.matrix("logits_mut", self.dlogits)
        log_probs = [log_softmax(row)[target] for row, target in zip(self.z, self.ids) if target >= 0]
        self.nll = [-log_prob for log_prob in log_probs]
        self.mean = sum(self.nll) / len(self.nll)

    def matrix(self, name, data, dtype="f32"):
        matrix = new(self.library, Matrix, name)
        matrix.data, matrix.rows, matrix.vocab = ctypes.cast(data, c_void_p), ROWS, VOCAB
        matrix.dtype = self.library.enum_value(b"dtype", dtype.encode())
        return matrix

    def rows(self, matrix, begin, end):
        """What surprisal_logits_rows does."""
        part = Matrix.from_buffer_copy(matrix)
        part.data, part.rows = matrix.data + 4 * VOCAB * begin, end - begin
        part.row_start, part.rows_total = begin, ROWS
        return part


def names(library):
    assert library.version() == 1000000 * 0 + 1000 * int(library.version_string().split(b".")[1]) + int(library.version_string().split(b".")[2])
    assert library.abi_version() == 1 and library.simd_level()
    assert library.status_string(c_int32(-8)) == b"a target is outside the vocabulary"
    objectives = iter(range(100))
    known = []
    while (name := library.enum_name(b"objective", c_int32(next(objectives)))) is not None:
        known.append(name.decode())
    assert len(known) == 24 and known[1] == "dft"
    assert library.enum_value(b"objective", b"TALR_Auto") == known.index("talr-auto")
    assert library.objective_scope(c_int32(known.index("talr-auto"))) == library.enum_value(b"scope", b"group")


def simple(library, w):
    loss = c_double()
    library.simple_f32(c_int32(0), w.data, w.targets, c_size_t(ROWS), c_size_t(VOCAB), w.dlogits, byref(loss))
    close(loss.value, w.mean)
    for row, target in enumerate(w.ids):
        gradient = w.dlogits[row * VOCAB:(row + 1) * VOCAB]
        p = [math.exp(log_prob) for log_prob in log_softmax(w.z[row])]
        expected = [(p[j] - (j == target)) / 3 if target >= 0 else 0.0 for j in range(VOCAB)]
        for actual, entry in zip(gradient, expected):
            close(actual, entry)


def full(library, w):
    report, whole = Report(), Report()
    losses, weights, argmax = floats([0.0] * ROWS), floats([0.0] * ROWS), (c_uint32 * ROWS)()
    outputs = new(library, Outputs, "outputs")
    outputs.losses, outputs.weights, outputs.argmax = losses, weights, argmax
    library.loss_set_choice(byref(w.loss), b"objective", b"talr")
    library.loss_set(byref(w.loss), b"tau", c_double(2.0))
    library.loss_set(byref(w.loss), b"floor", c_double(0.0))
    refused(-6, "gamma", lambda: library.loss_set(byref(w.loss), b"gamma", c_double(1.0)))
    library.forward_backward(byref(w.loss), byref(w.batch), byref(w.logits), byref(w.result), byref(outputs), None, byref(whole))
    expected = [math.exp(-nll / 2) * nll for nll in w.nll]
    close(whole.loss, sum(expected) / 3)
    close(losses[2], expected[1])
    close(weights[2], math.exp(-w.nll[1] / 2))
    assert argmax[1] == 0xFFFFFFFF and argmax[0] == w.z[0].index(max(w.z[0]))
    gradient = list(w.dlogits)

    # By ranges, with the denominator of the whole batch.
    denominator = Denominator()
    library.loss_denominator(byref(w.loss), byref(w.batch), c_size_t(VOCAB), None, byref(denominator))
    w.batch.denominator = ctypes.pointer(denominator)
    total = Report()
    library.report_init(byref(total))
    for begin, end in ((0, 1), (1, ROWS)):
        part, out = w.rows(w.logits, begin, end), w.rows(w.result, begin, end)
        library.forward_backward(byref(w.loss), byref(w.batch), byref(part), byref(out), None, None, byref(report))
        library.report_merge(byref(total), byref(report))
    assert list(w.dlogits) == gradient and total.tokens == 3 and total.invalid_row == -1
    close(total.loss, whole.loss, 1e-12)
    w.batch.denominator = None
    close(library.report_mean_nll(byref(total)), w.mean)
    close(library.report_perplexity(byref(total)), math.exp(w.mean))
    close(library.report_bits_per_token(byref(total)), w.mean / math.log(2))
    close(library.report_accuracy(byref(total)), total.correct / 3)
    w.targets[3] = VOCAB
    refused(-8, "targets", lambda: library.forward(byref(w.loss), byref(w.batch), byref(w.logits), None, None, byref(report)))
    w.targets[3] = w.ids[3]


def staged(library, w):
    """An objective of group scope: in one call with a workspace, and in stages over two shards of the vocabulary."""
    library.loss_set_choice(byref(w.loss), b"objective", b"talr-auto")
    size, whole, report = c_size_t(), Report(), Report()
    library.workspace_size(byref(w.loss), c_size_t(ROWS), c_size_t(VOCAB), byref(size))
    memory = (c_uint64 * (size.value // 8))()
    workspace = new(library, Workspace, "workspace")
    workspace.data, workspace.size = ctypes.cast(memory, c_void_p), size.value
    library.forward(byref(w.loss), byref(w.batch), byref(w.logits), None, byref(workspace), byref(whole))
    library.forward_backward(byref(w.loss), byref(w.batch), byref(w.logits), byref(w.result), None, byref(workspace), byref(report))
    gradient = list(w.dlogits)
    assert whole.tau > 0 and whole.loss == report.loss

    w.loss.moments = 1
    merged, part, terms = (Stats * ROWS)(), (Stats * ROWS)(), (Term * ROWS)()
    library.stats_init(merged, c_size_t(ROWS))
    assert merged[0].max == MAX
    for start, width in ((0, 2), (2, 3)):
        shard = Matrix.from_buffer_copy(w.logits)
        shard.data, shard.vocab, shard.row_stride = w.logits.data + 4 * start, width, VOCAB
        shard.vocab_start, shard.vocab_total = start, VOCAB
        library.row_stats(byref(w.loss), byref(w.batch), byref(shard), part)
        library.stats_merge(part, merged, c_size_t(ROWS))
    library.token_terms(byref(w.loss), byref(w.batch), c_size_t(VOCAB), c_size_t(0), c_size_t(ROWS), merged, terms, byref(workspace), byref(report))
    close(report.loss, whole.loss)
    library.logits_grad(byref(w.loss), byref(w.batch), byref(w.logits), merged, terms, byref(w.result))
    for actual, expected in zip(w.dlogits, gradient):
        close(actual, expected)
    w.loss.moments = 0

    p = [math.exp(log_prob) for log_prob in log_softmax(w.z[0])]
    close(library.stats_nll(byref(merged)), w.nll[0])
    close(library.stats_miss(byref(merged)), 1 - p[1])
    close(library.stats_log_sum_exp(byref(merged)), w.z[0][1] + w.nll[0])
    close(library.stats_entropy(byref(merged)), -sum(q * math.log(q) for q in p))
    close(library.stats_sum_squares(byref(merged)), sum(q * q for q in p))
    largest = (c_double * 1)(merged[0].max + 1)
    library.stats_rebase(merged, largest, c_size_t(1))
    close(library.stats_nll(byref(merged)), w.nll[0])


def softmax(library, w):
    out, batch_wide = w.matrix("logits_mut", w.dlogits), floats([0.0] * ROWS)
    library.log_softmax(byref(w.logits), byref(out))
    close(w.dlogits[VOCAB + 2], log_softmax(w.z[1])[2])
    library.log_sum_exp(byref(w.logits), batch_wide)
    close(batch_wide[0], w.z[0][1] + w.nll[0])
    library.entropy(byref(w.logits), batch_wide)
    assert 0 < batch_wide[0] < math.log(VOCAB)
    library.token_log_probs(byref(w.batch), byref(w.logits), batch_wide)
    close(batch_wide[2], -w.nll[1])
    bins, figure = (c_uint64 * 2)(), c_double()
    library.histogram(byref(w.batch), batch_wide, bins, c_size_t(2))
    assert sum(bins) == 3
    library.hard_token_share(byref(w.batch), batch_wide, c_double(1.0), byref(figure))
    close(figure.value, 1.0)
    ones = floats([1.0] * ROWS)
    library.effective_sample_size(byref(w.batch), ones, byref(figure))
    close(figure.value, 3.0)
    library.second_moment(byref(w.batch), ones, byref(figure))
    close(figure.value, 1.0)


def linear(library, w):
    """An output layer whose hidden states are the logits and whose weights are the identity: the same loss, and dH is the gradient."""
    def product(_, m, n, k, a, a_rows, a_cols, b, b_rows, b_cols, beta, c, c_rows, c_cols):
        for i in range(m):
            for j in range(n):
                total = sum(a[i * a_rows + l * a_cols] * b[l * b_rows + j * b_cols] for l in range(k))
                c[i * c_rows + j * c_cols] = total + (c[i * c_rows + j * c_cols] if beta else 0.0)

    def parallel(_, tasks, task, work):
        for index in range(tasks):
            task(work, index)

    def operand(name, data, rows):
        matrix = new(library, Operand, name)
        matrix.data, matrix.rows, matrix.cols = ctypes.cast(data, c_void_p), rows, VOCAB
        return matrix

    library.loss_set_choice(byref(w.loss), b"objective", b"dft")
    library.forward_backward(byref(w.loss), byref(w.batch), byref(w.logits), byref(w.result), None, None, byref(Report()))
    gradient, report = list(w.dlogits), Report()
    gemm, layer, gradients = new(library, Gemm, "gemm"), new(library, Layer, "linear_layer"), new(library, Gradients, "linear_gradients")
    gemm.product, gemm.parallel = PRODUCT(product), PARALLEL(parallel)
    identity = floats([float(i == j) for i in range(VOCAB) for j in range(VOCAB)])
    dhidden, dweight = floats([0.0] * (ROWS * VOCAB)), floats([0.0] * (VOCAB * VOCAB))
    hidden, weight = operand("matrix", w.data, ROWS), operand("matrix", identity, VOCAB)
    layer.weight, layer.gemm = ctypes.pointer(weight), ctypes.pointer(gemm)
    gradients.hidden = ctypes.pointer(operand("matrix_mut", dhidden, ROWS))
    gradients.weight = ctypes.pointer(operand("matrix_mut", dweight, VOCAB))
    size = c_size_t()
    library.linear_workspace_size(byref(w.loss), byref(layer), c_size_t(ROWS), c_size_t(0), byref(size))
    memory = (c_uint64 * (size.value // 8))()
    workspace = new(library, Workspace, "workspace")
    workspace.data, workspace.size = ctypes.cast(memory, c_void_p), size.value
    library.linear_forward_backward(byref(w.loss), byref(layer), byref(w.batch), byref(hidden), byref(gradients), None, byref(workspace), byref(report))
    expected = [math.exp(-nll) * nll for nll in w.nll]
    close(report.loss, sum(expected) / 3)
    for actual, entry in zip(dhidden, gradient):
        close(actual, entry)
    close(dweight[1], sum(gradient[row * VOCAB] * w.z[row][1] for row in range(ROWS)))

    stats, terms, once = (Stats * ROWS)(), (Term * ROWS)(), list(dhidden)
    library.linear_row_stats(byref(w.loss), byref(layer), byref(w.batch), byref(hidden), stats, byref(workspace))
    library.token_terms(byref(w.loss), byref(w.batch), c_size_t(VOCAB), c_size_t(0), c_size_t(ROWS), stats, terms, None, byref(report))
    library.linear_backward(byref(w.loss), byref(layer), byref(w.batch), byref(hidden), stats, terms, byref(gradients), byref(workspace))
    for actual, entry in zip(dhidden, once):
        close(actual, entry)


def tools(library, w):
    wide = (c_double * (ROWS * VOCAB))(*[z for row in w.z for z in row])
    dwide, report, value = (c_double * (ROWS * VOCAB))(), Report(), c_double()
    library.loss_set_choice(byref(w.loss), b"objective", b"sft")
    library.reference_forward_backward(byref(w.loss), byref(w.batch), wide, c_size_t(VOCAB), dwide, byref(report))
    close(report.loss, w.mean, 1e-12)
    library.reference_surrogate(byref(w.loss), byref(w.batch), wide, wide, c_size_t(VOCAB), byref(value))
    close(value.value, w.mean, 1e-12)

    def loss_at(x, _):
        library.reference_surrogate(byref(w.loss), byref(w.batch), x, x, c_size_t(VOCAB), byref(value))
        return value.value

    worst = GradientCheck()
    library.check_gradient(FUNCTION(loss_at), None, wide, dwide, c_size_t(ROWS * VOCAB), c_double(1e-3), byref(worst))
    assert worst.error < 1e-9, worst.error

    theta, start, gradient, out = floats([1.0, 2.0]), floats([0.0, 2.0]), floats([0.0, 0.0]), floats([0.0, 0.0])
    library.l2_to_initial(theta, start, c_size_t(2), c_double(0.5), c_double(1.0), gradient, byref(value))
    assert value.value == 0.5 and list(gradient) == [1.0, 0.0]
    library.wise_ft(theta, start, c_size_t(2), c_double(0.5), out)
    assert list(out) == [0.5, 2.0]
    a, b, weights, da, db = floats([2.0]), floats([3.0]), floats([1.0]), floats([0.0]), floats([0.0])
    one = c_size_t(1)
    library.lora_merge(one, one, one, c_double(1.0), a, b, weights)
    library.lora_gradients(one, one, one, c_double(1.0), weights, a, b, da, db)
    assert weights[0] == 7.0 and da[0] == 21.0 and db[0] == 14.0


def main():
    library = Library(sys.argv[1:])
    w = World(library)
    names(library)
    for part in (simple, full, staged, linear, softmax, tools):
        part(library, w)
    missing = set(library.declared) - library.called
    assert not missing, f"never called: {sorted(missing)}"
    print(f"whole_api: {len(library.called)} functions")


main()
