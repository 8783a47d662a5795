//! The shader: the fixed part, where results go, and the objective that is generated from its Rust definition.

use surprisal::objective::{Objective, Scope, Token};

use crate::sym::Sym;

/// The fixed part.
const LOSS: &str = include_str!("loss.wgsl");

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
            Self::Separate => {
                "@group(0) @binding(1) var<storage, read> logits: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> results: array<vec4<u32>>;

fn result_packet(index: u32) -> vec4<u32> {
    return results[index];
}

fn store_packet(index: u32, packet: vec4<u32>) {
    results[index] = packet;
}
"
            }
            Self::InPlace => {
                "@group(0) @binding(1) var<storage, read_write> logits: array<vec4<u32>>;

fn result_packet(index: u32) -> vec4<u32> {
    return logits[index];
}

fn store_packet(index: u32, packet: vec4<u32>) {
    logits[index] = packet;
}
"
            }
        }
    }
}

/// The WGSL of all stages with this objective. Objectives of a group get their terms from the host: their function is not called.
#[must_use]
pub fn shader_source(objective: &impl Objective, destination: Destination) -> String {
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
    let bindings = destination.bindings();
    format!(
        "{LOSS}
// Generated: where results go.

{bindings}
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
