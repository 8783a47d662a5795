//! The expression graph of a function: what is equal is one node, what is known is computed at once.

use std::cell::RefCell;
use std::collections::HashMap;

/// A node's index.
pub(crate) type Expr = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Node {
    /// Bits of an f64.
    Literal(u64),
    /// A name that the shader knows.
    Input(&'static str),
    /// The negative.
    Negated(Expr),
    /// A function of one value, by its name in the shader.
    Call(&'static str, Expr),
    /// A function of two values.
    Call2(&'static str, Expr, Expr),
    /// An operator.
    Binary(&'static str, Expr, Expr),
    /// `select(otherwise, then, left < right)`.
    Select { left: Expr, right: Expr, then: Expr, otherwise: Expr },
}

impl Node {
    fn operands(self) -> Vec<Expr> {
        match self {
            Self::Literal(_) | Self::Input(_) => vec![],
            Self::Negated(a) | Self::Call(_, a) => vec![a],
            Self::Call2(_, a, b) | Self::Binary(_, a, b) => vec![a, b],
            Self::Select { left, right, then, otherwise } => vec![left, right, then, otherwise],
        }
    }
}

#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    known: HashMap<Node, Expr>,
}

thread_local! {
    static GRAPH: RefCell<Graph> = RefCell::default();
}

/// Runs what prints functions on a graph of its own, which is gone afterwards.
pub(crate) fn on_new_graph<R>(print: impl FnOnce() -> R) -> R {
    let outer = GRAPH.take();
    let printed = print();
    GRAPH.set(outer);
    printed
}

fn node(node: Node) -> Expr {
    GRAPH.with_borrow_mut(|graph| {
        let Graph { nodes, known } = graph;
        *known.entry(node).or_insert_with(|| {
            nodes.push(node);
            nodes.len() - 1
        })
    })
}

pub(super) fn literal(value: f64) -> Expr {
    // Not -0: one zero is enough.
    node(Node::Literal((value + 0.0).to_bits()))
}

pub(super) fn input(name: &'static str) -> Expr {
    node(Node::Input(name))
}

pub(super) fn call(function: &'static str, a: Expr) -> Expr {
    node(Node::Call(function, a))
}

pub(super) fn call2(function: &'static str, a: Expr, b: Expr) -> Expr {
    node(Node::Call2(function, a, b))
}

fn value_of(expr: Expr) -> Option<f64> {
    GRAPH.with_borrow(|graph| match graph.nodes.get(expr) {
        Some(&Node::Literal(bits)) => Some(f64::from_bits(bits)),
        _ => None,
    })
}

pub(super) fn add(a: Expr, b: Expr) -> Expr {
    match (value_of(a), value_of(b)) {
        (Some(a), Some(b)) => literal(a + b),
        (Some(0.0), _) => b,
        (_, Some(0.0)) => a,
        _ => node(Node::Binary("+", a, b)),
    }
}

pub(super) fn sub(a: Expr, b: Expr) -> Expr {
    match (value_of(a), value_of(b)) {
        (Some(a), Some(b)) => literal(a - b),
        (_, Some(0.0)) => a,
        (Some(0.0), _) => node(Node::Negated(b)),
        _ => node(Node::Binary("-", a, b)),
    }
}

pub(super) fn mul(a: Expr, b: Expr) -> Expr {
    match (value_of(a), value_of(b)) {
        (Some(a), Some(b)) => literal(a * b),
        (Some(0.0), _) => a,
        (_, Some(0.0)) => b,
        (Some(1.0), _) => b,
        (_, Some(1.0)) => a,
        (Some(-1.0), _) => sub(literal(0.0), b),
        (_, Some(-1.0)) => sub(literal(0.0), a),
        _ => node(Node::Binary("*", a, b)),
    }
}

pub(super) fn div(a: Expr, b: Expr) -> Expr {
    match (value_of(a), value_of(b)) {
        (Some(a), Some(b)) => literal(a / b),
        (Some(0.0), _) => a,
        (_, Some(1.0)) => a,
        _ => node(Node::Binary("/", a, b)),
    }
}

/// A product in which a first factor of 0 wins over everything.
pub(super) fn weigh(a: Expr, b: Expr) -> Expr {
    match (value_of(a), value_of(b)) {
        (Some(0.0 | 1.0), _) | (_, Some(0.0 | 1.0)) => mul(a, b),
        _ => call2("weigh", a, b),
    }
}

/// A derivative times an inner slope. A slope that is 0 wins over an infinite derivative, at run time as well.
pub(super) fn chain(derivative: Expr, slope: Expr) -> Expr {
    match value_of(slope) {
        Some(_) => mul(derivative, slope),
        None => node(Node::Binary("*", derivative, slope)),
    }
}

pub(super) fn select(left: Expr, right: Expr, then: Expr, otherwise: Expr) -> Expr {
    if then == otherwise { then } else { node(Node::Select { left, right, then, otherwise }) }
}

/// The body of a WGSL function that returns these values as one of a type.
pub(crate) fn body(returns: &str, values: &[Expr], literals: &mut Literals) -> String {
    GRAPH.with_borrow(|graph| {
        let mut order = Vec::new();
        values.iter().for_each(|&expr| visit(&graph.nodes, expr, &mut order));
        let name = |expr: Expr| {
            let place = order.iter().position(|&known| known == expr);
            place.map(|place| format!("v{place}")).unwrap_or_default()
        };
        let mut body = String::new();
        for &expr in &order {
            if let Some(&node) = graph.nodes.get(expr) {
                body += &format!("    let {} = {};\n", name(expr), print(node, &name, literals));
            }
        }
        let values: Vec<String> = values.iter().map(|&expr| name(expr)).collect();
        body + &format!("    return {returns}({});\n", values.join(", "))
    })
}

/// The names that these values are made of.
pub(crate) fn inputs(values: &[Expr]) -> Vec<&'static str> {
    GRAPH.with_borrow(|graph| {
        let mut order = Vec::new();
        values.iter().for_each(|&expr| visit(&graph.nodes, expr, &mut order));
        let input = |&expr: &Expr| match graph.nodes.get(expr) {
            Some(&Node::Input(name)) => Some(name),
            _ => None,
        };
        order.iter().filter_map(input).collect()
    })
}

/// Adds an expression after all that it uses: an order that does not depend on what else the graph holds.
fn visit(nodes: &[Node], expr: Expr, order: &mut Vec<Expr>) {
    if order.contains(&expr) {
        return;
    }
    let operands = nodes.get(expr).map(|node| node.operands()).unwrap_or_default();
    operands.into_iter().for_each(|operand| visit(nodes, operand, order));
    order.push(expr);
}

fn print(node: Node, name: &impl Fn(Expr) -> String, literals: &mut Literals) -> String {
    match node {
        Node::Literal(bits) => literals.print(in_range(f64::from_bits(bits))),
        Node::Input(input) => input.to_owned(),
        Node::Negated(a) => format!("-{}", name(a)),
        Node::Call(function, a) => format!("{function}({})", name(a)),
        Node::Call2(function, a, b) => format!("{function}({}, {})", name(a), name(b)),
        Node::Binary(operator, a, b) => format!("{} {operator} {}", name(a), name(b)),
        Node::Select { left, right, then, otherwise } => {
            let (left, right) = (name(left), name(right));
            format!("select({}, {}, {left} < {right})", name(otherwise), name(then))
        }
    }
}

/// A number in the range of f32, for which WGSL has no infinities, and no zero in place of something.
#[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
fn in_range(value: f64) -> f32 {
    let least = f64::from(f32::MIN_POSITIVE);
    let value = value.clamp(f32::MIN.into(), f32::MAX.into());
    let value = if value != 0.0 && value.abs() < least { least.copysign(value) } else { value };
    value as f32
}

/// Numbers of a shader that may be uniforms. A vector of uniforms is four of them.
pub(crate) const MOST_LITERALS: usize = 64;

/// Where the numbers of functions go: into their text, or into uniforms in the order of their printing.
pub(crate) struct Literals {
    uniforms: Option<Vec<f32>>,
}

impl Literals {
    pub(crate) fn inline() -> Self {
        Self { uniforms: None }
    }

    pub(crate) fn in_uniforms() -> Self {
        Self { uniforms: Some(Vec::new()) }
    }

    fn print(&mut self, value: f32) -> String {
        match &mut self.uniforms {
            Some(values) if values.len() < MOST_LITERALS => {
                values.push(value);
                let (vector, lane) = ((values.len() - 1) / 4, (values.len() - 1) % 4);
                format!("literals[{vector}][{lane}]")
            }
            // Printed as f64: the shortest digits of f32::MAX lie above it, where Tint refuses them.
            _ => format!("f32({:e})", f64::from(value)),
        }
    }

    /// The uniforms.
    pub(crate) fn values(self) -> [f32; MOST_LITERALS] {
        let mut all = [0.0; MOST_LITERALS];
        all.iter_mut().zip(self.uniforms.unwrap_or_default()).for_each(|(to, value)| *to = value);
        all
    }
}

#[cfg(test)]
mod tests {
    use surprisal::objective::Dft;

    use super::GRAPH;
    use crate::shader::{Destination, shader_source};

    #[test]
    fn nothing_is_left_of_a_function() {
        drop(shader_source(&Dft, Destination::Separate));
        assert_eq!(GRAPH.with_borrow(|graph| (graph.nodes.len(), graph.known.len())), (0, 0));
    }
}
