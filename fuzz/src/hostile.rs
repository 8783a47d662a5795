//! Problems made of corners, from arbitrary bytes.

use arbitrary::{Arbitrary, Result, Unstructured};
use surprisal_tests::hostile::{self, Dice};
use surprisal_tests::run::levels;

use crate::logits::Storage;
use crate::problem::Input;

/// A problem of either kind.
#[derive(Debug)]
pub struct Either(pub Input);

impl<'a> Arbitrary<'a> for Either {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        if u.arbitrary()? {
            return Input::arbitrary(u).map(Self);
        }
        let storage: Storage = u.arbitrary()?;
        let level = *u.choose(&levels())?;
        let mut problem = hostile::problem(&mut Bytes(u));
        problem.logits.iter_mut().for_each(|z| *z = storage.round(*z));
        Ok(Self(Input { problem, storage, level }))
    }
}

/// Choices from bytes; when those have run out, the first of each.
struct Bytes<'a, 'b>(&'b mut Unstructured<'a>);

impl Dice for Bytes<'_, '_> {
    fn below(&mut self, n: usize) -> usize {
        self.0.int_in_range(0..=n - 1).unwrap_or(0)
    }
}
