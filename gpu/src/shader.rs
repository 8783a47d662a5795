//! The shader: the fixed part, and the objective that is generated from its Rust definition.

use surprisal::objective::{Objective, Scope, Token};

use crate::sym::Sym;

/// The fixed part.
const LOSS: &str = include_str!("loss.wgsl");

/// The WGSL of all stages with this objective. Objectives of a group get their terms from the host: their function is not called.
pub(crate) fn source(objective: &impl Objective) -> String {
    let body = if objective.scope() == Scope::Token {
        let token = Token {
            log_p: Sym::variable("token.log_p"),
            ref_log_p: Sym::input("token.ref_log_p"),
            old_log_p: Sym::input("token.old_log_p"),
            advantage: Sym::input("token.advantage"),
            group: [Sym::input("0.0"); 2],
        };
        objective.loss(&token).body()
    } else {
        "    return vec2<f32>(0.0, 0.0);\n".to_owned()
    };
    format!(
        "{LOSS}
// Generated from the objective's definition.

struct Token {{
    log_p: f32,
    ref_log_p: f32,
    old_log_p: f32,
    advantage: f32,
}}

// Loss, and its derivative with respect to ln p.
fn objective(token: Token) -> vec2<f32> {{
{body}}}
"
    )
}
