//! The tests that need a device. Without an adapter they show as ignored, unless `SURPRISAL_REQUIRE_GPU=1` makes its absence a failure.

mod agreement;
mod batches;
mod blocks;
#[path = "../common/mod.rs"]
mod common;
mod degenerate;
mod hazards;
mod limits;
mod oracle;
mod refusals;
mod uploaded;
mod vectors;
mod ways;

fn main() {
    common::run(&[
        ("f32_logits", oracle::f32_logits),
        ("bf16_logits", oracle::bf16_logits),
        ("f16_logits", oracle::f16_logits),
        ("gradients_of_another_type", oracle::gradients_of_another_type),
        ("gradients_are_scaled_before_rounding", oracle::gradients_are_scaled_before_rounding),
        ("offsets_cost_no_digits", oracle::offsets_cost_no_digits),
        ("equal_terms_add_up", oracle::equal_terms_add_up),
        ("objectives_of_the_whole_row", oracle::objectives_of_the_whole_row),
        ("boundaries_of_packets_and_blocks", blocks::boundaries_of_packets_and_blocks),
        ("boundaries_in_one_kernel", blocks::boundaries_in_one_kernel),
        ("boundaries_between_types", blocks::boundaries_between_types),
        ("the_first_of_equals_leads", blocks::the_first_of_equals_leads),
        ("confident_tokens", vectors::confident_tokens),
        ("all_vectors", vectors::all_vectors),
        ("small_bindings", oracle::small_bindings),
        ("every_objective", oracle::every_objective),
        ("extras_and_ignored_rows", oracle::extras_and_ignored_rows),
        ("rows_without_a_softmax_are_nan", degenerate::rows_without_a_softmax_are_nan),
        (
            "impossible_targets_cost_infinity_or_nothing",
            degenerate::impossible_targets_cost_infinity_or_nothing,
        ),
        ("what_has_no_weight_costs_nothing", degenerate::what_has_no_weight_costs_nothing),
        (
            "smoothing_over_an_impossible_class_is_infinite",
            degenerate::smoothing_over_an_impossible_class_is_infinite,
        ),
        ("ignored_rows_are_not_read", degenerate::ignored_rows_are_not_read),
        ("no_rows_are_a_report_of_zeros", degenerate::no_rows_are_a_report_of_zeros),
        ("nan_has_one_pattern", hazards::nan_has_one_pattern),
        ("subnormal_logits_of_f16", hazards::subnormal_logits_of_f16),
        ("results_are_rounded_to_nearest", hazards::results_are_rounded_to_nearest),
        ("a_soft_cap_costs_no_digits", hazards::a_soft_cap_costs_no_digits),
        ("infinity_times_nothing_is_nothing", hazards::infinity_times_nothing_is_nothing),
        ("the_limits_of_webgpu_suffice", limits::the_limits_of_webgpu_suffice),
        ("timestamps_and_a_cache", limits::timestamps_and_a_cache),
        ("few_long_rows", agreement::few_long_rows),
        ("more_than_one_binding", agreement::more_than_one_binding),
        ("an_objective_of_ones_own", agreement::an_objective_of_ones_own),
        ("inputs_of_ones_own", agreement::inputs_of_ones_own),
        ("outputs_of_every_row", agreement::outputs_of_every_row),
        ("a_range_of_rows", agreement::a_range_of_rows),
        ("two_calls_of_one_submission", agreement::two_calls_of_one_submission),
        ("refusals", refusals::refusals),
        ("every_objective_on_the_device", batches::every_objective_on_the_device),
        ("every_reduction_on_the_device", batches::every_reduction_on_the_device),
        ("options_on_the_device", batches::options_on_the_device),
        ("entries_that_are_refused", batches::entries_that_are_refused),
        ("reports_come_by_themselves", batches::reports_come_by_themselves),
        ("batches_that_do_not_fit", batches::batches_that_do_not_fit),
    ]);
}
