//! Calls that are often wrong: an error exactly when the call is, by a predicate written apart; nothing written with an error; no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use surprisal::objective::{Scalars, TokenTerm};
use surprisal::{Error, Logits, LogitsMut, Outputs, RowStats, Workspace, log_softmax, log_sum_exp};
use surprisal_fuzz::call::{Call, Shape};
use surprisal_fuzz::validity;

/// What stands in every buffer before a call.
const CANARY: f32 = 1536.0;
const STATS: RowStats = RowStats { max: 1536.0, others: 2.0, ..RowStats::EMPTY };
const TERM: TokenTerm = TokenTerm { loss: 1536.0, coef: 1536.0, dense: 1536.0 };

/// The buffers that a call may write.
#[derive(Clone, PartialEq)]
struct Buffers {
    matrix: Vec<f32>,
    stats: Option<Vec<RowStats>>,
    terms: Option<Vec<TokenTerm>>,
    nll: Option<Vec<f32>>,
}

impl Buffers {
    fn new(call: &Call, matrix: Vec<f32>) -> Self {
        Self {
            matrix,
            stats: call.stats.map(|len| vec![STATS; len]),
            terms: call.terms.map(|len| vec![TERM; len]),
            nll: call.nll.map(|len| vec![CANARY; len]),
        }
    }

    /// The matrix, and the others as outputs.
    fn split(&mut self) -> (&mut [f32], Outputs<'_>) {
        let mut outputs = Outputs::new();
        if let Some(stats) = &mut self.stats {
            outputs = outputs.stats(stats);
        }
        if let Some(terms) = &mut self.terms {
            outputs = outputs.terms(terms);
        }
        if let Some(nll) = &mut self.nll {
            outputs = outputs.nll(nll);
        }
        (&mut self.matrix, outputs)
    }
}

/// What a call is lent; it may write there whatever becomes of it.
struct Room {
    stats: Vec<RowStats>,
    terms: Vec<TokenTerm>,
    scalars: Vec<Scalars>,
    scratch: Vec<f32>,
}

impl Room {
    fn new(call: &Call) -> Self {
        let [stats, terms, scalars] = call.workspace;
        Self {
            stats: vec![STATS; stats],
            terms: vec![TERM; terms],
            scalars: vec![Scalars::DROPPED; scalars],
            scratch: vec![CANARY; call.scratch],
        }
    }

    fn lend(&mut self) -> Workspace<'_> {
        let workspace = Workspace::none().stats(&mut self.stats).terms(&mut self.terms);
        workspace.scalars(&mut self.scalars).scratch(&mut self.scratch)
    }
}

/// Makes a call over fresh buffers.
fn expect(
    what: &str,
    valid: bool,
    mut buffers: Buffers,
    call: impl FnOnce(&mut Buffers) -> Result<(), Error>,
) {
    let before = buffers.clone();
    let result = call(&mut buffers);
    assert_eq!(result.is_ok(), valid, "{what}: {result:?}");
    assert!(valid || buffers == before, "{what}: written despite {result:?}");
}

fn view(z: &[f32], s: Shape) -> Result<Logits<'_, f32>, Error> {
    let view = Logits::strided(z, s.rows, s.vocab, s.stride)?;
    s.shard.map_or(Ok(view), |(start, total)| view.shard(start, total))
}

fn view_mut(z: &mut [f32], s: Shape) -> Result<LogitsMut<'_, f32>, Error> {
    let view = LogitsMut::strided(z, s.rows, s.vocab, s.stride)?;
    match s.shard {
        None => Ok(view),
        Some((start, total)) => view.shard(start, total),
    }
}

fuzz_target!(|call: Call| {
    // No NaN, so that buffers can be compared.
    let z: Vec<f32> = (0..call.logits.len).map(|i| (i % 7) as f32).collect();
    let out = vec![CANARY; call.dlogits.len];
    let is_view = |s: Shape| validity::shape(s) && validity::shard(s);
    let (reads, writes) = (is_view(call.logits), is_view(call.dlogits));
    assert_eq!(view(&z, call.logits).is_ok(), reads, "logits");
    assert_eq!(view_mut(&mut out.clone(), call.dlogits).is_ok(), writes, "dlogits");
    stage_2(&call);
    if reads {
        composed(&call, &z, &out, writes);
        stages(&call, &z, &out, writes);
        conveniences(&call, &z, &out, writes);
    }
});

/// The vocabulary that the logits are part of.
fn vocab_total(call: &Call) -> usize {
    call.logits.shard.map_or(call.logits.vocab, |(_, total)| total)
}

fn is_whole(call: &Call) -> bool {
    call.logits.vocab == vocab_total(call)
}

fn same_shape(call: &Call) -> bool {
    (call.logits.rows, call.logits.vocab) == (call.dlogits.rows, call.dlogits.vocab)
        && validity::same_place(call.dlogits, call.logits)
}

/// The calls that compose all stages.
fn composed(call: &Call, z: &[f32], out: &[f32], writes: bool) {
    let (loss, batch, rows) = (call.problem.loss(), call.problem.batch(), call.logits.rows);
    let is_right = |len: Option<usize>| len.is_none_or(|len| len == rows);
    let right = is_whole(call) && validity::problem(&call.problem, rows, call.logits.vocab);
    let group = validity::is_group(&call.problem.objective);
    let outputs = [call.stats, call.terms, call.nll].into_iter().all(is_right);
    let (vocab, scratch) = (call.logits.vocab, call.scratch);
    let with = right && outputs && validity::workspace(call.workspace, scratch, rows, vocab, group);
    let without = right && (rows == 0 || !group);

    let mut room = Room::new(call);
    let source = || view(z, call.logits).unwrap();
    let buffers = || Buffers::new(call, out.to_vec());
    expect("forward", without, buffers(), |_| loss.forward(source(), &batch).map(|_| ()));
    expect("forward_with", with, buffers(), |buffers| {
        loss.forward_with(source(), &batch, buffers.split().1, room.lend()).map(|_| ())
    });
    expect("in place", with, Buffers::new(call, z.to_vec()), |buffers| {
        let (matrix, outputs) = buffers.split();
        let view = view_mut(matrix, call.logits).unwrap();
        loss.forward_backward_in_place_with(view, &batch, outputs, room.lend()).map(|_| ())
    });
    if writes {
        expect("forward_backward", with && same_shape(call), buffers(), |buffers| {
            let (matrix, outputs) = buffers.split();
            let view = view_mut(matrix, call.dlogits).unwrap();
            loss.forward_backward_with(source(), &batch, view, outputs, room.lend()).map(|_| ())
        });
    }
}

/// Stages 1 and 3, over whole rows or a shard.
fn stages(call: &Call, z: &[f32], out: &[f32], writes: bool) {
    let (loss, batch, rows) = (call.problem.loss(), call.problem.batch(), call.logits.rows);
    let right = validity::problem(&call.problem, rows, vocab_total(call));
    let source = || view(z, call.logits).unwrap();
    let buffers = || Buffers::new(call, out.to_vec());
    let (stats, terms) = (call.stats.unwrap_or(rows.min(99)), call.terms.unwrap_or(rows.min(99)));
    let mut with_stats = buffers();
    with_stats.stats = Some(vec![STATS; stats]);
    expect("row_stats", right && stats == rows, with_stats, |buffers| {
        loss.row_stats(source(), &batch, buffers.stats.as_deref_mut().unwrap_or_default())
    });
    let right = right && stats == rows && terms == rows;
    let (stats, terms) = (vec![STATS; stats], vec![TERM; terms]);
    expect("logits_grad in place", right, Buffers::new(call, z.to_vec()), |buffers| {
        let view = view_mut(&mut buffers.matrix, call.logits).unwrap();
        loss.logits_grad_in_place(view, &batch, &stats, &terms)
    });
    if writes {
        expect("logits_grad", right && same_shape(call), buffers(), |buffers| {
            let view = view_mut(&mut buffers.matrix, call.dlogits).unwrap();
            loss.logits_grad(source(), &batch, &stats, &terms, view)
        });
    }
}

/// Stage 2, which sees no matrix.
fn stage_2(call: &Call) {
    let stats = vec![STATS; call.stats.unwrap_or(0)];
    let right = validity::problem(&call.problem, stats.len(), call.vocab_total)
        && call.terms.unwrap_or(0) == stats.len()
        && (!validity::is_group(&call.problem.objective) || call.workspace[2] >= stats.len());
    let mut room = Room::new(call);
    let (loss, batch) = (call.problem.loss(), call.problem.batch());
    expect("token_terms", right, Buffers::new(call, Vec::new()), |buffers| {
        let terms = buffers.terms.as_deref_mut().unwrap_or_default();
        loss.token_terms(&stats, &batch, call.vocab_total, terms, room.lend()).map(|_| ())
    });
}

/// The calls without an objective.
fn conveniences(call: &Call, z: &[f32], out: &[f32], writes: bool) {
    let source = || view(z, call.logits).unwrap();
    let buffers = || Buffers::new(call, out.to_vec());
    let right = is_whole(call) && call.nll.unwrap_or(0) == call.logits.rows;
    expect("log_sum_exp", right, buffers(), |buffers| {
        log_sum_exp(source(), buffers.nll.as_deref_mut().unwrap_or_default())
    });
    if writes {
        expect("log_softmax", is_whole(call) && same_shape(call), buffers(), |buffers| {
            log_softmax(source(), view_mut(&mut buffers.matrix, call.dlogits).unwrap())
        });
    }
}
