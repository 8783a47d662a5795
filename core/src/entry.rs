//! Entries at indices that were checked before. Behind the end reads give NaN and writes are lost, so that no call can panic.

pub(crate) fn read<T: Copy + Into<f64>>(values: &[T], index: usize) -> f64 {
    values.get(index).map_or(f64::NAN, |&value| value.into())
}

pub(crate) fn write<T>(values: &mut [T], index: usize, value: T) {
    if let Some(entry) = values.get_mut(index) {
        *entry = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_the_end_there_is_nothing() {
        let mut values = [1.0_f32, 2.0];
        write(&mut values, 1, 3.0);
        write(&mut values, 2, 4.0);
        assert_eq!((values, read(&values, 1)), ([1.0, 3.0], 3.0));
        assert!(read(&values, 2).is_nan());
    }
}
