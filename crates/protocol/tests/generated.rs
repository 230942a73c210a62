//! The code in `src/generated` is what the compiler makes of the files in `proto`.

use std::path::Path;

/// Regenerate by `UPDATE_GENERATED=1 cargo test -p statefun-kinesis-protocol --test generated`.
const UPDATE: &str = "UPDATE_GENERATED";

fn generate(into: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["request-reply.proto", "kinesis-egress.proto"];
    let descriptors = protox::compile(files, [root.join("proto")]).expect("the files in proto are valid");
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(into)
        .compile_fds(descriptors)
        .expect("code can be made of valid descriptors");
}

#[test]
fn generated_code_is_what_the_protos_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    let fresh = std::env::temp_dir().join(format!("statefun-kinesis-protocol-{}", std::process::id()));
    std::fs::create_dir_all(&fresh).expect("the temporary folder can be written");
    generate(&fresh);
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).expect("the folder can be read");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    let generated = names(&fresh);
    if std::env::var_os(UPDATE).is_some() {
        for name in &generated {
            std::fs::copy(fresh.join(name), root.join(name)).expect("the source folder can be written");
        }
    }
    assert_eq!(names(&root), generated, "set {UPDATE}=1 to write the files anew");
    for name in generated {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(&name)).expect("code is text");
        assert_eq!(read(&root), read(&fresh), "{name:?} is stale; set {UPDATE}=1 to write it anew");
    }
    std::fs::remove_dir_all(&fresh).expect("the temporary folder can be removed");
}
