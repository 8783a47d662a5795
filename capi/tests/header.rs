//! The headers in `include` are what cbindgen makes of this crate today. `UPDATE_HEADER=1` writes them anew.

use std::fs;
use std::path::Path;

use cbindgen::{
    Builder, Config, DocumentationStyle, EnumConfig, ExportConfig, FunctionConfig, Language,
    RenameRule, SortKey, Style,
};

const CAPI: &str = env!("CARGO_MANIFEST_DIR");

/// Enums that are types of fields and arguments.
const VALUES: [&str; 6] = ["status", "dtype", "padding", "objective", "reduction", "extras_scale"];

/// The alias that Rust has for any number of such a type.
fn value_of(name: &str) -> String {
    format!("{name}_value")
}

/// The files of `header` around what is generated, and the enums that no signature names.
fn config(top: &str, bottom: &str, enums: &[&str]) -> Config {
    let read = |name: &str| fs::read_to_string(Path::new(CAPI).join("header").join(name)).unwrap();
    let top = read(top)
        .replace("@MAJOR@", env!("CARGO_PKG_VERSION_MAJOR"))
        .replace("@MINOR@", env!("CARGO_PKG_VERSION_MINOR"))
        .replace("@PATCH@", env!("CARGO_PKG_VERSION_PATCH"));
    Config {
        header: Some(top.trim_end().to_owned()),
        trailer: Some(read(bottom).trim_end().to_owned()),
        no_includes: true,
        language: Language::C,
        cpp_compat: true,
        style: Style::Both,
        sort_by: SortKey::None,
        usize_is_size_t: true,
        documentation_style: DocumentationStyle::Cxx,
        line_length: 120,
        tab_width: 4,
        function: FunctionConfig {
            prefix: Some("SURPRISAL_API".to_owned()),
            must_use: Some("SURPRISAL_NODISCARD".to_owned()),
            sort_by: Some(SortKey::None),
            ..FunctionConfig::default()
        },
        enumeration: EnumConfig {
            rename_variants: RenameRule::None,
            enum_class: false,
            ..EnumConfig::default()
        },
        export: ExportConfig {
            include: enums.iter().map(|&name| name.to_owned()).collect(),
            // What holds any number in Rust has the enum's type in C.
            exclude: VALUES.map(value_of).to_vec(),
            rename: VALUES
                .iter()
                .map(|&name| (value_of(name), format!("surprisal_{name}")))
                .collect(),
            ..ExportConfig::default()
        },
        ..Config::default()
    }
}

#[track_caller]
fn check(name: &str, builder: Builder) {
    let mut current = Vec::new();
    builder.generate().unwrap().write(&mut current);
    let current = String::from_utf8(current).unwrap();
    let path = Path::new(CAPI).join("../include").join(name);
    if std::env::var_os("UPDATE_HEADER").is_some() {
        fs::write(&path, &current).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == current,
        "include/{name} has drifted: UPDATE_HEADER=1 cargo test -p surprisal-capi --test header"
    );
}

#[test]
fn header_is_current() {
    let enums = [
        "surprisal_status",
        "surprisal_dtype",
        "surprisal_padding",
        "surprisal_objective",
        "surprisal_scope",
        "surprisal_reduction",
        "surprisal_extras_scale",
        "surprisal_kl",
        "surprisal_tau_from",
        "surprisal_normalize",
        "surprisal_probability",
    ];
    let config = config("top.h", "bottom.h", &enums);
    check("surprisal.h", Builder::new().with_crate(CAPI).with_config(config));
}

#[test]
fn gpu_header_is_current() {
    let config = config("gpu_top.h", "gpu_bottom.h", &[]);
    // Of its module alone: what is in the other header has no definition here.
    let module = Path::new(CAPI).join("src/gpu/mod.rs");
    check("surprisal_gpu.h", Builder::new().with_src(module).with_config(config));
}

#[test]
fn tools_header_is_current() {
    let config = config("tools_top.h", "tools_bottom.h", &[]);
    // As above.
    let module = Path::new(CAPI).join("src/tools/mod.rs");
    check("surprisal_tools.h", Builder::new().with_src(module).with_config(config));
}
