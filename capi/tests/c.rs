//! The C programs of `tests/c`: compiled by the C compiler, linked with the static libraries as they are shipped, and run.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use surprisal_tests::vectors::{Case, ExtrasScale, Parameter, Reduction, load_all};

const CAPI: &str = env!("CARGO_MANIFEST_DIR");
const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Wpedantic", "-Werror"];
const C_WARNINGS: &[&str] = &["-Wundef", "-Wstrict-prototypes", "-Wshadow", "-Wconversion"];

/// Runs a command and returns what it printed.
#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text.into_owned()
}

/// A folder of this test's own.
fn scratch() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The static libraries, built once as they are shipped: no standard library, no unwinding, and on ELF cut to what the headers declare.
static LIBRARIES: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .args(["rustc", "--quiet", "--lib", "--crate-type", "staticlib"])
        .args(["--no-default-features", "--profile", "capi", "--manifest-path"])
        .arg(Path::new(CAPI).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS");
    output(&mut cargo);
    let raw = target.join("capi/libsurprisal_capi.a");
    if cfg!(target_vendor = "apple") {
        return vec![raw];
    }
    let cut = |name: &str| {
        let archive = scratch().join(format!("lib{name}.a"));
        let header = Path::new(CAPI).join(format!("../include/{name}.h"));
        let mut cut = Command::new("sh");
        output(cut.arg(Path::new(CAPI).join("cut.sh")).args([&raw, &header, &archive]));
        archive
    };
    vec![cut("surprisal"), cut("surprisal_tools")]
});

fn compiler(variable: &str, default: &str) -> Command {
    Command::new(env::var_os(variable).unwrap_or(default.into()))
}

/// Compiles a program of `tests/c` and links it with the static libraries.
#[track_caller]
fn compile(mut compiler: Command, source: &str, standard: &str, flags: &[&str]) -> PathBuf {
    let program = scratch().join(format!("{source}-{standard}"));
    let language = if standard.contains("++") { "c++" } else { "c" };
    let file = if source.contains('.') { source.to_owned() } else { format!("{source}.c") };
    compiler
        .arg(format!("-std={standard}"))
        .args(["-O1", "-g"])
        .args(WARNINGS)
        .args(flags)
        .arg("-I")
        .arg(Path::new(CAPI).join("../include"))
        .args(["-x", language])
        .arg(Path::new(CAPI).join("tests/c").join(file))
        .args(["-x", "none"])
        .args(&*LIBRARIES)
        .args(["-lm", "-o"])
        .arg(&program);
    output(&mut compiler);
    program
}

#[track_caller]
fn compile_c(source: &str) -> PathBuf {
    compile(compiler("CC", "cc"), source, "c99", C_WARNINGS)
}

#[test]
fn vectors() {
    let file = scratch().join("vectors.txt");
    let cases: Vec<_> = load_all().into_iter().flat_map(|file| file.cases).collect();
    let text: String = cases.iter().map(text_of).collect();
    fs::write(&file, text).unwrap();
    let printed = output(Command::new(compile_c("vectors")).arg(file));
    assert_eq!(printed, format!("{} cases\n", cases.len()));
}

#[test]
fn functions() {
    output(&mut Command::new(compile_c("functions")));
}

#[test]
fn outputs() {
    output(&mut Command::new(compile_c("outputs")));
}

#[test]
fn parts() {
    output(&mut Command::new(compile_c("parts")));
}

#[test]
fn errors() {
    output(&mut Command::new(compile_c("errors")));
}

#[test]
fn memory() {
    output(&mut Command::new(compile_c("memory")));
}

#[test]
fn linear() {
    output(&mut Command::new(compile_c("linear")));
}

#[test]
fn objectives() {
    output(&mut Command::new(compile_c("objectives")));
}

#[test]
fn threads() {
    let flags = [C_WARNINGS, &["-pthread"]].concat();
    let program = compile(compiler("CC", "cc"), "threads", "gnu11", &flags);
    output(&mut Command::new(program));
}

#[test]
fn header_in_c() {
    for standard in ["c99", "c11", "c17", "c2x"] {
        let program = compile(compiler("CC", "cc"), "header", standard, C_WARNINGS);
        output(&mut Command::new(program));
    }
}

#[test]
fn header_in_cpp() {
    for standard in ["c++11", "c++17", "c++20"] {
        let program = compile(compiler("CXX", "c++"), "header", standard, &["-Wshadow"]);
        output(&mut Command::new(program));
    }
}

#[test]
fn layer_in_cpp() {
    for (standard, more) in
        [("c++17", "-Wshadow"), ("c++20", "-Wshadow"), ("c++17", "-fno-exceptions")]
    {
        let program =
            compile(compiler("CXX", "c++"), "layer.cpp", standard, &["-Wconversion", more]);
        output(&mut Command::new(program));
    }
}

/// Names of symbols, as `nm` tells them, whose kind is one of these letters (of all of them without).
fn symbols(file: &Path, flags: &[&str], kinds: &str) -> BTreeSet<String> {
    let table = output(Command::new("nm").args(flags).arg(file));
    let of_line = |line: &str| {
        let mut words = line.split_whitespace().rev();
        let (name, kind) = (words.next()?, words.next()?);
        // Some platforms begin every name of C with an underscore.
        let name = if cfg!(target_vendor = "apple") { name.strip_prefix('_')? } else { name };
        let is_kind = kind.len() == 1 && (kinds.is_empty() || kinds.contains(kind));
        is_kind.then(|| name.to_owned())
    };
    table.lines().filter_map(of_line).collect()
}

/// Whether a name belongs to the compiler: its runtime is in every static library, hidden or weak.
fn is_reserved(name: &str) -> bool {
    name.starts_with("__")
}

/// The functions that a header declares: names before a parenthesis between `extern "C" {` and its end.
fn declared(header: &str) -> BTreeSet<String> {
    let header = fs::read_to_string(Path::new(CAPI).join("../include").join(header)).unwrap();
    let (_, declarations) = header.split_once("extern \"C\" {").unwrap();
    let (declarations, _) = declarations.split_once("extern \"C\"").unwrap();
    let code = declarations.lines().filter(|line| !line.starts_with("///"));
    let names = code.filter_map(|line| line.split_once('(')?.0.split([' ', '*']).next_back());
    names.filter(|name| name.starts_with("surprisal_")).map(str::to_owned).collect()
}

#[test]
fn libraries_export_what_the_headers_declare() {
    let of = |library: &PathBuf| {
        let mut exported = symbols(library, &["-g", "--defined-only"], "TDBRSC");
        exported.retain(|name| !is_reserved(name));
        exported
    };
    let (loss, tools) = (declared("surprisal.h"), declared("surprisal_tools.h"));
    assert!(loss.is_disjoint(&tools));
    assert!(loss.len() > 40 && tools.len() == 7, "{loss:?} {tools:?}");
    match &LIBRARIES[..] {
        [surprisal, surprisal_tools] => {
            assert_eq!(of(surprisal), loss);
            assert_eq!(of(surprisal_tools), tools);
        }
        [both] => assert_eq!(of(both), &loss | &tools),
        other => panic!("{other:?}"),
    }
}

#[test]
fn libraries_need_memory_functions_only() {
    let allowed = ["memcpy", "memmove", "memset", "memcmp", "bcmp", "strlen"];
    for library in &*LIBRARIES {
        let mut needed = symbols(library, &["-u"], "U");
        needed.retain(|name| !is_reserved(name) && !allowed.contains(&name.as_str()));
        assert!(needed.is_empty(), "{}: {needed:?}", library.display());
    }
}

#[test]
fn programs_cannot_panic() {
    // These call every function. Another standard, so that no other test compiles the same program.
    for source in ["functions", "errors", "linear"] {
        let program = compile(compiler("CC", "cc"), source, "c11", C_WARNINGS);
        let linked = symbols(&program, &[], "");
        assert!(linked.contains("surprisal_log_softmax"), "{source}: no symbols of the library");
        let panics = ["panicking", "panic_fmt", "slice_index_fail"];
        let found: Vec<_> =
            linked.iter().filter(|name| panics.iter().any(|panic| name.contains(panic))).collect();
        assert!(found.is_empty(), "{source}: {found:?}");
    }
}

/// A number as C reads it, exactly.
fn hexadecimal(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "nan".to_owned() } else { format!("{value}") };
    }
    let (bits, sign) = (value.to_bits(), if value.is_sign_negative() { "-" } else { "" });
    let (fraction, exponent) = (bits & ((1 << 52) - 1), (bits >> 52 & 0x7ff) as i64);
    let (mantissa, exponent) =
        if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    format!("{sign}{mantissa:#x}p{exponent}")
}

fn write_number(text: &mut String, field: &str, value: f64) {
    writeln!(text, "number {field} {}", hexadecimal(value)).unwrap();
}

fn write_array(text: &mut String, field: &str, values: Option<impl IntoIterator<Item = f64>>) {
    let Some(values) = values else { return };
    let values: Vec<_> = values.into_iter().map(hexadecimal).collect();
    writeln!(text, "array {field} {} {}", values.len(), values.join(" ")).unwrap();
}

fn write_floats(text: &mut String, field: &str, values: Option<&Vec<f32>>) {
    write_array(text, field, values.map(|values| values.iter().copied().map(f64::from)));
}

/// What an expectation may be off by: float64 arithmetic that is not compensated leaves 1e-16 where 0 is expected.
fn noise(case: &Case) -> f64 {
    let exact =
        case.name.starts_with("confident") || case.objective == "eaft" || case.objective == "deft";
    if exact { 0.0 } else { 1e-14 }
}

/// A case in the format that `case.h` describes.
#[expect(clippy::cast_precision_loss, reason = "sizes and ids of test cases are small")]
fn text_of(case: &Case) -> String {
    let mut text = format!("case {}\ntext objective {}\n", case.name, case.objective);
    let t = &mut text;
    for (name, value) in &case.parameters {
        match value {
            Parameter::Number(number) => write_number(t, name, *number),
            Parameter::Text(word) => writeln!(t, "text {name} {word}").unwrap(),
        }
    }
    let reduction = match case.reduction {
        Reduction::Sum => "sum",
        Reduction::MeanTokens => "mean-tokens",
        Reduction::MeanSequences => "mean-sequences",
        Reduction::MeanWeights => "mean-weights",
        Reduction::MeanPairs => "mean-pairs",
        Reduction::By(divisor) => {
            write_number(t, "reduction_by", divisor);
            "by"
        }
    };
    let extras_scale = match case.extras_scale {
        ExtrasScale::None => "one",
        ExtrasScale::Objective => "objective",
    };
    writeln!(t, "text reduction {reduction}\ntext extras_scale {extras_scale}").unwrap();
    let e = &case.expected;
    for (field, value) in [
        ("rows", case.rows as f64),
        ("vocab", case.vocab as f64),
        ("label_smoothing", case.label_smoothing),
        ("z_loss", case.z_loss),
        ("logit_scale", case.logit_scale),
        ("softcap", case.softcap.unwrap_or(0.0)),
        ("grad_scale", case.grad_scale.into()),
        ("noise", noise(case)),
        ("ignore_index", case.ignore_index.unwrap_or(-100) as f64),
        ("expected_loss", e.loss),
        ("expected_loss_sum", e.loss_sum),
        ("expected_nll_sum", e.nll_sum),
        ("expected_weight_sum", e.weight_sum),
        ("expected_tokens", e.tokens as f64),
        ("expected_correct", e.correct as f64),
    ] {
        write_number(t, field, value);
    }
    write_floats(t, "logits", Some(&case.logits));
    write_floats(t, "token_weights", case.token_weights.as_ref());
    write_floats(t, "class_weights", case.class_weights.as_ref());
    write_floats(t, "ref_log_probs", case.ref_log_probs.as_ref());
    write_floats(t, "old_log_probs", case.old_log_probs.as_ref());
    write_floats(t, "advantages", case.advantages.as_ref());
    write_array(t, "targets", Some(case.targets.iter().map(|&target| target as f64)));
    write_array(t, "groups", case.groups.as_ref().map(|ids| ids.iter().copied().map(f64::from)));
    let whole = vec![0, case.rows];
    let offsets = case.cu_seqlens.as_ref().unwrap_or(&whole);
    write_array(t, "cu_seqlens", Some(offsets.iter().map(|&offset| offset as f64)));
    let pairs = case.pairs.as_ref();
    write_array(t, "pairs", pairs.map(|pairs| pairs.iter().flatten().map(|&i| i as f64)));
    write_array(t, "keep", case.keep.as_ref().map(|keep| keep.iter().copied().map(f64::from)));
    write_array(t, "nll", Some(e.nll.iter().copied()));
    write_array(t, "dlogits", Some(e.dlogits.iter().copied()));
    text + "end\n"
}
