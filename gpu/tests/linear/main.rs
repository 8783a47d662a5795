//! The output layer and its loss in one, on a device.

mod agreement;
#[path = "../common/mod.rs"]
mod common;
/// Layers, their oracle, and the same on the CPU.
#[path = "../../../linear/tests/common/mod.rs"]
mod layers;
mod products;
mod refusals;
mod ways;

fn main() {
    common::run(&[
        ("products_of_any_shape_type_and_strides", products::any_shape_type_and_strides),
        ("products_in_parts", products::in_parts),
        ("a_product_of_ones_own", products::of_ones_own),
        ("every_objective_agrees_with_the_oracle", agreement::every_objective),
        ("more_than_a_tile_in_chunks_of_any_size", agreement::chunks_of_any_size),
        ("every_type_agrees_with_the_oracle", agreement::every_type),
        ("ignored_rows_are_left_out", agreement::ignored_rows),
        ("outputs_of_every_row_are_those_of_the_cpu", agreement::outputs_of_every_row),
        ("strides_and_each_gradient_for_itself", agreement::each_gradient_for_itself),
        ("small_bindings", agreement::small_bindings),
        ("shards_agree_with_the_whole", agreement::shards),
        ("a_range_of_rows", agreement::a_range_of_rows),
        ("a_row_without_a_softmax", agreement::a_row_without_a_softmax),
        ("rows_that_the_terms_drop", agreement::rows_that_the_terms_drop),
        ("scratch_follows_from_bytes", refusals::scratch_follows_from_bytes),
        ("refusals", refusals::refusals),
    ]);
}
