//! Output layers from arbitrary bytes: a consistent problem whose logits are a product of operands of any type, size, content and layout.

use arbitrary::{Arbitrary, Result, Unstructured};
use std::ops::Range;
use surprisal_tests::problem::Problem;

use crate::hostile::Either;
use crate::logits::{Storage, WildContent};
use crate::problem::Input;
use crate::validity;

/// Largest width of the hidden states.
const MAX_WIDTH: usize = 20;

/// An output layer with its loss, and how it is called.
#[derive(Debug)]
pub struct Layer {
    /// Its logits are not used: the product takes their place.
    pub input: Input,
    pub width: usize,
    /// Operands, of values that their types have.
    pub hidden: Operand,
    pub weight: Operand,
    /// Type of dH, which lies as H does, and whether it is asked for, and dW, and dbias.
    pub gradient: Storage,
    pub asked: [bool; 3],
    pub bias: Option<Vec<f32>>,
    /// The rows of the batch that are called with, if not all.
    pub range: Option<Range<usize>>,
    /// Rows of a chunk, and what the parts of the workspace have beyond what they need.
    pub chunk: usize,
    pub spare: usize,
    pub fault: Option<Fault>,
}

/// A matrix as it lies in memory.
#[derive(Debug)]
pub struct Operand {
    pub storage: Storage,
    pub values: Vec<f32>,
    pub place: Place,
}

/// Where the entries of a matrix lie.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub rows: usize,
    pub cols: usize,
    pub down: usize,
    pub across: usize,
    /// Entries before the first and behind the last.
    pub around: usize,
}

/// What may be wrong with a call that is right otherwise.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Hidden,
    Width,
    DHidden,
    DWeight,
    Bias,
    DBias,
    Outputs,
    Target,
    Range,
    Scratch,
    Group(u8),
}

impl<'a> Arbitrary<'a> for Layer {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (width, asked) = (u.int_in_range(1..=MAX_WIDTH)?, u.arbitrary()?);
        let (chunk, spare) = (u.int_in_range(1..=12)?, u.int_in_range(0..=40)?);
        let fault = if u.ratio(1, 4)? { Some(u.arbitrary()?) } else { None };
        let (gradient, has_bias) = (u.arbitrary()?, u.arbitrary()?);
        let (parts, is_near) = (u.arbitrary()?, u.ratio(1, 3)?);
        let storages: [Storage; 2] = u.arbitrary()?;
        let contents: [WildContent; 2] = u.arbitrary()?;
        let Either(input) = u.arbitrary()?;
        let Problem { rows, vocab, .. } = input.problem;
        let range = part(rows, parts);
        let is_near = is_near && vocab <= 4 * MAX_WIDTH;
        // The problem's logits themselves: side inputs are near them, and corners stay corners.
        let width = if is_near { vocab } else { width };
        let places = [Place::new(u, rows, width)?, Place::new(u, vocab, width)?];
        let bias = if has_bias { Some(Storage::F32.wild(u, contents[1], vocab)?) } else { None };
        let values = if is_near {
            let unit = |i: usize| f32::from(u8::from(i / vocab == i % vocab));
            let logits = input.problem.logits.iter().map(|&z| storages[0].round(z)).collect();
            [logits, (0..vocab * vocab).map(unit).collect()]
        } else {
            let weight = storages[1].wild(u, contents[1], vocab * width)?;
            [storages[0].wild(u, contents[0], rows * width)?, weight]
        };
        let [of_hidden, of_weight] = values;
        let hidden = Operand { storage: storages[0], values: of_hidden, place: places[0] };
        let weight = Operand { storage: storages[1], values: of_weight, place: places[1] };
        let mut layer = Self {
            input,
            width,
            hidden,
            weight,
            gradient,
            asked,
            bias,
            range,
            chunk,
            spare,
            fault,
        };
        layer.settle_fault();
        Ok(layer)
    }
}

impl Layer {
    /// The rows of a call.
    pub fn rows(&self) -> Range<usize> {
        self.range.clone().unwrap_or(0..self.input.problem.rows)
    }

    /// Whether the objective needs the whole batch.
    pub fn is_grouped(&self) -> bool {
        validity::is_group(&self.input.problem.objective)
    }

    /// Whether the call is refused.
    pub fn is_refused(&self) -> bool {
        let whole = self.rows() == (0..self.input.problem.rows);
        self.fault.is_some() || (self.is_grouped() && !whole)
    }

    /// Takes away a fault that does nothing here; a wrong target stands in the last row that counts.
    fn settle_fault(&mut self) {
        let (rows, vocab, width) = (self.rows().len(), self.input.problem.vocab, self.width);
        let [dhidden, dweight, dbias] = self.asked;
        let wrong = match self.fault {
            Some(Fault::DHidden) => dhidden && rows != width,
            Some(Fault::DWeight) => dweight && vocab != width,
            Some(Fault::DBias) => dbias,
            Some(Fault::Group(_)) => self.is_grouped() && rows > 0,
            Some(Fault::Range) => self.range.is_some(),
            Some(Fault::Target) => {
                self.range = None;
                let problem = &mut self.input.problem;
                let last = problem.batch().active_rows().last();
                let beyond = i64::try_from(vocab).unwrap();
                last.map(|row| problem.targets[row] = beyond).is_some()
            }
            _ => true,
        };
        self.fault = self.fault.filter(|_| wrong);
    }
}

/// Some of the rows, half of the time.
fn part(rows: usize, [a, b]: [u16; 2]) -> Option<Range<usize>> {
    let (a, b) = (usize::from(a) % (2 * rows + 2), usize::from(b) % (rows + 1));
    (a <= rows).then(|| a.min(b)..a.max(b))
}

impl Place {
    /// By rows or by columns, with entries between the entries and behind each line.
    fn new(u: &mut Unstructured<'_>, rows: usize, cols: usize) -> Result<Self> {
        let (step, gap) = (u.int_in_range(1..=3)?, u.int_in_range(0..=3)?);
        let (around, by_columns) = (u.int_in_range(0..=2)?, u.arbitrary()?);
        let line = if by_columns { rows } else { cols } * step + gap;
        let (mut down, mut across) = if by_columns { (step, line) } else { (line, step) };
        // What is not needed may be anything.
        let any = [0, 1, usize::MAX / 2, usize::MAX];
        if rows <= 1 {
            down = *u.choose(&any)?;
        }
        if cols <= 1 {
            across = *u.choose(&any)?;
        }
        Ok(Self { rows, cols, down, across, around })
    }

    /// Where an entry lies.
    pub fn at(&self, row: usize, col: usize) -> usize {
        self.around + row * self.down + col * self.across
    }

    /// Entries that the matrix needs, with those around it.
    pub fn len(&self) -> usize {
        let empty = self.rows == 0 || self.cols == 0;
        self.around + if empty { 0 } else { self.at(self.rows - 1, self.cols - 1) + 1 }
    }

    /// The entries in memory, with something else between them.
    pub fn lay_out<T: Copy>(&self, values: impl Fn(usize) -> T, between: T) -> Vec<T> {
        let mut all = vec![between; self.len()];
        for row in 0..self.rows {
            for col in 0..self.cols {
                all[self.at(row, col)] = values(row * self.cols + col);
            }
        }
        all
    }
}
