/*
 * surprisal for C++17: a thin layer over surprisal.h, where everything is documented. Nothing is allocated, nothing owns.
 *
 *     surprisal::Loss loss(SURPRISAL_OBJECTIVE_DFT);                      // loss.set("tau", 0.5) for an objective that has a tau
 *     surprisal::Batch batch(targets);                                    // std::vector<int32_t>, or anything with data() and size()
 *     auto report = surprisal::forward_backward(loss, batch, {z.data(), rows, vocab}, {dz.data(), rows, vocab});
 *     if (!report) std::puts(report.error().message());                   // without exceptions
 *     std::printf("%f\n", report.value().loss);                           // value() throws surprisal::Exception instead
 *
 * What the layer adds: lengths are checked (arrays are spans), element types come from pointer types, and a call returns its result or its error.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef SURPRISAL_HPP
#define SURPRISAL_HPP

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "surprisal.h"

#if defined(__cpp_exceptions)
#include <exception>
#endif

namespace surprisal {

/// Elements in bfloat16 and IEEE binary16, by their bits.
struct bf16 {
    std::uint16_t bits;
};
struct f16 {
    std::uint16_t bits;
};
static_assert(sizeof(bf16) == 2 && sizeof(f16) == 2, "16-bit elements are their bits");

using Stats = surprisal_stats;
using Term = surprisal_term;
using Pair = surprisal_pair;

template <class T>
class Span;

namespace detail {

template <class T>
inline constexpr bool is_span = false;
template <class T>
inline constexpr bool is_span<Span<T>> = true;

template <class C>
using bare = std::remove_cv_t<std::remove_reference_t<C>>;

template <class C>
using data_of = decltype(std::declval<C &>().data());

/// Elements of anything that has data() and size(); void of what has not.
template <class C, class = void>
struct element {
    using type = void;
};
template <class C>
struct element<C, std::void_t<data_of<C>, decltype(static_cast<std::size_t>(std::declval<C &>().size()))>> {
    using type = std::remove_pointer_t<data_of<C>>;
};
template <class C>
using element_of = typename element<std::remove_reference_t<C>>::type;

/// Views, as std::span, have the same elements whether they are constant or not; what owns its elements has not.
template <class C>
constexpr bool is_view()
{
    if constexpr (std::is_void_v<element_of<C>>) {
        return false;
    } else {
        return std::is_same_v<element_of<bare<C>>, element_of<const bare<C>>> && std::is_trivially_copyable_v<bare<C>>;
    }
}

/// Whether the elements of a C&& live on when it does not: those of a temporary that owns them would not.
template <class C>
inline constexpr bool lives_on = std::is_lvalue_reference_v<C> || is_view<C>();

/// Copies a text, as far as there is room, and a NUL; returns where it ends.
inline std::size_t copy_text(char *to, std::size_t room, const char *from)
{
    std::size_t used = 0;
    for (; used + 1 < room && from[used] != '\0'; used++) {
        to[used] = from[used];
    }
    to[used] = '\0';
    return used;
}

} // namespace detail

/// A run of elements in the caller's memory.
template <class T>
class Span {
public:
    constexpr Span() = default;
    constexpr Span(T *data, std::size_t size) : data_(data), size_(size), given_(true) {}
    template <std::size_t N>
    constexpr Span(T (&array)[N]) : Span(array, N) {}
    /// Of elements to write as elements to read.
    template <class U, class = std::enable_if_t<std::is_same_v<const U, T>>>
    constexpr Span(const Span<U> &other) : data_(other.data()), size_(other.size()), given_(other.given())
    {
    }
    /// Of anything that lives on and has data() and size(): std::vector, std::array, std::span.
    template <class C, class = std::enable_if_t<detail::lives_on<C> && !detail::is_span<detail::bare<C>> &&
                                                std::is_convertible_v<detail::element_of<C> (*)[], T (*)[]>>>
    constexpr Span(C &&container) : Span(container.data(), static_cast<std::size_t>(container.size()))
    {
    }

    constexpr T *data() const { return data_; }
    constexpr std::size_t size() const { return size_; }
    /// Whether it was set at all, be it to nothing.
    constexpr bool given() const { return given_; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
    bool given_ = false;
};

/// What is wrong with a call.
class Error {
public:
    Error() = default;
    explicit Error(const surprisal_error_detail &detail) : detail_(detail) {}

    surprisal_status status() const { return detail_.status; }
    /// The argument or option, by its name in surprisal.h.
    const char *argument() const { return detail_.argument; }
    /// What is wrong with it, in English.
    const char *message() const { return detail_.message; }
    /// Row, entry or pair; -1 where there is none.
    std::int64_t index() const { return detail_.index; }
    /// What was found there; NaN where there is nothing.
    double value() const { return detail_.value; }

    /// An array of another length than it must have.
    static Error length(const char *argument, std::size_t actual)
    {
        Error error;
        error.detail_.status = SURPRISAL_ERROR_SHAPE;
        error.detail_.value = static_cast<double>(actual);
        detail::copy_text(error.detail_.argument, sizeof error.detail_.argument, argument);
        const std::size_t room = sizeof error.detail_.message;
        const std::size_t used = detail::copy_text(error.detail_.message, room, argument);
        detail::copy_text(error.detail_.message + used, room - used, ": has another length than the batch asks for");
        return error;
    }

private:
    surprisal_error_detail detail_ = {SURPRISAL_OK, 0, -1, 0.0, {0}, {0}};
};

#if defined(__cpp_exceptions)
/// What `Result::value` throws.
class Exception : public std::exception {
public:
    explicit Exception(const Error &error) : error_(error) {}
    const char *what() const noexcept override { return error_.message(); }
    const Error &error() const noexcept { return error_; }

private:
    Error error_;
};
#endif

/// Nothing, as a value.
struct Unit {};

/// What a call gives, or its error.
template <class T>
class [[nodiscard]] Result {
public:
    Result(const T &value) : value_(value), ok_(true) {}
    Result(const Error &error) : error_(error) {}

    explicit operator bool() const { return ok_; }
    /// Only where there is no error; else a default value.
    const T &operator*() const & { return value_; }
    T operator*() && { return value_; }
    const T *operator->() const { return &value_; }
    /// OK where there is none.
    const Error &error() const & { return error_; }
    Error error() && { return error_; }
#if defined(__cpp_exceptions)
    /// The value; throws Exception where there is none. That of a temporary result is a copy, which lives on.
    const T &value() const &
    {
        check();
        return value_;
    }
    T value() &&
    {
        check();
        return value_;
    }
#endif

private:
#if defined(__cpp_exceptions)
    void check() const
    {
        if (!ok_) {
            throw Exception(error_);
        }
    }
#endif

    T value_{};
    Error error_{};
    bool ok_ = false;
};

/// What to compute: the fields of surprisal_loss.
struct Loss : surprisal_loss {
    explicit Loss(surprisal_objective which = SURPRISAL_OBJECTIVE_SFT) : surprisal_loss(SURPRISAL_LOSS_INIT)
    {
        objective = which;
    }

    /// The objective of a name, as "talr-auto".
    static Result<Loss> named(const char *name)
    {
        Loss loss;
        const Result<Unit> found = loss.choose("objective", name);
        return found ? Result<Loss>(loss) : Result<Loss>(found.error());
    }

    /// Sets a parameter of the objective, or an option that is a number: `loss.set("tau", 0.5)`.
    Result<Unit> set(const char *name, double value)
    {
        surprisal_error_detail detail;
        return surprisal_loss_set(this, name, value, &detail) == SURPRISAL_OK ? Result<Unit>(Unit()) : Error(detail);
    }

    /// Sets what has named values: `loss.choose("reduction", "sum")`.
    Result<Unit> choose(const char *name, const char *choice)
    {
        surprisal_error_detail detail;
        const surprisal_status status = surprisal_loss_set_choice(this, name, choice, &detail);
        return status == SURPRISAL_OK ? Result<Unit>(Unit()) : Error(detail);
    }
};

/// What a call computes besides gradients.
struct Report : surprisal_report {
    Report() : surprisal_report(SURPRISAL_REPORT_INIT) {}

    double mean_nll() const { return surprisal_report_mean_nll(this); }
    double perplexity() const { return surprisal_report_perplexity(this); }
    double bits_per_token() const { return surprisal_report_bits_per_token(this); }
    double accuracy() const { return surprisal_report_accuracy(this); }

    /// Adds the report of another range of rows of the same batch.
    Report &operator+=(Report other)
    {
        // Of two reports, which is what a copy makes of one, there is nothing that could fail.
        (void)!surprisal_report_merge(this, &other, nullptr);
        return *this;
    }
};

/// Logits to read: rows of a batch, classes of a vocabulary.
class Logits {
public:
    Logits(const float *data, std::size_t rows, std::size_t vocab) : c_(surprisal_logits_f32(data, rows, vocab)) {}
    Logits(const bf16 *data, std::size_t rows, std::size_t vocab)
        : c_(surprisal_logits_of(data, SURPRISAL_DTYPE_BF16, rows, vocab))
    {
    }
    Logits(const f16 *data, std::size_t rows, std::size_t vocab)
        : c_(surprisal_logits_of(data, SURPRISAL_DTYPE_F16, rows, vocab))
    {
    }
    explicit Logits(const surprisal_logits &c) : c_(c) {}

    /// Rows that start every `row_stride` elements.
    Logits strided(std::size_t row_stride) const
    {
        Logits copy = *this;
        copy.c_.row_stride = row_stride;
        return copy;
    }
    /// Rows `begin .. end`, which know their place in the batch.
    Logits rows(std::size_t begin, std::size_t end) const { return Logits(surprisal_logits_rows(c_, begin, end)); }
    /// The columns as classes of a larger vocabulary.
    Logits shard(std::size_t vocab_start, std::size_t vocab_total) const
    {
        return Logits(surprisal_logits_shard(c_, vocab_start, vocab_total));
    }
    /// Rows of the whole batch.
    std::size_t rows_total() const { return c_.rows_total == 0 ? c_.rows : c_.rows_total; }
    const surprisal_logits &c() const { return c_; }

private:
    surprisal_logits c_;
};

/// A matrix to write.
class LogitsMut {
public:
    LogitsMut(float *data, std::size_t rows, std::size_t vocab) : c_(surprisal_logits_mut_f32(data, rows, vocab)) {}
    LogitsMut(bf16 *data, std::size_t rows, std::size_t vocab)
        : c_(surprisal_logits_mut_of(data, SURPRISAL_DTYPE_BF16, rows, vocab))
    {
    }
    LogitsMut(f16 *data, std::size_t rows, std::size_t vocab)
        : c_(surprisal_logits_mut_of(data, SURPRISAL_DTYPE_F16, rows, vocab))
    {
    }
    explicit LogitsMut(const surprisal_logits_mut &c) : c_(c) {}

    LogitsMut strided(std::size_t row_stride) const
    {
        LogitsMut copy = *this;
        copy.c_.row_stride = row_stride;
        return copy;
    }
    LogitsMut rows(std::size_t begin, std::size_t end) const
    {
        return LogitsMut(surprisal_logits_mut_rows(c_, begin, end));
    }
    LogitsMut shard(std::size_t vocab_start, std::size_t vocab_total) const
    {
        return LogitsMut(surprisal_logits_mut_shard(c_, vocab_start, vocab_total));
    }
    /// Sets the columns past the vocabulary to zero, in every row that a call writes.
    LogitsMut zero_padding() const
    {
        LogitsMut copy = *this;
        copy.c_.padding = SURPRISAL_PADDING_ZERO;
        return copy;
    }
    const surprisal_logits_mut &c() const { return c_; }
    /// The same matrix to read: with it a call works in place.
    Logits read() const { return Logits(surprisal_logits_of_mut(c_)); }

private:
    surprisal_logits_mut c_;
};

/// Ids of either type: targets, or offsets of sequences.
class Ids {
    template <class T>
    static constexpr bool is_id =
        std::is_same_v<const T, const std::int32_t> || std::is_same_v<const T, const std::int64_t>;

public:
    Ids() = default;
    Ids(Span<const std::int32_t> ids) : narrow_(ids) {}
    Ids(Span<const std::int64_t> ids) : wide_(ids) {}
    template <class T, std::size_t N, class = std::enable_if_t<is_id<T>>>
    Ids(T (&array)[N]) : Ids(Span<const T>(array))
    {
    }
    template <class C, class = std::enable_if_t<detail::lives_on<C> && is_id<detail::element_of<C>>>>
    Ids(C &&container) : Ids(Span<const detail::element_of<C>>(container))
    {
    }

    bool given() const { return narrow_.given() || wide_.given(); }
    std::size_t size() const { return narrow_.given() ? narrow_.size() : wide_.size(); }
    const std::int32_t *narrow() const { return narrow_.data(); }
    const std::int64_t *wide() const { return wide_.data(); }

private:
    Span<const std::int32_t> narrow_;
    Span<const std::int64_t> wide_;
};

/// What the means of a loss divide by, for calls on ranges of a batch's rows. Filled by `denominator`.
struct Denominator : surprisal_denominator {
    Denominator() : surprisal_denominator() {}
};

/// Targets and side inputs of a batch, one entry a row unless said otherwise. What is not set is not given.
struct Batch {
    explicit Batch(Ids ids) : targets(ids) {}

    Ids targets;
    std::int64_t ignore_index = -100;
    Span<const float> token_weights;
    Span<const float> ref_log_probs;
    Span<const float> old_log_probs;
    Span<const float> advantages;
    Span<const std::uint32_t> groups;
    /// Cumulative offsets 0, ..., rows: one more than there are sequences.
    Ids cu_seqlens;
    Span<const Pair> pairs;
    /// One flag a sequence.
    Span<const std::uint8_t> keep;
    /// For calls on ranges of the rows where the reduction is a mean over tokens, weights or sequences.
    const Denominator *denominator = nullptr;

    std::size_t rows() const { return targets.size(); }
};

/// Per-row outputs; each has one entry for each row of the whole batch.
struct Outputs {
    Span<Stats> stats;
    Span<Term> terms;
    Span<float> losses;
    Span<float> nll;
    Span<float> log_probs;
    Span<float> entropy;
    Span<float> weights;
    Span<std::uint32_t> argmax;
    Span<std::uint8_t> correct;
};

/// Memory that a call may use: `workspace_size` bytes, at an address that is a multiple of 8. Calls at the same time need one each.
class Workspace {
public:
    Workspace() = default;
    Workspace(void *data, std::size_t size)
    {
        c_.data = data;
        c_.size = size;
    }
    /// Anything that has data() and size(), as std::vector<double>.
    template <class C, class T = detail::element_of<C>,
              class = std::enable_if_t<detail::lives_on<C> && !std::is_void_v<T> && !std::is_const_v<T>>>
    Workspace(C &&container) : Workspace(container.data(), container.size() * sizeof(T))
    {
    }

    const surprisal_workspace &c() const { return c_; }

private:
    surprisal_workspace c_ = SURPRISAL_WORKSPACE_INIT;
};

namespace detail {

/// One call of the C library: checks lengths on the way in, keeps the first error.
class Call {
public:
    explicit Call(std::size_t rows) : rows_(rows) {}

    /// The data of an array with one entry a row; NULL where it is not given.
    template <class T>
    T *per_row(const char *argument, Span<T> span)
    {
        return of_length(argument, span, rows_);
    }

    template <class T>
    T *of_length(const char *argument, Span<T> span, std::size_t expected)
    {
        if (span.given() && span.size() != expected && ok()) {
            error_ = Error::length(argument, span.size());
        }
        return span.data();
    }

    surprisal_batch batch(const Batch &batch)
    {
        surprisal_batch c = SURPRISAL_BATCH_INIT;
        c.rows = batch.rows();
        c.targets_i32 = batch.targets.narrow();
        c.targets_i64 = batch.targets.wide();
        c.ignore_index = batch.ignore_index;
        c.token_weights = per_row("token_weights", batch.token_weights);
        c.ref_log_probs = per_row("ref_log_probs", batch.ref_log_probs);
        c.old_log_probs = per_row("old_log_probs", batch.old_log_probs);
        c.advantages = per_row("advantages", batch.advantages);
        c.groups = per_row("groups", batch.groups);
        if (batch.cu_seqlens.given()) {
            // The offsets of no sequence are {0}: without any entry they are no offsets.
            if (batch.cu_seqlens.size() == 0 && ok()) {
                error_ = Error::length("cu_seqlens", 0);
            } else {
                c.sequence_count = batch.cu_seqlens.size() - 1;
            }
            c.cu_seqlens_i32 = batch.cu_seqlens.narrow();
            c.cu_seqlens_i64 = batch.cu_seqlens.wide();
        }
        c.pairs = batch.pairs.data();
        c.pair_count = batch.pairs.size();
        c.keep = of_length("keep", batch.keep, c.sequence_count);
        c.denominator = batch.denominator;
        return c;
    }

    surprisal_outputs outputs(const Outputs &outputs)
    {
        surprisal_outputs c = SURPRISAL_OUTPUTS_INIT;
        c.stats = per_row("stats", outputs.stats);
        c.terms = per_row("terms", outputs.terms);
        c.losses = per_row("losses", outputs.losses);
        c.nll = per_row("nll", outputs.nll);
        c.log_probs = per_row("log_probs", outputs.log_probs);
        c.entropy = per_row("entropy", outputs.entropy);
        c.weights = per_row("weights", outputs.weights);
        c.argmax = per_row("argmax", outputs.argmax);
        c.correct = per_row("correct", outputs.correct);
        return c;
    }

    /// Runs the C function, unless a length was wrong, and gives the value that it filled, or the error.
    template <class T, class F>
    Result<T> run(T &value, F function)
    {
        if (ok()) {
            surprisal_error_detail detail;
            if (function(&detail) == SURPRISAL_OK) {
                return value;
            }
            error_ = Error(detail);
        }
        return error_;
    }

    template <class F>
    Result<Unit> run(F function)
    {
        Unit unit;
        return run(unit, function);
    }

private:
    bool ok() const { return error_.status() == SURPRISAL_OK; }

    std::size_t rows_;
    Error error_;
};

} // namespace detail

/// Bytes of workspace that a call on `rows` rows of `vocab` columns takes with this loss.
inline Result<std::size_t> workspace_size(const Loss &loss, std::size_t rows, std::size_t vocab)
{
    std::size_t size = 0;
    return detail::Call(0).run(size, [&](surprisal_error_detail *detail) {
        return surprisal_workspace_size(&loss, rows, vocab, &size, detail);
    });
}

/// Counts the denominators of a whole batch, for calls on ranges of its rows. `sequence_tokens`, an entry a sequence, is for the mean of the
/// sequences alone, and must live as long as the result is used.
inline Result<Denominator> denominator(const Loss &loss, const Batch &batch, std::size_t vocab_total,
                                       Span<std::uint32_t> sequence_tokens = {})
{
    detail::Call call(batch.rows());
    const surprisal_batch b = call.batch(batch);
    std::uint32_t *tokens = call.of_length("sequence_tokens", sequence_tokens, b.sequence_count);
    Denominator out;
    return call.run(out, [&](surprisal_error_detail *detail) {
        return surprisal_loss_denominator(&loss, &b, vocab_total, tokens, &out, detail);
    });
}

/// Loss only. Objectives of group scope need a workspace.
inline Result<Report> forward(const Loss &loss, const Batch &batch, Logits logits, const Outputs &outputs = {},
                              Workspace workspace = {})
{
    detail::Call call(batch.rows());
    const surprisal_batch b = call.batch(batch);
    const surprisal_outputs o = call.outputs(outputs);
    Report report;
    return call.run(report, [&](surprisal_error_detail *detail) {
        return surprisal_forward(&loss, &b, &logits.c(), &o, &workspace.c(), &report, detail);
    });
}

/// Loss, and its gradient into `dlogits`.
inline Result<Report> forward_backward(const Loss &loss, const Batch &batch, Logits logits, LogitsMut dlogits,
                                       const Outputs &outputs = {}, Workspace workspace = {})
{
    detail::Call call(batch.rows());
    const surprisal_batch b = call.batch(batch);
    const surprisal_outputs o = call.outputs(outputs);
    Report report;
    return call.run(report, [&](surprisal_error_detail *detail) {
        return surprisal_forward_backward(&loss, &b, &logits.c(), &dlogits.c(), &o, &workspace.c(), &report, detail);
    });
}

/// Loss, and its gradient over the logits themselves.
inline Result<Report> forward_backward_in_place(const Loss &loss, const Batch &batch, LogitsMut logits,
                                                const Outputs &outputs = {}, Workspace workspace = {})
{
    return forward_backward(loss, batch, logits.read(), logits, outputs, workspace);
}

/// Stage 1: statistics of the matrix's rows.
inline Result<Unit> row_stats(const Loss &loss, const Batch &batch, Logits logits, Span<Stats> stats)
{
    detail::Call call(batch.rows());
    const surprisal_batch b = call.batch(batch);
    Stats *s = call.per_row("stats", stats);
    return call.run([&](surprisal_error_detail *detail) {
        return surprisal_row_stats(&loss, &b, &logits.c(), s, detail);
    });
}

/// Stage 2: the terms of rows `row_start .. row_start + rows`, from merged statistics.
inline Result<Report> token_terms(const Loss &loss, const Batch &batch, std::size_t vocab_total, std::size_t row_start,
                                  std::size_t rows, Span<const Stats> stats, Span<Term> terms, Workspace workspace = {})
{
    detail::Call call(batch.rows());
    const surprisal_batch b = call.batch(batch);
    const Stats *s = call.per_row("stats", stats);
    Term *t = call.per_row("terms", terms);
    Report report;
    return call.run(report, [&](surprisal_error_detail *detail) {
        return surprisal_token_terms(&loss, &b, vocab_total, row_start, rows, s, t, &workspace.c(), &report, detail);
    });
}

/// Stage 2 of the whole batch.
inline Result<Report> token_terms(const Loss &loss, const Batch &batch, std::size_t vocab_total, Span<const Stats> stats,
                                  Span<Term> terms, Workspace workspace = {})
{
    return token_terms(loss, batch, vocab_total, 0, batch.rows(), stats, terms, workspace);
}

/// Stage 3: the gradient of the matrix's rows.
inline Result<Unit> logits_grad(const Loss &loss, const Batch &batch, Logits logits, Span<const Stats> stats,
                                Span<const Term> terms, LogitsMut dlogits)
{
    detail::Call call(batch.rows());
    const surprisal_batch b = call.batch(batch);
    const Stats *s = call.per_row("stats", stats);
    const Term *t = call.per_row("terms", terms);
    return call.run([&](surprisal_error_detail *detail) {
        return surprisal_logits_grad(&loss, &b, &logits.c(), s, t, &dlogits.c(), detail);
    });
}

/// Merges the statistics of other parts of the same rows into `merged`.
inline Result<Unit> merge(Span<const Stats> part, Span<Stats> merged)
{
    detail::Call call(merged.size());
    const Stats *p = call.per_row("part", part);
    return call.run([&](surprisal_error_detail *detail) {
        return surprisal_stats_merge(p, merged.data(), merged.size(), detail);
    });
}

/// Log-probabilities of every class.
inline Result<Unit> log_softmax(Logits logits, LogitsMut out)
{
    return detail::Call(0).run([&](surprisal_error_detail *detail) {
        return surprisal_log_softmax(&logits.c(), &out.c(), detail);
    });
}

/// ln of the sum of exp(z) of each row; `out` has one entry for each row of the whole batch.
inline Result<Unit> log_sum_exp(Logits logits, Span<float> out)
{
    detail::Call call(logits.rows_total());
    float *o = call.per_row("out", out);
    return call.run([&](surprisal_error_detail *detail) { return surprisal_log_sum_exp(&logits.c(), o, detail); });
}

/// Entropy of each row, in nats; `out` has one entry for each row of the whole batch.
inline Result<Unit> entropy(Logits logits, Span<float> out)
{
    detail::Call call(logits.rows_total());
    float *o = call.per_row("out", out);
    return call.run([&](surprisal_error_detail *detail) { return surprisal_entropy(&logits.c(), o, detail); });
}

/// ln p of each row's target; `out` has one entry for each row of the whole batch.
inline Result<Unit> token_log_probs(const Batch &batch, Logits logits, Span<float> out)
{
    detail::Call call(batch.rows());
    const surprisal_batch b = call.batch(batch);
    float *o = call.per_row("out", out);
    return call.run([&](surprisal_error_detail *detail) {
        return surprisal_token_log_probs(&b, &logits.c(), o, detail);
    });
}

} // namespace surprisal

#endif // SURPRISAL_HPP
