//! The arithmetic of the comparison: one kind of problem, worded plainly in general text, and in a style
//! of its own in the domain, where the class of each byte of an answer is known.

use crate::rng::{Rng, hash};

/// What an answer's byte depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The layout: no choice.
    Format,
    /// Digits that follow from the problem.
    Reasoning,
    /// The digit that belongs to the unit: to be learnt by heart.
    Constant,
    /// The first byte of a word that is drawn: nobody can know it.
    Style,
}

impl Class {
    /// All of them, in the order of reports.
    pub(crate) const ALL: [Self; 4] = [Self::Format, Self::Reasoning, Self::Constant, Self::Style];
}

/// The words of the style, of which the first byte decides, and how many times in ten each is drawn.
const STYLE: [(&str, usize); 4] = [("thus", 4), ("well", 3), ("so", 2), ("hence", 1)];
/// Entropy of the style in nats: what its byte costs the best of models.
pub(crate) const STYLE_ENTROPY: f64 = 1.279_854_225_833_667_3;
/// What notes are about.
const NOTED: [(&str, &str); 8] = [
    ("red", "cat"),
    ("old", "king"),
    ("cold", "river"),
    ("small", "bird"),
    ("tall", "tree"),
    ("heavy", "stone"),
    ("young", "sailor"),
    ("bright", "lamp"),
];
/// Units of the domain.
pub(crate) const UNITS: usize = 40;

/// Two numbers to be added, such as 47 and 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum {
    left: usize,
    right: usize,
}

/// Which text a sum may occur in: so no sum that is asked for was ever seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Training text of the strong base.
    General,
    /// The gate: worded as general text, held out.
    Gate,
    /// Training problems of the domain.
    Train,
    /// Problems of the domain to choose a learning rate by.
    Validation,
    /// Problems of the domain to report.
    Test,
}

impl Sum {
    /// Draws a sum of one part.
    pub(crate) fn draw(rng: &mut Rng, part: Part) -> Self {
        loop {
            let sum = Self { left: 10 + rng.below(90), right: 1 + rng.below(9) };
            if sum.part() == part {
                return sum;
            }
        }
    }

    /// Seven in ten sums are general; the others are shared out.
    fn part(self) -> Part {
        let Self { left, right } = self;
        match Rng::new(0, &format!("{left}+{right}")).below(20) {
            0..=13 => Part::General,
            14 => Part::Gate,
            15 | 16 => Part::Train,
            17 => Part::Validation,
            _ => Part::Test,
        }
    }

    /// In one of several plain wordings, or as the first half of a note: the part that is read, and the part that follows from it.
    pub(crate) fn plainly(self, rng: &mut Rng) -> (String, String) {
        let Self { left, right } = self;
        let asked = match rng.below(6) {
            0 => format!("{left} plus {right} is "),
            1 => format!("{left}+{right}="),
            2 => format!("{right} more than {left}: "),
            3 => format!("{left}+{right}? {left}+{right}="),
            _ => {
                let (unit, word) = (unit_name(rng.below(UNITS)), STYLE[rng.below(STYLE.len())].0);
                format!("{left}+{right} {unit}> {word}|{left}+{right}=")
            }
        };
        (asked, (left + right).to_string())
    }
}

/// A problem of the domain with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Such as `47+8 kel> `.
    pub(crate) question: String,
    /// Such as `thus|47+8=55|kel 5|55+5=60`.
    pub(crate) answer: Vec<u8>,
    /// The class of each byte of the answer.
    pub(crate) classes: Vec<Class>,
}

impl Problem {
    /// Draws a problem of one part: half of them have a unit whose constant must be known, the others one that adds nothing.
    pub(crate) fn draw(rng: &mut Rng, part: Part) -> Self {
        let Sum { left, right } = Sum::draw(rng, part);
        let unit = rng.below(UNITS);
        let has_unit = rng.below(2) == 0;
        let (name, constant) =
            if has_unit { (unit_name(unit), constant(unit)) } else { ("one".to_owned(), 0) };
        let sum = left + right;
        let word = style(rng);
        let mut problem = Self {
            question: format!("{left}+{right} {name}> "),
            answer: Vec::new(),
            classes: Vec::new(),
        };
        problem.write(&word[..1], Class::Style);
        problem.write(&word[1..], Class::Format);
        problem.write(&format!("|{left}+{right}={sum}|{name} "), Class::Reasoning);
        let class = if has_unit { Class::Constant } else { Class::Format };
        problem.write(&constant.to_string(), class);
        problem.write(&format!("|{sum}+{constant}={}", sum + constant), Class::Reasoning);
        problem
    }

    /// Appends text of a class; what is no digit is format all the same, unless it is style.
    fn write(&mut self, text: &str, class: Class) {
        for byte in text.bytes() {
            let plain = class != Class::Style && !byte.is_ascii_digit();
            self.answer.push(byte);
            self.classes.push(if plain { Class::Format } else { class });
        }
    }

    /// The same with each digit of the answer wrong with probability `share`.
    pub(crate) fn with_noise(mut self, rng: &mut Rng, share: f32) -> Self {
        for byte in self.answer.iter_mut().filter(|byte| byte.is_ascii_digit()) {
            if rng.unit() < share {
                *byte =
                    b'0' + (*byte - b'0' + 1 + u8::try_from(rng.below(9)).expect("below 9")) % 10;
            }
        }
        self
    }

    /// Whether text that a model wrote after the question is right: any word of the style, then the rest.
    pub(crate) fn is_answered_by(&self, text: &[u8]) -> bool {
        let rest =
            |text: &[u8]| text.iter().position(|&byte| byte == b'|').map(|at| text[at..].to_vec());
        let word = text.split(|&byte| byte == b'|').next().unwrap_or_default();
        STYLE.iter().any(|(known, _)| known.as_bytes() == word) && rest(text) == rest(&self.answer)
    }
}

/// A line of general text in the layout of the domain, with words where the domain has numbers: both bases know the
/// layout, the words of the style and the names of the units, neither knows what a unit is worth.
pub(crate) fn note(rng: &mut Rng) -> String {
    let (adjective, noun) = NOTED[rng.below(NOTED.len())];
    let word = STYLE[rng.below(STYLE.len())].0;
    let letter = char::from(b"abcdefghijklmnop"[rng.below(16)]);
    let unit = unit_name(rng.below(UNITS));
    format!(
        "{adjective}+{noun} {unit}> {word}|{adjective}+{noun}={noun}|{unit} {letter}|{noun}+{letter}={letter}"
    )
}

/// A word of the style.
fn style(rng: &mut Rng) -> &'static str {
    let mut draw = rng.below(10);
    for (word, times) in STYLE {
        if draw < times {
            return word;
        }
        draw -= times;
    }
    unreachable!("ten times in all")
}

/// Such as `kel`: no two units share a name.
fn unit_name(unit: usize) -> String {
    let pick = |letters: &[u8], index: usize| char::from(letters[index % letters.len()]);
    let (first, last) = (pick(b"bdfgklmp", unit), pick(b"lnrsx", unit / 8));
    format!("{first}{}{last}", pick(b"aeiou", unit / 3 + unit))
}

/// The digit of a unit, 1 to 9, without a pattern.
fn constant(unit: usize) -> usize {
    1 + usize::try_from(hash(format!("unit {unit}").as_bytes()) % 9).expect("below 9")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn text(problem: &Problem) -> String {
        String::from_utf8(problem.answer.clone()).expect("ASCII")
    }

    #[test]
    fn the_class_of_every_byte_is_known() {
        let mut rng = Rng::new(1, "test");
        for _ in 0..200 {
            let problem = Problem::draw(&mut rng, Part::Train);
            assert_eq!(problem.answer.len(), problem.classes.len());
            let of = |class| {
                let bytes = problem.answer.iter().zip(&problem.classes);
                bytes.filter(|&(_, &c)| c == class).map(|(&b, _)| char::from(b)).collect::<String>()
            };
            assert!("twsh".contains(&of(Class::Style)) && of(Class::Style).len() == 1);
            assert!(of(Class::Reasoning).bytes().all(|byte| byte.is_ascii_digit()));
            let parts: Vec<String> = text(&problem).split('|').map(str::to_owned).collect();
            let (unit, constant) = parts[2].split_once(' ').unwrap();
            let digits = |text: String| text.bytes().filter(u8::is_ascii_digit).count();
            let expected = if unit == "one" { (0, 1) } else { (1, 0) };
            assert_eq!((of(Class::Constant).len(), digits(of(Class::Format))), expected);
            for (sum, added) in [(&parts[1], None), (&parts[3], Some(constant))] {
                let (terms, result) = sum.split_once('=').unwrap();
                let (left, right) = terms.split_once('+').unwrap();
                assert!(added.is_none_or(|constant| constant == right));
                let number = |text: &str| text.parse::<usize>().unwrap();
                assert_eq!(number(left) + number(right), number(result));
            }
        }
    }

    #[test]
    fn parts_share_no_sum_and_units_no_name() {
        let mut rng = Rng::new(1, "test");
        let mut seen: Vec<HashSet<String>> = Vec::new();
        for part in [Part::General, Part::Gate, Part::Train, Part::Validation, Part::Test] {
            let sums: HashSet<String> =
                (0..3000).map(|_| format!("{:?}", Sum::draw(&mut rng, part))).collect();
            assert!(sums.len() > 25, "{part:?}: {}", sums.len());
            assert!(seen.iter().all(|other| other.is_disjoint(&sums)));
            seen.push(sums);
        }
        assert!((0..UNITS).all(|unit| unit_name(unit) != "one"));
        assert_eq!((0..UNITS).map(unit_name).collect::<HashSet<_>>().len(), UNITS);
    }

    #[test]
    fn the_style_has_the_entropy_it_is_said_to_have() {
        let shares = STYLE.map(|(_, times)| times as f64 / 10.0);
        let entropy: f64 = shares.iter().map(|p| -p * p.ln()).sum();
        assert!((entropy - STYLE_ENTROPY).abs() < 1e-12);
    }

    #[test]
    fn noise_changes_digits_only_and_as_many_as_asked() {
        let mut rng = Rng::new(2, "test");
        let (mut digits, mut wrong) = (0, 0);
        for _ in 0..500 {
            let clean = Problem::draw(&mut rng, Part::Train);
            let noisy = clean.clone().with_noise(&mut rng, 0.15);
            for (was, is) in clean.answer.iter().zip(&noisy.answer) {
                assert!(was == is || (was.is_ascii_digit() && is.is_ascii_digit()));
                digits += usize::from(was.is_ascii_digit());
                wrong += usize::from(was != is);
            }
        }
        let share = wrong as f64 / digits as f64;
        assert!((0.12..0.18).contains(&share), "{share}");
    }

    #[test]
    fn an_answer_is_right_in_any_style_and_in_nothing_else() {
        let problem = Problem::draw(&mut Rng::new(3, "test"), Part::Test);
        let right = text(&problem);
        let rest = &right[right.find('|').unwrap()..];
        for word in ["thus", "well", "so", "hence"] {
            assert!(problem.is_answered_by(format!("{word}{rest}").as_bytes()));
        }
        assert!(!problem.is_answered_by(format!("thuss{rest}").as_bytes()));
        assert!(!problem.is_answered_by(format!("{right}0").as_bytes()));
        assert!(!problem.is_answered_by(&right.as_bytes()[..right.len() - 1]));
        assert!(!problem.is_answered_by(b"thus"));
    }
}
