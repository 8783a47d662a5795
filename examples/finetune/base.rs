//! The pre-trained base model: made once, then taken from the cache.

use crate::cli::Settings;
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
/// Rows of a shard.
const ROWS: usize = 8;

/// The base model, from the cache if it is there.
pub(crate) fn load_or_train(
    config: Config,
    general: &Corpus,
    settings: &Settings,
    progress: &Progress,
) -> Outcome<Transformer> {
    let path = cache_path(config, general, settings);
    if let Some(model) = load(config, &path) {
        progress.say(&format!("base model: reused from {}", path.display()));
        return Ok(model);
    }
    let model = train(config, general, settings, progress)?;
    save(&model, &path)?;
    progress.say(&format!("base model: kept in {}", path.display()));
    Ok(model)
}

/// A name that changes with everything that the base model depends on.
fn cache_path(config: Config, general: &Corpus, settings: &Settings) -> PathBuf {
    let Settings { seed, pretrain_steps, out, .. } = settings;
    let recipe = (RATE, SHARDS, ROWS);
    let key = format!("{config:?} {recipe:?} {:016x} {seed} {pretrain_steps}", general.fingerprint);
    out.join(format!("base-{:016x}.safetensors", hash(key.as_bytes())))
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
    config: Config,
    general: &Corpus,
    settings: &Settings,
    progress: &Progress,
) -> Outcome<Transformer> {
    let model = Transformer::random(config, settings.seed)?;
    let mut dealer = Dealer::new(&general.train, settings.seed);
    let deal = || (0..SHARDS).map(|_| Lesson::new(dealer.deal(ROWS, config.context))).collect();
    let mut phase = progress.phase("pre-training".into(), settings.pretrain_steps);
    train::pretrain(&model, RATE, settings.pretrain_steps, deal, &mut phase)?;
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
