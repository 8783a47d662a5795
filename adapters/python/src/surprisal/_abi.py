"""The C interface, as ctypes sees it. Generated from the headers; do not edit: python3 adapters/python/generate.py

Arrays are addresses (c_void_p); what points to one struct is typed.
"""

from ctypes import CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from enum import IntEnum

ABI_VERSION = 1
IGNORE_INDEX = -100


class Status(IntEnum):
    OK = 0
    MISSING = -1
    MISALIGNED = -2
    OVERLAP = -3
    EXTENT = -4
    SHAPE = -5
    OPTION = -6
    STRUCT_SIZE = -7
    TARGET = -8
    VALUE = -9
    SEQUENCES = -10
    PAIR = -11
    NEEDS_WHOLE = -12
    NO_DEVICE = -13
    DEVICE = -14
    DEVICE_LIMIT = -15
    UNKNOWN = -100


class Dtype(IntEnum):
    F32 = 0
    F16 = 1
    BF16 = 30


class Padding(IntEnum):
    KEEP = 0
    ZERO = 1


class Objective(IntEnum):
    SFT = 0
    DFT = 1
    TALR = 2
    FOCAL = 3
    FOCAL_DETACHED = 4
    POWER = 5
    INFOSFT = 6
    IW_TOKEN = 7
    PSFT = 8
    PPO = 9
    GRPO = 10
    DAPO = 11
    CISPO = 12
    TALR_AUTO = 13
    IW_SEQUENCE = 14
    FLOW = 15
    DFT_SEQUENCE = 16
    GSPO = 17
    DPO = 18
    RFT = 19
    RHO1 = 20
    SFT_GO = 21
    EAFT = 22
    DEFT = 23


class Scope(IntEnum):
    TOKEN = 0
    GROUP = 1


class Reduction(IntEnum):
    DEFAULT = 0
    MEAN_TOKENS = 1
    SUM = 2
    MEAN_SEQUENCES = 3
    MEAN_WEIGHTS = 4
    MEAN_PAIRS = 5
    BY = 6


class ExtrasScale(IntEnum):
    ONE = 0
    OBJECTIVE = 1


class Kl(IntEnum):
    K1 = 1
    K2 = 2
    K3 = 3
    K3_CORRECTED = 4
    K3_CLAMPED = 5


class TauFrom(IntEnum):
    SEQUENCE_MEDIAN = 1
    TOKEN_MEDIAN = 2
    SEQUENCE_MEDIAN_WITH_EMPTY = 3


class Normalize(IntEnum):
    NONE = 1
    SUM1_SEQUENCE = 2
    SUM1_BATCH = 3
    MEAN1_BATCH = 4


class Probability(IntEnum):
    GEOMETRIC_MEAN = 1
    PRODUCT = 2


class ErrorDetail(Structure):
    _fields_ = [
        ("status", c_int32),
        ("reserved", c_int32),
        ("index", c_int64),
        ("value", c_double),
        ("argument", c_char * 32),
        ("message", c_char * 160),
    ]


class Parameter(Structure):
    _fields_ = [
        ("value", c_double),
        ("id", c_int32),
        ("reserved", c_int32),
    ]


class Loss(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("class_weights", c_void_p),
        ("reduction_by", c_double),
        ("objective", c_int32),
        ("reduction", c_int32),
        ("extras_scale", c_int32),
        ("moments", c_int32),
        ("label_smoothing", c_float),
        ("z_loss", c_float),
        ("logit_scale", c_float),
        ("softcap", c_float),
        ("grad_scale", c_float),
        ("reserved", c_int32),
        ("parameters", Parameter * 8),
    ]


class Pair(Structure):
    _fields_ = [
        ("chosen", c_size_t),
        ("rejected", c_size_t),
    ]


class Denominator(Structure):
    _fields_ = [
        ("value", c_double),
        ("sequence_tokens", c_void_p),
        ("sequence_count", c_size_t),
        ("reduction", c_int32),
        ("reserved", c_uint32 * 7),
    ]


class Batch(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("rows", c_size_t),
        ("targets_i32", c_void_p),
        ("targets_i64", c_void_p),
        ("ignore_index", c_int64),
        ("token_weights", c_void_p),
        ("ref_log_probs", c_void_p),
        ("old_log_probs", c_void_p),
        ("advantages", c_void_p),
        ("groups", c_void_p),
        ("sequence_count", c_size_t),
        ("cu_seqlens_i32", c_void_p),
        ("cu_seqlens_i64", c_void_p),
        ("pairs", c_void_p),
        ("pair_count", c_size_t),
        ("keep", c_void_p),
        ("denominator", POINTER(Denominator)),
    ]


class Logits(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("data", c_void_p),
        ("rows", c_size_t),
        ("vocab", c_size_t),
        ("row_stride", c_size_t),
        ("row_start", c_size_t),
        ("rows_total", c_size_t),
        ("vocab_start", c_size_t),
        ("vocab_total", c_size_t),
        ("dtype", c_int32),
        ("reserved", c_int32),
    ]


class LogitsMut(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("data", c_void_p),
        ("rows", c_size_t),
        ("vocab", c_size_t),
        ("row_stride", c_size_t),
        ("row_start", c_size_t),
        ("rows_total", c_size_t),
        ("vocab_start", c_size_t),
        ("vocab_total", c_size_t),
        ("dtype", c_int32),
        ("padding", c_int32),
    ]


class Stats(Structure):
    _fields_ = [
        ("max", c_double),
        ("others", c_double),
        ("target_logit", c_double),
        ("sum_logits", c_double),
        ("sum_exp_logits", c_double),
        ("sum_exp_squared", c_double),
    ]


class Term(Structure):
    _fields_ = [
        ("loss", c_double),
        ("coef", c_double),
        ("dense", c_double),
    ]


class Outputs(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("stats", c_void_p),
        ("terms", c_void_p),
        ("losses", c_void_p),
        ("nll", c_void_p),
        ("log_probs", c_void_p),
        ("entropy", c_void_p),
        ("weights", c_void_p),
        ("argmax", c_void_p),
        ("correct", c_void_p),
    ]


class Workspace(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("data", c_void_p),
        ("size", c_size_t),
    ]


class Report(Structure):
    _fields_ = [
        ("tokens", c_size_t),
        ("correct", c_size_t),
        ("loss", c_double),
        ("loss_sum", c_double),
        ("nll_sum", c_double),
        ("weight_sum", c_double),
        ("invalid_row", c_int64),
        ("tau", c_double),
        ("reserved", c_uint64 * 6),
    ]


class Gemm(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("context", c_void_p),
        ("product", CFUNCTYPE(None, c_void_p, c_size_t, c_size_t, c_size_t, c_void_p, c_size_t, c_size_t, c_void_p, c_size_t, c_size_t, c_float, c_void_p, c_size_t, c_size_t)),
        ("parallel", CFUNCTYPE(None, c_void_p, c_size_t, c_void_p, c_void_p)),
    ]


class Matrix(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("data", c_void_p),
        ("rows", c_size_t),
        ("cols", c_size_t),
        ("row_stride", c_size_t),
        ("col_stride", c_size_t),
        ("row_start", c_size_t),
        ("rows_total", c_size_t),
        ("dtype", c_int32),
        ("reserved", c_int32),
    ]


class MatrixMut(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("data", c_void_p),
        ("rows", c_size_t),
        ("cols", c_size_t),
        ("row_stride", c_size_t),
        ("col_stride", c_size_t),
        ("row_start", c_size_t),
        ("rows_total", c_size_t),
        ("dtype", c_int32),
        ("reserved", c_int32),
    ]


class LinearLayer(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("weight", POINTER(Matrix)),
        ("bias", c_void_p),
        ("gemm", POINTER(Gemm)),
    ]


class LinearGradients(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("hidden", POINTER(MatrixMut)),
        ("weight", POINTER(MatrixMut)),
        ("bias", c_void_p),
    ]


Function = CFUNCTYPE(c_double, c_void_p, c_void_p)


class GradientCheck(Structure):
    _fields_ = [
        ("index", c_size_t),
        ("analytic", c_double),
        ("numeric", c_double),
        ("error", c_double),
    ]


# What each function returns and takes.
FUNCTIONS = {
    "surprisal_version": (c_uint32, []),
    "surprisal_version_string": (c_char_p, []),
    "surprisal_abi_version": (c_uint32, []),
    "surprisal_status_string": (c_char_p, [c_int32]),
    "surprisal_objective_scope": (c_int32, [c_int32]),
    "surprisal_enum_name": (c_char_p, [c_char_p, c_int32]),
    "surprisal_enum_value": (c_int32, [c_char_p, c_char_p]),
    "surprisal_simple_f32": (c_int32, [c_int32, c_void_p, c_void_p, c_size_t, c_size_t, c_void_p, c_void_p, POINTER(ErrorDetail)]),
    "surprisal_loss_init": (c_int32, [POINTER(Loss), c_size_t]),
    "surprisal_loss_set": (c_int32, [POINTER(Loss), c_char_p, c_double, POINTER(ErrorDetail)]),
    "surprisal_loss_set_choice": (c_int32, [POINTER(Loss), c_char_p, c_char_p, POINTER(ErrorDetail)]),
    "surprisal_batch_init": (c_int32, [POINTER(Batch), c_size_t]),
    "surprisal_loss_denominator": (c_int32, [POINTER(Loss), POINTER(Batch), c_size_t, c_void_p, POINTER(Denominator), POINTER(ErrorDetail)]),
    "surprisal_logits_init": (c_int32, [POINTER(Logits), c_size_t]),
    "surprisal_logits_mut_init": (c_int32, [POINTER(LogitsMut), c_size_t]),
    "surprisal_outputs_init": (c_int32, [POINTER(Outputs), c_size_t]),
    "surprisal_workspace_init": (c_int32, [POINTER(Workspace), c_size_t]),
    "surprisal_workspace_size": (c_int32, [POINTER(Loss), c_size_t, c_size_t, c_void_p, POINTER(ErrorDetail)]),
    "surprisal_report_init": (c_int32, [POINTER(Report), POINTER(ErrorDetail)]),
    "surprisal_report_merge": (c_int32, [POINTER(Report), POINTER(Report), POINTER(ErrorDetail)]),
    "surprisal_report_mean_nll": (c_double, [POINTER(Report)]),
    "surprisal_report_perplexity": (c_double, [POINTER(Report)]),
    "surprisal_report_bits_per_token": (c_double, [POINTER(Report)]),
    "surprisal_report_accuracy": (c_double, [POINTER(Report)]),
    "surprisal_forward": (c_int32, [POINTER(Loss), POINTER(Batch), POINTER(Logits), POINTER(Outputs), POINTER(Workspace), POINTER(Report), POINTER(ErrorDetail)]),
    "surprisal_forward_backward": (c_int32, [POINTER(Loss), POINTER(Batch), POINTER(Logits), POINTER(LogitsMut), POINTER(Outputs), POINTER(Workspace), POINTER(Report), POINTER(ErrorDetail)]),
    "surprisal_stats_init": (c_int32, [c_void_p, c_size_t, POINTER(ErrorDetail)]),
    "surprisal_stats_merge": (c_int32, [c_void_p, c_void_p, c_size_t, POINTER(ErrorDetail)]),
    "surprisal_stats_rebase": (c_int32, [c_void_p, c_void_p, c_size_t, POINTER(ErrorDetail)]),
    "surprisal_stats_nll": (c_double, [c_void_p]),
    "surprisal_stats_miss": (c_double, [c_void_p]),
    "surprisal_stats_log_sum_exp": (c_double, [c_void_p]),
    "surprisal_stats_entropy": (c_double, [c_void_p]),
    "surprisal_stats_sum_squares": (c_double, [c_void_p]),
    "surprisal_row_stats": (c_int32, [POINTER(Loss), POINTER(Batch), POINTER(Logits), c_void_p, POINTER(ErrorDetail)]),
    "surprisal_token_terms": (c_int32, [POINTER(Loss), POINTER(Batch), c_size_t, c_size_t, c_size_t, c_void_p, c_void_p, POINTER(Workspace), POINTER(Report), POINTER(ErrorDetail)]),
    "surprisal_logits_grad": (c_int32, [POINTER(Loss), POINTER(Batch), POINTER(Logits), c_void_p, c_void_p, POINTER(LogitsMut), POINTER(ErrorDetail)]),
    "surprisal_log_softmax": (c_int32, [POINTER(Logits), POINTER(LogitsMut), POINTER(ErrorDetail)]),
    "surprisal_log_sum_exp": (c_int32, [POINTER(Logits), c_void_p, POINTER(ErrorDetail)]),
    "surprisal_entropy": (c_int32, [POINTER(Logits), c_void_p, POINTER(ErrorDetail)]),
    "surprisal_token_log_probs": (c_int32, [POINTER(Batch), POINTER(Logits), c_void_p, POINTER(ErrorDetail)]),
    "surprisal_gemm_init": (c_int32, [POINTER(Gemm), c_size_t]),
    "surprisal_matrix_init": (c_int32, [POINTER(Matrix), c_size_t]),
    "surprisal_matrix_mut_init": (c_int32, [POINTER(MatrixMut), c_size_t]),
    "surprisal_linear_layer_init": (c_int32, [POINTER(LinearLayer), c_size_t]),
    "surprisal_linear_gradients_init": (c_int32, [POINTER(LinearGradients), c_size_t]),
    "surprisal_linear_workspace_size": (c_int32, [POINTER(Loss), POINTER(LinearLayer), c_size_t, c_size_t, c_void_p, POINTER(ErrorDetail)]),
    "surprisal_linear_forward_backward": (c_int32, [POINTER(Loss), POINTER(LinearLayer), POINTER(Batch), POINTER(Matrix), POINTER(LinearGradients), POINTER(Outputs), POINTER(Workspace), POINTER(Report), POINTER(ErrorDetail)]),
    "surprisal_linear_row_stats": (c_int32, [POINTER(Loss), POINTER(LinearLayer), POINTER(Batch), POINTER(Matrix), c_void_p, POINTER(Workspace), POINTER(ErrorDetail)]),
    "surprisal_linear_backward": (c_int32, [POINTER(Loss), POINTER(LinearLayer), POINTER(Batch), POINTER(Matrix), c_void_p, c_void_p, POINTER(LinearGradients), POINTER(Workspace), POINTER(ErrorDetail)]),
    "surprisal_histogram": (c_int32, [POINTER(Batch), c_void_p, c_void_p, c_size_t, POINTER(ErrorDetail)]),
    "surprisal_hard_token_share": (c_int32, [POINTER(Batch), c_void_p, c_double, c_void_p, POINTER(ErrorDetail)]),
    "surprisal_effective_sample_size": (c_int32, [POINTER(Batch), c_void_p, c_void_p, POINTER(ErrorDetail)]),
    "surprisal_second_moment": (c_int32, [POINTER(Batch), c_void_p, c_void_p, POINTER(ErrorDetail)]),
    "surprisal_simd_level": (c_char_p, []),
}


# What each function returns and takes.
TOOLS = {
    "surprisal_l2_to_initial": (c_int32, [c_void_p, c_void_p, c_size_t, c_double, c_double, c_void_p, c_void_p, POINTER(ErrorDetail)]),
    "surprisal_wise_ft": (c_int32, [c_void_p, c_void_p, c_size_t, c_double, c_void_p, POINTER(ErrorDetail)]),
    "surprisal_lora_merge": (c_int32, [c_size_t, c_size_t, c_size_t, c_double, c_void_p, c_void_p, c_void_p, POINTER(ErrorDetail)]),
    "surprisal_lora_gradients": (c_int32, [c_size_t, c_size_t, c_size_t, c_double, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(ErrorDetail)]),
    "surprisal_reference_forward_backward": (c_int32, [POINTER(Loss), POINTER(Batch), c_void_p, c_size_t, c_void_p, POINTER(Report), POINTER(ErrorDetail)]),
    "surprisal_reference_surrogate": (c_int32, [POINTER(Loss), POINTER(Batch), c_void_p, c_void_p, c_size_t, c_void_p, POINTER(ErrorDetail)]),
    "surprisal_check_gradient": (c_int32, [Function, c_void_p, c_void_p, c_void_p, c_size_t, c_double, POINTER(GradientCheck), POINTER(ErrorDetail)]),
}
