//! How large the parts of an upload are.
//!
//! The size of an object is not known when its upload begins, an upload has a greatest number of parts, and each part
//! is in memory. So parts grow: of 10,000 parts from 8 MiB, the first 500 have 8 MiB, the next 500 have 16, the next
//! 3,500 have 32 (120 GiB until here, below 100 MiB of memory), and from there they double seven times, up to 4 GiB,
//! which is more than the 5 TiB an object may have.

/// The least that S3 allows for a part that is not the last.
pub(super) const MIN_PART: u64 = 5 << 20;
/// The most that S3 allows for a part.
const MAX_PART: u64 = 5 << 30;
const FIRST: u64 = 8 << 20;
const EQUAL: u64 = 32 << 20;
/// What the parts on their way and the one being filled may take together, as long as two of them fit.
const MEMORY: u64 = 112 << 20;

/// The sizes of an upload's parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartPlan {
    first: u64,
    max_parts: u32,
    equal: bool,
}

impl PartPlan {
    pub(super) fn new(first: Option<u64>, max_parts: u32, equal: bool) -> Self {
        let first = first.unwrap_or(if equal { EQUAL } else { FIRST }).clamp(MIN_PART, MAX_PART);
        Self { first, max_parts: max_parts.max(1), equal }
    }

    /// Bytes of the part with this number, counted from 0; `None` when there can be no such part.
    pub(super) fn bytes(&self, index: u32) -> Option<u64> {
        if index >= self.max_parts {
            return None;
        }
        if self.equal {
            return Some(self.first);
        }
        let percent = u64::from(index) * 100 / u64::from(self.max_parts);
        let doublings = match percent {
            0..5 => 0,
            5..10 => 1,
            10..45 => 2,
            _ => 3 + (percent - 45) * 7 / 55,
        };
        Some((self.first << doublings).min(MAX_PART))
    }

    /// How many parts of this size may be on their way at once.
    pub(super) fn in_flight(bytes: u64) -> usize {
        usize::try_from(MEMORY / bytes.max(1)).unwrap_or(usize::MAX).saturating_sub(1).clamp(1, 4)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn capacity(plan: PartPlan) -> u64 {
        (0..).map_while(|index| plan.bytes(index)).sum()
    }

    #[test]
    fn ten_thousand_parts_hold_the_largest_object_there_is() {
        assert!(capacity(PartPlan::new(None, 10_000, false)) > 5 << 40);
    }

    #[test]
    fn a_store_of_a_thousand_parts_takes_half_a_terabyte_and_more_with_larger_first_parts() {
        assert!(capacity(PartPlan::new(None, 1_000, false)) > 512 << 30);
        assert!(capacity(PartPlan::new(Some(128 << 20), 1_000, false)) > 2 << 40);
    }

    #[test]
    fn memory_is_bounded_up_to_120_gib() {
        let plan = PartPlan::new(None, 10_000, false);
        let (mut stored, mut index) = (0, 0);
        while stored < 120 << 30 {
            let bytes = plan.bytes(index).unwrap();
            assert!((PartPlan::in_flight(bytes) as u64 + 1) * bytes < 120_000_000, "at part {index}");
            stored += bytes;
            index += 1;
        }
    }

    proptest! {
        #[test]
        fn parts_never_shrink_and_end(first in 0u64..1 << 34, max_parts in 0u32..12_000, equal: bool) {
            let plan = PartPlan::new(Some(first), max_parts, equal);
            let sizes: Vec<u64> = (0..).map_while(|index| plan.bytes(index)).collect();
            prop_assert_eq!(sizes.len(), max_parts.max(1) as usize);
            prop_assert!(sizes.is_sorted());
            prop_assert!(sizes.iter().all(|bytes| (MIN_PART..=MAX_PART).contains(bytes)));
            prop_assert!(!equal || sizes.first() == sizes.last());
        }
    }
}
