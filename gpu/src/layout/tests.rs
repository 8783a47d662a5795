//! The structs of Rust against those of the shaders, as naga lays them out.

use naga::front::wgsl::parse_str;
use naga::proc::Layouter;
use naga::{ArraySize, Expression, Handle, Literal, Module, ScalarKind, TypeInner};

use super::*;
use crate::shader::{BIAS, Destination, PRODUCT, ROWS, TYPES, batch_shader_source, shader_source};

/// A struct's size, and of every member the name, the offset and the type.
type Layout = (usize, Vec<(String, usize, String)>);

/// The layout that Rust gives a struct. A field that is not named here does not compile.
macro_rules! layout {
    ($type:ident { $($field:ident),* $(,)? }) => {{
        let value: $type = Zeroable::zeroed();
        let $type { $($field),* } = value;
        let fields = vec![$((
            stringify!($field).to_owned(),
            core::mem::offset_of!($type, $field),
            name_of(&$field),
        )),*];
        (stringify!($type), (size_of::<$type>(), fields))
    }};
}

fn name_of<T>(value: &T) -> String {
    core::any::type_name_of_val(value).rsplit("::").next().unwrap_or_default().to_owned()
}

fn module() -> Module {
    let source = shader_source(&surprisal::objective::Sft, Destination::Separate);
    parse_str(&source).unwrap()
}

/// The name of a type, as Rust has it.
fn type_name(module: &Module, ty: Handle<naga::Type>) -> String {
    let ty = &module.types[ty];
    match ty.inner {
        TypeInner::Scalar(scalar) => match scalar.kind {
            ScalarKind::Uint => "u32".to_owned(),
            ScalarKind::Float => "f32".to_owned(),
            kind => panic!("{kind:?}"),
        },
        TypeInner::Atomic(_) => "u32".to_owned(),
        TypeInner::Array { base, size: ArraySize::Constant(len), .. } => {
            format!("[{}; {len}]", type_name(module, base))
        }
        _ => ty.name.clone().unwrap_or_default(),
    }
}

/// The layout that naga gives the struct of this name.
fn in_shader(module: &Module, name: &str) -> Layout {
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).unwrap();
    let find = |(handle, ty): (_, &naga::Type)| {
        (ty.name.as_deref() == Some(name)).then_some((handle, ty.inner.clone()))
    };
    let (handle, inner) = module.types.iter().find_map(find).unwrap_or_else(|| panic!("{name}"));
    let TypeInner::Struct { members, span } = inner else { panic!("{name} is no struct") };
    // An element of an array takes as much as the struct itself.
    assert_eq!(layouter[handle].to_stride(), span, "{name}");
    let member = |member: &naga::StructMember| {
        let ty = type_name(module, member.ty);
        (member.name.clone().unwrap_or_default(), member.offset as usize, ty)
    };
    (span as usize, members.iter().map(member).collect())
}

#[test]
fn structs_lie_as_in_the_shader() {
    let module = module();
    for (name, expected) in [
        layout!(Params {
            rows,
            vocab,
            first_row,
            splits,
            logits_start,
            logits_stride,
            result_start,
            result_stride,
            vocab_start,
            class_weights,
            extras_scale,
            moments,
            logit_scale,
            softcap,
            spread,
            label_smoothing,
            smoothing_per_class,
            class_weight_sum,
            z_loss,
            zero,
        }),
        layout!(RowInput {
            target_id,
            token_weight,
            scale,
            class_weight,
            ref_log_p,
            old_log_p,
            advantage,
            extra,
        }),
        layout!(Part {
            max,
            others,
            rest,
            sum_exp_logits,
            sum_exp_squared,
            below_max,
            weight,
            target_logit,
            argmax,
            invalid,
        }),
        layout!(RowOutput {
            stats,
            state,
            factor,
            uniform,
            target_entry,
            target_id,
            loss,
            coef,
            dense,
            nll,
            weight,
            infinite,
        }),
    ] {
        assert_eq!(in_shader(&module, name), expected, "{name}");
    }
}

#[test]
fn what_a_batch_is_told_and_leaves_lies_as_in_the_shaders() {
    let batch = parse_str(&batch_shader_source()).unwrap();
    let objective = surprisal::objective::TalrAuto::default();
    let plan = parse_str(&shader_source(&objective, Destination::Separate)).unwrap();
    for (module, (name, expected)) in [
        (
            &batch,
            layout!(BatchParams {
                rows,
                start,
                words,
                field,
                rule,
                slot,
                vocab,
                ignore_low,
                ignore_high,
                ignores,
                has_class_weights,
                sequences,
                pairs,
                pairs_start,
                selection,
                step,
                reduction,
                grouped,
                reduction_by,
                grad_scale,
                zero,
            }),
        ),
        (
            &batch,
            layout!(Totals {
                refused,
                factor,
                divisor,
                loss,
                tokens,
                correct,
                invalid,
                infinite,
                tau,
                sequences,
                loss_sum,
                nll_sum,
                weight_sum,
                scaled,
                bad,
            }),
        ),
        (
            &plan,
            layout!(Step {
                index,
                statistic,
                over,
                share,
                rows,
                sequences,
                pairs,
                sequences_start,
                sequences_words,
                groups_start,
                pairs_start,
            }),
        ),
        (&plan, layout!(Shared { values, tau })),
    ] {
        assert_eq!(in_shader(module, name), expected, "{name}");
    }
    // The stages see the beginning of the totals.
    let (_, fields) = in_shader(&plan, "Totals");
    assert_eq!(fields[..], in_shader(&batch, "Totals").1[..fields.len()]);
}

#[test]
fn uniforms_of_a_layer_lie_as_in_its_shaders() {
    for (source, (name, expected)) in [
        (
            PRODUCT,
            layout!(ProductParams {
                m,
                n,
                k,
                add,
                a_kind,
                b_kind,
                a_start,
                a_row,
                a_col,
                b_start,
                b_row,
                b_col,
                c_start,
                c_row,
                c_col,
            }),
        ),
        (
            ROWS,
            layout!(RowsParams {
                kind,
                rows,
                columns,
                first_row,
                first_slot,
                start,
                stride,
                words,
                pitch,
            }),
        ),
        (BIAS, layout!(BiasParams { rows, columns, start, stride, bias_start })),
    ] {
        let module = parse_str(&[TYPES, source].concat()).unwrap();
        assert_eq!(in_shader(&module, name), expected, "{name}");
    }
}

#[test]
fn numbers_are_those_of_the_shader() {
    let module = module();
    for (name, expected) in [
        ("IGNORED", Literal::U32(IGNORED)),
        ("ACTIVE", Literal::U32(ACTIVE)),
        ("ZERO", Literal::U32(ZERO)),
        ("INVALID", Literal::U32(INVALID)),
        ("LOWEST", Literal::F32(LOWEST)),
        ("LARGEST", Literal::F32(LARGEST)),
        ("IMPOSSIBLE", Literal::F32(IMPOSSIBLE)),
    ] {
        let named = |constant: &&naga::Constant| constant.name.as_deref() == Some(name);
        let mut constants = module.constants.iter().map(|(_, constant)| constant);
        let constant = constants.find(named).unwrap_or_else(|| panic!("{name}"));
        let value = &module.global_expressions[constant.init];
        assert!(
            matches!(value, Expression::Literal(value) if *value == expected),
            "{name} is {value:?}"
        );
    }
}
