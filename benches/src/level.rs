//! The SIMD levels of a machine, and their names.

use surprisal::{Level, default_level};

/// The levels of this machine that the library has kernels for, best first.
#[must_use]
pub fn levels() -> Vec<Level> {
    let best = default_level();
    let mut levels = vec![best];
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        levels.extend(best.as_avx2().map(Level::Avx2));
        levels.extend(best.as_sse2().map(Level::Sse2));
    }
    levels.dedup_by_key(|level| level_name(*level));
    levels
}

/// A level as `--level` takes it.
#[must_use]
pub fn level_name(level: Level) -> String {
    let debug = format!("{level:?}").to_lowercase();
    debug.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()
}

/// The level of this machine that has this name.
///
/// # Errors
/// Says which ones there are.
pub fn level_named(name: &str) -> Result<Level, String> {
    let known = levels();
    known.iter().copied().find(|level| level_name(*level) == name).ok_or_else(|| {
        let names: Vec<String> = known.into_iter().map(level_name).collect();
        format!("no level {name:?} here, but {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_a_name_of_its_own_and_the_best_comes_first() {
        let names: Vec<String> = levels().into_iter().map(level_name).collect();
        assert_eq!(names[0], level_name(default_level()));
        for (index, name) in names.iter().enumerate() {
            assert!(
                name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty()
            );
            assert!(!names[..index].contains(name), "{names:?}");
            assert_eq!(level_named(name).map(level_name).as_ref(), Ok(name));
        }
        assert!(level_named("sse4_2").is_err_and(|error| error.contains(&names[0])));
    }
}
