//! A workspace with memory of its own.

use alloc::vec;
use alloc::vec::Vec;

use surprisal::RowStats;
use surprisal::objective::{Scalars, TokenTerm};

use crate::workspace::{Workspace, WorkspaceLen};

/// A [`Workspace`] that was allocated once.
#[derive(Clone, Debug, Default)]
pub struct OwnedWorkspace {
    scratch: Vec<f32>,
    stats: Vec<RowStats>,
    terms: Vec<TokenTerm>,
    scalars: Vec<Scalars>,
}

impl OwnedWorkspace {
    /// So many entries, for instance `memory.len(memory.recommended_rows())`.
    #[must_use]
    pub fn new(len: WorkspaceLen) -> Self {
        Self {
            scratch: vec![0.0; len.scratch],
            stats: vec![RowStats::EMPTY; len.group],
            terms: vec![TokenTerm::default(); len.group],
            scalars: vec![Scalars::DROPPED; len.group],
        }
    }

    /// The workspace for a call.
    pub fn lend(&mut self) -> Workspace<'_> {
        Workspace::new(&mut self.scratch).group(&mut self.stats, &mut self.terms, &mut self.scalars)
    }
}
