//! Addresses in texts.

use std::{ops::Range, sync::Arc};

use linkify::{Link, LinkFinder, LinkKind};

use super::scripts::{is_east_asian, is_wide_punctuation};

/// Schemes of addresses that become links. No others: a click must not start an arbitrary program.
const SCHEMES: [&str; 5] = ["http", "https", "ftp", "file", "mailto"];
/// Korean particles that follow a noun without a space; only those that occur behind an address.
const PARTICLES: [&str; 34] = [
    "가",
    "과",
    "까지",
    "는",
    "도",
    "라고",
    "랑",
    "로",
    "를",
    "만",
    "보다",
    "부터",
    "에",
    "에게",
    "에는",
    "에도",
    "에서",
    "에서는",
    "예요",
    "와",
    "으로",
    "은",
    "을",
    "의",
    "이",
    "이고",
    "이다",
    "이라고",
    "이랑",
    "이에요",
    "인데",
    "입니다",
    "처럼",
    "한테",
];

/// Returns the addresses in a text that a click may open, in order.
pub(super) fn links(text: &str) -> Vec<Range<usize>> {
    if !text.contains(':') {
        return Vec::new();
    }
    // Behind a port or a numeric host a particle hides the whole address from the finder that
    // supports hosts in other scripts (`http://127.0.0.1:80에서`); the other finder sees it.
    let mut found = links_of(text, true);
    let known = found.clone();
    let is_known = |link: &Range<usize>| {
        let next = known.partition_point(|other| other.end <= link.start);
        known.get(next).is_some_and(|other| other.start < link.end)
    };
    found.extend(links_of(text, false).into_iter().filter(|link| !is_known(link)));
    found.sort_by_key(|link| link.start);
    // A mail address may be found within another address, and begin at its end.
    let mut end = 0;
    found.retain(|link| {
        let is_behind = link.start >= end;
        if is_behind {
            end = link.end;
        }
        is_behind
    });
    found
}

fn links_of(text: &str, other_scripts: bool) -> Vec<Range<usize>> {
    let mut finder = LinkFinder::new();
    finder.url_can_be_iri(other_scripts);
    let links = finder.links(text).filter_map(|link| address(text, &link));
    links.map(|link| link.start..link.start + address_bytes(&text[link])).collect()
}

/// Returns the range of a link with an allowed scheme.
fn address(text: &str, link: &Link<'_>) -> Option<Range<usize>> {
    let lead = match link.kind() {
        LinkKind::Email => "mailto:".len(),
        _ => 0,
    };
    let start = link.start().checked_sub(lead)?;
    let scheme = text.get(start..link.end())?.split(':').next()?;
    let ours = SCHEMES.iter().any(|ours| scheme.eq_ignore_ascii_case(ours));
    let begins = !text[..start].ends_with(|c: char| c.is_ascii_alphanumeric());
    (ours && begins).then_some(start..link.end())
}

/// Returns the bytes of an address without the words that follow it directly: Korean particles,
/// Chinese and Japanese sentences. The part before them decides: a path in Hangul begins with
/// Hangul.
fn address_bytes(address: &str) -> usize {
    let host = address.find(':').map_or(0, |at| at + 1);
    let host = host + (address.len() - host - address[host..].trim_start_matches('/').len());
    let path = address[host..].find(['/', '?', '#']).map_or(address.len(), |at| host + at);
    let end = host_end(&address[..path], host).or_else(|| path_end(address, path));
    let address = &address[..end.unwrap_or(address.len())];
    address.trim_end_matches(['.', ',', ';', ':', '!', '?', '*', '\'', '(', '[', '{']).len()
}

/// Returns the end of a host that ends before the address: behind a top-level domain or a port in
/// ASCII.
fn host_end(address: &str, host: usize) -> Option<usize> {
    let label = host + address[host..].rfind(['.', ':', '@']).map_or(0, |at| at + 1);
    let end = label + address[label..].find(is_east_asian)?;
    (end > label).then_some(end)
}

fn path_end(address: &str, path: usize) -> Option<usize> {
    let mut before = None;
    for (at, c) in address[path..].char_indices() {
        if is_wide_punctuation(c) {
            return Some(path + at);
        }
        if is_east_asian(c) {
            let rest = &address[path + at..];
            let part = matches!(before, Some('/' | '=' | '-' | '_' | '&' | '?' | '#' | '+' | '~'));
            if !part || PARTICLES.contains(&rest) {
                return Some(path + at);
            }
            // The address is spelled in that script, so only punctuation can end it.
            return rest.find(is_wide_punctuation).map(|end| path + at + end);
        }
        before = Some(c);
    }
    None
}

/// Returns an address in ASCII, as terminals expect it.
pub(super) fn target(address: &str) -> Arc<str> {
    if address.is_ascii() {
        return address.into();
    }
    let mut out = String::with_capacity(address.len() * 2);
    for byte in address.bytes() {
        if byte.is_ascii() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn linked(text: &str) -> Vec<&str> {
        links(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn addresses_are_found() {
        assert_eq!(
            linked("see https://a.kr/x?y=1#z, (http://b.org/c_(d)) or <ftp://c.org>."),
            ["https://a.kr/x?y=1#z", "http://b.org/c_(d)", "ftp://c.org"]
        );
        assert_eq!(linked("mailto:ann@a.kr and ann@a.kr"), ["mailto:ann@a.kr"]);
        let nested = links("http://mailto:/@한.http://");
        assert!(nested.is_sorted_by(|one, next| one.end <= next.start), "{nested:?}");
        assert_eq!(linked("file:///tmp/x.log!"), ["file:///tmp/x.log"]);
        assert_eq!(linked("HTTPS://A.KR/X"), ["HTTPS://A.KR/X"]);
        assert_eq!(linked("http://localhost:8080/a"), ["http://localhost:8080/a"]);
        for none in ["javascript://a%0aalert(1)", "ssh://a.kr", "vscode://open", "a: b", "http://"]
        {
            assert!(linked(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn korean_behind_an_address_is_not_part_of_it() {
        for (text, address) in [
            ("https://a.kr을 보세요", "https://a.kr"),
            ("https://a.kr/b를 보세요", "https://a.kr/b"),
            ("https://a.kr/b/를", "https://a.kr/b/"),
            ("https://a.kr/b?c=1로 갑시다", "https://a.kr/b?c=1"),
            ("(https://a.kr/b)입니다", "https://a.kr/b"),
            ("https://a.kr/b.그리고", "https://a.kr/b"),
            ("http://127.0.0.1:3000에서", "http://127.0.0.1:3000"),
            ("http://localhost:3000에서", "http://localhost:3000"),
            ("http://localhost에서", "http://localhost"),
            ("링크:https://a.kr/b입니다", "https://a.kr/b"),
            ("mailto:ann@a.kr로", "mailto:ann@a.kr"),
            ("https://a.cn/b，然后", "https://a.cn/b"),
            ("https://a.jp/bを見て", "https://a.jp/b"),
        ] {
            assert_eq!(linked(text), [address], "{text}");
        }
        // Spelled in Hangul, as people copy it.
        let spelled = ["https://ko.wikipedia.org/wiki/한국어", "https://a.kr/?q=회의록&n=1"];
        for address in
            spelled.into_iter().chain(["http://한글.kr/", "https://a.kr/ab-가나/c_다.png"])
        {
            assert_eq!(linked(address), [address]);
        }
    }

    proptest! {
        #[test]
        fn links_are_parts_of_the_text_in_order(text in "(https?://|mailto:|a|\\.|@|/|한|，|:|\\(| |-){0,40}") {
            let links = links(&text);
            for link in &links {
                prop_assert!(link.start < link.end && text.get(link.clone()).is_some());
            }
            prop_assert!(links.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }
}
