//! What a module file may have at most. Each bound is well above any module, and together they bound the answer to any
//! text: 50 MB of memory, and 0.1 to 0.2 s of a busy core, which is what two right modules of the same size take.

/// Most bytes of one module file: 768 KiB, which more than three thousand streams fit in; more of them go into several
/// files.
///
/// A larger text is refused without a look at it. Who reads files stops behind so many bytes, and hands what was read to
/// [`SourceFile::from_bytes`](crate::SourceFile::from_bytes).
pub const MODULE_MAX_BYTES: usize = 768 << 10;

/// Most levels of a document; those of a module file have about eight.
pub(super) const MAX_DEPTH: usize = 64;

/// Most nodes of one file, every alias counted with all that it stands for: about 12 MB. An ingress has some fifty.
pub(super) const MAX_NODES: u32 = 100_000;

/// Most anchors of one file. The parser keeps the name of each to the end, which takes it longer than all else.
pub(super) const MAX_ANCHORS: u32 = 10_000;

/// Most bytes of all values of one file, every alias counted with all that it stands for: the model has copies of them.
/// Without aliases no file has more than [`MODULE_MAX_BYTES`], so this is reached by repetition only.
pub(super) const MAX_TEXT_BYTES: u32 = 2 << 20;

/// Most indicators, such as `[`, `,` and `:`, that the parser reads for one event.
///
/// It has to read a `[…]` or `{…}` that may turn out to be the name of a field to the end before it tells of the start,
/// and keeps up to three tokens of a hundred bytes for each indicator. An ingress written as JSON has some thirty-five per
/// stream, so this is a thousand streams in one document.
pub(super) const MAX_INDICATORS_AHEAD: u32 = 40_000;

/// Most syntax errors of one file after which reading goes on at the next document.
pub(super) const MAX_BROKEN_DOCUMENTS: usize = 100;
