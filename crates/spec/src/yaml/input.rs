use std::cell::Cell;

use saphyr_parser::{Input, StrInput, input::SkipTabs};

use super::limits::MAX_INDICATORS_AHEAD;

/// How many indicators the parser may still read before its next event.
#[derive(Debug)]
pub(super) struct Ahead(Cell<u32>);

impl Ahead {
    pub(super) fn new() -> Self {
        Self(Cell::new(MAX_INDICATORS_AHEAD))
    }

    /// The parser told of an event, and may read on.
    pub(super) fn renew(&self) {
        self.0.set(MAX_INDICATORS_AHEAD);
    }

    /// Whether the text was cut off before an event.
    pub(super) fn is_used_up(&self) -> bool {
        self.0.get() == 0
    }
}

/// A text that ends early when the parser reads too much of it without an event in between.
///
/// Every token but a plain scalar begins with an indicator, and plain scalars have indicators between them, so the number
/// of indicators bounds the tokens that the parser keeps. Comments and the lines of block scalars have none.
pub(super) struct BoundedInput<'t, 'l> {
    text: StrInput<'t>,
    ahead: &'l Ahead,
}

impl<'t, 'l> BoundedInput<'t, 'l> {
    pub(super) fn new(text: &'t str, ahead: &'l Ahead) -> Self {
        Self { text: StrInput::new(text), ahead }
    }

    #[inline]
    fn count(&mut self) {
        if is_indicator(self.text.peek()) {
            let left = self.ahead.0.get().saturating_sub(1);
            self.ahead.0.set(left);
            if left == 0 {
                self.text = StrInput::new("");
            }
        }
    }
}

/// The indicators, as bits: every character that is not part of a word is asked.
const INDICATORS: u128 = {
    let mut bits = 0;
    let mut indicators: &[u8] = b"[]{},:?&*!\"'";
    while let [indicator, rest @ ..] = indicators {
        bits |= 1 << *indicator;
        indicators = rest;
    }
    bits
};

fn is_indicator(c: char) -> bool {
    c.is_ascii() && INDICATORS >> u32::from(c) & 1 == 1
}

/// All that matters for speed goes to the text itself; what is counted is skipped one by one.
impl Input for BoundedInput<'_, '_> {
    #[inline]
    fn lookahead(&mut self, count: usize) {
        self.text.lookahead(count);
    }

    #[inline]
    fn buflen(&self) -> usize {
        self.text.buflen()
    }

    #[inline]
    fn bufmaxlen(&self) -> usize {
        self.text.bufmaxlen()
    }

    #[inline]
    fn raw_read_ch(&mut self) -> char {
        self.text.raw_read_ch()
    }

    #[inline]
    fn raw_read_non_breakz_ch(&mut self) -> Option<char> {
        self.text.raw_read_non_breakz_ch()
    }

    #[inline]
    fn skip(&mut self) {
        self.count();
        self.text.skip();
    }

    #[inline]
    fn skip_n(&mut self, count: usize) {
        self.text.skip_n(count);
    }

    #[inline]
    fn peek(&self) -> char {
        self.text.peek()
    }

    #[inline]
    fn peek_nth(&self, n: usize) -> char {
        self.text.peek_nth(n)
    }

    #[inline]
    fn peek_opt(&self) -> Option<char> {
        self.text.peek_opt()
    }

    #[inline]
    fn next_2_are(&self, c1: char, c2: char) -> bool {
        self.text.next_2_are(c1, c2)
    }

    #[inline]
    fn next_3_are(&self, c1: char, c2: char, c3: char) -> bool {
        self.text.next_3_are(c1, c2, c3)
    }

    #[inline]
    fn next_is_document_indicator(&self) -> bool {
        self.text.next_is_document_indicator()
    }

    #[inline]
    fn next_is_document_start(&self) -> bool {
        self.text.next_is_document_start()
    }

    #[inline]
    fn next_is_document_end(&self) -> bool {
        self.text.next_is_document_end()
    }

    #[inline]
    fn skip_ws_to_eol(&mut self, skip_tabs: SkipTabs) -> (usize, Result<SkipTabs, &'static str>) {
        self.text.skip_ws_to_eol(skip_tabs)
    }

    #[inline]
    fn next_can_be_plain_scalar(&self, in_flow: bool) -> bool {
        self.text.next_can_be_plain_scalar(in_flow)
    }

    #[inline]
    fn next_is_blank_or_break(&self) -> bool {
        self.text.next_is_blank_or_break()
    }

    #[inline]
    fn next_is_blank_or_breakz(&self) -> bool {
        self.text.next_is_blank_or_breakz()
    }

    #[inline]
    fn next_is_blank(&self) -> bool {
        self.text.next_is_blank()
    }

    #[inline]
    fn next_is_break(&self) -> bool {
        self.text.next_is_break()
    }

    #[inline]
    fn next_is_breakz(&self) -> bool {
        self.text.next_is_breakz()
    }

    #[inline]
    fn next_is_z(&self) -> bool {
        self.text.next_is_z()
    }

    #[inline]
    fn next_is_flow(&self) -> bool {
        self.text.next_is_flow()
    }

    #[inline]
    fn next_is_digit(&self) -> bool {
        self.text.next_is_digit()
    }

    #[inline]
    fn next_is_alpha(&self) -> bool {
        self.text.next_is_alpha()
    }

    #[inline]
    fn skip_while_non_breakz(&mut self) -> usize {
        self.text.skip_while_non_breakz()
    }

    #[inline]
    fn skip_while_blank(&mut self) -> usize {
        self.text.skip_while_blank()
    }

    #[inline]
    fn fetch_while_is_alpha(&mut self, out: &mut String) -> usize {
        self.text.fetch_while_is_alpha(out)
    }

    #[inline]
    fn fetch_while_is_yaml_non_space(&mut self, out: &mut String) -> usize {
        self.text.fetch_while_is_yaml_non_space(out)
    }
}
