//! Audiences may read each other's membership, but not in a circle.

use super::catalog::{Catalog, Kind};
use super::lookup::Finder;
use super::refs::{self, Target};

/// The audiences that read themselves, directly or by way of others, each with how.
pub(super) fn audiences(catalog: &Catalog) -> Vec<(usize, String)> {
    let finder = Finder::new(catalog, Kind::Audience);
    let reads: Vec<Vec<usize>> = catalog
        .audiences
        .iter()
        .map(|known| {
            if known.removed {
                return Vec::new();
            }
            let named = refs::list(Kind::Audience, &known.json());
            let others = named.iter().filter(|named| named.target == Target::Definition(Kind::Audience));
            others.filter_map(|named| finder.seek(&named.text).ok()).collect()
        })
        .collect();
    (0..reads.len()).filter_map(|slot| way_back(&reads, slot).map(|way| (slot, tell(catalog, &way)))).collect()
}

/// The way from `start` back to it, if there is one; the shortest.
fn way_back(reads: &[Vec<usize>], start: usize) -> Option<Vec<usize>> {
    let mut before: Vec<Option<usize>> = vec![None; reads.len()];
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for &next in &reads[at] {
            if next == start {
                let mut way = vec![start, at];
                let mut back = at;
                while back != start {
                    back = before[back]?;
                    way.push(back);
                }
                way.reverse();
                return Some(way);
            }
            if before[next].is_none() {
                before[next] = Some(at);
                queue.push_back(next);
            }
        }
    }
    None
}

fn tell(catalog: &Catalog, way: &[usize]) -> String {
    let mut names: Vec<&str> = way.iter().map(|slot| catalog.audiences[*slot].name.as_str()).collect();
    names.dedup();
    if let (1, Some(name)) = (names.len(), names.first()) {
        return format!("audience {name:?} reads itself");
    }
    format!("audiences read each other in a circle: {}", names.join(" \u{2192} "))
}
