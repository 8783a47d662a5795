//! What has been compiled for a device: so that a training loop compiles once, whatever its reduction, extras and class weights.

use std::sync::{Arc, Mutex, PoisonError};

use ::surprisal_gpu::{Dtype, Error, Gpu, Pipelines};
use surprisal::Loss;
use surprisal::objective::Builtin;

/// Most that is kept.
const MOST: usize = 8;

/// Objective, and types of logits and result.
type Key = (Builtin, Dtype, Dtype);

/// An objective, compiled for any number of calls: it borrows nothing.
type Owned = Arc<Pipelines<'static, Builtin>>;

/// The objectives that were used last, the latest at the end.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    objectives: Mutex<Vec<(Key, Owned)>>,
}

impl Compiled {
    /// The loss for these element types; compiled now, unless its objective was lately. The device has said that it is well.
    pub(super) fn get<'l>(
        &self,
        gpu: &Gpu,
        loss: Loss<'l, Builtin>,
        logits: Dtype,
        result: Dtype,
    ) -> Result<Pipelines<'l, Builtin>, Error> {
        let objective = *loss.objective();
        let owned = self.owned(gpu, (objective, logits, result))?;
        gpu.checked(|| owned.with_loss(loss))
    }

    fn owned(&self, gpu: &Gpu, key: Key) -> Result<Owned, Error> {
        // A list in which somebody panicked is a list.
        let mut objectives = self.objectives.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match objectives.iter().position(|(known, _)| *known == key) {
            Some(index) => objectives.remove(index),
            None => {
                let (objective, logits, result) = key;
                let plain = Loss::new(objective);
                let compile = || Pipelines::with_types(gpu.device(), plain, logits, result);
                (key, Arc::new(gpu.checked(compile)?))
            }
        };
        let owned = Arc::clone(&entry.1);
        objectives.push(entry);
        if objectives.len() > MOST {
            objectives.remove(0);
        }
        Ok(owned)
    }
}
