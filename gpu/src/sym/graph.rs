//! The expression graph of a function: what is equal is one node, what is known is computed at once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

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
    fn operands(self) -> impl Iterator<Item = Expr> {
        let operands = match self {
            Self::Literal(_) | Self::Input(_) => [None; 4],
            Self::Negated(a) | Self::Call(_, a) => [Some(a), None, None, None],
            Self::Call2(_, a, b) | Self::Binary(_, a, b) => [Some(a), Some(b), None, None],
            Self::Select { left, right, then, otherwise } => {
                [Some(left), Some(right), Some(then), Some(otherwise)]
            }
        };
        operands.into_iter().flatten()
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
        let uses = Uses::of(values, &graph.nodes);
        let mut body = String::new();
        for (place, node) in uses.nodes.iter().enumerate() {
            body += &format!("    let v{place} = {};\n", uses.print(*node, literals));
        }
        let values: Vec<String> = values.iter().map(|&expr| uses.name(expr).to_string()).collect();
        body + &format!("    return {returns}({});\n", values.join(", "))
    })
}

/// The names that these values are made of.
pub(crate) fn inputs(values: &[Expr]) -> Vec<&'static str> {
    GRAPH.with_borrow(|graph| {
        let input = |node| match node {
            Node::Input(name) => Some(name),
            _ => None,
        };
        Uses::of(values, &graph.nodes).nodes.into_iter().filter_map(input).collect()
    })
}

/// The nodes that values use, each after all that it uses itself: an order that does not depend on what else the graph holds.
struct Uses {
    nodes: Vec<Node>,
    /// Where among them an expression is.
    places: Vec<Option<usize>>,
}

impl Uses {
    fn of(values: &[Expr], nodes: &[Node]) -> Self {
        let mut uses = Self { nodes: Vec::new(), places: vec![None; nodes.len()] };
        values.iter().for_each(|&expr| uses.visit(nodes, expr));
        uses
    }

    fn visit(&mut self, nodes: &[Node], expr: Expr) {
        let Some(&node) = nodes.get(expr) else { return };
        if self.place(expr).is_none() {
            node.operands().for_each(|operand| self.visit(nodes, operand));
            self.places[expr] = Some(self.nodes.len());
            self.nodes.push(node);
        }
    }

    fn place(&self, expr: Expr) -> Option<usize> {
        self.places.get(expr).copied().flatten()
    }

    fn name(&self, expr: Expr) -> Name {
        Name(self.place(expr).unwrap_or_default())
    }

    fn print(&self, node: Node, literals: &mut Literals) -> String {
        let name = |expr| self.name(expr);
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
}

/// What the shader calls a node.
struct Name(usize);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
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
