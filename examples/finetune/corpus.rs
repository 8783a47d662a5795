//! The two generated corpora: short general tasks, and worked arithmetic as the domain.
//!
//! Both are drawn from grammars with some freedom of wording, so that no model can bring its loss to
//! zero, and no sample occurs twice, so that a held-out sample is one the model has never seen.

use crate::arithmetic;
use crate::data::Sample;
use crate::rng::Rng;
use std::collections::HashSet;

/// How many samples of general text are generated.
const GENERAL_SAMPLES: usize = 12_000;
/// How many samples of the domain are generated.
const DOMAIN_SAMPLES: usize = 4_000;

const NOUNS: [&str; 24] = [
    "cat", "dog", "bird", "fish", "horse", "tree", "river", "stone", "house", "garden", "child",
    "baker", "sailor", "box", "lamp", "clock", "bridge", "boat", "apple", "road", "king", "window",
    "cup", "hill",
];
const ADJECTIVES: [&str; 12] = [
    "red", "small", "old", "quiet", "blue", "heavy", "bright", "cold", "green", "tall", "young",
    "warm",
];
const VERBS: [&str; 10] = [
    "sees", "finds", "follows", "paints", "likes", "carries", "hides", "hears", "moves", "watches",
];
const PLACES: [&str; 8] = [
    "by the sea",
    "in the rain",
    "at night",
    "near the wall",
    "on the hill",
    "in spring",
    "at home",
    "far away",
];
const OPPOSITES: [(&str, &str); 12] = [
    ("hot", "cold"),
    ("big", "small"),
    ("old", "young"),
    ("day", "night"),
    ("up", "down"),
    ("wet", "dry"),
    ("fast", "slow"),
    ("open", "closed"),
    ("light", "dark"),
    ("full", "empty"),
    ("first", "last"),
    ("near", "far"),
];
const FACTS: [(&str, &str); 10] = [
    ("snow", "white"),
    ("grass", "green"),
    ("coal", "black"),
    ("blood", "red"),
    ("gold", "yellow"),
    ("the sky", "blue"),
    ("milk", "white"),
    ("a rose", "red"),
    ("ash", "grey"),
    ("honey", "brown"),
];

/// The domain: a problem as the question, its steps and its result as the answer.
pub(crate) fn domain(seed: u64) -> Vec<Sample> {
    distinct(DOMAIN_SAMPLES, &mut Rng::new(seed, "domain corpus"), arithmetic::domain_sample)
}

/// General text: one short task or sentence a sample, every byte of it to be learnt.
pub(crate) fn general(seed: u64) -> Vec<Sample> {
    distinct(GENERAL_SAMPLES, &mut Rng::new(seed, "general corpus"), |rng| {
        Sample::text(general_line(rng))
    })
}

/// Draws until there are `count` samples with different beginnings (the question, or the whole text).
/// They are shuffled at the end, because the kinds with few variants run out first.
fn distinct(count: usize, rng: &mut Rng, mut draw: impl FnMut(&mut Rng) -> Sample) -> Vec<Sample> {
    let mut seen = HashSet::new();
    let mut samples = Vec::with_capacity(count);
    while samples.len() < count {
        let sample = draw(rng);
        let key = if sample.question.is_empty() { &sample.answer } else { &sample.question };
        if seen.insert(key.clone()) {
            samples.push(sample);
        }
    }
    rng.shuffle(&mut samples);
    samples
}

/// One line of general text. A quarter of it counts and reckons, in words of its own: the domain is
/// then something the base model half knows, as the domains are that people fine-tune on.
fn general_line(rng: &mut Rng) -> String {
    match rng.below(12) {
        6 => counting(rng),
        7 | 8 => arithmetic::general_line(rng),
        kind => words(kind, rng),
    }
}

/// How many kinds of lines without numbers there are; the others are sentences.
pub(crate) const KINDS_OF_WORDS: usize = 6;

/// A line without numbers: three tasks with letters, three with words, else a sentence.
pub(crate) fn words(kind: usize, rng: &mut Rng) -> String {
    match kind {
        0 => {
            let word = letters(rng);
            format!("Q: copy {word}? A: {word}")
        }
        1 => {
            let word = letters(rng);
            format!("Q: reverse {word}? A: {}", word.chars().rev().collect::<String>())
        }
        2 => {
            let mut sorted: Vec<char> = letters(rng).chars().collect();
            let word: String = sorted.iter().collect();
            sorted.sort_unstable();
            format!("sort {word}: {}", sorted.into_iter().collect::<String>())
        }
        3 => {
            let (first, second) = (rng.pick(&NOUNS), rng.pick(&NOUNS));
            format!("many {first} and {second}: {} and {}", plural(first), plural(second))
        }
        4 => {
            let (left, right) = OPPOSITES[rng.below(OPPOSITES.len())];
            format!("Q: opposite of {left}? A: {right}. {}", sentence(rng))
        }
        5 => {
            let (thing, colour) = FACTS[rng.below(FACTS.len())];
            format!("{thing} is {colour}. {}", sentence(rng))
        }
        _ => sentence(rng),
    }
}

/// Counting by ones or by tens, or a number taken apart.
fn counting(rng: &mut Rng) -> String {
    let start = 10 + rng.below(90);
    let line =
        |step: usize| (0..4).map(|n| (start + n * step).to_string()).collect::<Vec<_>>().join(" ");
    match rng.below(3) {
        0 => format!("count from {start}: {}", line(1)),
        1 => format!("count by tens from {start}: {}", line(10)),
        _ => format!(
            "{start} is {}+{}, the {} {}",
            start / 10 * 10,
            start % 10,
            rng.pick(&ADJECTIVES),
            rng.pick(&NOUNS)
        ),
    }
}

/// A sentence such as `the old baker sees a red boat at night.`
fn sentence(rng: &mut Rng) -> String {
    let subject =
        format!("{} {} {}", rng.pick(&["the", "a"]), rng.pick(&ADJECTIVES), rng.pick(&NOUNS));
    let object =
        format!("{} {} {}", rng.pick(&["the", "a"]), rng.pick(&ADJECTIVES), rng.pick(&NOUNS));
    format!("{subject} {} {object} {}.", rng.pick(&VERBS), rng.pick(&PLACES))
}

/// Three to six random letters.
fn letters(rng: &mut Rng) -> String {
    (0..3 + rng.below(4)).map(|_| char::from(b"abcdefghijklmnop"[rng.below(16)])).collect()
}

/// The plural of a noun of the list.
fn plural(noun: &str) -> String {
    match noun {
        "child" => "children".to_owned(),
        "fish" => "fish".to_owned(),
        "box" => "boxes".to_owned(),
        _ => format!("{noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::{domain, general};

    #[test]
    fn one_seed_gives_one_corpus() {
        assert_eq!(general(3), general(3));
        assert_eq!(domain(3), domain(3));
        assert_ne!(domain(3), domain(4));
    }
}
