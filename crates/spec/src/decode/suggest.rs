/// The candidate that a misspelt word was probably meant to be.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // Nothing that is written in a module file is longer; a huge text is not compared.
    const MAX_LEN: usize = 100;
    if word.len() > MAX_LEN {
        return None;
    }
    let plain = plain(word);
    let allowed = (plain.chars().count() / 3).clamp(1, 3);
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let near = candidates
        .iter()
        // Words differ by as many letters as one is longer, at least; most are not compared.
        .filter(|candidate| candidate.len() + allowed >= plain.len() && candidate.len() <= 2 * plain.len() + allowed)
        .map(|candidate| (strsim::osa_distance(&plain, &self::plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| *candidate);
    near.or_else(|| whole(&plain, &candidates))
}

/// The only candidate that starts or ends with the word: `region` is `awsRegion`, and `maxOutstanding` has a word more.
fn whole<'c>(plain: &str, candidates: &[&'c str]) -> Option<&'c str> {
    // Shorter ones are in many names, and mean none of them.
    const MIN_LEN: usize = 4;
    let is_part = |candidate: &&&str| {
        let candidate = self::plain(candidate);
        candidate.starts_with(plain) || candidate.ends_with(plain)
    };
    let mut parts = candidates.iter().filter(|_| plain.len() >= MIN_LEN).filter(is_part);
    parts.next().filter(|_| parts.next().is_none()).copied()
}

/// `stream_arn`, `StreamARN` and `stream-arn` are all the same mistake.
fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_and_small_slips_are_recognised() {
        let fields = ["id", "streamArn", "streamName", "targets"];
        for (word, expected) in [
            ("stream_arn", Some("streamArn")),
            ("streamARN", Some("streamArn")),
            ("target", Some("targets")),
            ("tragets", Some("targets")),
            ("steamName", Some("streamName")),
            ("colour", None),
            ("x", None),
            ("name", Some("streamName")),
            ("stream", None),
            ("arn", None),
        ] {
            assert_eq!(nearest(word, fields), expected, "{word}");
        }
    }
}
