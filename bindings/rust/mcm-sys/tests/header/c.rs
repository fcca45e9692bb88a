//! A reader of the header that knows nothing of the generator, and a C compiler.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

fn include() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../include")
}

/// mcm.h without comments.
pub fn header() -> String {
    let text = std::fs::read_to_string(include().join("mcm.h")).unwrap();
    let mut parts = text.split("/*");
    let mut code = parts.next().unwrap().to_string();
    for part in parts {
        code += part.split_once("*/").unwrap().1;
    }
    code
}

/// The names of each struct's fields.
pub fn structs(header: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for part in header.split("typedef struct ").skip(1) {
        let (name, rest) = part.split_once([' ', ';']).unwrap();
        if let Some(body) = rest.strip_prefix('{') {
            let body = body.split_once('}').unwrap().0;
            let variables = body.split(';').flat_map(|line| line.split(','));
            let fields = variables.filter_map(|variable| {
                let variable = variable.split('[').next()?.trim();
                let field = variable.rsplit([' ', '*']).next()?;
                (!field.is_empty()).then(|| field.to_string())
            });
            found.push((name.to_string(), fields.collect()));
        }
    }
    found
}

/// The names of macros that are numbers.
pub fn constants(header: &str) -> Vec<String> {
    let names = header.lines().filter_map(|line| line.strip_prefix("#define MCM_"));
    let names = names.filter_map(|line| line.split_once(' '));
    let names = names.filter(|(name, _)| !name.ends_with("_INIT"));
    names.map(|(name, _)| format!("MCM_{name}")).collect()
}

fn arguments(text: &str) -> usize {
    match text.trim().trim_end_matches(',') {
        "" | "void" => 0,
        list => list.split(',').count(),
    }
}

/// Each function's number of arguments, in the header.
pub fn functions(header: &str) -> BTreeMap<String, usize> {
    let code: String = header.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let mut found = BTreeMap::new();
    for statement in code.split(';') {
        if let (Some((before, after)), false) = (statement.split_once('('), statement.contains("(*")) {
            let name = before.rsplit([' ', '*']).next().unwrap();
            if name.starts_with("mcm_") {
                found.insert(name.to_string(), arguments(after.trim_end().trim_end_matches(')')));
            }
        }
    }
    found
}

/// The same in a Rust source.
pub fn rust_functions(source: &str) -> BTreeMap<String, usize> {
    let code: String = source.lines().filter(|line| !line.trim().starts_with("//")).collect();
    let mut found = BTreeMap::new();
    for part in code.split("pub fn ").skip(1) {
        let (name, rest) = part.split_once('(').unwrap();
        found.insert(name.to_string(), arguments(rest.split_once(')').unwrap().0));
    }
    found
}

/// What a C program prints.
pub fn run(program: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (source, binary) = (folder.join("layout.c"), folder.join("layout"));
    std::fs::write(&source, program).unwrap();
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let flags = ["-std=c99", "-Wall", "-Werror", "-include", "stddef.h", "-I"];
    let status = Command::new(compiler).args(flags).arg(include()).arg(&source).arg("-o").arg(&binary).status();
    assert!(status.unwrap().success(), "{} does not compile", source.display());
    String::from_utf8(Command::new(binary).output().unwrap().stdout).unwrap()
}
