//! Classes of characters of Chinese, Japanese and Korean.

pub(super) fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{2fd5}' | '々' | '〇' | 'ぁ'..='ゖ' | 'ァ'..='ヺ'
        | '\u{3105}'..='\u{312f}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

pub(super) fn is_hangul(c: char) -> bool {
    matches!(c, '가'..='힣' | '\u{1100}'..='\u{11ff}' | '\u{3131}'..='\u{318e}'
        | '\u{a960}'..='\u{a97f}' | '\u{d7b0}'..='\u{d7ff}')
}

/// Returns true for full stops, commas and brackets of Chinese, Japanese and Korean.
pub(super) fn is_wide_punctuation(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{3004}' | '\u{3008}'..='\u{301f}' | '！'..='／' | '：'..='＠'
        | '［'..='｀' | '｛'..='･')
}

pub(super) fn is_east_asian(c: char) -> bool {
    is_hangul(c) || is_ideograph(c) || is_wide_punctuation(c)
}
