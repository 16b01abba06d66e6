//! Unicode simple case folding, for `ignoreCase`.

/// The folded characters of a text, forwards or backwards.
pub(super) fn chars(text: &str) -> impl DoubleEndedIterator<Item = char> + Clone {
    text.chars().map(fold)
}

/// Whether `literal` (folded) occurs in `text`. Cost: the product of both lengths at worst.
pub(super) fn contains(text: &str, literal: impl Iterator<Item = char> + Clone) -> bool {
    let mut from = chars(text);
    loop {
        if starts_with(from.clone(), literal.clone()) {
            return true;
        }
        if from.next().is_none() {
            return false;
        }
    }
}

/// Whether the characters begin with those of `literal`.
pub(super) fn starts_with(mut text: impl Iterator<Item = char>, literal: impl Iterator<Item = char>) -> bool {
    literal.into_iter().all(|c| text.next() == Some(c))
}

/// One character for each class of characters that differ only by case.
///
/// The standard library has the full upper and lower case mappings but no folding table. Taking the
/// upper and then the lower case, each only where it is a single character, gives the classes of the
/// common and simple mappings of Unicode's `CaseFolding.txt`, but for the characters listed here; a
/// test compares all of Unicode with the regex crate's table.
pub(super) fn fold(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    match c {
        // The dotless i is no case of i outside Turkish.
        '\u{131}' => return c,
        '\u{1fd3}' => return '\u{390}',
        '\u{1fe3}' => return '\u{3b0}',
        '\u{fb05}' => return '\u{fb06}',
        _ => {}
    }
    let upper = single(c, c.to_uppercase());
    single(upper, upper.to_lowercase())
}

fn single(c: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn classes_are_those_of_unicode() {
        // The standard library may know a newer Unicode than the regex crate.
        let unassigned = regex::Regex::new(r"\p{Cn}").unwrap();
        let mut classes: HashMap<char, Vec<char>> = HashMap::new();
        let cased = |c: &char| c.to_uppercase().ne([*c]) || c.to_lowercase().ne([*c]) || fold(*c) != *c;
        for c in ('\0'..=char::MAX).filter(cased) {
            if unassigned.is_match(c.encode_utf8(&mut [0; 4])) || unassigned.is_match(fold(c).encode_utf8(&mut [0; 4])) {
                continue;
            }
            classes.entry(fold(c)).or_default().push(c);
        }
        for class in classes.values() {
            for c in class {
                let regex = regex::Regex::new(&format!("^(?i){}$", regex::escape(&c.to_string()))).unwrap();
                // What has no class of its own must not match the mappings of its members either.
                let near = class.iter().copied().chain(c.to_uppercase()).chain(c.to_lowercase());
                for other in near.filter(|c| !unassigned.is_match(c.encode_utf8(&mut [0; 4]))) {
                    assert_eq!(regex.is_match(&other.to_string()), fold(*c) == fold(other), "{c:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn length_may_not_change() {
        assert!(chars("STRASSE").ne(chars("straße")));
        assert!(chars("ÄÖΣς").eq(chars("äöσΣ")));
        assert!(contains("grün 50%", chars("ÜN 5")));
        assert!(contains("", chars("")));
        assert!(!contains("ab", chars("abc")));
    }
}
