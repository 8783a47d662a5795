//! What has been compiled for a device: so that a training loop compiles once, whatever its reduction, extras, class weights and annealed parameters.

use core::mem::{Discriminant, discriminant};
use std::sync::{Mutex, PoisonError};

use ::surprisal_gpu::{Dtype, Error, Gpu, Pipelines};
use surprisal::Loss;
use surprisal::objective::Builtin;

/// Most that is kept.
const MOST: usize = 8;

/// Which objective, and types of logits and result.
type Kind = (Discriminant<Builtin>, Dtype, Dtype);

/// An objective, compiled for any number of calls: it borrows nothing.
type Owned = Pipelines<'static, Builtin>;

/// The objectives that were used last, the latest at the end.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    kept: Mutex<Vec<(Kind, Owned)>>,
}

impl Compiled {
    /// The loss for these element types; compiled now, unless its objective was lately, with whatever numbers. The device has said that it is well.
    pub(super) fn get<'l>(
        &self,
        gpu: &Gpu,
        loss: Loss<'l, Builtin>,
        logits: Dtype,
        result: Dtype,
    ) -> Result<Pipelines<'l, Builtin>, Error> {
        let kind = (discriminant(loss.objective()), logits, result);
        // A list in which somebody panicked is a list.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let of_kind = kept.iter().enumerate().rev().filter(|(_, (known, _))| *known == kind);
        let found =
            of_kind.map(|(index, (_, owned))| (index, gpu.checked(|| owned.with_loss(loss))));
        // An objective whose options differ is another shader.
        let found = found.into_iter().find(|(_, fitted)| !matches!(fitted, Err(Error::Objective)));
        if let Some((index, fitted)) = found {
            let entry = kept.remove(index);
            kept.push(entry);
            return fitted;
        }
        let plain = Loss::new(*loss.objective());
        let compile = || Pipelines::with_types(gpu.device(), plain, logits, result);
        let owned = gpu.checked(compile)?;
        let fitted = gpu.checked(|| owned.with_loss(loss));
        kept.push((kind, owned));
        if kept.len() > MOST {
            kept.remove(0);
        }
        fitted
    }
}

#[cfg(test)]
mod tests {
    use surprisal::objective::{Normalize, Talr, TalrAuto};

    use super::*;

    #[test]
    fn other_numbers_compile_nothing() {
        let gpu = match Gpu::open() {
            Ok(gpu) => gpu,
            Err(why) => {
                let required = std::env::var("SURPRISAL_REQUIRE_GPU").is_ok_and(|v| v == "1");
                assert!(!required, "{why}");
                return;
            }
        };
        let compiled = Compiled::default();
        let kept_after = |objective: Builtin, logits| {
            let loss = Loss::new(objective).grad_scale(0.5);
            let pipelines = compiled.get(&gpu, loss, logits, Dtype::F32).unwrap();
            assert_eq!(*pipelines.loss().objective(), objective);
            compiled.kept.lock().unwrap().len()
        };
        let talr = |tau| Builtin::from(Talr { tau, ..Talr::default() });
        let auto = |normalize| Builtin::from(TalrAuto { normalize, ..TalrAuto::default() });
        for tau in [0.5, 0.7, 2.5] {
            assert_eq!(kept_after(talr(tau), Dtype::F32), 1);
        }
        assert_eq!(kept_after(auto(Normalize::None), Dtype::F32), 2);
        assert_eq!(kept_after(auto(Normalize::Mean1Batch), Dtype::F32), 3);
        assert_eq!(kept_after(talr(0.9), Dtype::Bf16), 4);
        assert_eq!(kept_after(talr(0.8), Dtype::F32), 4);
    }
}
