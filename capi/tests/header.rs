//! `include/surprisal.h` is what cbindgen makes of this crate today. `UPDATE_HEADER=1` writes it anew.

use std::fs;
use std::path::Path;

use cbindgen::{
    Builder, Config, DocumentationStyle, EnumConfig, ExportConfig, FunctionConfig, Language,
    RenameRule, SortKey, Style,
};

fn generate() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join("header").join(name)).unwrap();
    let top = read("top.h")
        .replace("@MAJOR@", env!("CARGO_PKG_VERSION_MAJOR"))
        .replace("@MINOR@", env!("CARGO_PKG_VERSION_MINOR"))
        .replace("@PATCH@", env!("CARGO_PKG_VERSION_PATCH"));
    let enums = [
        "surprisal_status",
        "surprisal_dtype",
        "surprisal_objective",
        "surprisal_scope",
        "surprisal_reduction",
        "surprisal_extras_scale",
        "surprisal_kl",
        "surprisal_tau_from",
        "surprisal_normalize",
    ];
    let config = Config {
        header: Some(top.trim_end().to_owned()),
        trailer: Some(read("bottom.h").trim_end().to_owned()),
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
            include: enums.map(str::to_owned).to_vec(),
            ..ExportConfig::default()
        },
        ..Config::default()
    };
    let bindings = Builder::new().with_crate(root).with_config(config).generate().unwrap();
    let mut text = Vec::new();
    bindings.write(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn header_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/surprisal.h");
    let current = generate();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        fs::write(&path, &current).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == current,
        "include/surprisal.h has drifted: UPDATE_HEADER=1 cargo test -p surprisal-capi --test header"
    );
}
