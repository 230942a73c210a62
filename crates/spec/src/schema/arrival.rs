use super::{FieldExample, field_examples};
use crate::{Module, Options, SourceFile, read_module};

/// Checks, in a test, that each field of a kind's documents arrives in what a program makes of a module.
///
/// `made_of` shows what is made of a module, usually by `Debug`. It has to show another text with each
/// [example](field_examples) of a field than without the field, and the same text with the field's default. Fields for
/// which `is_elsewhere` is true belong to another part of the program, and change nothing here. It is given the parts of
/// [`FieldExample::path`] without the kind, such as `["consumer", "polling", "maxRecords"]`.
///
/// # Panics
///
/// When a field has no effect, when one that is elsewhere has an effect, or when there is no field of that kind.
#[track_caller]
pub fn assert_fields_arrive(kind: &str, is_elsewhere: impl Fn(&[&str]) -> bool, made_of: impl Fn(&Module) -> String) {
    let shown = |text: &str| {
        let checked = read_module(&[SourceFile::new("module.yaml", text)], &Options::default());
        let module =
            checked.module.unwrap_or_else(|| panic!("an example has errors: {:#?}\n{text}", checked.diagnostics));
        made_of(&module)
    };
    let mut count = 0;
    for FieldExample { path, value, without, with, with_default, .. } in field_examples() {
        let Some(path) = path.strip_prefix(kind).and_then(|path| path.strip_prefix(' ')) else { continue };
        count += 1;
        let expected = shown(&without);
        assert_eq!(expected, shown(&without), "{path}: the same module is shown in two ways");
        // The kind of a transport has dots of its own.
        let parts = path.replace("io.statefun.transports.v1/", "");
        let parts: Vec<&str> = parts.split('.').collect();
        match (expected == shown(&with), is_elsewhere(&parts)) {
            (true, false) => panic!("{path} has no effect with the value {value}"),
            (false, true) => panic!("{path} has an effect here"),
            (true, true) | (false, false) => {}
        }
        if let Some(with_default) = with_default {
            assert_eq!(expected, shown(&with_default), "{path} has another default here");
        }
    }
    assert!(count > 0, "there are no fields of {kind}");
}
