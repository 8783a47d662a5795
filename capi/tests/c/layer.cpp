// The C++ layer: lengths, element types, results and errors, the stages, the conveniences.

#include <array>
#include <type_traits>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
#endif

#include <surprisal.hpp>

#include "check.h"

#define HOLDS(condition) CHECK(static_cast<bool>(condition), "%s", #condition)
#define CLOSE(actual, expected) check_close(__FILE__, __LINE__, #actual, actual, expected, 2e-7)
#define TEXT(actual, expected) check_text(__FILE__, __LINE__, #actual, actual, expected)

namespace {

// What converts to a run of elements, and what does not: owning temporaries, whose elements would be gone, and other elements.
using floats = surprisal::Span<const float>;
static_assert(std::is_convertible_v<std::vector<float> &, floats> && std::is_convertible_v<const std::vector<float> &, floats>);
static_assert(std::is_convertible_v<std::vector<float> &, surprisal::Span<float>> && std::is_convertible_v<floats, floats>);
static_assert(!std::is_convertible_v<std::vector<float>, floats> && !std::is_convertible_v<std::array<float, 2>, floats>);
static_assert(!std::is_convertible_v<const std::vector<float> &, surprisal::Span<float>>);
static_assert(!std::is_convertible_v<std::vector<double> &, floats> && !std::is_convertible_v<int, floats>);
static_assert(std::is_convertible_v<std::vector<std::int64_t> &, surprisal::Ids>);
static_assert(!std::is_convertible_v<std::vector<std::int64_t>, surprisal::Ids>);
static_assert(!std::is_convertible_v<std::vector<std::uint32_t> &, surprisal::Ids> && !std::is_convertible_v<int, surprisal::Ids>);
static_assert(!std::is_constructible_v<surprisal::Batch, std::vector<std::uint32_t> &>);
static_assert(std::is_convertible_v<std::vector<double> &, surprisal::Workspace>);
static_assert(!std::is_convertible_v<const std::vector<double> &, surprisal::Workspace>);
#if __cplusplus >= 202002L
static_assert(std::is_convertible_v<std::span<float>, floats> && std::is_convertible_v<std::span<const float>, floats>);
static_assert(std::is_convertible_v<std::span<float>, surprisal::Span<float>>);
static_assert(std::is_convertible_v<std::span<const std::int32_t>, surprisal::Ids>);
static_assert(!std::is_convertible_v<std::span<const float>, surprisal::Span<float>>);
#endif

// What a temporary result holds is a copy.
using result = surprisal::Result<surprisal::Report>;
static_assert(std::is_same_v<decltype(*std::declval<result>()), surprisal::Report>);
static_assert(std::is_same_v<decltype(*std::declval<const result &>()), const surprisal::Report &>);
static_assert(std::is_same_v<decltype(std::declval<result>().error()), surprisal::Error>);
#if defined(__cpp_exceptions)
static_assert(std::is_same_v<decltype(std::declval<result>().value()), surprisal::Report>);
static_assert(std::is_same_v<decltype(std::declval<const result &>().value()), const surprisal::Report &>);
#endif

// An enumerator of another family is no reduction.
static_assert(std::is_same_v<decltype(surprisal_loss::reduction), surprisal_reduction>);
static_assert(!std::is_assignable_v<decltype((surprisal_loss::reduction)), surprisal_objective>);

constexpr std::size_t rows = 2, vocab = 3;
const std::vector<float> logits{2.0f, 0.5f, 0.0f, 0.1f, 0.2f, 3.0f};

// DFT over these logits and the targets 0, 1: by PyTorch.
constexpr double dft_loss = 0.1920409;

surprisal::Logits read(const std::vector<float> &z) { return {z.data(), rows, vocab}; }
surprisal::LogitsMut write(std::vector<float> &z) { return {z.data(), rows, vocab}; }

void gradients()
{
    const std::vector<std::int32_t> targets{0, 1};
    const surprisal::Loss loss(SURPRISAL_OBJECTIVE_DFT);
    const surprisal::Batch batch(targets);
    std::vector<float> separate(logits.size()), place(logits);
    const auto report = surprisal::forward_backward(loss, batch, read(logits), write(separate));
    HOLDS(report);
    HOLDS(report.error().status() == SURPRISAL_OK);
    CLOSE(report->loss, dft_loss);
    CLOSE((*report).mean_nll(), report->nll_sum / 2);
    CLOSE(surprisal::forward(loss, batch, read(logits))->loss, dft_loss);
    HOLDS(surprisal::forward_backward_in_place(loss, batch, write(place)));
    HOLDS(place == separate);

    // By rows, reports added up.
    const auto counted = *surprisal::denominator(loss, batch, vocab);
    surprisal::Batch ranged(batch);
    ranged.denominator = &counted;
    std::vector<float> by_rows(logits.size());
    surprisal::Report sum;
    for (std::size_t row = 0; row < rows; row++) {
        const auto part =
            surprisal::forward_backward(loss, ranged, read(logits).rows(row, row + 1), write(by_rows).rows(row, row + 1));
        sum += *part;
    }
    HOLDS(by_rows == separate);
    CLOSE(sum.loss, dft_loss);

    // By stages over two vocabulary shards.
    std::vector<surprisal::Stats> stats(rows, surprisal::Stats SURPRISAL_STATS_EMPTY);
    std::vector<surprisal::Term> terms(rows);
    std::vector<float> shards(logits.size());
    const std::size_t cuts[] = {0, 1, vocab};
    const auto shard_of = [&](const float *data, std::size_t i) {
        return surprisal::Logits(data + cuts[i], rows, cuts[i + 1] - cuts[i]).strided(vocab).shard(cuts[i], vocab);
    };
    for (std::size_t i = 0; i < 2; i++) {
        std::vector<surprisal::Stats> part(rows);
        HOLDS(surprisal::row_stats(loss, batch, shard_of(logits.data(), i), part));
        HOLDS(surprisal::merge(part, stats));
    }
    CLOSE(surprisal::token_terms(loss, batch, vocab, stats, terms)->loss, dft_loss);
    for (std::size_t i = 0; i < 2; i++) {
        const auto out = surprisal::LogitsMut(shards.data() + cuts[i], rows, cuts[i + 1] - cuts[i]).strided(vocab);
        HOLDS(surprisal::logits_grad(loss, batch, shard_of(logits.data(), i), stats, terms, out.shard(cuts[i], vocab)));
    }
    for (std::size_t i = 0; i < logits.size(); i++) {
        CLOSE(shards[i], separate[i]);
    }
}

void types()
{
    // 1, 2, 3 in both types; ids of 64 bits, ids to ignore, containers of every kind.
    const surprisal::bf16 b[] = {{0x3f80}, {0x4000}, {0x4040}};
    const surprisal::f16 h[] = {{0x3c00}, {0x4000}, {0x4200}};
    const std::array<std::int64_t, 1> targets{2};
    std::array<float, 1> nll{}, lse{}, entropy{}, log_probs{};
    surprisal::Outputs outputs;
    outputs.nll = nll;
    const surprisal::Loss loss;
    const double expected = std::log(std::exp(-2.0) + std::exp(-1.0) + 1.0);
    CLOSE(surprisal::forward(loss, surprisal::Batch(targets), {b, 1, 3}, outputs)->loss, expected);
    CLOSE(nll[0], expected);
    CLOSE(surprisal::forward(loss, surprisal::Batch(targets), {h, 1, 3})->loss, expected);
    HOLDS(surprisal::log_sum_exp({b, 1, 3}, lse) && surprisal::entropy({h, 1, 3}, entropy));
    CLOSE(lse[0], 3.0 + expected);
    HOLDS(surprisal::token_log_probs(surprisal::Batch(targets), {b, 1, 3}, log_probs));
    CLOSE(log_probs[0], -expected);
    float wide[3];
    HOLDS(surprisal::log_softmax({b, 1, 3}, {wide, 1, 3}));
    CLOSE(wide[2], -expected);
    surprisal::f16 narrow[4] = {{0}, {0}, {0}, {0x3c00}};
    HOLDS(surprisal::log_softmax({b, 1, 3}, surprisal::LogitsMut(narrow, 1, 3).strided(4)));
    HOLDS(narrow[2].bits == 0xb686 && narrow[3].bits == 0x3c00);
    HOLDS(surprisal::log_softmax({b, 1, 3}, surprisal::LogitsMut(narrow, 1, 3).strided(4).zero_padding()));
    HOLDS(narrow[2].bits == 0xb686 && narrow[3].bits == 0);
    surprisal::Batch none(targets);
    none.ignore_index = 2;
    HOLDS(surprisal::forward(loss, none, {h, 1, 3})->tokens == 0);
}

void workspaces()
{
    const std::vector<std::int32_t> targets{0, 1}, offsets{0, 1, 2};
    const surprisal::Loss loss(SURPRISAL_OBJECTIVE_DFT), grouped(SURPRISAL_OBJECTIVE_DFT_SEQUENCE);
    surprisal::Batch batch(targets);
    batch.cu_seqlens = offsets;
    // 1, 2, 3, 3, 1, 2.
    const surprisal::bf16 z[] = {{0x3f80}, {0x4000}, {0x4040}, {0x4040}, {0x3f80}, {0x4000}};
    surprisal::bf16 plain[rows * vocab], faster[rows * vocab];
    std::vector<double> memory(*surprisal::workspace_size(loss, rows, vocab) / sizeof(double));
    HOLDS(memory.size() == 2);
    HOLDS(surprisal::forward_backward(loss, batch, {z, rows, vocab}, {plain, rows, vocab}));
    HOLDS(surprisal::forward_backward(loss, batch, {z, rows, vocab}, {faster, rows, vocab}, {}, memory));
    CHECK_BYTES(faster, plain, sizeof plain);
    // A sequence a token: the same loss.
    const auto missing = surprisal::forward(grouped, batch, {z, rows, vocab});
    HOLDS(missing.error().status() == SURPRISAL_ERROR_MISSING);
    TEXT(missing.error().argument(), "workspace");
    const auto small = surprisal::forward(grouped, batch, {z, rows, vocab}, {}, memory);
    HOLDS(small.error().status() == SURPRISAL_ERROR_SHAPE);
    CLOSE(small.error().value(), 16.0);
    memory.resize(*surprisal::workspace_size(grouped, rows, vocab) / sizeof(double));
    HOLDS(surprisal::forward_backward(grouped, batch, {z, rows, vocab}, {faster, rows, vocab}, {}, memory));
    CHECK_BYTES(faster, plain, sizeof plain);
    std::vector<surprisal::Stats> stats(rows);
    std::vector<surprisal::Term> terms(rows);
    HOLDS(surprisal::row_stats(grouped, batch, {z, rows, vocab}, stats));
    HOLDS(!surprisal::token_terms(grouped, batch, vocab, stats, terms));
    HOLDS(surprisal::token_terms(grouped, batch, vocab, stats, terms, memory));
}

void ranges()
{
    const std::vector<std::int32_t> targets{0, 1}, offsets{0, 2};
    surprisal::Loss loss;
    surprisal::Batch batch(targets);
    batch.cu_seqlens = offsets;
    loss.reduction = SURPRISAL_REDUCTION_MEAN_SEQUENCES;
    std::vector<std::uint32_t> tokens(1), two(2);
    TEXT(surprisal::denominator(loss, batch, vocab).error().argument(), "sequence_tokens");
    HOLDS(surprisal::denominator(loss, batch, vocab, two).error().status() == SURPRISAL_ERROR_SHAPE);
    const auto denominator = *surprisal::denominator(loss, batch, vocab, tokens);
    HOLDS(tokens[0] == 2);
    const double whole = surprisal::forward(loss, batch, read(logits))->loss;
    TEXT(surprisal::forward(loss, batch, read(logits).rows(0, 1)).error().argument(), "denominator");
    batch.denominator = &denominator;
    surprisal::Report sum = *surprisal::forward(loss, batch, read(logits).rows(0, 1));
    sum += *surprisal::forward(loss, batch, read(logits).rows(1, 2));
    CLOSE(sum.loss, whole);
}

void conveniences()
{
    const std::vector<std::int32_t> targets{0, 1};
    const surprisal::Batch batch(targets);
    std::vector<float> losses(rows);
    surprisal::Outputs outputs;
    outputs.losses = losses;
    const surprisal::Report &report = *surprisal::forward(surprisal::Loss(SURPRISAL_OBJECTIVE_DFT), batch, read(logits), outputs);
    CLOSE(report.loss, dft_loss);
    CLOSE((double)losses[0] + (double)losses[1], 2 * dft_loss);
    // A report added to itself.
    surprisal::Report twice = report;
    twice += twice;
    HOLDS(twice.tokens == 2 * report.tokens && twice.loss_sum == 2 * report.loss_sum);

    surprisal::Loss talr(SURPRISAL_OBJECTIVE_TALR);
    HOLDS(talr.set("tau", 1e9) && talr.choose("reduction", "sum"));
    // p to the power of nearly nothing.
    const double sft = surprisal::forward(surprisal::Loss(), batch, read(logits))->loss_sum;
    check_close(__FILE__, __LINE__, "talr", surprisal::forward(talr, batch, read(logits))->loss, sft, 1e-6);
    TEXT(talr.set("gamma", 2.0).error().argument(), "gamma");
    HOLDS(talr.set("gamma", 2.0).error().status() == SURPRISAL_ERROR_OPTION);
    HOLDS(talr.choose("reduction", "dft").error().status() == SURPRISAL_ERROR_OPTION);
#if __cplusplus >= 202002L
    const std::span<const std::int32_t> ids(targets);
    CLOSE(surprisal::forward(talr, surprisal::Batch(ids.subspan(0, rows)), read(logits))->loss_sum, sft);
#endif
}

void refusals()
{
    const std::vector<std::int32_t> targets{0, 7}, offsets{0, 2}, no_offsets;
    const std::vector<float> three(3, 1.0f), nothing;
    surprisal::Batch batch(targets);
    const auto refused = [&](const surprisal::Batch &wrong) {
        return surprisal::forward(surprisal::Loss(), wrong, read(logits)).error();
    };
    HOLDS(refused(batch).status() == SURPRISAL_ERROR_TARGET);
    HOLDS(refused(batch).index() == 1);
    CLOSE(refused(batch).value(), 7.0);
    TEXT(refused(batch).argument(), "targets");

    surprisal::Batch weights(batch);
    weights.token_weights = three;
    TEXT(refused(weights).message(), "token_weights: has another length than the batch asks for");
    HOLDS(refused(weights).status() == SURPRISAL_ERROR_SHAPE);
    // An empty vector is not the same as none.
    weights.token_weights = nothing;
    TEXT(refused(weights).argument(), "token_weights");
    surprisal::Batch sequences(batch);
    sequences.cu_seqlens = no_offsets;
    TEXT(refused(sequences).argument(), "cu_seqlens");
    sequences.cu_seqlens = offsets;
    const std::vector<std::uint8_t> keep(2, 1);
    sequences.keep = keep;
    TEXT(refused(sequences).argument(), "keep");

    HOLDS(surprisal::Loss::named("talr-auto")->objective == SURPRISAL_OBJECTIVE_TALR_AUTO);
    HOLDS(surprisal::Loss::named("no-such").error().status() == SURPRISAL_ERROR_OPTION);
#if defined(__cpp_exceptions)
    bool thrown = false;
    try {
        (void)surprisal::forward(surprisal::Loss(), batch, read(logits)).value();
    } catch (const surprisal::Exception &exception) {
        thrown = true;
        TEXT(exception.what(), "targets: outside the vocabulary");
        HOLDS(exception.error().index() == 1);
    }
    HOLDS(thrown);
#endif
}

} // namespace

int main()
{
    gradients();
    types();
    workspaces();
    ranges();
    conveniences();
    refusals();
    return finish("layer");
}
