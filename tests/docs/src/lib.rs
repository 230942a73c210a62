//! Compiles the programs and checks the module files that the documentation shows.
//!
//! The Rust blocks of the pages below are documentation tests of this crate. Its unit tests read every YAML block of
//! the same pages as a module file; a block that shows a mistake is marked `yaml,error` and has to be refused. The page
//! of each diagnostic code has a wrong and a right example, and they are read too.

#![doc = include_str!("../../../README.md")]

#[cfg(test)]
mod diagnostics;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use statefun_kinesis_spec::{Options, SourceFile, read_module};

    /// The fenced blocks of a page whose info string is `info`, with the line that each starts on.
    pub(crate) fn blocks<'a>(page: &'a str, info: &str) -> Vec<(usize, String)> {
        let mut blocks = Vec::new();
        let mut lines = page.lines().enumerate();
        let fence = |line: &'a str| line.trim_start().strip_prefix("```");
        while let Some((number, line)) = lines.next() {
            let Some(found) = fence(line) else { continue };
            let text: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| fence(line).is_none()).collect();
            if found == info {
                blocks.push((number + 1, text.join("\n") + "\n"));
            }
        }
        blocks
    }

    fn pages() -> Vec<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let docs = std::fs::read_dir(root.join("docs")).expect("there is a folder of documentation");
        let docs = docs.map(|entry| entry.expect("the folder can be read").path());
        docs.chain(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|page| root.join(page)))
            .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
            .collect()
    }

    #[test]
    fn every_module_file_in_the_documentation_is_valid_or_has_the_named_problem() {
        let mut valid = 0;
        for path in pages() {
            let page = std::fs::read_to_string(&path).expect("a page is text");
            for (info, is_valid) in [("yaml", true), ("yaml,error", false)] {
                for (line, text) in blocks(&page, info) {
                    let files = [SourceFile::new(format!("{}:{line}", path.display()), text)];
                    let checked = read_module(&files, &Options::default());
                    let said: Vec<String> = checked.diagnostics.iter().map(|found| found.to_line(&files)).collect();
                    assert_eq!(checked.module.is_some(), is_valid, "{}: {said:#?}", files[0].name);
                    valid += usize::from(is_valid);
                }
            }
        }
        assert!(valid > 0, "no page shows a module file");
    }

    #[test]
    fn every_example_module_is_valid() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/orders");
        let mut count = 0;
        for entry in std::fs::read_dir(examples).expect("there are examples") {
            let path = entry.expect("the folder can be read").path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a module file is text");
            let files = [SourceFile::new(path.display().to_string(), text)];
            let checked = read_module(&files, &Options::default());
            let said: Vec<String> = checked.diagnostics.iter().map(|found| found.to_line(&files)).collect();
            assert!(checked.module.is_some(), "{said:#?}");
            count += 1;
        }
        assert!(count > 0, "no example has a module file");
    }
}
