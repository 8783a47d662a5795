//! The tiled product by itself against f64, and a product that the test brings.

use std::cell::RefCell;

use surprisal::objective::Sft;
use surprisal::{Loss, bf16, f16};
use surprisal_gpu::{Dtype, Gemm, LinearPipelines, Operand, Tiled, wgpu};
use surprisal_tests::problem::Problem;

use crate::common::{Layout, Placed, gpu, submit};
use crate::layers::{Case, assert_outcome, numbers};
use crate::ways::{Number, Way, run};

fn compiled() -> LinearPipelines<'static, Sft> {
    LinearPipelines::new(gpu().device(), Loss::new(Sft)).unwrap()
}

/// A matrix of numbers that its type has, or its transpose, inside of a larger one.
struct Factor {
    placed: Placed,
    transposed: bool,
    inside: [u32; 2],
    values: Vec<f32>,
    cols: usize,
    dtype: Dtype,
}

impl Factor {
    fn new<T: Number>(rows: usize, cols: usize, transposed: bool, offset: usize) -> Self {
        let values: Vec<f32> = numbers(rows * cols, (rows * 31 + cols) as u64)
            .into_iter()
            .map(|value| T::round(value).widen())
            .collect();
        let (down, across) = if transposed { (cols, rows) } else { (rows, cols) };
        // A border of NaN, which is never to be read.
        let (tall, wide) = (down + 3, across + 5);
        let mut lying = vec![f32::NAN; tall * wide];
        for (i, &value) in values.iter().enumerate() {
            let (row, col) = if transposed { (i % cols, i / cols) } else { (i / cols, i % cols) };
            lying[(row + 1) * wide + col + 2] = value;
        }
        let layout = Layout { offset, padding: offset, limit: None };
        let placed = Placed::new::<T>(&lying, tall, wide, (0, wide), layout);
        let inside = [down, across].map(|length| u32::try_from(length).unwrap());
        Self { placed, transposed, inside, values, cols, dtype: T::DTYPE }
    }

    fn operand(&self) -> Operand<'_> {
        let [down, across] = self.inside;
        let operand = Operand::of(self.placed.matrix(self.dtype));
        let operand = operand.row_range(1..1 + down).col_range(2..2 + across);
        if self.transposed { operand.transposed() } else { operand }
    }

    fn at(&self, row: usize, col: usize) -> f64 {
        f64::from(self.values[row * self.cols + col])
    }
}

fn check<A: Number, B: Number>(
    gemm: &dyn Gemm,
    (m, n, k): (usize, usize, usize),
    transposed: [bool; 2],
    beta: f32,
    offset: usize,
) {
    let a = Factor::new::<A>(m, k, transposed[0], offset);
    let b = Factor::new::<B>(k, n, transposed[1], offset);
    // What is not read may be NaN.
    let old = if beta == 0.0 { f32::NAN } else { 0.5 };
    let layout = Layout { offset, padding: offset, limit: None };
    let c = Placed::new::<f32>(&vec![old; m * n], m, n, (0, n), layout);
    submit(|encoder| {
        let target = Operand::of(c.matrix(Dtype::F32));
        gemm.product(encoder, a.operand(), b.operand(), beta, target);
    });
    for (i, actual) in c.values::<f32>().into_iter().enumerate() {
        let (row, col) = (i / n, i % n);
        let terms = (0..k).map(|k| a.at(row, k) * b.at(k, col));
        let sum: f64 = terms.sum::<f64>() + if beta == 0.0 { 0.0 } else { 0.5 };
        assert!(
            (actual - sum).abs() <= 2e-6 * (k as f64).sqrt().max(1.0),
            "{m} x {n} x {k} {transposed:?} beta {beta}: [{row}, {col}] is {actual}, not {sum}"
        );
    }
}

const SHAPES: [(usize, usize, usize); 7] =
    [(1, 1, 1), (64, 64, 16), (65, 63, 17), (3, 130, 15), (129, 2, 33), (1, 70, 100), (70, 1, 200)];

pub(crate) fn any_shape_type_and_strides() {
    let pipelines = compiled();
    let tiled = pipelines.tiled();
    for shape in SHAPES {
        for transposed in [[false, false], [false, true], [true, false], [true, true]] {
            for (beta, offset) in [(0.0, 0), (1.0, 3)] {
                check::<f32, f32>(tiled, shape, transposed, beta, offset);
                check::<bf16, f16>(tiled, shape, transposed, beta, offset);
                check::<f16, bf16>(tiled, shape, transposed, beta, offset);
                check::<f32, bf16>(tiled, shape, transposed, beta, offset);
            }
        }
    }
}

/// Cut in all directions, down to single elements.
pub(crate) fn in_parts() {
    for limit in [0, 1000, 5000] {
        let pipelines = compiled().binding_limit(limit);
        let tiled = pipelines.tiled();
        for transposed in [[false, true], [true, false]] {
            for beta in [0.0, 1.0] {
                let shape = if limit == 0 { (3, 4, 5) } else { (65, 63, 70) };
                check::<f32, bf16>(tiled, shape, transposed, beta, 1);
            }
        }
    }
}

/// Products of f32 by a loop an entry, others by the fallback; and what it was asked for.
#[derive(Debug)]
struct Own {
    pipeline: wgpu::ComputePipeline,
    otherwise: Tiled,
    asked: RefCell<Vec<(u32, u32, u32, f32)>>,
}

const SOURCE: &str = "
// Of a matrix: where it begins, and its strides.
struct Shape { n: u32, k: u32, beta: f32, at: array<vec4<u32>, 3> }
@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(64)
fn entry(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= shape.n { return; }
    var sum = 0.0;
    for (var i = 0u; i < shape.k; i++) {
        let of_a = dot(vec3(1u, id.y, i), shape.at[0].xyz);
        let of_b = dot(vec3(1u, i, id.x), shape.at[1].xyz);
        sum += a[of_a] * b[of_b];
    }
    let at = dot(vec3(1u, id.y, id.x), shape.at[2].xyz);
    c[at] = sum + select(0.0, c[at], shape.beta != 0.0);
}
";

impl Own {
    fn new(otherwise: Tiled) -> Self {
        let device = gpu().device();
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(SOURCE.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("entry"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        Self { pipeline, otherwise, asked: RefCell::default() }
    }
}

impl Gemm for Own {
    fn product(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        a: Operand<'_>,
        b: Operand<'_>,
        beta: f32,
        c: Operand<'_>,
    ) {
        self.asked.borrow_mut().push((c.rows, c.cols, a.cols, beta));
        assert_eq!((a.rows, a.cols, b.cols), (c.rows, b.rows, c.cols), "shapes agree");
        assert!(a.rows > 0 && a.cols > 0 && b.cols > 0 && (beta == 0.0 || beta == 1.0));
        assert!(c.dtype == Dtype::F32 && c.buffer != a.buffer && c.buffer != b.buffer);
        if (a.dtype, b.dtype) != (Dtype::F32, Dtype::F32) {
            return self.otherwise.product(encoder, a, b, beta, c);
        }
        let mut words = vec![c.cols, a.cols, beta.to_bits(), 0];
        for operand in [a, b, c] {
            let start = u32::try_from(operand.offset / 4).unwrap();
            words.extend([start, operand.row_stride, operand.col_stride, 0]);
        }
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let shape = gpu().device().create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes.len() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu().queue().write_buffer(&shape, 0, &bytes);
        let entries = [&shape, a.buffer, b.buffer, c.buffer];
        let entries: Vec<_> = (0..)
            .zip(entries)
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let group = gpu().device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(c.cols.div_ceil(64), c.rows, 1);
    }
}

pub(crate) fn of_ones_own() {
    let own = Own::new(compiled().tiled().clone());
    let gemm: Option<&dyn Gemm> = Some(&own);
    let case = Case::new(Problem::random(13, 37, 3).with_ignored_rows(), true);
    let (vocab, d) = (37, u32::try_from(case.d).unwrap());
    let expected = run::<f32, f32, f32>(&case, Way::in_chunks_of(4));
    let actual = run::<f32, f32, f32>(&case, Way { gemm, ..Way::in_chunks_of(4) });
    assert_outcome("own", &actual, &expected, 1e-5);
    // Of the 13 rows 5 are ignored: two chunks of 4. Logits onto the bias, dW onto what was there, dH.
    let chunk = [(4, vocab, d, 1.0), (vocab, d, 4, 1.0), (4, d, vocab, 0.0)];
    assert_eq!(own.asked.take(), [chunk, chunk].concat());

    // A frozen layer without a bias: no product for dW.
    let case = Case { bias: None, ..case };
    run::<f32, f32, f32>(&case, Way { gemm, asked: [true, false, false], ..Way::in_chunks_of(8) });
    assert_eq!(own.asked.take(), [(8, vocab, d, 0.0), (8, d, vocab, 0.0)]);
    let case = case.rounded::<bf16, f32>();
    let other = run::<bf16, f32, f32>(&case, Way { gemm, ..Way::in_chunks_of(8) });
    let expected = run::<bf16, f32, f32>(&case, Way::in_chunks_of(8));
    assert_outcome("partly own", &other, &expected, 1e-5);
}
