//! `Tiled`: the product of whoever brings none, on any device.

use crate::binder::{ALIGN, Binder, MOST_GROUPS};
use crate::layout::ProductParams;
use crate::linear::gemm::{Gemm, Operand};
use crate::recorder::Recorder;
use crate::shader::{PRODUCT, TYPES};

/// Rows and columns that a workgroup makes.
const TILE: u32 = 64;
/// Bytes of a word, in which bindings end.
const WORD: u64 = 4;

/// The product of whoever brings none: tiles of 64 × 64 entries, sums in f32, within the limits that every WebGPU device has.
///
/// Matrices of any type and strides, also larger than a binding: those are multiplied in parts.
#[derive(Clone, Debug)]
pub struct Tiled {
    binder: Binder,
    pipeline: wgpu::ComputePipeline,
}

/// `c = a·b`, or `c += a·b`.
#[derive(Clone, Copy, Debug)]
struct Product<'a> {
    a: Operand<'a>,
    b: Operand<'a>,
    c: Operand<'a>,
    add: bool,
}

/// A direction of a product.
#[derive(Clone, Copy, Debug)]
enum Side {
    M,
    N,
    K,
}

impl Product<'_> {
    /// The direction in which a product that a device cannot make at once is cut.
    fn too_long(&self, limit: u64) -> Option<Side> {
        let most = MOST_GROUPS * TILE;
        for (operand, down, across) in
            [(self.a, Side::M, Side::K), (self.b, Side::K, Side::N), (self.c, Side::M, Side::N)]
        {
            // A single element is no longer cut, whatever the limit.
            if operand.bytes() > limit && operand.extent() != (0, 0) {
                let (rows, cols) = operand.extent();
                return Some(if rows >= cols { down } else { across });
            }
        }
        match (self.c.rows > most, self.c.cols > most) {
            (true, _) => Some(Side::M),
            (_, true) => Some(Side::N),
            _ => None,
        }
    }

    /// Two halves, the first to be made first.
    fn halves(self, side: Side) -> [Self; 2] {
        let Self { a, b, c, add } = self;
        let halved = |length: u32| [0..length / 2, length / 2..length];
        match side {
            Side::M => halved(c.rows).map(|m| Self {
                a: a.row_range(m.clone()),
                c: c.row_range(m),
                b,
                add,
            }),
            Side::N => halved(c.cols).map(|n| Self {
                b: b.col_range(n.clone()),
                c: c.col_range(n),
                a,
                add,
            }),
            Side::K => halved(a.cols).map(|k| {
                let add = add || k.start > 0;
                Self { a: a.col_range(k.clone()), b: b.row_range(k), c, add }
            }),
        }
    }
}

impl Tiled {
    pub(crate) fn new(binder: &Binder) -> Self {
        let module = binder.module([TYPES, PRODUCT].concat());
        Self { binder: binder.clone(), pipeline: binder.pipeline(&module, "product", &[]) }
    }

    /// As [`LinearPipelines::binding_limit`](crate::LinearPipelines::binding_limit).
    pub(crate) fn limit(&mut self, bytes: u64) {
        self.binder.limit = bytes;
    }

    fn record(&self, recorder: &mut Recorder<'_>, product: Product<'_>) {
        // A binding begins before its operand, and ends behind it.
        let limit = self.binder.limit.saturating_sub(ALIGN + WORD);
        if let Some(side) = product.too_long(limit) {
            for half in product.halves(side) {
                self.record(recorder, half);
            }
            return;
        }
        let Product { a, b, c, add } = product;
        let [(of_a, a_start), (of_b, b_start), (of_c, c_start)] =
            [a, b, c].map(|operand| self.binding(operand));
        let params = recorder.uniform(ProductParams {
            m: c.rows,
            n: c.cols,
            k: a.cols,
            add: add.into(),
            a_kind: a.dtype.number(),
            b_kind: b.dtype.number(),
            a_start,
            a_row: a.row_stride,
            a_col: a.col_stride,
            b_start,
            b_row: b.row_stride,
            b_col: b.col_stride,
            c_start,
            c_row: c.row_stride,
            c_col: c.col_stride,
        });
        let bindings = [
            (0, params.as_entire_binding()),
            (1, wgpu::BindingResource::Buffer(of_a)),
            (2, wgpu::BindingResource::Buffer(of_b)),
            (3, wgpu::BindingResource::Buffer(of_c)),
        ];
        let tiles = [c.cols.div_ceil(TILE), c.rows.div_ceil(TILE)];
        recorder.run_on(&self.pipeline, &bindings, tiles);
    }

    /// The binding of an operand, and where in it it begins, in elements.
    fn binding<'a>(&self, operand: Operand<'a>) -> (wgpu::BufferBinding<'a>, u32) {
        let offset = operand.offset / ALIGN * ALIGN;
        let start = operand.offset - offset;
        let size = (start + operand.bytes()).next_multiple_of(WORD);
        let binding = wgpu::BufferBinding {
            buffer: operand.buffer,
            offset,
            size: core::num::NonZeroU64::new(size),
        };
        // Less than the alignment.
        (binding, u32::try_from(start / operand.dtype.size()).unwrap_or(u32::MAX))
    }
}

impl Gemm for Tiled {
    fn product(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        a: Operand<'_>,
        b: Operand<'_>,
        beta: f32,
        c: Operand<'_>,
    ) {
        self.record(
            &mut Recorder::new(&self.binder, encoder),
            Product { a, b, c, add: beta != 0.0 },
        );
    }
}
