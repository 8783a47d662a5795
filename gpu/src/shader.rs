//! The shader: its fixed parts, where results go, and what is generated from definitions in Rust: the objective, and the arithmetic from its
//! value and slope to the coefficients of the gradient.

use std::sync::LazyLock;

use surprisal::backend::{Coefs, Options, RowValues, Term};
use surprisal::objective::{Objective, Token};

use crate::sym::{Sym, body, on_new_graph};

/// What all shaders share.
pub(crate) const TYPES: &str = include_str!("shader/types.wgsl");

/// The parts of the output layer, each a shader with [`TYPES`].
pub(crate) const PRODUCT: &str = include_str!("shader/linear/product.wgsl");
pub(crate) const ROWS: &str = include_str!("shader/linear/rows.wgsl");
pub(crate) const BIAS: &str = include_str!("shader/linear/bias.wgsl");

/// The fixed parts, in the order of the stages.
const FIXED: [&str; 8] = [
    TYPES,
    include_str!("shader/common.wgsl"),
    include_str!("shader/math.wgsl"),
    include_str!("shader/elements.wgsl"),
    include_str!("shader/stats.wgsl"),
    include_str!("shader/terms.wgsl"),
    include_str!("shader/grad.wgsl"),
    include_str!("shader/fused.wgsl"),
];

/// Where a shader writes its results. A buffer cannot be bound for reading and for writing at once, so each has a module of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To a second buffer.
    Separate,
    /// Over the logits.
    InPlace,
}

impl Destination {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Separate, Self::InPlace];

    const fn bindings(self) -> &'static str {
        match self {
            Self::Separate => include_str!("shader/separate.wgsl"),
            Self::InPlace => include_str!("shader/in_place.wgsl"),
        }
    }
}

/// The WGSL of all stages with this objective. Group objectives get their terms from the host: their function is not called.
#[must_use]
pub fn shader_source(objective: &impl Objective, destination: Destination) -> String {
    let mut source = FIXED.join("\n");
    let objective = on_new_graph(|| objective_source(objective));
    for part in [destination.bindings(), &objective, &ARITHMETIC] {
        source.push('\n');
        source.push_str(part);
    }
    source
}

/// The function of a token that an objective is, with its derivative.
fn objective_source(objective: &impl Objective) -> String {
    let body = if objective.group_pass().is_none() {
        let mut token = Token::new(Sym::variable("token.log_p"));
        token.ref_log_p = Sym::input("token.ref_log_p");
        token.old_log_p = Sym::input("token.old_log_p");
        token.advantage = Sym::input("token.advantage");
        token.entropy = Sym::input("token.entropy");
        token.sum_squares = Sym::input("token.sum_squares");
        token.extra = ["token.extra[0]", "token.extra[1]", "token.extra[2]", "token.extra[3]"]
            .map(Sym::input);
        let loss = objective.loss(&token);
        body("vec2<f32>", &[loss.value(), loss.slope()])
    } else {
        "    return vec2<f32>(0.0, 0.0);\n".to_owned()
    };
    format!(
        "// Generated from the objective's definition.

struct Token {{
    log_p: f32,
    ref_log_p: f32,
    old_log_p: f32,
    advantage: f32,
    entropy: f32,
    sum_squares: f32,
    extra: array<f32, 4>,
}}

// Loss, and its derivative with respect to ln p.
fn objective(token: Token) -> vec2<f32> {{
{body}}}
"
    )
}

/// What all objectives share, printed once.
static ARITHMETIC: LazyLock<String> = LazyLock::new(|| on_new_graph(arithmetic_source));

/// The functions of `surprisal::backend` from an objective's value and weight to the coefficients of a row.
fn arithmetic_source() -> String {
    let options = Options {
        label_smoothing: Sym::input("params.label_smoothing"),
        smoothing_per_class: Sym::input("params.smoothing_per_class"),
        class_weight_sum: Sym::input("params.class_weight_sum"),
        z_loss: Sym::input("params.z_loss"),
    };
    let row = RowValues {
        p: Sym::input("row.p"),
        miss: Sym::input("row.miss"),
        lse: Sym::input("row.lse"),
        smoothed: Sym::input("row.smoothed"),
        token_weight: Sym::input("row.token_weight"),
        class_weight: Sym::input("row.class_weight"),
        scale: Sym::input("row.scale"),
    };
    let [value, weight, extras] = ["value", "weight", "extras"].map(Sym::input);
    let term = Term::new(value, weight, extras, &row, &options);
    let term = body("Term", &[term.loss, term.coef, term.dense].map(Sym::value));
    let [coef, dense] = ["term.coef", "term.dense"].map(Sym::input);
    let coefs = Coefs::new(coef, dense, row.lse, &options);
    let coefs = [coefs.prob(), coefs.uniform(), coefs.target(&row)].map(Sym::value);
    let coefs = body("Coefs", &coefs);
    format!(
        "// Generated from the arithmetic of the library.

struct RowValues {{
    p: f32,
    miss: f32,
    lse: f32,
    smoothed: f32,
    token_weight: f32,
    class_weight: f32,
    scale: f32,
}}

struct Term {{
    loss: f32,
    coef: f32,
    dense: f32,
}}

struct Coefs {{
    prob: f32,
    uniform: f32,
    at_target: f32,
}}

// An objective's value and weight as a token's term; `extras` multiplies the dense extras.
fn term_of(value: f32, weight: f32, extras: f32, row: RowValues) -> Term {{
{term}}}

// The coefficients of a row with this term.
fn coefs_of(term: Term, row: RowValues) -> Coefs {{
{coefs}}}
"
    )
}
