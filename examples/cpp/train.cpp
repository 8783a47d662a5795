// A character-level language model in C++17 whose loss and logits gradient come from surprisal.
//
//     c++ -std=c++17 -O3 train.cpp $(pkg-config --cflags --libs surprisal) -pthread -o train
//     ./train FILE [OBJECTIVE] [STEPS]
//
// The model is log-bilinear: each of the last bytes has a table that adds its row to the logits. So the gradient of a table row is the sum of the
// logits gradients of the positions that used it, and the whole trainer is the few lines below. Threads are the program's own: each takes a range of
// rows of the batch, and their reports add up.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <surprisal.hpp>

namespace {

constexpr std::size_t context = 6, batch_rows = 512, threads = 2;

// The bytes of a text, renumbered so that the vocabulary has no holes.
struct Text {
    std::vector<std::int32_t> ids;
    std::size_t vocab = 0;

    explicit Text(const std::string &bytes)
    {
        std::vector<std::int32_t> id_of(256, -1);
        for (unsigned char byte : bytes) {
            if (id_of[byte] < 0) {
                id_of[byte] = static_cast<std::int32_t>(vocab++);
            }
            ids.push_back(id_of[byte]);
        }
    }
};

// logits = sum over k of table[k][byte k before]: [context][vocab][vocab], each entry with its Adagrad state.
class Model {
public:
    explicit Model(std::size_t vocab) : vocab_(vocab), table_(context * vocab * vocab), squares_(table_.size(), 1e-8f) {}

    std::size_t size() const { return table_.size(); }

    // Logits of the bytes that follow `positions[row]`.
    void forward(const Text &text, const std::vector<std::size_t> &positions, std::size_t row, float *logits) const
    {
        std::fill_n(logits, vocab_, 0.0f);
        for (std::size_t k = 0; k < context; k++) {
            const float *entries = &table_[index(text, positions[row], k)];
            std::transform(entries, entries + vocab_, logits, logits, [](float e, float z) { return z + e; });
        }
    }

    // One step of Adagrad along the gradient of the logits of one row.
    void update(const Text &text, std::size_t position, const float *dlogits, float learning_rate)
    {
        for (std::size_t k = 0; k < context; k++) {
            const std::size_t start = index(text, position, k);
            for (std::size_t j = 0; j < vocab_; j++) {
                squares_[start + j] += dlogits[j] * dlogits[j];
                table_[start + j] -= learning_rate * dlogits[j] / std::sqrt(squares_[start + j]);
            }
        }
    }

private:
    std::size_t index(const Text &text, std::size_t position, std::size_t k) const
    {
        return (k * vocab_ + static_cast<std::size_t>(text.ids[position - 1 - k])) * vocab_;
    }

    std::size_t vocab_;
    std::vector<float> table_, squares_;
};

// Loss over the bytes at `positions`, and its gradient over the logits, by threads of our own.
surprisal::Report evaluate(const surprisal::Loss &loss, const Text &text, const Model &model,
                           const std::vector<std::size_t> &positions, std::vector<float> &logits)
{
    std::vector<std::int32_t> targets;
    for (std::size_t position : positions) {
        targets.push_back(text.ids[position]);
    }
    const std::size_t rows = positions.size();
    logits.resize(rows * text.vocab);
    surprisal::Batch batch(targets);
    // What a mean must know of the whole batch, for threads that work on parts of it.
    const surprisal::Denominator denominator = surprisal::denominator(loss, batch, text.vocab).value();
    batch.denominator = &denominator;
    const surprisal::LogitsMut all(logits.data(), rows, text.vocab);

    std::vector<surprisal::Result<surprisal::Report>> results(threads, surprisal::Report());
    std::vector<std::thread> team;
    for (std::size_t t = 0; t < threads; t++) {
        team.emplace_back([&, begin = rows * t / threads, end = rows * (t + 1) / threads, t] {
            for (std::size_t row = begin; row < end; row++) {
                model.forward(text, positions, row, &logits[row * text.vocab]);
            }
            results[t] = surprisal::forward_backward_in_place(loss, batch, all.rows(begin, end));
        });
    }
    for (std::thread &thread : team) {
        thread.join();
    }
    surprisal::Report report;
    for (const auto &result : results) {
        report += result.value(); // throws where a call was refused
    }
    return report;
}

// Cross-entropy of the held-out bytes under the frequencies of the others: what a model without context can reach.
double unigram_nll(const Text &text, std::size_t held_out)
{
    std::vector<double> count(text.vocab, 1.0);
    for (std::size_t i = 0; i < held_out; i++) {
        count[static_cast<std::size_t>(text.ids[i])]++;
    }
    double nll = 0.0;
    for (std::size_t i = held_out; i < text.ids.size(); i++) {
        nll -= std::log(count[static_cast<std::size_t>(text.ids[i])] / static_cast<double>(held_out + text.vocab));
    }
    return nll / static_cast<double>(text.ids.size() - held_out);
}

void train(const Text &text, const surprisal::Loss &loss, int steps)
{
    const std::size_t held_out = text.ids.size() / 10 * 9;
    Model model(text.vocab);
    std::printf("%zu bytes, vocabulary %zu, %zu parameters, SIMD level %s\n", text.ids.size(), text.vocab, model.size(),
                surprisal_simd_level());

    std::mt19937 random(1);
    std::uniform_int_distribution<std::size_t> any(context, held_out - 1);
    std::vector<std::size_t> positions(batch_rows);
    std::vector<float> logits;
    for (int step = 1; step <= steps; step++) {
        std::generate(positions.begin(), positions.end(), [&] { return any(random); });
        const surprisal::Report report = evaluate(loss, text, model, positions, logits);
        for (std::size_t row = 0; row < batch_rows; row++) {
            model.update(text, positions[row], &logits[row * text.vocab], 0.1f);
        }
        if (step % std::max(1, steps / 10) == 0) {
            std::printf("step %5d  loss %8.5f  nll %.4f nats  %.1f %% right\n", step, report.loss, report.mean_nll(),
                        100.0 * report.accuracy());
        }
    }

    surprisal::Report report;
    for (std::size_t start = held_out; start < text.ids.size(); start += batch_rows) {
        positions.clear();
        for (std::size_t i = start; i < std::min(start + batch_rows, text.ids.size()); i++) {
            positions.push_back(i);
        }
        report += evaluate(surprisal::Loss(SURPRISAL_OBJECTIVE_SFT), text, model, positions, logits);
    }
    std::printf("final: validation nll %.4f nats, unigram %.4f nats\n", report.mean_nll(), unigram_nll(text, held_out));
}

} // namespace

int main(int argc, char **argv)
try {
    std::ifstream file(argc > 1 ? argv[1] : "", std::ios::binary);
    const Text text(std::string(std::istreambuf_iterator<char>(file), {}));
    if (text.ids.size() < 1000) {
        std::fprintf(stderr, "usage: %s FILE [OBJECTIVE] [STEPS]: a text of at least 1000 bytes\n", argv[0]);
        return 2;
    }
    const surprisal::Loss loss = surprisal::Loss::named(argc > 2 ? argv[2] : "sft").value();
    train(text, loss, argc > 3 ? std::atoi(argv[3]) : 2000);
} catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
}
