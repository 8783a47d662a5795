//! What a call refuses: typed errors, and nothing recorded.

use surprisal::objective::{Builtin, Dft, Sft, TalrAuto, TokenTerm};
use surprisal::{Argument, Batch, Error as LossError, Loss, RowStats};
use surprisal_gpu::{Dtype, Error, Gradient, Matrix, Pipelines, wgpu};

use crate::ways::{gpu, submit};

pub(crate) fn refusals() {
    let gpu = gpu();
    let buffer = gpu.buffer(4 * 12).unwrap();
    let other = gpu.buffer(4 * 12).unwrap();
    let matrix = |dtype, rows, vocab| Matrix::new(&buffer, dtype, rows, vocab);
    assert_eq!(matrix(Dtype::F32, 3, 0).unwrap_err(), LossError::EmptyVocab.into());
    assert!(matches!(matrix(Dtype::F32, 4, 4), Err(Error::Buffer { .. })));
    assert!(matrix(Dtype::Bf16, 6, 4).is_ok());
    let strided = |offset, stride| Matrix::strided(&buffer, Dtype::F32, offset, 2, 4, stride);
    assert!(matches!(strided(0, 3), Err(Error::Loss(LossError::Stride { .. }))));
    assert!(matches!(strided(2, 4), Err(Error::Buffer { .. })));
    assert!(matches!(strided(32, 4), Err(Error::Buffer { .. })));

    let f32 = matrix(Dtype::F32, 3, 4).unwrap();
    let sft = Pipelines::new(gpu.device(), Loss::new(Builtin::from(Sft)), Dtype::F32).unwrap();
    let batch = Batch::new(&[0, 1, 2]);
    let twin = Matrix::new(&other, Dtype::F32, 3, 4).unwrap();
    let (stats, terms) = ([RowStats::EMPTY; 3], [TokenTerm::default(); 3]);
    submit(|encoder| {
        let mut refused = |matrix, batch: &Batch<'_>, gradient| {
            sft.forward_backward(encoder, matrix, batch, gradient).map(|_| ()).unwrap_err()
        };
        let target = LossError::Target { row: 1, target: 4 };
        assert_eq!(refused(f32, &Batch::new(&[0, 4, 2]), Gradient::InPlace), target.into());
        let short = refused(f32, &Batch::new(&[0, 1]), Gradient::InPlace);
        assert!(matches!(short, Error::Loss(LossError::Length { .. })), "{short:?}");
        let bf16 = matrix(Dtype::Bf16, 3, 4).unwrap();
        assert_eq!(refused(bf16, &batch, Gradient::InPlace), Error::Types);
        let same = refused(f32, &batch, Gradient::To(f32));
        assert!(matches!(same, Error::Buffer { .. }), "{same:?}");
        let row = |bytes| Matrix::strided(&buffer, Dtype::F32, bytes, 1, 6, 6).unwrap();
        let one = Batch::new(&[0]);
        let touching = refused(row(0), &one, Gradient::To(row(24)));
        assert!(matches!(touching, Error::Buffer { .. }), "{touching:?}");
        let small = Matrix::new(&other, Dtype::F32, 2, 4).unwrap();
        let shape = refused(f32, &batch, Gradient::To(small));
        assert!(matches!(shape, Error::Loss(LossError::Shape { .. })), "{shape:?}");
        let shard = f32.shard(4, 12).unwrap();
        let whole = refused(shard, &batch, Gradient::InPlace);
        assert_eq!(whole, LossError::NeedsWholeRows.into());
        let place = |start, total| Gradient::To(twin.shard(start, total).unwrap());
        let elsewhere = sft.logits_grad(encoder, shard, &batch, &stats, &terms, place(0, 12));
        let (argument, vocab_start) = (Argument::Dlogits, 0);
        let other = LossError::OtherShard { argument, vocab_start, vocab_total: 12 };
        assert_eq!(elsewhere.unwrap_err(), other.into());
        for named in [place(4, 12), Gradient::To(twin)] {
            assert!(sft.logits_grad(encoder, shard, &batch, &stats, &terms, named).is_ok());
        }
        let tiny = sft.with_loss(Loss::new(Sft.into())).unwrap().binding_limit(40);
        let limit = tiny.forward(encoder, f32, &batch).map(|_| ()).unwrap_err();
        assert!(matches!(limit, Error::Limit { .. }), "{limit:?}");
    });

    assert_eq!(sft.with_loss(Loss::new(Dft.into())).map(|_| ()).unwrap_err(), Error::Objective);
    let talr = Loss::new(TalrAuto::default());
    let talr = Pipelines::with_types(gpu.device(), talr, Dtype::Bf16, Dtype::F32).unwrap();
    let bf16 = matrix(Dtype::Bf16, 3, 4).unwrap();
    let sequences = batch.sequences(&[0, 3]);
    submit(|encoder| {
        let group = |batch: &Batch<'_>, encoder: &mut _| {
            talr.forward(encoder, bf16, batch).map(|_| ()).unwrap_err()
        };
        let missing = LossError::Missing(Argument::Sequences);
        assert_eq!(group(&batch, encoder), missing.into());
        let part = sequences.row_range(0..3).part_of(0..3, 6);
        assert_eq!(group(&part, encoder), LossError::NeedsWholeBatch.into());
        let call = talr.row_stats(encoder, bf16, &sequences);
        assert!(call.is_ok());
        let grad = talr.logits_grad(encoder, bf16, &sequences, &[], &[], Gradient::InPlace);
        assert_eq!(grad.unwrap_err(), Error::Types);
    });
    // What was recorded is valid: the device would have said so.
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
}
