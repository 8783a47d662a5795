//! The shader: its fixed parts, where results go, and what is generated from definitions in Rust: the objective, and the arithmetic from its
//! value and slope to the coefficients of the gradient.

use std::sync::LazyLock;

use surprisal::backend::{Coefs, Options, RowValues, TargetSoftmax, Term};
use surprisal::objective::{GroupPlan, Objective, Real, STEPS, Token};

use crate::sym::{Expr, Literals, MOST_LITERALS, Sym, body, inputs, on_new_graph};

/// What all shaders share.
pub(crate) const TYPES: &str = include_str!("shader/types.wgsl");

/// The parts of the output layer, each a shader with [`TYPES`].
pub(crate) const PRODUCT: &str = include_str!("shader/linear/product.wgsl");
pub(crate) const ROWS: &str = include_str!("shader/linear/rows.wgsl");
pub(crate) const BIAS: &str = include_str!("shader/linear/bias.wgsl");

/// Compensated sums, for shaders of batches and of plans.
const SUMS: &str = include_str!("shader/sums.wgsl");

/// What checks and counts batches of the device, a shader with [`TYPES`].
const BATCH: [&str; 4] = [
    SUMS,
    include_str!("shader/batch/check.wgsl"),
    include_str!("shader/batch/select.wgsl"),
    include_str!("shader/batch/report.wgsl"),
];
/// What runs the plan of a group objective, after the stages.
const PLAN: [&str; 6] = [
    SUMS,
    include_str!("shader/plan/tokens.wgsl"),
    include_str!("shader/plan/units.wgsl"),
    include_str!("shader/plan/order.wgsl"),
    include_str!("shader/plan/steps.wgsl"),
    include_str!("shader/plan/terms.wgsl"),
];

/// The fixed parts, in the order of the stages.
const FIXED: [&str; 10] = [
    TYPES,
    include_str!("shader/common.wgsl"),
    include_str!("shader/math.wgsl"),
    include_str!("shader/elements.wgsl"),
    include_str!("shader/parts.wgsl"),
    include_str!("shader/stats.wgsl"),
    include_str!("shader/terms.wgsl"),
    include_str!("shader/grad.wgsl"),
    include_str!("shader/held.wgsl"),
    include_str!("shader/fused.wgsl"),
];

/// Where a shader writes its results. A buffer cannot be bound for reading and for writing at once, so each has a module of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// To a second buffer.
    Separate,
    /// To another range of the logits' buffer, which is then bound twice, both times as one that is written.
    SameBuffer,
    /// Over the logits.
    InPlace,
}

impl Destination {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Separate, Self::SameBuffer, Self::InPlace];

    const fn bindings(self) -> &'static str {
        match self {
            Self::Separate => include_str!("shader/separate.wgsl"),
            Self::SameBuffer => include_str!("shader/same_buffer.wgsl"),
            Self::InPlace => include_str!("shader/in_place.wgsl"),
        }
    }
}

/// The WGSL of all stages with this objective and, of a group objective, of its plan. Its numbers are not in it: they are uniforms.
#[must_use]
pub fn shader_source(objective: &impl Objective, destination: Destination) -> String {
    Generated::new(objective).0.source(destination)
}

/// The numbers of an objective, in the order of the uniforms that its shader has for them.
#[must_use]
pub fn shader_literals(objective: &impl Objective) -> [f32; MOST_LITERALS] {
    Generated::new(objective).1
}

/// The WGSL of what checks and counts batches in buffers of the device, the same for all losses.
#[must_use]
pub fn batch_shader_source() -> String {
    [&[TYPES], &BATCH[..]].concat().join("\n")
}

/// Binding of the objective's numbers.
pub(crate) const LITERALS: u32 = 14;

/// What is generated from an objective's definition: the same for any values of its numbers, but for those that leave an operation out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Generated {
    objective: String,
    has_plan: bool,
}

impl Generated {
    /// What is generated, and the objective's numbers.
    pub(crate) fn new(objective: &impl Objective) -> (Self, [f32; MOST_LITERALS]) {
        let mut literals = Literals::in_uniforms();
        let source = on_new_graph(|| objective_source(objective, &mut literals));
        let has_plan = objective.group_plan().is_some();
        (Self { objective: source, has_plan }, literals.values())
    }

    pub(crate) fn source(&self, destination: Destination) -> String {
        let plan: &[&str] = if self.has_plan { &PLAN } else { &[] };
        let own = [destination.bindings(), &self.objective, &ARITHMETIC];
        [&FIXED[..], &own, plan].concat().join("\n")
    }
}

/// A token whose every field is a name of the shader; ln p is what is differentiated for.
fn token() -> Token<Sym> {
    let mut token = Token::new(Sym::variable("token.log_p"));
    token.ref_log_p = Sym::input("token.ref_log_p");
    token.old_log_p = Sym::input("token.old_log_p");
    token.advantage = Sym::input("token.advantage");
    token.entropy = Sym::input("token.entropy");
    token.sum_squares = Sym::input("token.sum_squares");
    token.extra =
        ["token.extra[0]", "token.extra[1]", "token.extra[2]", "token.extra[3]"].map(Sym::input);
    token.shared = PLANNED.map(Sym::input);
    token.partner = PARTNER.map(Sym::input);
    token.side = Sym::input("token.side");
    token
}

const PLANNED: [&str; STEPS] =
    ["token.planned[0]", "token.planned[1]", "token.planned[2]", "token.planned[3]"];
const PARTNER: [&str; STEPS] =
    ["token.partner[0]", "token.partner[1]", "token.partner[2]", "token.partner[3]"];

/// Which facts of a token an expression is made of, as the bits that the plan's shader has for them.
fn uses(values: &[Expr]) -> u32 {
    let bit = |input: &str| {
        let of = |names: [&str; STEPS], first: u32| {
            names.iter().position(|&name| name == input).map_or(0, |step| first << step)
        };
        let of_softmax = ["token.log_p", "token.entropy", "token.sum_squares"].contains(&input);
        u32::from(of_softmax) | of(PLANNED, 2) | of(PARTNER, 32)
    };
    inputs(values).into_iter().fold(0, |bits, input| bits | bit(input))
}

/// The function of a token that an objective is, with its derivative; of a group objective also the values of its steps, and its temperature.
fn objective_source(objective: &impl Objective, literals: &mut Literals) -> String {
    let token = token();
    let loss = objective.loss(&token);
    let loss = [loss.value(), loss.slope()];
    let body = body("vec2<f32>", &loss, literals);
    let plan = objective.group_plan().map_or_else(String::new, |plan| {
        plan_source(objective, &token, plan, literals)
            + &format!("const LOSS_USES: u32 = {}u;\n", uses(&loss))
    });
    format!(
        "// Generated from the objective's definition.

// Its numbers.
@group(0) @binding({LITERALS}) var<uniform> literals: array<vec4<f32>, {MOST_LITERALS} / 4>;

struct Token {{
    log_p: f32,
    ref_log_p: f32,
    old_log_p: f32,
    advantage: f32,
    entropy: f32,
    sum_squares: f32,
    extra: array<f32, 4>,
    planned: array<f32, 4>,
    partner: array<f32, 4>,
    side: f32,
}}

// Loss, and its derivative with respect to ln p.
fn objective(token: Token) -> vec2<f32> {{
    // Bound in any case, also where there is no number.
    _ = literals[0];
{body}}}
{plan}"
    )
}

fn plan_source(
    objective: &impl Objective,
    token: &Token<Sym>,
    plan: GroupPlan,
    literals: &mut Literals,
) -> String {
    let (mut functions, mut values, mut masks) = (String::new(), String::new(), String::new());
    for (index, _) in plan.steps() {
        let value = [objective.step(index, token).value()];
        let (body, mask) = (body("f32", &value, literals), uses(&value));
        functions += &format!("\nfn step_{index}(token: Token) -> f32 {{\n{body}}}\n");
        values += &format!("        case {index}u: {{ return step_{index}(token); }}\n");
        masks += &format!("        case {index}u: {{ return {mask}u; }}\n");
    }
    let tau = [objective.temperature(token).unwrap_or(Sym::lit(0.0)).value()];
    let (tau, tau_uses) = (body("f32", &tau, literals), uses(&tau));
    format!(
        "{functions}
// The value of a step of the plan, and which facts of a token it is made of.
fn step_value(index: u32, token: Token) -> f32 {{
    _ = literals[0];
    switch index {{
{values}        default: {{ return 0.0; }}
    }}
}}

fn step_uses(index: u32) -> u32 {{
    switch index {{
{masks}        default: {{ return 0u; }}
    }}
}}

fn temperature(token: Token) -> f32 {{
{tau}}}

const TEMPERATURE_USES: u32 = {tau_uses}u;
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
    let softmax = TargetSoftmax {
        distance: Sym::input("softmax.distance"),
        at_target: Sym::input("softmax.at_target"),
        others: Sym::input("softmax.others"),
        ln_sum: Sym::input("softmax.ln_sum"),
        inverse: Sym::input("softmax.inverse"),
    };
    let given = |name| Sym::input(name);
    let mut inline = Literals::inline();
    let mut function = |value: Sym| body("f32", &[value.value()], &mut inline);
    let nll = function(softmax.nll());
    let entropy = function(softmax.entropy(given("sum_exp_logits")));
    let sum_squares = function(softmax.sum_squares(given("sum_exp_squared")));
    let of_softmax = [
        softmax.p(),
        softmax.miss(),
        softmax.log_sum_exp(given("largest")),
        softmax.smoothed(options.class_weight_sum, given("below_max")),
        given("input.token_weight"),
        given("input.class_weight"),
        given("scale"),
    ];
    let values = body("RowValues", &of_softmax.map(Sym::value), &mut inline);
    let [value, weight, extras] = ["value", "weight", "extras"].map(Sym::input);
    let term = Term::new(value, weight, extras, &row, &options);
    let term = body("Term", &[term.loss, term.coef, term.dense].map(Sym::value), &mut inline);
    let [coef, dense] = ["term.coef", "term.dense"].map(Sym::input);
    let coefs = Coefs::new(coef, dense, row.lse, &options);
    let coefs = [coefs.prob(), coefs.uniform(), coefs.target(&row)].map(Sym::value);
    let coefs = body("Coefs", &coefs, &mut inline);
    format!(
        "// Generated from the arithmetic of the library.

// A row's softmax around its target.
struct Softmax {{
    distance: f32,
    at_target: f32,
    others: f32,
    ln_sum: f32,
    inverse: f32,
}}

fn nll_of(softmax: Softmax) -> f32 {{
{nll}}}

fn entropy_of(softmax: Softmax, sum_exp_logits: f32) -> f32 {{
{entropy}}}

fn sum_squares_of(softmax: Softmax, sum_exp_squared: f32) -> f32 {{
{sum_squares}}}

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

// `below_max` is what smoothing sums up below the row's largest logit.
fn values_of(softmax: Softmax, largest: f32, below_max: f32, input: RowInput, scale: f32) -> RowValues {{
{values}}}

// An objective's value and weight as a token's term; `extras` multiplies the dense extras.
fn term_of(value: f32, weight: f32, extras: f32, row: RowValues) -> Term {{
{term}}}

// The coefficients of a row with this term.
fn coefs_of(term: Term, row: RowValues) -> Coefs {{
{coefs}}}
"
    )
}
