//! Claim f: the weights of SFT read as importance sampling.

use crate::compare::claim::Claim;
use crate::compare::figure::{Series, decades};
use crate::compare::moments::{Moment, Moments};

/// Claim f.
pub(super) fn importance(moments: &[(&'static str, Moments)]) -> Claim {
    let mut note = String::new();
    for (base, Moments { on_policy, on_data }) in moments {
        for (text, of) in [("its own samples", on_policy), ("data", on_data)] {
            let [over, plain, times] =
                of.map(|moment| format!("{:.3e} (variance {:.3e})", moment.mean, moment.variance));
            note += &format!("{base} base, {text}: n/p {over}, n {plain}, p·n {times}. ");
        }
    }
    note += "On fixed targets SFT has the weight 1: the 1/p is one of its rewriting as an on-policy expectation alone, and what is fitted \
             to data has no such variance.";
    Claim {
        letter: 'f',
        title: "SFT as importance sampling has weights 1/p; DFT's are bounded",
        says: "SFT's gradient is a policy gradient with an implicit weight 1/p, of unbounded variance, which DFT removes \
               (arXiv 2508.05629, section 3).",
        measured: "From the bases' logits alone: n = ‖p − e_y‖² of the answers' tokens, with y summed over the model's own distribution, and \
                   with y from the data; mean and variance of n/p, n and p·n.",
        findings: Vec::new(),
        figures: vec![figure(moments)],
        note,
    }
}

/// Mean and standard deviation of each quantity.
fn figure(moments: &[(&'static str, Moments)]) -> String {
    let (mut labels, mut all): (Vec<String>, Vec<Moment>) = (Vec::new(), Vec::new());
    for (base, Moments { on_policy, on_data }) in moments {
        for (text, of) in [("own samples", on_policy), ("data", on_data)] {
            for (quantity, moment) in ["n/p", "n", "p·n"].iter().zip(of) {
                labels.push(format!("{base}, {text}: {quantity}"));
                all.push(*moment);
            }
        }
    }
    let series = |name: &str, value: fn(&Moment) -> f64| Series {
        name: name.to_owned(),
        points: all.iter().enumerate().map(|(line, it)| (line as f64, value(it))).collect(),
    };
    let series =
        [series("mean", |it| it.mean), series("deviation", |it| it.variance.max(0.0).sqrt())];
    decades(&labels, &series)
}
