//! The names of enumerators: for command lines and configuration files, and for languages that do not read the header.

use core::ffi::{CStr, c_char};
use core::ptr;

use crate::choices::{
    surprisal_extras_scale as extras_scale, surprisal_kl as kl, surprisal_normalize as normalize,
    surprisal_probability as probability, surprisal_reduction as reduction,
    surprisal_tau_from as tau_from,
};
use crate::logits::{surprisal_dtype as dtype, surprisal_padding as padding};
use crate::objective::{surprisal_objective as objective, surprisal_scope as scope};
use crate::status::surprisal_status::{SURPRISAL_ERROR_MISSING, SURPRISAL_ERROR_OPTION};

/// The enumerators of one enum, by number and name.
pub(crate) type Family = [(i32, &'static CStr)];

pub(crate) const OBJECTIVE: &Family = &[
    (objective::SURPRISAL_OBJECTIVE_SFT as i32, c"sft"),
    (objective::SURPRISAL_OBJECTIVE_DFT as i32, c"dft"),
    (objective::SURPRISAL_OBJECTIVE_TALR as i32, c"talr"),
    (objective::SURPRISAL_OBJECTIVE_FOCAL as i32, c"focal"),
    (objective::SURPRISAL_OBJECTIVE_FOCAL_DETACHED as i32, c"focal-detached"),
    (objective::SURPRISAL_OBJECTIVE_POWER as i32, c"power"),
    (objective::SURPRISAL_OBJECTIVE_INFOSFT as i32, c"infosft"),
    (objective::SURPRISAL_OBJECTIVE_IW_TOKEN as i32, c"iw-token"),
    (objective::SURPRISAL_OBJECTIVE_PSFT as i32, c"psft"),
    (objective::SURPRISAL_OBJECTIVE_PPO as i32, c"ppo"),
    (objective::SURPRISAL_OBJECTIVE_GRPO as i32, c"grpo"),
    (objective::SURPRISAL_OBJECTIVE_DAPO as i32, c"dapo"),
    (objective::SURPRISAL_OBJECTIVE_CISPO as i32, c"cispo"),
    (objective::SURPRISAL_OBJECTIVE_TALR_AUTO as i32, c"talr-auto"),
    (objective::SURPRISAL_OBJECTIVE_IW_SEQUENCE as i32, c"iw-sequence"),
    (objective::SURPRISAL_OBJECTIVE_FLOW as i32, c"flow"),
    (objective::SURPRISAL_OBJECTIVE_DFT_SEQUENCE as i32, c"dft-sequence"),
    (objective::SURPRISAL_OBJECTIVE_GSPO as i32, c"gspo"),
    (objective::SURPRISAL_OBJECTIVE_DPO as i32, c"dpo"),
    (objective::SURPRISAL_OBJECTIVE_RFT as i32, c"rft"),
    (objective::SURPRISAL_OBJECTIVE_RHO1 as i32, c"rho1"),
    (objective::SURPRISAL_OBJECTIVE_SFT_GO as i32, c"sft-go"),
    (objective::SURPRISAL_OBJECTIVE_EAFT as i32, c"eaft"),
    (objective::SURPRISAL_OBJECTIVE_DEFT as i32, c"deft"),
];

pub(crate) const REDUCTION: &Family = &[
    (reduction::SURPRISAL_REDUCTION_DEFAULT as i32, c"default"),
    (reduction::SURPRISAL_REDUCTION_MEAN_TOKENS as i32, c"mean-tokens"),
    (reduction::SURPRISAL_REDUCTION_SUM as i32, c"sum"),
    (reduction::SURPRISAL_REDUCTION_MEAN_SEQUENCES as i32, c"mean-sequences"),
    (reduction::SURPRISAL_REDUCTION_MEAN_WEIGHTS as i32, c"mean-weights"),
    (reduction::SURPRISAL_REDUCTION_MEAN_PAIRS as i32, c"mean-pairs"),
    (reduction::SURPRISAL_REDUCTION_BY as i32, c"by"),
];

pub(crate) const EXTRAS_SCALE: &Family = &[
    (extras_scale::SURPRISAL_EXTRAS_SCALE_ONE as i32, c"one"),
    (extras_scale::SURPRISAL_EXTRAS_SCALE_OBJECTIVE as i32, c"objective"),
];

pub(crate) const KL: &Family = &[
    (kl::SURPRISAL_KL_K1 as i32, c"k1"),
    (kl::SURPRISAL_KL_K2 as i32, c"k2"),
    (kl::SURPRISAL_KL_K3 as i32, c"k3"),
    (kl::SURPRISAL_KL_K3_CORRECTED as i32, c"k3-corrected"),
    (kl::SURPRISAL_KL_K3_CLAMPED as i32, c"k3-clamped"),
];

pub(crate) const TAU_FROM: &Family = &[
    (tau_from::SURPRISAL_TAU_FROM_SEQUENCE_MEDIAN as i32, c"sequence-median"),
    (tau_from::SURPRISAL_TAU_FROM_TOKEN_MEDIAN as i32, c"token-median"),
    (tau_from::SURPRISAL_TAU_FROM_SEQUENCE_MEDIAN_WITH_EMPTY as i32, c"sequence-median-with-empty"),
];

pub(crate) const NORMALIZE: &Family = &[
    (normalize::SURPRISAL_NORMALIZE_NONE as i32, c"none"),
    (normalize::SURPRISAL_NORMALIZE_SUM1_SEQUENCE as i32, c"sum1-sequence"),
    (normalize::SURPRISAL_NORMALIZE_SUM1_BATCH as i32, c"sum1-batch"),
    (normalize::SURPRISAL_NORMALIZE_MEAN1_BATCH as i32, c"mean1-batch"),
];

pub(crate) const PROBABILITY: &Family = &[
    (probability::SURPRISAL_PROBABILITY_GEOMETRIC_MEAN as i32, c"geometric-mean"),
    (probability::SURPRISAL_PROBABILITY_PRODUCT as i32, c"product"),
];

const SCOPE: &Family = &[
    (scope::SURPRISAL_SCOPE_TOKEN as i32, c"token"),
    (scope::SURPRISAL_SCOPE_GROUP as i32, c"group"),
];

const DTYPE: &Family = &[
    (dtype::SURPRISAL_DTYPE_F32 as i32, c"f32"),
    (dtype::SURPRISAL_DTYPE_F16 as i32, c"f16"),
    (dtype::SURPRISAL_DTYPE_BF16 as i32, c"bf16"),
];

const PADDING: &Family = &[
    (padding::SURPRISAL_PADDING_KEEP as i32, c"keep"),
    (padding::SURPRISAL_PADDING_ZERO as i32, c"zero"),
];

const FAMILIES: [(&CStr, &Family); 10] = [
    (c"objective", OBJECTIVE),
    (c"scope", SCOPE),
    (c"reduction", REDUCTION),
    (c"extras_scale", EXTRAS_SCALE),
    (c"kl", KL),
    (c"tau_from", TAU_FROM),
    (c"normalize", NORMALIZE),
    (c"probability", PROBABILITY),
    (c"dtype", DTYPE),
    (c"padding", PADDING),
];

/// Whether two names are the same: in any case, and with `_` or `-`.
pub(crate) fn is_same(a: &CStr, b: &CStr) -> bool {
    fn plain(name: &CStr) -> impl Iterator<Item = u8> {
        let bytes = name.to_bytes().iter();
        bytes.map(|byte| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() })
    }
    plain(a).eq(plain(b))
}

/// The enum that is called so.
pub(crate) fn family(name: &CStr) -> Option<&'static Family> {
    FAMILIES.iter().find(|(known, _)| is_same(known, name)).map(|(_, family)| *family)
}

/// The name of an enumerator.
pub(crate) fn name_of(family: &Family, number: i32) -> Option<&'static CStr> {
    family.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// The number of an enumerator.
pub(crate) fn number_of(family: &Family, name: &CStr) -> Option<i32> {
    family.iter().find(|(_, known)| is_same(known, name)).map(|(number, _)| *number)
}

/// A caller's text; `None` for NULL.
///
/// # Safety
/// `text` is NULL, or a text of the caller's that ends with NUL and stays as it is during `'call`.
pub(crate) unsafe fn text<'call>(text: *const c_char) -> Option<&'call CStr> {
    // SAFETY: passed on.
    if text.is_null() { None } else { Some(unsafe { CStr::from_ptr(text) }) }
}

/// Name of an enumerator, as `"talr-auto"` for (`"objective"`, 13); NULL where there is none. Static.
///
/// `family` is the enum's name without `surprisal_`: `"objective"`, `"reduction"`, `"extras_scale"`, `"kl"`, `"tau_from"`, `"normalize"`, `"probability"`, `"dtype"`,
/// `"padding"`, `"scope"`. Objectives are numbered without gaps, so that a loop from 0 on sees every one.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_enum_name(family: *const c_char, value: i32) -> *const c_char {
    // SAFETY: the C caller's text.
    let family = unsafe { text(family) }.and_then(self::family);
    family.and_then(|family| name_of(family, value)).map_or(ptr::null(), CStr::as_ptr)
}

/// The enumerator of a name, in any case, with `_` or `-`: 13 for (`"objective"`, `"TALR_Auto"`); `SURPRISAL_ERROR_OPTION` where there is none,
/// `SURPRISAL_ERROR_MISSING` for NULL (both negative, which no enumerator is).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_enum_value(family: *const c_char, name: *const c_char) -> i32 {
    // SAFETY: the C caller's texts.
    let (Some(family), Some(name)) = (unsafe { (text(family), text(name)) }) else {
        return SURPRISAL_ERROR_MISSING as i32;
    };
    let number = self::family(family).and_then(|family| number_of(family, name));
    number.unwrap_or(SURPRISAL_ERROR_OPTION as i32)
}
