//! What stands on the same key: the Korean layout (2-beolsik) and the Latin one.
//!
//! Who writes Korean and presses Alt-A, or types a command without switching the layout first, sends
//! Hangul; what was meant is known, as each letter has its place on the keyboard.

/// Initial consonants of a syllable, vowels, final consonants: in the order in which Unicode composes
/// syllables of them (chapter 3.12), each as the Latin keys that type it.
const INITIALS: [&str; 19] =
    ["r", "R", "s", "e", "E", "f", "a", "q", "Q", "t", "T", "d", "w", "W", "c", "z", "x", "v", "g"];
const VOWELS: [&str; 21] = [
    "k", "o", "i", "O", "j", "p", "u", "P", "h", "hk", "ho", "hl", "y", "n", "nj", "np", "nl", "b",
    "m", "ml", "l",
];
const FINALS: [&str; 28] = [
    "", "r", "R", "rt", "s", "sw", "sg", "e", "f", "fr", "fa", "fq", "ft", "fx", "fv", "fg", "a",
    "q", "qt", "t", "T", "d", "w", "c", "z", "x", "v", "g",
];
/// The compatibility letters from U+3131 on: what a key sends that is not composed.
const LETTERS: [&str; 51] = [
    "r", "R", "rt", "s", "sw", "sg", "e", "E", "f", "fr", "fa", "fq", "ft", "fx", "fv", "fg", "a",
    "q", "Q", "qt", "t", "T", "d", "w", "W", "c", "z", "x", "v", "g", "k", "o", "i", "O", "j", "p",
    "u", "P", "h", "hk", "ho", "hl", "y", "n", "nj", "np", "nl", "b", "m", "ml", "l",
];
const FIRST_LETTER: u32 = 0x3131;
const FIRST_SYLLABLE: u32 = 0xac00;

/// The Latin letter on the key that sends this letter of Hangul.
pub(super) fn latin_key(c: char) -> Option<char> {
    let keys = letter(c)?;
    let mut keys = keys.chars();
    let key = keys.next()?;
    // Those of two keys come from no key.
    keys.next().is_none().then_some(key)
}

/// The Latin keys of a word typed with the Korean layout on; none if there is no Hangul in it.
pub(super) fn latin_keys(word: &str) -> Option<String> {
    let mut found = false;
    let mut keys = String::new();
    for c in word.chars() {
        let parts = letter(c).map(|keys| [keys, "", ""]).or_else(|| syllable(c));
        found |= parts.is_some();
        match parts {
            Some(parts) => keys.extend(parts),
            None => keys.push(c),
        }
    }
    found.then_some(keys)
}

fn letter(c: char) -> Option<&'static str> {
    LETTERS.get(index(c, FIRST_LETTER)?).copied()
}

fn syllable(c: char) -> Option<[&'static str; 3]> {
    let at = index(c, FIRST_SYLLABLE)?;
    let (rest, last) = (at / FINALS.len(), at % FINALS.len());
    let (first, vowel) = (rest / VOWELS.len(), rest % VOWELS.len());
    Some([INITIALS.get(first)?, VOWELS[vowel], FINALS[last]])
}

fn index(c: char, first: u32) -> Option<usize> {
    u32::from(c).checked_sub(first).and_then(|at| usize::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_of_the_layout_sends_its_letter() {
        let rows = [("ㅂㅈㄷㄱㅅㅛㅕㅑㅐㅔ", "qwertyuiop"), ("ㅁㄴㅇㄹㅎㅗㅓㅏㅣ", "asdfghjkl")];
        let rows =
            rows.into_iter().chain([("ㅋㅌㅊㅍㅠㅜㅡ", "zxcvbnm"), ("ㅃㅉㄸㄲㅆㅒㅖ", "QWERTOP")]);
        for (korean, latin) in rows {
            let keys: String = korean.chars().filter_map(latin_key).collect();
            assert_eq!(keys, latin);
        }
        for c in ['a', '가', 'ㄳ', 'ㅘ', 'ㅥ', '\u{3130}', 'é'] {
            assert_eq!(latin_key(c), None, "{c}");
        }
    }

    #[test]
    fn a_word_typed_on_the_wrong_layout_is_read() {
        for (typed, meant) in [
            ("ㅓㅐㅑㅜ", "join"),
            ("조ㅐ", "who"),
            ("벼ㅑㅅ", "quit"),
            ("ㅡㄴㅎ", "msg"),
            ("ㅗ디ㅔ", "help"),
            ("ㅔㅁㄳ", "part"),
            ("몸ㅛ", "ahay"),
        ] {
            assert_eq!(latin_keys(typed).as_deref(), Some(meant), "{typed}");
        }
        assert_eq!(latin_keys("join"), None);
        assert_eq!(latin_keys("힣").as_deref(), Some("glg"), "the last syllable");
    }
}
