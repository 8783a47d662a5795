//! Entries at indices that were checked before. Past the end reads give NaN and writes are lost, so that no call can panic; where debug
//! assertions are on, a wrong index is a bug that shows.

pub(crate) fn read<T: Copy + Into<f64>>(values: &[T], index: usize) -> f64 {
    debug_assert!(index < values.len(), "entry {index} of {}", values.len());
    values.get(index).map_or(f64::NAN, |&value| value.into())
}

pub(crate) fn write<T>(values: &mut [T], index: usize, value: T) {
    debug_assert!(index < values.len(), "entry {index} of {}", values.len());
    if let Some(entry) = values.get_mut(index) {
        *entry = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_and_written() {
        let mut values = [1.0_f32, 2.0];
        write(&mut values, 1, 3.0);
        assert_eq!((values, read(&values, 1)), ([1.0, 3.0], 3.0));
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "entry 2 of 2"))]
    fn past_the_end_there_is_nothing() {
        assert!(read(&[1.0_f32, 2.0], 2).is_nan());
    }
}
