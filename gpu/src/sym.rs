//! `Sym`: a number of the objectives that writes itself down as WGSL, with its derivative beside it.
//!
//! An objective is evaluated once on symbols. Each symbol is a value and its derivative with respect to ln p, both nodes of an expression graph;
//! what is used is printed as one `let` a node.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::ops::{Add, Div, Mul, Neg, Sub};

use surprisal::objective::Real;

/// A node of the expression graph of this thread.
type Expr = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Node {
    /// Bits of an f64.
    Literal(u64),
    /// A name that the shader knows.
    Input(&'static str),
    /// A function of one value, by its name in the shader.
    Call(&'static str, Expr),
    /// An operator.
    Binary(&'static str, Expr, Expr),
    /// power(base, exponent).
    Power(Expr, Expr),
    /// `select(otherwise, then, left < right)`.
    Select { left: Expr, right: Expr, then: Expr, otherwise: Expr },
}

#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    known: HashMap<Node, Expr>,
}

thread_local! {
    static GRAPH: RefCell<Graph> = RefCell::default();
}

fn node(node: Node) -> Expr {
    GRAPH.with_borrow_mut(|graph| {
        if let Some(&known) = graph.known.get(&node) {
            return known;
        }
        let expr = Expr::try_from(graph.nodes.len()).expect("an objective is a short formula");
        graph.nodes.push(node);
        graph.known.insert(node, expr);
        expr
    })
}

fn literal(value: f64) -> Expr {
    // Not -0: one zero is enough.
    node(Node::Literal((value + 0.0).to_bits()))
}

fn value_of(expr: Expr) -> Option<f64> {
    GRAPH.with_borrow(|graph| match graph.nodes[expr as usize] {
        Node::Literal(bits) => Some(f64::from_bits(bits)),
        _ => None,
    })
}

fn add(a: Expr, b: Expr) -> Expr {
    match (value_of(a), value_of(b)) {
        (Some(a), Some(b)) => literal(a + b),
        (Some(0.0), _) => b,
        (_, Some(0.0)) => a,
        _ => node(Node::Binary("+", a, b)),
    }
}

fn sub(a: Expr, b: Expr) -> Expr {
    match (value_of(a), value_of(b)) {
        (Some(a), Some(b)) => literal(a - b),
        (_, Some(0.0)) => a,
        (Some(0.0), _) => node(Node::Call("-", b)),
        _ => node(Node::Binary("-", a, b)),
    }
}

fn mul(a: Expr, b: Expr) -> Expr {
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

fn div(a: Expr, b: Expr) -> Expr {
    match (value_of(a), value_of(b)) {
        (Some(a), Some(b)) => literal(a / b),
        (Some(0.0), _) => a,
        (_, Some(1.0)) => a,
        _ => node(Node::Binary("/", a, b)),
    }
}

/// A derivative times an inner slope. A slope that is 0 wins over an infinite derivative, at run time as well.
fn chain(derivative: Expr, slope: Expr) -> Expr {
    match value_of(slope) {
        Some(_) => mul(derivative, slope),
        None => node(Node::Binary("*", derivative, slope)),
    }
}

fn select(left: Expr, right: Expr, then: Expr, otherwise: Expr) -> Expr {
    if then == otherwise { then } else { node(Node::Select { left, right, then, otherwise }) }
}

/// A value of an objective and its derivative with respect to ln p of the target, as expressions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sym {
    value: Expr,
    slope: Expr,
}

impl Sym {
    /// The variable of the shader that is differentiated for.
    pub(crate) fn variable(name: &'static str) -> Self {
        Self { value: node(Node::Input(name)), slope: literal(1.0) }
    }

    /// Another variable of the shader.
    pub(crate) fn input(name: &'static str) -> Self {
        Self { value: node(Node::Input(name)), slope: literal(0.0) }
    }

    /// f(self), given the value and the derivative of f there.
    fn of(self, value: Expr, derivative: Expr) -> Self {
        Self { value, slope: chain(derivative, self.slope) }
    }

    /// The body of a WGSL function that returns value and slope as `vec2<f32>`.
    pub(crate) fn body(self) -> String {
        let mut needed = Vec::new();
        GRAPH.with_borrow(|graph| {
            collect(&graph.nodes, self.value, &mut needed);
            collect(&graph.nodes, self.slope, &mut needed);
            // Operands have lower numbers than what uses them.
            needed.sort_unstable();
            let mut body = String::new();
            for expr in needed {
                let line = print(graph.nodes[expr as usize]);
                writeln!(body, "    let v{expr} = {line};").expect("a String takes everything");
            }
            let (value, slope) = (self.value, self.slope);
            writeln!(body, "    return vec2<f32>(v{value}, v{slope});")
                .expect("a String takes everything");
            body
        })
    }
}

fn collect(nodes: &[Node], expr: Expr, needed: &mut Vec<Expr>) {
    if needed.contains(&expr) {
        return;
    }
    needed.push(expr);
    let operands: &[Expr] = match nodes[expr as usize] {
        Node::Literal(_) | Node::Input(_) => &[],
        Node::Call(_, a) => &[a],
        Node::Binary(_, a, b) | Node::Power(a, b) => &[a, b],
        Node::Select { left, right, then, otherwise } => &[left, right, then, otherwise],
    };
    for &operand in operands {
        collect(nodes, operand, needed);
    }
}

fn print(node: Node) -> String {
    match node {
        Node::Literal(bits) => number(f64::from_bits(bits)),
        Node::Input(name) => name.to_owned(),
        Node::Call("-", a) => format!("-v{a}"),
        Node::Call(function, a) => format!("{function}(v{a})"),
        Node::Binary(operator, a, b) => format!("v{a} {operator} v{b}"),
        Node::Power(base, exponent) => format!("power(v{base}, v{exponent})"),
        Node::Select { left, right, then, otherwise } => {
            format!("select(v{otherwise}, v{then}, v{left} < v{right})")
        }
    }
}

/// A literal in the range of f32, for which WGSL has no infinities, and no zero in place of something.
fn number(value: f64) -> String {
    let largest = f64::from(f32::MAX);
    let least = f64::from(f32::MIN_POSITIVE);
    let value = value.clamp(-largest, largest);
    let value = if value != 0.0 && value.abs() < least { least.copysign(value) } else { value };
    // Printed as f64: the shortest digits of f32::MAX lie above it, where Tint refuses them.
    #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
    let value = f64::from(value as f32);
    format!("f32({value:e})")
}

impl Add for Sym {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { value: add(self.value, other.value), slope: add(self.slope, other.slope) }
    }
}

impl Sub for Sym {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { value: sub(self.value, other.value), slope: sub(self.slope, other.slope) }
    }
}

impl Mul for Sym {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let slope = add(chain(other.value, self.slope), chain(self.value, other.slope));
        Self { value: mul(self.value, other.value), slope }
    }
}

impl Div for Sym {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let value = div(self.value, other.value);
        let above = div(self.slope, other.value);
        let below = chain(div(value, other.value), other.slope);
        Self { value, slope: sub(above, below) }
    }
}

impl Neg for Sym {
    type Output = Self;

    fn neg(self) -> Self {
        let zero = literal(0.0);
        Self { value: sub(zero, self.value), slope: sub(zero, self.slope) }
    }
}

impl Real for Sym {
    fn lit(value: f64) -> Self {
        Self { value: literal(value), slope: literal(0.0) }
    }

    fn exp(self) -> Self {
        let value = node(Node::Call("exponential", self.value));
        self.of(value, value)
    }

    fn exp_m1(self) -> Self {
        let value = node(Node::Call("exponential_minus_1", self.value));
        self.of(value, node(Node::Call("exponential", self.value)))
    }

    fn ln(self) -> Self {
        let value = node(Node::Call("logarithm", self.value));
        self.of(value, div(literal(1.0), self.value))
    }

    fn powf(self, exponent: f64) -> Self {
        if exponent == 1.0 {
            return self;
        }
        if exponent == 0.0 {
            return Self::lit(1.0);
        }
        let power = |e: f64| node(Node::Power(self.value, literal(e)));
        let below = if exponent == 2.0 { self.value } else { power(exponent - 1.0) };
        self.of(power(exponent), mul(literal(exponent), below))
    }

    fn min(self, other: Self) -> Self {
        let pick = |mine, theirs| select(other.value, self.value, theirs, mine);
        Self { value: pick(self.value, other.value), slope: pick(self.slope, other.slope) }
    }

    fn max(self, other: Self) -> Self {
        let pick = |mine, theirs| select(self.value, other.value, theirs, mine);
        Self { value: pick(self.value, other.value), slope: pick(self.slope, other.slope) }
    }

    fn if_negative(self, then: Self, otherwise: Self) -> Self {
        let pick = |then, otherwise| select(self.value, literal(0.0), then, otherwise);
        Self { value: pick(then.value, otherwise.value), slope: pick(then.slope, otherwise.slope) }
    }

    fn stop(self) -> Self {
        Self { value: self.value, slope: literal(0.0) }
    }
}
