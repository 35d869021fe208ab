//! Letters on the same key: the Korean layout (2-beolsik) and the Latin one.
//!
//! A user who presses Alt-A or types a command with the Korean layout on sends Hangul. The intended
//! key is known, as each letter has its place on the keyboard.

use unicode_normalization::UnicodeNormalization as _;

use super::scripts::is_hangul;

/// Letters that have a key; those behind the space need Shift.
const LETTERS: &str = "ㅂㅈㄷㄱㅅㅛㅕㅑㅐㅔㅁㄴㅇㄹㅎㅗㅓㅏㅣㅋㅌㅊㅍㅠㅜㅡ ㅃㅉㄸㄲㅆㅒㅖ";
const LATIN: &str = "qwertyuiopasdfghjklzxcvbnm QWERTOP";

/// Initial consonants of a syllable, vowels, final consonants: in the order in which Unicode
/// composes syllables (chapter 3.12), each as the letters that type it.
const INITIALS: &str = "ㄱ ㄲ ㄴ ㄷ ㄸ ㄹ ㅁ ㅂ ㅃ ㅅ ㅆ ㅇ ㅈ ㅉ ㅊ ㅋ ㅌ ㅍ ㅎ";
const VOWELS: &str = "ㅏ ㅐ ㅑ ㅒ ㅓ ㅔ ㅕ ㅖ ㅗ ㅗㅏ ㅗㅐ ㅗㅣ ㅛ ㅜ ㅜㅓ ㅜㅔ ㅜㅣ ㅠ ㅡ ㅡㅣ ㅣ";
const FINALS: &str = "ㄱ ㄲ ㄱㅅ ㄴ ㄴㅈ ㄴㅎ ㄷ ㄹ ㄹㄱ ㄹㅁ ㄹㅂ ㄹㅅ ㄹㅌ ㄹㅍ ㄹㅎ ㅁ ㅂ ㅂㅅ ㅅ ㅆ ㅇ ㅈ ㅊ ㅋ ㅌ ㅍ ㅎ";
const PARTS: [(&str, char); 3] =
    [(INITIALS, '\u{1100}'), (VOWELS, '\u{1161}'), (FINALS, '\u{11a8}')];

/// Returns a text as the letters that type it, with Hangul decomposed: `값이` as `ㄱㅏㅂㅅㅇㅣ`.
pub(super) fn letters(text: impl Iterator<Item = char>) -> impl Iterator<Item = char> {
    text.flat_map(|c| {
        let mut letters = Vec::with_capacity(4);
        // By compatibility, single letters are the same parts of syllables.
        let parts = is_hangul(c).then(|| std::iter::once(c).nfkd());
        for part in parts.into_iter().flatten() {
            match typed(part) {
                Some(typed) => letters.extend(typed.chars()),
                None => letters.push(part),
            }
        }
        if letters.is_empty() {
            letters.push(c);
        }
        letters
    })
}

/// Returns the letters that type a part of a syllable.
fn typed(part: char) -> Option<&'static str> {
    // Two final consonants decompose to historic initial ones.
    match part {
        '\u{111a}' => return Some("ㄹㅎ"),
        '\u{1121}' => return Some("ㅂㅅ"),
        _ => {}
    }
    PARTS.iter().find_map(|(all, first)| {
        let nth = u32::from(part).checked_sub(u32::from(*first))?;
        all.split(' ').nth(usize::try_from(nth).ok()?)
    })
}

/// Returns the Latin letter on the key of a Hangul letter.
pub(super) fn latin_key(c: char) -> Option<char> {
    LETTERS
        .chars()
        .zip(LATIN.chars())
        .find(|(letter, key)| *letter == c && *key != ' ')
        .map(|(_, key)| key)
}

/// Returns the Latin keys of a word typed with the Korean layout on; none if it has no Hangul.
pub(super) fn latin_keys(word: &str) -> Option<String> {
    let mut found = false;
    let latin = |letter| {
        let key = latin_key(letter);
        found |= key.is_some();
        key.unwrap_or(letter)
    };
    let keys = letters(word.chars()).map(latin).collect();
    found.then_some(keys)
}

/// Returns true if a word is this ASCII name, on either layout and in any case.
pub(super) fn types(word: &str, name: &str) -> bool {
    let is_name = |keys: &str| keys.eq_ignore_ascii_case(name);
    is_name(word) || latin_keys(word).is_some_and(|keys| is_name(&keys))
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
        for c in ['a', ' ', '가', 'ㄳ', 'ㅘ', 'ㅥ', '\u{3130}', 'é'] {
            assert_eq!(latin_key(c), None, "{c}");
        }
    }

    #[test]
    fn a_word_typed_on_the_wrong_layout_is_read() {
        for (typed, meant) in [
            ("ㅓㅐㅑㅜ", "join"),
            ("좨", "who"),
            ("벼ㅑㅅ", "quit"),
            ("ㅡㄴㅎ", "msg"),
            ("ㅗ디ㅔ", "help"),
            ("ㅔㅁㄱㅅ", "part"),
            ("ㅔㅁㄳ", "part"),
            ("개ㅐㅡㄴ", "rooms"),
            ("칟ㅁㄱ", "clear"),
            ("ㅜㅐ샤료", "notify"),
            ("ㅑㅜ퍗ㄷ", "invite"),
            ("ㄴㄷㅁㄱ초", "search"),
        ] {
            assert_eq!(latin_keys(typed).as_deref(), Some(meant), "{typed}");
            assert!(types(typed, meant), "{typed}");
            let apart: String = typed.nfd().collect();
            assert_eq!(latin_keys(&apart).as_deref(), Some(meant), "{typed} in parts");
        }
        assert_eq!(latin_keys("join"), None);
        assert!(types("JOIN", "join") && !types("jion", "join") && !types("ㅓㅑㅐㅜ", "join"));
        assert_eq!(latin_keys("힣").as_deref(), Some("glg"), "the last syllable");
    }

    #[test]
    fn syllables_come_apart_into_the_letters_that_type_them() {
        let apart = |text: &str| letters(text.chars()).collect::<String>();
        assert_eq!(apart("값이"), "ㄱㅏㅂㅅㅇㅣ");
        assert_eq!(apart("왜 ㄳ"), "ㅇㅗㅐ ㄱㅅ");
        assert_eq!(apart("의뢰 궤 둬 쉬 과"), "ㅇㅡㅣㄹㅗㅣ ㄱㅜㅔ ㄷㅜㅓ ㅅㅜㅣ ㄱㅗㅏ");
        assert_eq!(
            apart("몫앉않닭삶밟곬핥읊싫"),
            "ㅁㅗㄱㅅㅇㅏㄴㅈㅇㅏㄴㅎㄷㅏㄹㄱㅅㅏㄹㅁㅂㅏㄹㅂㄱㅗㄹㅅㅎㅏㄹㅌㅇㅡㄹㅍㅅㅣㄹㅎ"
        );
        assert_eq!(apart("café"), "café", "and nothing else does");
        assert_eq!(apart("\u{3164}\u{317f}").chars().count(), 2, "what no key types stays");
        for c in '가'..='힣' {
            assert!(letters(std::iter::once(c)).all(|c| latin_key(c).is_some()), "{c}");
        }
        for c in 'ㄱ'..='ㅣ' {
            assert!(letters(std::iter::once(c)).all(|c| latin_key(c).is_some()), "{c}");
        }
    }
}
