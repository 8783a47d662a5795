//! The test vectors made by PyTorch in float64, loaded from `tests/vectors/*.json`.
//!
//! The format, with every default, is documented in `tests/vectors/README.md`. Arrays of inputs are float32
//! numbers and are read as such; the expectation is float64.

use std::collections::BTreeMap;
use std::fs;
use std::num::ParseFloatError;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use surprisal::objective::Builtin;

/// One file of test vectors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorFile {
    /// The file's name without its extension.
    #[serde(skip)]
    pub name: String,
    /// What the file covers.
    pub description: String,
    /// The software that computed the expectation.
    pub made_with: String,
    /// The cases, in the file's order.
    pub cases: Vec<Case>,
}

/// One loss: its inputs, its options, and what it must give.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Unique within its file.
    pub name: String,
    /// The number of token positions.
    pub rows: usize,
    /// The number of logits in a row.
    pub vocab: usize,
    /// Raw logits, row-major; may hold infinities and, in ignored rows, NaN.
    #[serde(deserialize_with = "numbers")]
    pub logits: Vec<f32>,
    /// The target of each row, aligned with its row.
    pub targets: Vec<i64>,
    /// Rows with this target are ignored.
    pub ignore_index: Option<i64>,
    /// A weight for each row.
    pub token_weights: Option<Vec<f32>>,
    /// A weight for each entry of the vocabulary.
    pub class_weights: Option<Vec<f32>>,
    /// The target's log-probability under the reference model, for each row.
    pub ref_log_probs: Option<Vec<f32>>,
    /// The target's log-probability under the old policy, for each row.
    pub old_log_probs: Option<Vec<f32>>,
    /// The advantage of each row.
    pub advantages: Option<Vec<f32>>,
    /// The bounds of the sequences: one more than there are sequences.
    pub cu_seqlens: Option<Vec<usize>>,
    /// Pairs of a chosen and a rejected sequence, for `dpo`.
    pub pairs: Option<Vec<[usize; 2]>>,
    /// 1 for each sequence that `rft` keeps, else 0.
    pub keep: Option<Vec<u8>>,
    /// The token group of each row, for `sft-go`.
    pub groups: Option<Vec<u32>>,
    /// The name of the objective.
    pub objective: String,
    /// The objective's parameters by name.
    pub parameters: BTreeMap<String, Parameter>,
    /// How the row losses become one number.
    pub reduction: Reduction,
    /// Label smoothing: the share of the target distribution that is uniform.
    #[serde(default)]
    pub label_smoothing: f64,
    /// The factor of the squared log-sum-exp.
    #[serde(default)]
    pub z_loss: f64,
    /// Multiplies the logits, before the soft-cap.
    #[serde(default = "one")]
    pub logit_scale: f64,
    /// The bound of the soft-capped logits.
    pub softcap: Option<f64>,
    /// What multiplies label smoothing and z-loss.
    #[serde(default)]
    pub extras_scale: ExtrasScale,
    /// What multiplies the gradient alone.
    #[serde(default = "one_f32")]
    pub grad_scale: f32,
    /// The framework or paper that the case follows.
    pub source: String,
    /// What the case must give.
    pub expected: Expected,
}

/// A parameter of an objective.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Parameter {
    /// A temperature, a bound, a factor.
    Number(f64),
    /// The name of a variant.
    Text(String),
}

/// How the row losses become one number.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Divided by the counted rows.
    MeanTokens,
    /// The mean over sequences of the mean over the sequence.
    MeanSequences,
    /// Divided by the sum of token weight times class weight.
    MeanWeights,
    /// Divided by the number of pairs.
    MeanPairs,
    /// Divided by the caller's own number.
    By(f64),
}

/// What multiplies label smoothing and z-loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtrasScale {
    /// Nothing.
    #[default]
    None,
    /// The weight that the objective gives the token, without gradient.
    Objective,
}

/// What a case must give. Rows count if they are neither ignored nor dropped by the objective.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The reduced loss.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// The sum of the row losses (for `dpo` of the pair losses) before any division.
    #[serde(deserialize_with = "number")]
    pub loss_sum: f64,
    /// The unweighted negative log-likelihood of each row, 0 on ignored rows.
    #[serde(deserialize_with = "numbers")]
    pub nll: Vec<f64>,
    /// Its sum over the counted rows.
    #[serde(deserialize_with = "number")]
    pub nll_sum: f64,
    /// The sum of token weight times class weight over the counted rows.
    pub weight_sum: f64,
    /// The number of counted rows.
    pub tokens: usize,
    /// The counted rows whose target attains the row's maximum.
    pub correct: usize,
    /// 1 for each row that counts, else 0.
    pub counted: Vec<u8>,
    /// The gradient of `loss` with respect to the raw logits, row-major.
    pub dlogits: Vec<f64>,
}

/// All files of test vectors, sorted by name.
///
/// # Panics
///
/// If the folder or a file of it cannot be read, or a file is not in the documented format.
pub fn load_all() -> Vec<VectorFile> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors"));
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    paths.iter().map(|path| load(path)).collect()
}

fn load(path: &Path) -> VectorFile {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut file: VectorFile =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    for case in &file.cases {
        check_shapes(case);
    }
    file
}

fn check_shapes(case: &Case) {
    let Case { name, rows, vocab, expected, .. } = case;
    let lengths = [
        (Some(case.logits.len()), rows * vocab),
        (Some(case.targets.len()), *rows),
        (case.token_weights.as_ref().map(Vec::len), *rows),
        (case.class_weights.as_ref().map(Vec::len), *vocab),
        (case.ref_log_probs.as_ref().map(Vec::len), *rows),
        (case.old_log_probs.as_ref().map(Vec::len), *rows),
        (case.advantages.as_ref().map(Vec::len), *rows),
        (case.groups.as_ref().map(Vec::len), *rows),
        (
            case.keep.as_ref().map(|keep| keep.len() + 1),
            case.cu_seqlens.as_ref().map_or(2, Vec::len),
        ),
        (Some(expected.nll.len()), *rows),
        (Some(expected.counted.len()), *rows),
        (Some(expected.dlogits.len()), rows * vocab),
    ];
    for (found, documented) in lengths {
        assert!(
            found.is_none_or(|found| found == documented),
            "{name}: an array of {found:?}, not {documented}"
        );
    }
}

fn one() -> f64 {
    1.0
}

fn one_f32() -> f32 {
    1.0
}

/// An entry of an array that may hold what JSON cannot write.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry<T> {
    Number(T),
    Text(String),
}

impl<T: FromStr<Err = ParseFloatError>> Entry<T> {
    fn value(self) -> Result<T, ParseFloatError> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Text(text) => text.parse(),
        }
    }
}

/// A number, or a text such as "-inf".
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Entry::deserialize(deserializer)?.value().map_err(serde::de::Error::custom)
}

/// Numbers, or texts such as "-inf".
fn numbers<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + FromStr<Err = ParseFloatError>,
{
    let entries = Vec::<Entry<T>>::deserialize(deserializer)?;
    entries.into_iter().map(|e| e.value().map_err(serde::de::Error::custom)).collect()
}

impl Case {
    /// The objective with the case's parameters.
    ///
    /// # Panics
    ///
    /// If the library has no such objective.
    pub fn builtin(&self) -> Builtin {
        let name = &self.objective;
        let mut builtin =
            Builtin::from_name(name).unwrap_or_else(|| panic!("{}: objective {name}", self.name));
        for (parameter, value) in &self.parameters {
            let set = match value {
                Parameter::Number(number) => builtin.set(parameter, *number),
                Parameter::Text(text) => builtin.set(parameter, text.as_str()),
            };
            set.unwrap_or_else(|error| panic!("{}: {parameter}: {error}", self.name));
        }
        builtin
    }
}

impl From<Reduction> for surprisal::Reduction {
    fn from(reduction: Reduction) -> Self {
        match reduction {
            Reduction::Sum => Self::Sum,
            Reduction::MeanTokens => Self::MeanTokens,
            Reduction::MeanSequences => Self::MeanSequences,
            Reduction::MeanWeights => Self::MeanWeights,
            Reduction::MeanPairs => Self::MeanPairs,
            Reduction::By(x) => Self::By(x),
        }
    }
}

impl From<ExtrasScale> for surprisal::ExtrasScale {
    fn from(scale: ExtrasScale) -> Self {
        match scale {
            ExtrasScale::None => Self::One,
            ExtrasScale::Objective => Self::Objective,
        }
    }
}
