//! What the tests on a device share: the device, matrices in larger buffers, and a runner that can do without a device.

use std::sync::LazyLock;

use libtest_mimic::{Arguments, Trial};
use surprisal_gpu::{Dtype, Gpu, HostElement, Matrix, wgpu};
use surprisal_tests::storage::Storage;

/// Runs tests by name. Without an adapter they show as ignored, unless `SURPRISAL_REQUIRE_GPU=1` makes its absence a failure.
pub(crate) fn run(tests: &[(&str, fn())]) {
    let arguments = Arguments::from_args();
    let required = std::env::var_os("SURPRISAL_REQUIRE_GPU").is_some_and(|value| value == "1");
    let adapters = Gpu::list();
    let absent = adapters.is_empty() && !required;
    match adapters.first() {
        Some(adapter) => println!("device: {} ({})", adapter.name, adapter.backend),
        None if required => println!("device: none, and SURPRISAL_REQUIRE_GPU=1 asks for one"),
        None => println!(
            "device: none; the tests are ignored (SURPRISAL_REQUIRE_GPU=1 would fail them)"
        ),
    }
    let trials = tests.iter().map(|&(name, test)| {
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        trial.with_ignored_flag(absent)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// One device for all tests of a program.
pub(crate) fn gpu() -> &'static Gpu {
    static GPU: LazyLock<Gpu> =
        LazyLock::new(|| Gpu::open().unwrap_or_else(|error| panic!("{error}")));
    &GPU
}

/// Where the rows lie in their buffer, and how much of it is bound at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Elements before the first row.
    pub(crate) offset: usize,
    /// Elements past the end of each row.
    pub(crate) padding: usize,
    /// Bytes of a binding.
    pub(crate) limit: Option<u64>,
}

impl Layout {
    pub(crate) const PLAIN: Self = Self { offset: 0, padding: 0, limit: None };
}

/// What stands around the rows before and after.
const CANARY: f32 = 1536.0;

/// The columns of a matrix from `start` on, somewhere in a larger buffer, the rest of which must be left alone.
pub(crate) struct Placed {
    buffer: wgpu::Buffer,
    /// Elements before it, which are another's.
    start: usize,
    len: usize,
    rows: usize,
    vocab: usize,
    layout: Layout,
}

impl Placed {
    pub(crate) fn new<T: HostElement + Storage>(
        values: &[f32],
        rows: usize,
        all: usize,
        (start, end): (usize, usize),
        layout: Layout,
    ) -> Self {
        let vocab = end - start;
        let data = laid_out::<T>(values, all, (start, end), rows, layout);
        let buffer = gpu().upload(&data).unwrap();
        Self { buffer, start: 0, len: data.len(), rows, vocab, layout }
    }

    /// Two matrices of the same shape in one buffer, the second from the next packet on.
    #[allow(dead_code, reason = "the tests of layers have no use for it")]
    pub(crate) fn beside<T: HostElement + Storage>(
        [first, second]: [&[f32]; 2],
        (rows, vocab): (usize, usize),
        layouts: [Layout; 2],
    ) -> [Self; 2] {
        let data = |values, layout| laid_out::<T>(values, vocab, (0, vocab), rows, layout);
        let mut both = data(first, layouts[0]);
        let first_len = both.len().next_multiple_of(8);
        both.resize(first_len, T::round(CANARY));
        let second = data(second, layouts[1]);
        both.extend_from_slice(&second);
        let buffer = gpu().upload(&both).unwrap();
        let placed = |start, len, layout| {
            let buffer = buffer.clone();
            Self { buffer, start, len, rows, vocab, layout }
        };
        [placed(0, first_len, layouts[0]), placed(first_len, second.len(), layouts[1])]
    }

    pub(crate) fn matrix(&self, dtype: Dtype) -> Matrix<'_> {
        let offset = (self.start + self.layout.offset) as u64 * dtype.size();
        let stride = self.vocab + self.layout.padding;
        Matrix::strided(&self.buffer, dtype, offset, self.rows, self.vocab, stride).unwrap()
    }

    /// The rows. Everything around them must be as it was.
    pub(crate) fn values<T: HostElement + Storage>(&self) -> Vec<f64> {
        let mut data = vec![T::round(0.0); self.len];
        let start = (self.start * size_of::<T>()) as u64;
        gpu().read(&self.buffer, start, bytemuck::cast_slice_mut(&mut data)).unwrap();
        let stride = self.vocab + self.layout.padding;
        let mut values = Vec::with_capacity(self.rows * self.vocab);
        for (index, value) in data.iter().enumerate() {
            let place = index.checked_sub(self.layout.offset);
            let place = place.map(|place| (place / stride, place % stride));
            match place {
                Some((row, column)) if row < self.rows && column < self.vocab => {
                    values.push(f64::from(value.widen()));
                }
                _ => assert!(value.widen() == CANARY, "element {index} was written"),
            }
        }
        values
    }
}

/// Columns of a matrix with canaries around its rows.
fn laid_out<T: HostElement + Storage>(
    values: &[f32],
    all: usize,
    (start, end): (usize, usize),
    rows: usize,
    layout: Layout,
) -> Vec<T> {
    let stride = end - start + layout.padding;
    let mut data = vec![T::round(CANARY); layout.offset + rows * stride + 1];
    for row in 0..rows {
        for column in start..end {
            let value = values[row * all + column];
            data[layout.offset + row * stride + column - start] = T::round(value);
        }
    }
    data
}

pub(crate) fn submit(record: impl FnOnce(&mut wgpu::CommandEncoder)) {
    let mut encoder =
        gpu().device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    record(&mut encoder);
    gpu().queue().submit([encoder.finish()]);
}
