//! Threads that share one buffer, each with its own columns: views by address, since no slice has the rows of a shard and nothing else.

use surprisal::objective::{Sft, TokenTerm};
use surprisal::{
    Batch, Element, Error, Logits, LogitsMut, Loss, OwnedWorkspace, RowStats, bf16, f16,
};
use surprisal_tests::compare::assert_same_bits;
use surprisal_tests::problem::Problem;
use surprisal_tests::storage::Storage;

const ROWS: usize = 70;
/// Columns of a shard, of which two lie in the buffer; a third of them, odd, is somebody else's.
const WIDTH: usize = 37;
const STRIDE: usize = 2 * WIDTH + 5;
const CANARY: f32 = 1536.0;

fn buffer<T: Storage + Clone>(problem: &Problem) -> Vec<T> {
    let mut buffer = vec![T::round(CANARY); ROWS * STRIDE];
    for (to, from) in buffer.chunks_mut(STRIDE).zip(problem.logits.chunks(2 * WIDTH)) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = T::round(*from));
    }
    buffer
}

fn widened<T: Storage + Copy>(buffer: &[T]) -> Vec<f64> {
    let rows = buffer.chunks(STRIDE);
    rows.flat_map(|row| row[..2 * WIDTH].iter().map(|z| f64::from(z.widen()))).collect()
}

fn check<T: Element + Storage>() {
    let mut problem = Problem::random(ROWS, 2 * WIDTH, 3).with_ignored_rows().rounded::<T>();
    // All sums are asked for: none is NaN.
    problem.extras.label_smoothing = 0.125;
    let (loss, batch) = (problem.loss().with_moments(), problem.batch());
    let whole = buffer::<T>(&problem);
    let rows = Logits::strided(&whole, ROWS, 2 * WIDTH, STRIDE).unwrap();
    // One shard after the other, copied out.
    let shard_stats = |start: usize| {
        let columns: Vec<T> =
            (0..ROWS).flat_map(|row| rows.row(row)[start..][..WIDTH].to_vec()).collect();
        let view = Logits::new(&columns, ROWS, WIDTH).unwrap().shard(start, 2 * WIDTH).unwrap();
        let mut stats = vec![RowStats::EMPTY; ROWS];
        loss.row_stats(view, &batch, &mut stats).unwrap();
        stats
    };
    let expected_stats = [shard_stats(0), shard_stats(WIDTH)];

    let mut shared = buffer::<T>(&problem);
    let first = shared.as_mut_ptr();
    let mut stats = [vec![RowStats::EMPTY; ROWS], vec![RowStats::EMPTY; ROWS]];
    std::thread::scope(|scope| {
        for (start, stats) in [0, WIDTH].into_iter().zip(&mut stats) {
            // SAFETY: the columns of a shard, in a buffer that nobody writes during the scope.
            let view = unsafe { Logits::from_raw_parts(first.add(start), ROWS, WIDTH, STRIDE) };
            let view = view.unwrap().shard(start, 2 * WIDTH).unwrap();
            let (loss, batch) = (&loss, &batch);
            scope.spawn(move || loss.row_stats(view, batch, stats).unwrap());
        }
    });
    assert_eq!(stats, expected_stats);

    let merged: Vec<RowStats> = stats[0].iter().zip(&stats[1]).map(|(a, b)| a.merge(*b)).collect();
    let mut terms = vec![TokenTerm::default(); ROWS];
    let mut workspace = OwnedWorkspace::new();
    loss.token_terms(&merged, &batch, 2 * WIDTH, &mut terms, workspace.lend(ROWS, 0)).unwrap();
    let mut dlogits = vec![T::round(CANARY); ROWS * STRIDE];
    let out = LogitsMut::strided(&mut dlogits, ROWS, 2 * WIDTH, STRIDE).unwrap();
    loss.logits_grad(rows, &batch, &merged, &terms, out).unwrap();

    // The first shard over its logits, the second into another buffer: in turns with each other's columns both times.
    let mut other = vec![T::round(CANARY); ROWS * STRIDE];
    let second = other.as_mut_ptr();
    std::thread::scope(|scope| {
        // SAFETY: the first columns, which nobody else touches during the scope.
        let in_place = unsafe { LogitsMut::from_raw_parts(first, ROWS, WIDTH, STRIDE) };
        // SAFETY: the second columns, which nobody writes during the scope.
        let logits = unsafe { Logits::from_raw_parts(first.add(WIDTH), ROWS, WIDTH, STRIDE) };
        // SAFETY: the second columns of another buffer, which nobody else touches.
        let out = unsafe { LogitsMut::from_raw_parts(second.add(WIDTH), ROWS, WIDTH, STRIDE) };
        let in_place = in_place.unwrap().shard(0, 2 * WIDTH).unwrap();
        let logits = logits.unwrap().shard(WIDTH, 2 * WIDTH).unwrap();
        // Asks for nothing that is there: what follows the columns is not this view's.
        let out = out.unwrap().zero_padding();
        let (loss, batch, stats, terms) = (&loss, &batch, &merged, &terms);
        scope.spawn(move || loss.logits_grad_in_place(in_place, batch, stats, terms).unwrap());
        scope.spawn(move || loss.logits_grad(logits, batch, stats, terms, out).unwrap());
    });
    for (row, expected) in widened(&dlogits).chunks(2 * WIDTH).enumerate() {
        let (mine, theirs) = (&shared[row * STRIDE..][..STRIDE], &other[row * STRIDE..][..STRIDE]);
        let wide = |part: &[T]| part.iter().map(|z| f64::from(z.widen())).collect::<Vec<_>>();
        assert_same_bits("in place", &wide(&mine[..WIDTH]), &expected[..WIDTH]);
        assert_same_bits("separate", &wide(&theirs[WIDTH..2 * WIDTH]), &expected[WIDTH..]);
        let kept: Vec<T> = whole[row * STRIDE + WIDTH..][..STRIDE - WIDTH].to_vec();
        assert_same_bits("what lies between", &wide(&mine[WIDTH..]), &wide(&kept));
        let untouched = theirs[..WIDTH].iter().chain(&theirs[2 * WIDTH..]);
        assert!(untouched.into_iter().all(|z| z.widen() == CANARY), "row {row}");
    }
}

#[test]
fn threads_share_a_buffer() {
    check::<f32>();
    check::<bf16>();
    check::<f16>();
}

/// Padding is set to zero where it is the matrix's: by address that of all rows or of none, in a slice as far as it goes.
#[test]
fn padding_by_address() {
    let (z, targets) = ([0.5_f32; 6], [0_i64, 1]);
    let written = |view: &dyn Fn(&mut [f32; 10]) -> [f32; 10]| view(&mut [CANARY; 10]);
    let call = |out: Result<LogitsMut<'_, f32>, Error>| {
        let logits = Logits::new(&z, 2, 3).unwrap();
        let out = out.unwrap().zero_padding();
        Loss::new(Sft).forward_backward(logits, &Batch::new(&targets), out).unwrap();
    };
    let is_padding = |at: &[usize], dz: [f32; 10]| {
        for (index, dz) in dz.into_iter().enumerate() {
            let outside = [3, 4, 8, 9].contains(&index);
            let expected = if at.contains(&index) { 0.0 } else { CANARY };
            assert!(!outside || dz == expected, "{index}: {dz}");
            assert!(outside || dz.abs() < 1.0, "{index}: {dz}");
        }
    };
    // SAFETY (of both): two rows of five elements each, nobody else's.
    let none = written(&|dz| {
        call(unsafe { LogitsMut::from_raw_parts(dz.as_mut_ptr(), 2, 3, 5) });
        *dz
    });
    let all = written(&|dz| {
        call(unsafe { LogitsMut::from_raw_parts_padded(dz.as_mut_ptr(), 2, 3, 5) });
        *dz
    });
    let some = written(&|dz| {
        call(LogitsMut::strided(&mut dz[..9], 2, 3, 5));
        *dz
    });
    is_padding(&[], none);
    is_padding(&[3, 4, 8, 9], all);
    is_padding(&[3, 4, 8], some);
}

/// Without rows there is nothing to point to.
#[test]
fn no_rows_at_no_address() {
    use std::ptr::{null, null_mut};
    // SAFETY: no rows.
    let (logits, out) = unsafe {
        (
            Logits::from_raw_parts(null::<f32>(), 0, 3, 4).unwrap(),
            LogitsMut::from_raw_parts_padded(null_mut::<bf16>(), 0, 3, 4).unwrap(),
        )
    };
    assert_eq!((logits.row(0), out.as_logits().rows()), (&[][..], 0));
    let batch = Batch::new(&[0_i64; 0]);
    let report = Loss::new(Sft).forward_backward(logits, &batch, out.zero_padding()).unwrap();
    assert_eq!(report.tokens, 0);
    // SAFETY: refused before it is looked at.
    let refused = |rows, vocab, stride| unsafe {
        Logits::from_raw_parts(null::<f32>(), rows, vocab, stride).unwrap_err()
    };
    let argument = surprisal::Argument::Logits;
    assert_eq!(refused(1, 0, 4), Error::EmptyVocab);
    assert_eq!(refused(1, 3, 2), Error::Stride { argument, row_stride: 2, vocab: 3 });
    assert_eq!(refused(usize::MAX, 2, 2), Error::Extent { argument });
}
