//! The whole call against the bare matrix products of the same library, same threads, interleaved: what the loss, the chunks and the copies cost.
//!
//! ```sh
//! cargo bench -p surprisal-linear --features rayon -- [--rounds N] [--threads N] [--chunk ROWS] [--bf16] [ROWSxDxVOCAB[/MASKED%] …]
//! ```
//! With `--bf16` the call's H and W are of bf16, those of the bare products still of f32. Bare products are made over the same number of active rows as a call has, the logits whole: `z = H·Wᵀ`, `dH = dz·W`, `dW += dzᵀ·H`.

use std::time::Instant;

use surprisal::{Batch, Loss, Outputs, bf16, objective::Sft};
use surprisal_linear::{
    DefaultGemm, Gemm, Gradients, LinearLoss, Matrix, MatrixMut, OwnedWorkspace, Scalar,
};

/// What is measured, in the order of a row of the table.
const COLUMNS: [&str; 8] = [
    "rows x d x vocab",
    "masked",
    "chunk",
    "workspace MiB",
    "3 products ms",
    "call ms",
    "call / 3 products",
    "dH only / 2 products",
];

#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    d: usize,
    vocab: usize,
    masked: usize,
}

impl Shape {
    fn parse(text: &str) -> Option<Self> {
        let (shape, masked) = text.split_once('/').unwrap_or((text, "0"));
        let mut sizes = shape.split('x').map(|size| size.parse().ok());
        let (rows, d, vocab) = (sizes.next()??, sizes.next()??, sizes.next()??);
        Some(Self { rows, d, vocab, masked: masked.parse().ok()? })
    }
}

struct Options {
    rounds: usize,
    chunk: Option<usize>,
    bf16: bool,
    shapes: Vec<Shape>,
}

fn options() -> Options {
    let mut options = Options { rounds: 7, chunk: None, bf16: false, shapes: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse::<usize>().ok());
        match word.as_str() {
            "--bench" => {}
            "--bf16" => options.bf16 = true,
            "--rounds" => options.rounds = number().expect("--rounds N"),
            "--chunk" => options.chunk = number(),
            "--threads" => {
                let threads = number().expect("--threads N");
                #[cfg(feature = "rayon")]
                rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build_global()
                    .expect("the pool has not been used yet");
                assert!(cfg!(feature = "rayon") || threads == 1, "threads need feature rayon");
            }
            shape => options.shapes.push(Shape::parse(shape).expect("ROWSxDxVOCAB[/MASKED%]")),
        }
    }
    if options.shapes.is_empty() {
        for masked in [0, 70] {
            let sizes = [(1024, 1024, 32_000), (4096, 256, 4096)];
            options.shapes.extend(sizes.map(|(rows, d, vocab)| Shape { rows, d, vocab, masked }));
        }
    }
    options
}

/// Numbers between −1 and 1, times a scale.
fn numbers(len: usize, scale: f32, mut state: u64) -> Vec<f32> {
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [.., low, high, _] = state.to_le_bytes();
        f32::from(i16::from_le_bytes([low, high])) / 32768.0
    };
    (0..len).map(|_| scale * next()).collect()
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure<T: Scalar>(
    shape: Shape,
    options: &Options,
) -> Result<[String; 8], surprisal_linear::Error> {
    let Shape { rows, d, vocab, masked } = shape;
    let h = numbers(rows * d, 1.0, 1);
    let w = numbers(vocab * d, 4.0 / (d as f32).sqrt(), 2);
    let active = |row: &usize| row * 37 % 100 >= masked;
    let target = |row| if active(&row) { (row * 7919 % vocab) as i64 } else { -100 };
    let targets: Vec<i64> = (0..rows).map(target).collect();
    let count = (0..rows).filter(active).count();
    let (mut dh, mut dw) = (vec![0.0; rows * d], vec![0.0; vocab * d]);
    let mut z = vec![0.0; count * vocab];

    let (hidden, weight) = (Matrix::new(&h, rows, d)?, Matrix::new(&w, vocab, d)?);
    let [own_h, own_w] =
        [&h, &w].map(|values| values.iter().map(|&v| T::from_f32(v)).collect::<Vec<_>>());
    let own = Matrix::new(&own_h, rows, d)?;
    let layer = LinearLoss::new(Loss::new(Sft), Matrix::new(&own_w, vocab, d)?);
    let memory = layer.memory(rows);
    let len = memory.len(options.chunk.unwrap_or(memory.recommended_rows()));
    let mut workspace = OwnedWorkspace::new(len);
    let batch = Batch::new(&targets).ignore_index(-100);

    let some = hidden.row_range(0..count);
    let [mut bare, mut call, mut whole, mut frozen] = [const { Vec::new() }; 4];
    for _ in 0..=options.rounds {
        let logits = milliseconds(|| {
            let z = MatrixMut::new(&mut z, count, vocab).expect("fits");
            DefaultGemm.product(some, weight.transposed(), 0.0, z);
        });
        let dz = Matrix::new(&z, count, vocab)?;
        let dhidden = milliseconds(|| {
            let dh = MatrixMut::new(&mut dh[..count * d], count, d).expect("fits");
            DefaultGemm.product(dz, weight, 0.0, dh);
        });
        let dweight = milliseconds(|| {
            let dw = MatrixMut::new(&mut dw, vocab, d).expect("fits");
            DefaultGemm.product(dz.transposed(), some, 1.0, dw);
        });
        let three = logits + dhidden + dweight;
        let all = milliseconds(|| {
            let gradients = Gradients::new()
                .hidden(MatrixMut::new(&mut dh, rows, d).expect("fits"))
                .weight(MatrixMut::new(&mut dw, vocab, d).expect("fits"));
            layer
                .forward_backward(own, &batch, gradients, Outputs::new(), workspace.lend())
                .expect("is a valid call");
        });
        let only = milliseconds(|| {
            let dh = MatrixMut::new(&mut dh, rows, d).expect("fits");
            let gradients = Gradients::new().hidden(dh);
            layer
                .forward_backward(own, &batch, gradients, Outputs::new(), workspace.lend())
                .expect("is a valid call");
        });
        bare.push(three);
        call.push(all);
        whole.push(all / three);
        frozen.push(only / (logits + dhidden));
    }
    // The first round warms up.
    let [bare, call, whole, frozen] =
        [bare, call, whole, frozen].map(|all| median(all[1..].to_vec()));
    Ok([
        format!("{rows} x {d} x {vocab}"),
        format!("{masked} %"),
        format!("{}", memory.chunk_rows(len.bytes())),
        format!("{:.1}", len.bytes() as f64 / f64::from(1 << 20)),
        format!("{bare:.1}"),
        format!("{call:.1}"),
        format!("{whole:.3}"),
        format!("{frozen:.3}"),
    ])
}

fn main() -> Result<(), surprisal_linear::Error> {
    let options = options();
    println!("| {} |", COLUMNS.join(" | "));
    println!("|{}", "---|".repeat(COLUMNS.len()));
    for &shape in &options.shapes {
        let measure = if options.bf16 { measure::<bf16> } else { measure::<f32> };
        println!("| {} |", measure(shape, &options)?.join(" | "));
    }
    Ok(())
}
