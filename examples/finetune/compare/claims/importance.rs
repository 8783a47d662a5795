//! Claim f: the weights of SFT read as importance sampling.

use crate::compare::claim::Claim;
use crate::compare::figure::{Series, decades};
use crate::compare::moments::{Moment, Moments};

/// Claim f.
pub(super) fn importance(moments: &[(&'static str, Moments)]) -> Claim {
    let mut note = format!("{} ", verdict(moments));
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

/// Whether n/p varies far more than n, by more than ten times, and n more than p·n, on the models' own samples.
fn verdict(moments: &[(&'static str, Moments)]) -> String {
    let ratios = moments.iter().map(|(base, Moments { on_policy: [over, plain, times], .. })| {
        (base, over.variance / plain.variance, plain.variance / times.variance)
    });
    let agrees = ratios.clone().all(|(_, over, times)| over > 10.0 && times > 1.0);
    let verdict = if agrees { "agrees" } else { "disagrees" };
    let each = ratios
        .map(|(base, over, times)| {
            format!("{base} base {over:.3e} times that of n, and n's {times:.2} times that of p·n")
        })
        .collect::<Vec<_>>();
    format!("Variance of n/p on own samples: {}: {verdict}.", each.join("; "))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_variances_is_the_verdict() {
        let of = |variances: [f64; 3]| {
            let on_policy = variances.map(|variance| Moment { mean: 1.0, variance });
            verdict(&[("strong", Moments { on_policy, on_data: on_policy })])
        };
        assert!(of([100.0, 2.0, 1.0]).ends_with(": agrees."));
        assert!(of([100.0, 2.0, 3.0]).ends_with("disagrees."));
        assert!(of([10.0, 2.0, 1.0]).ends_with("disagrees."));
    }
}
