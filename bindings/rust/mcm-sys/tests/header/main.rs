//! The declarations against include/mcm.h: sizes, offsets and constants as a C compiler has them, and functions.
mod c;
mod layouts;

use std::collections::BTreeMap;

#[test]
fn structs_and_constants_are_as_in_c() {
    let header = c::header();
    let names = c::structs(&header);
    assert!(names.len() > 25, "{} structs were found in the header", names.len());
    let mut program = String::from("#include <mcm.h>\n#include <stdio.h>\nint main(void) {\n");
    for (name, fields) in &names {
        program += &format!("printf(\"{name} %zu\\n\", sizeof({name}));\n");
        for field in fields {
            let size = format!("sizeof((({name} *)0)->{field})");
            program += &format!("printf(\"{name}.{field} %zu %zu\\n\", offsetof({name}, {field}), {size});\n");
        }
    }
    for name in c::constants(&header) {
        program += &format!("printf(\"{name} %lld\\n\", (long long){name});\n");
    }
    program += "}\n";
    let expected = lines(&c::run(&program));
    let found = lines(&layouts::all());
    for (name, value) in &expected {
        assert_eq!(found.get(name), Some(value), "{name} here and in C");
    }
    assert_eq!(found.len(), expected.len(), "structs, fields and constants here and in C");
}

fn lines(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(|line| line.split_once(' ')).map(|(name, value)| (name.into(), value.into())).collect()
}

#[test]
fn functions_have_the_headers_arguments() {
    let expected = c::functions(&c::header());
    let found = c::rust_functions(include_str!("../../src/lib.rs"));
    assert!(expected.len() > 100, "{} functions were found in the header", expected.len());
    assert_eq!(found, expected, "functions and their numbers of arguments");
}

/// Options as the library fills them: what it writes lies where these declarations read it.
#[test]
fn the_library_fills_structs() {
    // SAFETY: zeros are a value of these structs, and the functions write no more than the size that they are told.
    unsafe {
        let mut image: mcm_sys::mcm_image = std::mem::zeroed();
        mcm_sys::mcm_image_init(&mut image, std::mem::size_of_val(&image) as u32);
        assert_eq!((image.struct_size, image.dtype, image.channels), (40, mcm_sys::MCM_U8, 1));
        let mut options: mcm_sys::mcm_trainer_options = std::mem::zeroed();
        mcm_sys::mcm_trainer_options_init(&mut options, std::mem::size_of_val(&options) as u32);
        assert_eq!((options.warmup_steps, options.learning_rate, options.world), (200, 2e-3, 1));
        assert_eq!(mcm_sys::mcm_version(), mcm_sys::MCM_VERSION);
    }
}
