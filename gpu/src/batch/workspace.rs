//! `Workspace`: memory of the device that calls on device batches use again and again.

use std::sync::{Arc, Mutex};

use crate::batch::prepare::Prepare;
use crate::binder::Binder;
use crate::error::Error;
use crate::layout::{Part, RowInput, RowOutput, Shared, Totals};
use crate::record::BUSY;
use crate::recorder::Kept;

/// Buffers that have been read and wait to be used again.
pub(crate) type Staging = Arc<Mutex<Vec<wgpu::Buffer>>>;

/// Memory of a device for calls on batches of up to so many rows, and the kernels that check and count those batches: for all losses.
///
/// One call at a time: what a second call records runs after the first one, and replaces what it left. A step like the one before it creates no buffer
/// and binds none anew; for that, the buffers of the latest call stay alive.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub(crate) rows: u32,
    pub(crate) inputs: wgpu::Buffer,
    pub(crate) parts: wgpu::Buffer,
    pub(crate) outputs: wgpu::Buffer,
    pub(crate) tokens: wgpu::Buffer,
    pub(crate) heads: wgpu::Buffer,
    pub(crate) totals: wgpu::Buffer,
    pub(crate) staging: Staging,
    pub(crate) prepare: Prepare,
    pub(crate) kept: Kept,
    /// The queries of a call's begin and end.
    pub(crate) timestamps: Option<(wgpu::QuerySet, u32)>,
}

impl Workspace {
    /// Memory for up to so many rows: some 200 bytes each.
    ///
    /// # Errors
    /// [`Error::Limit`] where the device cannot bind as much.
    pub fn new(device: &wgpu::Device, rows: u32) -> Result<Self, Error> {
        Self::with_kernels(device, rows, Prepare::new(&Binder::new(device)))
    }

    /// The same with kernels that have been compiled.
    pub(crate) fn with_kernels(
        device: &wgpu::Device,
        rows: u32,
        prepare: Prepare,
    ) -> Result<Self, Error> {
        let count = u64::from(rows.max(1));
        let limits = device.limits();
        let limit = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let buffer = |entries: u64, size: usize| {
            let needed = entries * size as u64;
            if needed > limit {
                let name = "max_storage_buffer_binding_size";
                return Err(Error::Limit { name, needed, limit });
            }
            Ok(device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("surprisal workspace"),
                size: needed,
                usage: wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::COPY_SRC
                    | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }))
        };
        Ok(Self {
            rows,
            inputs: buffer(count, size_of::<RowInput>())?,
            // Rows that are few are split into parts, of all rows together fewer than this.
            parts: buffer(count + u64::from(BUSY), size_of::<Part>())?,
            outputs: buffer(count, size_of::<RowOutput>())?,
            tokens: buffer(count, size_of::<Shared>())?,
            heads: buffer(count, size_of::<u32>())?,
            totals: buffer(1, size_of::<Totals>())?,
            staging: Staging::default(),
            prepare,
            kept: Kept::default(),
            timestamps: None,
        })
    }

    /// The same memory for calls that write the time at which their kernels begin and end to two queries from `first` on, of type `TIMESTAMP`.
    #[must_use]
    pub fn timestamps(self, queries: &wgpu::QuerySet, first: u32) -> Self {
        Self { timestamps: Some((queries.clone(), first)), ..self }
    }

    /// Rows that it has room for.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows
    }
}
