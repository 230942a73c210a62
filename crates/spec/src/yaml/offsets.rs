/// Bytes of the characters of a text: the parser counts characters, everyone else counts bytes.
#[derive(Debug)]
pub(super) struct Offsets<'a> {
    text: &'a str,
    /// The byte at which every `STRIDE`th character starts; empty when the text is ASCII and the two are the same.
    every: Vec<u32>,
}

impl<'a> Offsets<'a> {
    const STRIDE: usize = 64;

    pub(super) fn new(text: &'a str) -> Self {
        let every = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().step_by(Self::STRIDE).map(|(byte, _)| u32::try_from(byte).unwrap_or(u32::MAX)).collect()
        };
        Self { text, every }
    }

    /// The byte at which a character starts; the end of the text for one beyond it.
    pub(super) fn byte(&self, character: usize) -> usize {
        if self.every.is_empty() {
            return character.min(self.text.len());
        }
        let Some(&start) = self.every.get(character / Self::STRIDE) else { return self.text.len() };
        let start = start as usize;
        let rest = &self.text[start..];
        rest.char_indices().nth(character % Self::STRIDE).map_or(self.text.len(), |(byte, _)| start + byte)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_character_is_found(text in "[a-zäß日🦀\n]{0,200}") {
            let offsets = Offsets::new(&text);
            for (character, (byte, _)) in text.char_indices().enumerate() {
                prop_assert_eq!(offsets.byte(character), byte);
            }
            prop_assert_eq!(offsets.byte(text.chars().count()), text.len());
            prop_assert_eq!(offsets.byte(usize::MAX), text.len());
        }
    }
}
