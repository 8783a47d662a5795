//! One shape and type: data, a check of every path, and rounds in which paths and yardsticks take turns.

use std::str::FromStr;

use surprisal::objective::Sft;
use surprisal::{Batch, Logits, LogitsMut};
use surprisal_gpu::{Call, Dtype, HostElement, Matrix, Pipelines, read_buffer, wgpu};

use crate::device::{Device, Failure, Time};
use crate::path::Path;
use crate::yardstick::Yardsticks;

pub(crate) const HEADER: &str = "what,dtype,rows,vocab,median_ms,yardstick_ms,fraction,host_us";

/// Logits up to which the CPU computes every gradient once more.
const CHECKED: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) vocab: usize,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |text: &str| text.parse().ok().filter(|&n| n > 0);
        let shape = text
            .split_once('x')
            .and_then(|(rows, vocab)| Some(Self { rows: parse(rows)?, vocab: parse(vocab)? }));
        shape.ok_or_else(|| format!("{text:?} is no shape like 4096x32000"))
    }
}

/// Logits and targets, on the host and on the device, and room for gradients.
struct Data<T> {
    shape: Shape,
    host: Vec<T>,
    targets: Vec<i64>,
    pristine: wgpu::Buffer,
    logits: wgpu::Buffer,
    result: wgpu::Buffer,
}

impl<T: HostElement + Storage> Data<T> {
    fn new(device: &Device, shape: Shape) -> Self {
        let Shape { rows, vocab } = shape;
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let host: Vec<T> = (0..rows * vocab).map(|_| T::rounded(12.0 * next() - 6.0)).collect();
        let targets = (0..rows).map(|row| (row * 7919 % vocab) as i64).collect();
        let bytes = host.len() as u64 * T::DTYPE.size();
        let [pristine, logits] = [(); 2].map(|()| device.buffer(bytes));
        let mut words = bytemuck::cast_slice::<T, u8>(&host).to_vec();
        words.resize(words.len().next_multiple_of(16), 0);
        device.queue.write_buffer(&pristine, 0, &words);
        let result = device.buffer(host.len() as u64 * 4);
        Self { shape, host, targets, pristine, logits, result }
    }

    fn bytes(&self) -> u64 {
        self.host.len() as u64 * T::DTYPE.size()
    }

    /// Records that the logits are as they were.
    fn refresh(&self, device: &Device) -> Result<(), Failure> {
        let mut encoder = device.encoder();
        encoder.copy_buffer_to_buffer(&self.pristine, 0, &self.logits, 0, self.pristine.size());
        device.finish(encoder)
    }

    fn call(
        &self,
        path: Path,
        pipelines: &Pipelines<'_, Sft>,
        encoder: &mut wgpu::CommandEncoder,
    ) -> Result<Call, Failure> {
        let Shape { rows, vocab } = self.shape;
        let logits = Matrix::new(&self.logits, T::DTYPE, rows, vocab)?;
        let result = Matrix::new(&self.result, path.result(T::DTYPE), rows, vocab)?;
        path.record(pipelines, encoder, logits, result, &Batch::new(&self.targets))
    }

    /// The loss must be that of the CPU and, where the matrix is small, the gradient.
    fn check(
        &self,
        device: &Device,
        path: Path,
        pipelines: &Pipelines<'_, Sft>,
    ) -> Result<(), Failure> {
        let Shape { rows, vocab } = self.shape;
        self.refresh(device)?;
        let mut encoder = device.encoder();
        let call = self.call(path, pipelines, &mut encoder)?;
        device.finish(encoder)?;
        let (batch, loss) = (Batch::new(&self.targets), path.loss());
        let report = call.read(&device.device, &device.queue)?.report(pipelines, &batch, vocab)?;
        let logits = Logits::new(&self.host, rows, vocab)?;
        let expected = loss.forward(logits, &batch)?;
        let wrong = |what: String| format!("{} {rows}x{vocab}: {what}", path.name());
        if (report.loss - expected.loss).abs() > 1e-5 * expected.loss {
            return Err(wrong(format!("loss {} instead of {}", report.loss, expected.loss)).into());
        }
        if !path.has_gradient() || self.host.len() > CHECKED {
            return Ok(());
        }
        let mut gradient = vec![0.0_f32; self.host.len()];
        loss.forward_backward(logits, &batch, LogitsMut::new(&mut gradient, rows, vocab)?)?;
        let buffer = if path == Path::InPlace { &self.logits } else { &self.result };
        let bytes = read_buffer(&device.device, &device.queue, buffer, 0, buffer.size())?;
        let found = widened(path.result(T::DTYPE), &bytes);
        let ulp = if path.result(T::DTYPE) == Dtype::F32 { 0.0 } else { 1.0 / 256.0 };
        for (index, (found, expected)) in found.iter().zip(&gradient).enumerate() {
            if (found - expected).abs() > 8e-6 / rows as f32 + ulp * expected.abs() {
                let what = format!("dlogits[{index}] is {found} instead of {expected}");
                return Err(wrong(what).into());
            }
        }
        Ok(())
    }
}

/// Elements as f32.
fn widened(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    use surprisal::{bf16, f16};
    match dtype {
        Dtype::F32 => bytemuck::pod_collect_to_vec(bytes),
        Dtype::Bf16 => {
            bytemuck::pod_collect_to_vec::<u8, bf16>(bytes).into_iter().map(f32::from).collect()
        }
        Dtype::F16 => {
            bytemuck::pod_collect_to_vec::<u8, f16>(bytes).into_iter().map(f32::from).collect()
        }
    }
}

/// Rounds to the storage type.
pub(crate) trait Storage {
    fn rounded(value: f32) -> Self;
}

impl Storage for f32 {
    fn rounded(value: f32) -> Self {
        value
    }
}

impl Storage for surprisal::bf16 {
    fn rounded(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl Storage for surprisal::f16 {
    fn rounded(value: f32) -> Self {
        Self::from_f32(value)
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints the lines of a shape and type.
pub(crate) fn run<T: HostElement + Storage>(
    device: &Device,
    yardsticks: &Yardsticks,
    shape: Shape,
    rounds: usize,
) -> Result<(), Failure> {
    let most = shape.rows as u64 * shape.vocab as u64 * 4;
    if most > device.device.limits().max_buffer_size {
        eprintln!("{}x{}: larger than a buffer of the device", shape.rows, shape.vocab);
        return Ok(());
    }
    let data = Data::<T>::new(device, shape);
    let fits = |path: &Path| *path != Path::SeparateF32 || T::DTYPE != Dtype::F32;
    let paths: Vec<Path> = Path::ALL.into_iter().filter(fits).collect();
    let mut pipelines = Vec::new();
    for &path in &paths {
        let result = path.result(T::DTYPE);
        let compiled = Pipelines::with_types(&device.device, path.loss(), T::DTYPE, result)?;
        data.check(device, path, &compiled)?;
        pipelines.push(compiled);
    }
    let (mut read, mut copy) = (Vec::new(), Vec::new());
    let mut times: Vec<Vec<Time>> = vec![Vec::new(); paths.len()];
    // The first round is for the caches of the driver.
    for round in 0..=rounds {
        for (is_copy, times) in [(false, &mut read), (true, &mut copy)] {
            let time = device.time(&mut |encoder| {
                yardsticks.record(device, encoder, &data.pristine, &data.logits, is_copy);
                Ok(())
            })?;
            times.extend((round > 0).then_some(time));
        }
        for (index, &path) in paths.iter().enumerate() {
            data.refresh(device)?;
            let time = device
                .time(&mut |encoder| data.call(path, &pipelines[index], encoder).map(drop))?;
            times[index].extend((round > 0).then_some(time));
        }
    }
    let of_device = |times: &[Time]| median(times.iter().map(|time| time.device)) / 1e6;
    let (read_ms, copy_ms) = (of_device(&read), of_device(&copy));
    let (dtype, Shape { rows, vocab }) = (format!("{:?}", T::DTYPE).to_lowercase(), shape);
    for (what, ms) in [("read", read_ms), ("copy", copy_ms)] {
        let passes = if what == "read" { 1.0 } else { 2.0 };
        eprintln!(
            "{what} {dtype} {rows}x{vocab}: {:.1} GB/s",
            passes * data.bytes() as f64 / ms / 1e6
        );
    }
    for (path, times) in paths.iter().zip(&times) {
        // A gradient in f32 of 16-bit logits is three times their bytes, where a copy is twice.
        let more = (1.0 + path.result(T::DTYPE).size() as f64 / T::DTYPE.size() as f64) / 2.0;
        let yardstick = if path.has_gradient() { copy_ms * more } else { read_ms };
        let (ms, host) = (of_device(times), median(times.iter().map(|time| time.host)) / 1e3);
        println!(
            "{},{dtype},{rows},{vocab},{ms:.4},{yardstick:.4},{:.3},{host:.0}",
            path.name(),
            yardstick / ms
        );
    }
    Ok(())
}
