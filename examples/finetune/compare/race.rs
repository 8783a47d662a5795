//! All runs, side by side.

use super::Gate;
use super::arena::{Arena, Length};
use super::fit::{Fitted, fit, plainly};
use super::measure::{Text, measure};
use super::method::Method;
use super::moments::{self, Moments};
use super::options::Comparison;
use super::plan::{Plan, Setting};
use super::problem::Class;
use super::record::{Key, Record, Runs, Store};
use super::statistics::chosen_rate;
use super::texts::{Base, Source, domain, gate, general, tasks};
use crate::base::{self, Recipe};
use crate::cores::side_by_side;
use crate::data::{Corpus, Sample};
use crate::failure::Outcome;
use crate::model::{Config, Transformer};
use crate::objective::Objective;
use crate::progress::Progress;
use candle_core::{Error, Result};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

/// The sizes of the model: as small as one can be that learns to add.
const MODEL: Config = Config { layers: 2, heads: 4, width: 64, context: 96 };
/// Counts the changes of text, methods and measures that the plan does not show: kept runs of another number are put aside.
const DESIGN: u32 = 5;
/// Rows of a shard of the base models' training.
const BASE_ROWS: usize = 4;
/// Sums that the gates ask for.
const ASKED: usize = 300;
/// Tasks of general text with one right answer.
const TASKS: usize = 100;
/// How the start of the reward setting is made: learning rate, times the steps of a run, and a seed that no run has.
const WARM_RATE: f64 = 1e-3;
const WARM_TIMES: usize = 1;
const WARM_SEED: u64 = 1000;

/// A start model.
pub(crate) struct Start {
    model: Transformer,
    general: Corpus,
    tasks: Vec<Sample>,
    /// The settings that start here.
    settings: Vec<Setting>,
    /// What must hold of it.
    pub(crate) gates: Vec<Gate>,
}

/// The start models: both bases, and the strong one after a little of the domain.
pub(crate) fn starts(
    plan: &Plan,
    settings: &Comparison,
    progress: &Progress,
) -> Outcome<Vec<Start>> {
    let source = Source::of(settings.general.as_deref(), MODEL.context)?;
    let mut starts = Vec::new();
    for (base, least, most, claims) in
        [(Base::Strong, 0.6, 1.0, "abcdefg"), (Base::Weak, 0.0, 0.05, "cf")]
    {
        let general = general(&source, base, settings.seed, MODEL.context)?;
        let recipe = Recipe {
            config: MODEL,
            rows: BASE_ROWS,
            steps: plan.base_steps,
            seed: settings.seed,
            folder: &settings.out,
        };
        let model = base::load_or_train(recipe, &general, progress)?;
        let text = Text::of_samples(&gate(0, ASKED), MODEL.context, Class::Reasoning);
        let share = measure(&model, &text, &Objective::pretraining())?.exact();
        let what = format!("held-out sums, {} base", base.name());
        let settings = Setting::ALL
            .into_iter()
            .filter(|&setting| setting.base() == base && setting != Setting::Reward)
            .collect();
        starts.push(Start {
            model,
            general,
            tasks: tasks(&source, base, 0, TASKS),
            settings,
            gates: vec![Gate { what, share, least, most, claims }],
        });
    }
    let strong = &starts[0];
    let model = Transformer::from_tensors(MODEL, &strong.model.tensors())?;
    let warm = domain(WARM_SEED);
    let length = Length { steps: WARM_TIMES * plan.length.steps, rows: plan.length.rows };
    let general = (&strong.general, &strong.tasks[..]);
    let arena = Arena::new(&model, MODEL, (&warm, false), general, (WARM_SEED, length))?;
    plainly(&model, WARM_RATE, &arena.lessons)?;
    let text = Text::of_problems(&warm.validation);
    let share = measure(&model, &text, &Objective::pretraining())?.exact();
    let what = "validation problems, start of the reward setting".to_owned();
    let gates = vec![Gate { what, share, least: 0.05, most: 0.6, claims: "g" }];
    let (general, tasks) = (strong.general.clone(), strong.tasks.clone());
    starts.push(Start { model, general, tasks, settings: vec![Setting::Reward], gates });
    Ok(starts)
}

/// Claim f, of both bases.
pub(crate) fn moments(starts: &[Start], plan: &Plan) -> Result<Vec<(&'static str, Moments)>> {
    let bases = starts.iter().filter(|start| !start.settings.contains(&Setting::Reward));
    let problems = domain(plan.seeds[0]).train;
    bases
        .map(|start| {
            let text = Text::of_problems(&problems[..100]);
            Ok((start.settings[0].base().name(), moments::moments(&start.model, &text)?))
        })
        .collect()
}

/// One run to be made.
#[derive(Debug, Clone)]
struct Job {
    setting: Setting,
    method: &'static str,
    rate: f64,
    seed: u64,
}

impl Job {
    fn key(&self) -> Key {
        let Self { setting, method, rate, seed } = *self;
        Key { setting: setting.name().to_owned(), method: method.to_owned(), rate, seed }
    }
}

/// The methods of a setting.
fn methods(setting: Setting, tau: f64) -> Vec<Method> {
    if setting == Setting::Reward { Method::reinforced() } else { Method::supervised(tau) }
}

/// Makes all runs that have not been made: first those that choose learning rates, then the others.
pub(crate) fn run(
    plan: &Plan,
    starts: &[Start],
    settings: &Comparison,
    progress: &Progress,
) -> Outcome<Runs> {
    let text = starts.iter().map(|start| start.general.fingerprint).collect::<Vec<_>>();
    let design = format!("{DESIGN} {MODEL:?} {} {text:x?} {}", settings.seed, plan.design());
    let (store, mut runs) = Store::open(&settings.out, &design)?;
    let all = |rates: &dyn Fn(Setting, &str, u64) -> Vec<f64>| {
        let mut jobs = Vec::new();
        for setting in Setting::ALL {
            for &seed in &plan.seeds {
                for method in methods(setting, 1.0).iter().filter(|it| plan.has(it.name)) {
                    let rates = rates(setting, method.name, seed).into_iter();
                    let name = method.name;
                    jobs.extend(rates.map(|rate| Job { setting, method: name, rate, seed }));
                }
            }
        }
        jobs
    };
    let first = all(&|setting, method, seed| plan.rates_of(setting, method, seed));
    // Each method has one more run a seed, unless all its learning rates are run anyway.
    let expected = all(&|setting, method, seed| {
        let rates = plan.rates_of(setting, method, seed);
        if rates.is_empty() { vec![plan.rates[0]] } else { rates }
    });
    let mut race = Race {
        plan,
        starts,
        store: &store,
        progress,
        expected: expected.len(),
        began: Instant::now(),
        done_before: runs.count(),
    };
    race.make(&first, &mut runs)?;
    let choosing = runs.finished.clone();
    let then = all(&|setting, method, _| {
        chosen_rate(&choosing, setting.name(), method).into_iter().collect()
    });
    race.make(&then, &mut runs)?;
    // In the order of the plan, whatever was finished first.
    let place = |key: &Key| {
        let setting = Setting::ALL.iter().position(|it| it.name() == key.setting);
        let names = methods(Setting::ALL[setting.unwrap_or(0)], 1.0);
        let method = names.iter().position(|it| it.name == key.method);
        (setting, method, key.rate.to_bits(), key.seed)
    };
    runs.finished.sort_by_key(|record| place(&record.key));
    runs.diverged.sort_by_key(place);
    Ok(runs)
}

/// What the runs share.
struct Race<'a> {
    plan: &'a Plan,
    starts: &'a [Start],
    store: &'a Store,
    progress: &'a Progress,
    expected: usize,
    began: Instant,
    done_before: usize,
}

impl Race<'_> {
    /// Makes those of the runs that have not been made: one seed's arena of a setting at a time.
    fn make(&mut self, jobs: &[Job], runs: &mut Runs) -> Outcome<()> {
        let mut groups: HashMap<(Setting, u64), Vec<Job>> = HashMap::new();
        for job in jobs.iter().filter(|job| !runs.has(&job.key())) {
            groups.entry((job.setting, job.seed)).or_default().push(job.clone());
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|((setting, seed), _)| (*setting as usize, *seed));
        for ((setting, seed), jobs) in groups {
            let arena = self.arena(setting, seed)?;
            let methods = methods(setting, arena.tau);
            let done = Mutex::new(Runs::default());
            side_by_side(jobs.len(), |index| {
                self.one(&arena, &methods, &jobs[index], runs.count(), &done)
            })?;
            runs.append(done.into_inner().expect("no panic while locked"));
        }
        Ok(())
    }

    fn arena(&self, setting: Setting, seed: u64) -> Result<Arena> {
        let start = self.starts.iter().find(|start| start.settings.contains(&setting));
        let start = start.ok_or_else(|| Error::Msg("a setting without a start".into()))?;
        let noisy = setting == Setting::Noisy;
        let from = (&domain(seed), noisy);
        let general = (&start.general, &start.tasks[..]);
        Arena::new(&start.model, MODEL, from, general, (seed, self.plan.length))
    }

    /// One run, kept, and a line about it.
    fn one(
        &self,
        arena: &Arena,
        methods: &[Method],
        job: &Job,
        before: usize,
        done: &Mutex<Runs>,
    ) -> Result<()> {
        let method = methods.iter().find(|method| method.name == job.method);
        let method = method.ok_or_else(|| Error::Msg(format!("no method {}", job.method)))?;
        let of = |Fitted { points, test, seconds_per_step }| Record {
            key: job.key(),
            points,
            test,
            seconds_per_step,
        };
        let record = fit(arena, method, job.rate)?.map(of).filter(Record::is_finite);
        let kept = match &record {
            Some(record) => self.store.keep(record),
            None => self.store.give_up(&job.key()),
        };
        kept.map_err(|why| Error::Msg(why.to_string()))?;
        let result = record.as_ref().map_or("diverged".to_owned(), |record| {
            let lost = record.end().general_nll - record.start().general_nll;
            format!("test {:5.1} %, general {lost:+.3}", 100.0 * record.test.exact)
        });
        let mut done = done.lock().expect("no panic while locked");
        match record {
            Some(record) => done.finished.push(record),
            None => done.diverged.push(job.key()),
        }
        let count = before + done.count();
        let each = self.began.elapsed().as_secs_f64() / (count - self.done_before) as f64;
        let left = each * self.expected.saturating_sub(count) as f64;
        let Job { setting, method, rate, seed } = job;
        self.progress.say(&format!(
            "[{count}/{}] {:6} {method:12} {rate:e} seed {seed}: {result}; {:.0} min left",
            self.expected,
            setting.name(),
            left / 60.0,
        ));
        Ok(())
    }
}
