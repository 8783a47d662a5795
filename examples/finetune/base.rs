//! The pre-trained base model: made once, then taken from the cache.

use crate::data::Corpus;
use crate::failure::{Failure, Outcome};
use crate::model::{Config, Transformer};
use crate::pack::Dealer;
use crate::progress::Progress;
use crate::rng::hash;
use crate::train::{self, Lesson};
use std::fs;
use std::path::{Path, PathBuf};

/// Peak learning rate of the pre-training.
const RATE: f64 = 3e-3;
/// Shards of a step, each with a thread of its own. The number is fixed, so that the result does not
/// depend on the machine.
const SHARDS: usize = 2;

/// What a base model is made by, besides its text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe<'a> {
    /// Its sizes.
    pub(crate) config: Config,
    /// Rows of a shard.
    pub(crate) rows: usize,
    /// Steps of the training.
    pub(crate) steps: usize,
    /// Seed of the weights and of the order of the text.
    pub(crate) seed: u64,
    /// The folder where it is kept.
    pub(crate) folder: &'a Path,
}

/// The base model, from the cache if it is there.
pub(crate) fn load_or_train(
    recipe: Recipe<'_>,
    general: &Corpus,
    progress: &Progress,
) -> Outcome<Transformer> {
    let path = cache_path(recipe, general);
    if let Some(model) = load(recipe.config, &path) {
        progress.say(&format!("base model: reused from {}", path.display()));
        return Ok(model);
    }
    let model = train(recipe, general, progress)?;
    save(&model, &path)?;
    progress.say(&format!("base model: kept in {}", path.display()));
    Ok(model)
}

/// A name that changes with everything that the base model depends on.
fn cache_path(
    Recipe { config, rows, steps, seed, folder }: Recipe<'_>,
    general: &Corpus,
) -> PathBuf {
    let training = (RATE, SHARDS, rows);
    let key = format!("{config:?} {training:?} {:016x} {seed} {steps}", general.fingerprint);
    folder.join(format!("base-{:016x}.safetensors", hash(key.as_bytes())))
}

/// The cached model, if it is there and whole.
fn load(config: Config, path: &Path) -> Option<Transformer> {
    let tensors = candle_core::safetensors::load(path, &candle_core::Device::Cpu).ok()?;
    Transformer::from_tensors(config, &tensors).ok()
}

/// Writes the model to the cache: under another name first, so that a run that is stopped halfway
/// leaves nothing that looks like a model.
fn save(model: &Transformer, path: &Path) -> Outcome<()> {
    let unfinished = path.with_extension("unfinished");
    candle_core::safetensors::save(&model.tensors(), &unfinished)?;
    fs::rename(&unfinished, path).map_err(|why| Failure::while_doing("keeping the base model", why))
}

/// Trains the base model.
fn train(
    Recipe { config, rows, steps, seed, .. }: Recipe<'_>,
    general: &Corpus,
    progress: &Progress,
) -> Outcome<Transformer> {
    let model = Transformer::random(config, seed)?;
    let mut dealer = Dealer::new(&general.train, seed);
    let deal = || (0..SHARDS).map(|_| Lesson::new(dealer.deal(rows, config.context))).collect();
    let mut phase = progress.phase("pre-training".into(), steps);
    train::pretrain(&model, RATE, steps, deal, &mut phase)?;
    phase.finish("done");
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::{load, save};
    use crate::model::{Config, Transformer};
    use std::fs;

    const SMALL: Config = Config { layers: 1, heads: 2, width: 16, context: 16 };

    #[test]
    fn a_kept_model_comes_back_and_a_broken_one_does_not() {
        let folder = std::env::temp_dir().join(format!("finetune-base-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the test");
        let path = folder.join("base.safetensors");
        save(&Transformer::random(SMALL, 1).expect("a model"), &path).expect("kept");
        assert!(load(SMALL, &path).is_some());
        assert!(load(Config { width: 32, ..SMALL }, &path).is_none(), "another model");
        let whole = fs::read(&path).expect("the file");
        fs::write(&path, &whole[..whole.len() / 2]).expect("half of it");
        assert!(load(SMALL, &path).is_none(), "half a file");
        assert!(load(SMALL, &folder.join("nothing")).is_none(), "no file");
        fs::remove_dir_all(&folder).expect("tidy");
    }
}
