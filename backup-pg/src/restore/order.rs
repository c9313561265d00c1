//! In which order pg_restore builds what follows the rows.
//!
//! With several jobs, pg_restore keeps two entries apart that lock the same table, as far as the archive says which
//! tables those are. It does not say it of `INDEX ATTACH`, which locks a partition, its index and the index above, nor
//! of the partitions that a foreign key locks with their root: built at the same time, they can wait for each other, and
//! the server ends one of them ("deadlock detected"). So with partitioned indexes the long work comes first, on all
//! sessions, then the attaching, on one, and then the rest.

use std::collections::{HashMap, HashSet};

use crate::archive::{Entry, Section};

/// Entries that one pg_restore builds, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) entries: HashSet<i32>,
    /// By one session, one after another.
    pub(super) is_alone: bool,
}

impl Stage {
    /// What is left of it when some is done; `None` when nothing is.
    pub(super) fn without(mut self, done: &HashSet<i32>) -> Option<Self> {
        self.entries.retain(|id| !done.contains(id));
        (!self.entries.is_empty()).then_some(self)
    }

    /// How many sessions it takes, of so many.
    pub(super) fn jobs(&self, jobs: usize) -> usize {
        if self.is_alone { 1 } else { jobs }
    }
}

/// Divides what comes after the tables, and is no rows, into stages, none of them empty, each of which needs only those
/// before it.
pub(super) fn stages(entries: &[Entry]) -> Vec<Stage> {
    let all = after_the_tables(entries);
    let ids = |chosen: &dyn Fn(&Object<'_>) -> bool| -> HashSet<i32> {
        all.iter().filter(|object| chosen(object)).map(Object::id).collect()
    };
    let attaches = |object: &Object<'_>| object.entry.desc == "INDEX ATTACH";
    let sets = if all.iter().any(attaches) {
        let must_wait = needing(&all, ids(&|object| !object.locks_one_table()));
        let first = ids(&|object| object.locks_one_table() && !must_wait.contains(&object.id()));
        let attached = with_needed(&all, ids(&attaches), &first);
        let rest = ids(&|object| !first.contains(&object.id()) && !attached.contains(&object.id()));
        vec![(first, false), (attached, true), (rest, false)]
    } else {
        vec![(ids(&|_| true), false)]
    };
    let chosen = sets.into_iter().filter(|(ids, _)| !ids.is_empty());
    let stage = |(ids, is_alone): (HashSet<i32>, bool)| {
        let objects = all.iter().filter(|object| ids.contains(&object.id()));
        Stage { entries: objects.flat_map(Object::all_ids).collect(), is_alone }
    };
    chosen.map(stage).collect()
}

/// An entry, and what stands behind it because it belongs to it: comments, privileges. pg_restore takes those to be of
/// the section of the entry before them.
struct Object<'e> {
    entry: &'e Entry,
    belonging: Vec<i32>,
}

impl Object<'_> {
    fn id(&self) -> i32 {
        self.entry.dump_id
    }

    fn all_ids(&self) -> impl Iterator<Item = i32> {
        self.belonging.iter().copied().chain([self.entry.dump_id])
    }

    /// What is built from one table alone: the long work, and what comes with the rows.
    fn locks_one_table(&self) -> bool {
        matches!(self.entry.desc.as_str(), "INDEX" | "CONSTRAINT" | "SEQUENCE SET")
    }
}

fn after_the_tables(entries: &[Entry]) -> Vec<Object<'_>> {
    let mut objects: Vec<Object<'_>> = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.has_data) {
        match objects.last_mut() {
            Some(before) if entry.section == Section::None => before.belonging.push(entry.dump_id),
            _ => objects.push(Object { entry, belonging: Vec::new() }),
        }
    }
    objects.retain(|object| matches!(object.entry.section, Section::Data | Section::PostData));
    objects
}

/// The objects that need one of the chosen, directly or by others.
fn needing(objects: &[Object<'_>], chosen: HashSet<i32>) -> HashSet<i32> {
    let mut needed_by: HashMap<i32, Vec<i32>> = HashMap::new();
    for object in objects {
        object.entry.dependencies.iter().for_each(|id| needed_by.entry(*id).or_default().push(object.id()));
    }
    let mut found = HashSet::new();
    let mut waiting: Vec<i32> = chosen.into_iter().collect();
    while let Some(id) = waiting.pop() {
        let needing = needed_by.get(&id).into_iter().flatten();
        waiting.extend(needing.filter(|id| found.insert(**id)));
    }
    found
}

/// The chosen and what they need, without what is done already.
fn with_needed(objects: &[Object<'_>], chosen: HashSet<i32>, done: &HashSet<i32>) -> HashSet<i32> {
    let needs: HashMap<i32, &Vec<i32>> =
        objects.iter().map(|object| (object.id(), &object.entry.dependencies)).collect();
    let mut found = HashSet::new();
    let mut waiting: Vec<i32> = chosen.into_iter().collect();
    while let Some(id) = waiting.pop() {
        if let Some(needed) = needs.get(&id)
            && !done.contains(&id)
            && found.insert(id)
        {
            waiting.extend(needed.iter());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(dump_id: i32, desc: &str, dependencies: &[i32]) -> Entry {
        let section = match desc {
            "COMMENT" => Section::None,
            "TABLE" => Section::PreData,
            _ => Section::PostData,
        };
        let dependencies = dependencies.to_vec();
        Entry { dump_id, desc: desc.into(), section, dependencies, ..Entry::default() }
    }

    fn divided(entries: &[Entry]) -> Vec<(Vec<i32>, bool)> {
        let sorted = |stage: Stage| {
            let mut ids: Vec<i32> = stage.entries.into_iter().collect();
            ids.sort_unstable();
            (ids, stage.is_alone)
        };
        stages(entries).into_iter().map(sorted).collect()
    }

    #[test]
    fn without_partitioned_indexes_everything_is_built_at_once() {
        let entries = [
            entry(1, "TABLE", &[]),
            entry(2, "INDEX", &[1]),
            entry(3, "FK CONSTRAINT", &[1, 2]),
            entry(4, "TRIGGER", &[1]),
        ];
        assert_eq!(divided(&entries), [(vec![2, 3, 4], false)]);
        assert_eq!(divided(&[]), []);
    }

    #[test]
    fn indexes_are_attached_by_one_session_between_the_long_work_and_the_rest() {
        let entries = [
            entry(1, "INDEX", &[]),
            entry(2, "COMMENT", &[1]),
            entry(3, "INDEX", &[]),
            entry(4, "INDEX ATTACH", &[1, 3]),
            entry(5, "FK CONSTRAINT", &[4]),
            entry(6, "TRIGGER", &[]),
            entry(7, "COMMENT", &[6]),
        ];
        assert_eq!(divided(&entries), [(vec![1, 2, 3], false), (vec![4], true), (vec![5, 6, 7], false)]);
    }

    #[test]
    fn what_belongs_to_a_table_is_not_built_again() {
        let entries = [entry(1, "TABLE", &[]), entry(2, "COMMENT", &[1]), entry(3, "INDEX", &[1])];
        assert_eq!(divided(&entries), [(vec![3], false)]);
    }

    proptest! {
        #[test]
        fn every_entry_is_in_one_stage_and_needs_none_of_a_later_one(
            kinds in prop::collection::vec((0usize..5, prop::collection::vec(any::<prop::sample::Index>(), 0..3)), 1..40),
        ) {
            const KINDS: [&str; 5] = ["INDEX", "CONSTRAINT", "INDEX ATTACH", "FK CONSTRAINT", "TRIGGER"];
            let entries: Vec<Entry> = kinds.iter().enumerate().map(|(at, (kind, needs))| {
                let needs: Vec<i32> = needs.iter().filter(|_| at > 0).map(|index| index.index(at) as i32).collect();
                entry(at as i32, KINDS[*kind], &needs)
            }).collect();
            let stages = stages(&entries);
            let stage_of = |id: i32| stages.iter().position(|stage| stage.entries.contains(&id)).unwrap();
            prop_assert_eq!(stages.iter().map(|stage| stage.entries.len()).sum::<usize>(), entries.len());
            for entry in &entries {
                prop_assert!(entry.desc != "INDEX ATTACH" || stages[stage_of(entry.dump_id)].is_alone);
                for needed in &entry.dependencies {
                    prop_assert!(stage_of(*needed) <= stage_of(entry.dump_id));
                }
            }
        }
    }
}
