//! `tests/c/gpu.c`, `gpu_batch.c` and `gpu_shared.c`: compiled by the C compiler, linked with the library of `surprisal_gpu.h`, and run on the first device. Without one
//! they are skipped, unless `SURPRISAL_REQUIRE_GPU=1` makes that a failure.
#![cfg(all(unix, feature = "gpu"))]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

const CAPI: &str = env!("CARGO_MANIFEST_DIR");
const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wshadow"];
/// The exit status of a test that was skipped, as automake has it.
const SKIPPED: i32 = 77;

#[track_caller]
fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command that must succeed, and returns what it printed and what it complained about.
#[track_caller]
fn output(command: &mut Command) -> (String, String) {
    let output = run(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    (out, err)
}

fn compiler(variable: &str, default: &str) -> Command {
    let mut compiler = Command::new(env::var_os(variable).unwrap_or(default.into()));
    compiler.args(WARNINGS).arg("-I").arg(Path::new(CAPI).join("../include"));
    compiler
}

/// The static library, and the flags that it is linked with. In the development profile, where the dependencies are already built: in the release
/// profile they would take minutes more. Both unwind.
static LIBRARY: LazyLock<(PathBuf, Vec<String>)> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .args(["rustc", "--lib", "--crate-type", "staticlib", "--features", "gpu"])
        .arg("--manifest-path")
        .arg(Path::new(CAPI).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .args(["--", "--print", "native-static-libs"])
        .env("CARGO_TERM_COLOR", "never")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS");
    let (_, log) = output(&mut cargo);
    let flags = log.lines().find_map(|line| line.split_once("native-static-libs: "));
    let (_, flags) = flags.unwrap_or_else(|| panic!("rustc names no libraries:\n{log}"));
    let flags = flags.split_whitespace().map(str::to_owned).collect();
    (target.join("debug/libsurprisal_capi.a"), flags)
});

/// Compiles a program and runs it.
#[track_caller]
fn passes(name: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gpu");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join(name);
    let (library, libraries) = &*LIBRARY;
    let mut compiler = compiler("CC", "cc");
    compiler
        .args(["-std=c99", "-O1", "-g", "-Wundef", "-Wstrict-prototypes", "-Wconversion"])
        .arg("-pthread")
        .arg(Path::new(CAPI).join(format!("tests/c/{name}.c")))
        .arg(library)
        .args(libraries)
        .args(["-lm", "-o"])
        .arg(&program);
    output(&mut compiler);
    let output = run(&mut Command::new(&program));
    let printed = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    print!("{printed}");
    let skipped = output.status.code() == Some(SKIPPED);
    assert!(
        output.status.success() || skipped,
        "{}: {}\n{printed}{complaints}",
        program.display(),
        output.status
    );
    // An error that was foreseen is no panic.
    assert!(!complaints.contains("panicked"), "{complaints}");
}

#[test]
fn gpu() {
    passes("gpu");
}

#[test]
fn gpu_batch() {
    passes("gpu_batch");
}

/// Memory is shared on Linux.
#[cfg(target_os = "linux")]
#[test]
fn gpu_shared() {
    passes("gpu_shared");
}

#[test]
fn header_in_c_and_cpp() {
    let header = Path::new(CAPI).join("../include/surprisal_gpu.h");
    let text = format!(
        "#include \"{0}\"\n#include \"{0}\"\nint main(void) {{ surprisal_gpu_matrix z = surprisal_gpu_matrix_of(NULL, SURPRISAL_DTYPE_F32, 0, 0);\n\
         surprisal_gpu_info info = {{{{0}}, {{0}}, 0, {{0}}}}; surprisal_gpu_batch batch = SURPRISAL_GPU_BATCH_INIT;\n\
         batch.targets = surprisal_gpu_column_of(NULL, 0, 32); return (int)(z.rows + batch.rows) + info.is_software; }}\n",
        header.display()
    );
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gpu");
    fs::create_dir_all(&folder).unwrap();
    let source = folder.join("header.c");
    fs::write(&source, text).unwrap();
    for (variable, default, language, standard) in
        [("CC", "cc", "c", "c99"), ("CC", "cc", "c", "c17"), ("CXX", "c++", "c++", "c++11")]
    {
        let mut compiler = compiler(variable, default);
        compiler.arg(format!("-std={standard}")).args(["-fsyntax-only", "-x", language]);
        output(compiler.arg(&source));
    }
}

/// The functions of this header and of the others are the library's, besides those of the Rust libraries in it.
#[test]
fn library_exports_what_the_headers_declare() {
    let (table, _) = output(Command::new("nm").args(["-g", "--defined-only"]).arg(&LIBRARY.0));
    let of_line = |line: &str| {
        let mut words = line.split_whitespace().rev();
        let (name, _kind, _address) = (words.next()?, words.next()?, words.next()?);
        // Some platforms begin every name of C with an underscore.
        let name = if cfg!(target_vendor = "apple") { name.strip_prefix('_')? } else { name };
        name.starts_with("surprisal_").then(|| name.to_owned())
    };
    let exported: BTreeSet<_> = table.lines().filter_map(of_line).collect();
    let mut declared = BTreeSet::new();
    for header in ["surprisal.h", "surprisal_tools.h", "surprisal_gpu.h"] {
        let header = fs::read_to_string(Path::new(CAPI).join("../include").join(header)).unwrap();
        let (_, declarations) = header.split_once("extern \"C\" {").unwrap();
        let (declarations, _) = declarations.split_once("extern \"C\"").unwrap();
        let code = declarations.lines().filter(|line| !line.starts_with("///"));
        let names = code.filter_map(|line| line.split_once('(')?.0.split([' ', '*']).next_back());
        let names = names.filter(|name| name.starts_with("surprisal_"));
        declared.extend(names.map(str::to_owned));
    }
    assert_eq!(exported, declared);
}
