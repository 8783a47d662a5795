//! What is kept of a run: one line of JSON each, so that an interrupted comparison goes on where it stopped.

use crate::failure::{Failure, Outcome};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A model on the way, on text that it does not learn from (but for the probe).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) step: usize,
    /// Share of the validation answers that are right, style aside.
    pub(crate) exact: f64,
    /// By class, of the validation answers: nats a byte, and share of bytes right.
    pub(crate) nll: [f64; 4],
    pub(crate) right: [f64; 4],
    /// Entropy at the byte of the style.
    pub(crate) style_entropy: f64,
    /// Held-out general text: nats a byte, tasks answered right, KL(start ‖ model) a byte.
    pub(crate) general_nll: f64,
    pub(crate) general_exact: f64,
    pub(crate) general_kl: f64,
    /// KL(start ‖ model) a byte on the validation answers.
    pub(crate) domain_kl: f64,
    pub(crate) probe: Probe,
}

/// The fixed training probe: the first problems that are learnt from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Probe {
    /// The objective's own loss.
    pub(crate) loss: f64,
    pub(crate) nll: [f64; 4],
    /// Share of the tokens with p < 0.01 and with p > 0.95, and of each bin.
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) bins: [f64; 8],
    /// Effective sample size of the weights, as a share of the tokens, and their second moment.
    pub(crate) effective: f64,
    pub(crate) second_moment: f64,
    /// Share of the weight on tokens that the start model found hard, middling and easy.
    pub(crate) cohorts: [f64; 3],
}

/// A fine-tuned model on the test problems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Final {
    pub(crate) exact: f64,
    pub(crate) nll: [f64; 4],
    pub(crate) right: [f64; 4],
}

/// Which run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) setting: String,
    pub(crate) method: String,
    pub(crate) rate: f64,
    pub(crate) seed: u64,
}

/// A run and what came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) key: Key,
    /// From the start to the end.
    pub(crate) points: Vec<Point>,
    pub(crate) test: Final,
    /// Of training alone. Everything else is the same from run to run.
    pub(crate) seconds_per_step: f64,
}

impl Record {
    /// The start model.
    pub(crate) fn start(&self) -> &Point {
        self.points.first().expect("a run has a first point")
    }

    /// The fine-tuned model.
    pub(crate) fn end(&self) -> &Point {
        self.points.last().expect("a run has a last point")
    }

    /// Whether every number is one: JSON has no other.
    pub(crate) fn is_finite(&self) -> bool {
        serde_json::to_string(self).is_ok_and(|line| !line.contains("null"))
    }
}

/// All runs that were made.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Runs {
    pub(crate) finished: Vec<Record>,
    /// Those that came to numbers that are none: nothing is measured of them.
    pub(crate) diverged: Vec<Key>,
}

impl Runs {
    pub(crate) fn count(&self) -> usize {
        self.finished.len() + self.diverged.len()
    }

    pub(crate) fn has(&self, key: &Key) -> bool {
        self.finished.iter().any(|record| record.key == *key) || self.diverged.contains(key)
    }

    fn add(&mut self, line: Line) {
        match line {
            Line::Finished(record) => self.finished.push(*record),
            Line::Diverged { diverged } => self.diverged.push(diverged),
        }
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.finished.append(&mut other.finished);
        self.diverged.append(&mut other.diverged);
    }
}

/// What is kept of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Diverged { diverged: Key },
    Finished(Box<Record>),
}

/// The file of finished runs.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    file: Mutex<File>,
}

impl Store {
    /// Opens the file of a folder. `design` is what runs depend on besides their key: those of another design are none of ours
    /// and are put aside. A last line that was cut off is dropped.
    pub(crate) fn open(folder: &Path, design: &str) -> Outcome<(Self, Runs)> {
        let path = folder.join("runs.jsonl");
        let header = serde_json::json!({ "design": design }).to_string();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut lines = text.lines();
        let kept: Vec<Line> = if lines.next() == Some(header.as_str()) {
            lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
        } else {
            Vec::new()
        };
        let doing = |why| Failure::while_doing(&format!("writing {}", path.display()), why);
        if !text.is_empty() && kept.is_empty() {
            fs::rename(&path, path.with_extension("old.jsonl")).map_err(doing)?;
        }
        let unfinished = path.with_extension("unfinished");
        let mut file = File::create(&unfinished).map_err(doing)?;
        writeln!(file, "{header}").map_err(doing)?;
        let mut runs = Runs::default();
        for line in kept {
            writeln!(file, "{}", json(&line)).map_err(doing)?;
            runs.add(line);
        }
        fs::rename(&unfinished, &path).map_err(doing)?;
        Ok((Self { path, file: Mutex::new(file) }, runs))
    }

    /// Keeps a finished run.
    pub(crate) fn keep(&self, record: &Record) -> Outcome<()> {
        self.write(&Line::Finished(Box::new(record.clone())))
    }

    /// Keeps that a run has diverged.
    pub(crate) fn give_up(&self, key: &Key) -> Outcome<()> {
        self.write(&Line::Diverged { diverged: key.clone() })
    }

    fn write(&self, line: &Line) -> Outcome<()> {
        let mut file = self.file.lock().expect("no panic while locked");
        writeln!(file, "{}", json(line))
            .and_then(|()| file.flush())
            .map_err(|why| Failure::while_doing(&format!("writing {}", self.path.display()), why))
    }
}

fn json(line: &Line) -> String {
    serde_json::to_string(line).expect("a record is plain data")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run with these exact matches and general nlls on the way.
    pub(crate) fn record(method: &str, rate: f64, seed: u64, points: &[(f64, f64)]) -> Record {
        let probe = Probe {
            loss: 1.0,
            nll: [1.0; 4],
            low: 0.0,
            high: 0.0,
            bins: [0.0; 8],
            effective: 1.0,
            second_moment: 1.0,
            cohorts: [0.5, 0.3, 0.2],
        };
        let point = |(step, &(exact, general_nll)): (usize, &(f64, f64))| Point {
            step,
            exact,
            nll: [1.0; 4],
            right: [0.5; 4],
            style_entropy: 1.0,
            general_nll,
            general_exact: 0.5,
            general_kl: 0.0,
            domain_kl: 0.0,
            probe: probe.clone(),
        };
        let setting = "strong".to_owned();
        let exact = points.last().map_or(0.0, |point| point.0);
        Record {
            key: Key { setting, method: method.to_owned(), rate, seed },
            points: points.iter().enumerate().map(point).collect(),
            test: Final { exact, nll: [1.0; 4], right: [0.5; 4] },
            seconds_per_step: 0.01,
        }
    }

    #[test]
    fn runs_come_back_unless_the_design_has_changed_or_the_line_was_cut_off() {
        let folder = std::env::temp_dir().join(format!("finetune-store-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let runs =
            [record("sft", 1e-3, 1, &[(0.1, 0.2)]), record("dft", 0.1 + 0.2, 2, &[(0.3, 0.7)])];
        let (store, none) = Store::open(&folder, "a").expect("a store");
        assert_eq!(none.count(), 0);
        runs.iter().for_each(|run| store.keep(run).expect("kept"));
        let lost = Key { seed: 3, ..runs[0].key.clone() };
        store.give_up(&lost).expect("kept");
        let (_, again) = Store::open(&folder, "a").expect("a store");
        assert_eq!(again.finished, runs, "to the last bit");
        assert_eq!(again.diverged, vec![lost.clone()]);
        assert!(again.has(&lost) && again.has(&runs[0].key));
        let path = folder.join("runs.jsonl");
        let text = fs::read_to_string(&path).expect("text");
        let last = text.find("{\"diverged").expect("the last line");
        fs::write(&path, &text[..last - 9]).expect("cut off");
        let (store, again) = Store::open(&folder, "a").expect("a store");
        assert_eq!((&again.finished[..], again.diverged.len()), (&runs[..1], 0));
        store.keep(&runs[1]).expect("kept");
        assert_eq!(Store::open(&folder, "a").expect("a store").1.finished, runs);
        assert_eq!(Store::open(&folder, "b").expect("a store").1.count(), 0);
        fs::remove_dir_all(&folder).expect("tidy");
    }

    #[test]
    fn a_number_that_is_none_is_seen_wherever_it_is() {
        let mut run = record("sft", 1e-3, 1, &[(0.1, 0.2)]);
        assert!(run.is_finite());
        run.points[0].probe.cohorts[2] = f64::INFINITY;
        assert!(!run.is_finite());
    }
}
