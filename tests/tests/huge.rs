//! Offsets beyond 2^32 elements.

use half::slice::HalfBitsSliceExt;
use surprisal::objective::Dft;
use surprisal::{Batch, Logits, LogitsMut, Loss, bf16};

/// Three rows 2^31 + 7 elements apart: the last one starts beyond 2^32. The memory between them is never touched, so the pages
/// of this allocation stay unmapped and the test is small.
#[test]
fn rows_beyond_4_gi_elements() {
    const STRIDE: usize = (1 << 31) + 7;
    const VOCAB: usize = 100;
    let len = 2 * STRIDE + VOCAB;
    assert!(len > 1 << 32);
    // As integers: only those are allocated as untouched zero pages.
    let mut bits = vec![0_u16; len];
    let data: &mut [bf16] = bits.reinterpret_cast_mut();
    let row: Vec<bf16> = (0..VOCAB).map(|j| bf16::from_f32((j % 13) as f32 * 0.25)).collect();
    for start in [0, STRIDE, 2 * STRIDE] {
        data[start..start + VOCAB].copy_from_slice(&row);
    }
    let targets = [3, 50, 99];
    let batch = Batch::new(&targets);
    let loss = Loss::new(Dft);

    let small: Vec<bf16> = row.iter().chain(&row).chain(&row).copied().collect();
    let mut expected = small.clone();
    let logits = Logits::new(&small, 3, VOCAB).unwrap();
    let out = LogitsMut::new(&mut expected, 3, VOCAB).unwrap();
    let report = loss.forward_backward(logits, &batch, out).unwrap();

    let view = LogitsMut::strided(data, 3, VOCAB, STRIDE).unwrap();
    assert_eq!(loss.forward_backward_in_place(view, &batch).unwrap(), report);
    for (i, start) in [0, STRIDE, 2 * STRIDE].into_iter().enumerate() {
        assert_eq!(data[start..start + VOCAB], expected[i * VOCAB..][..VOCAB]);
        assert!(data[start + VOCAB..].iter().take(100).all(|v| v.to_bits() == 0));
    }
}
