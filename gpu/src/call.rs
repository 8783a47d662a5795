//! A call that has been recorded, and the copy of its results to the host.

use crate::batch::Workspace;
use crate::binder::Binder;
use crate::error::Error;
use crate::layout::{Params, Part, RowInput, RowOutput};
use crate::results::RowResults;
use crate::rows::Rows;

/// A call that has been recorded: its small buffers, which hold the results once the encoder's commands have run.
#[derive(Debug)]
pub struct Call {
    pub(crate) params: Params,
    pub(crate) inputs: wgpu::Buffer,
    pub(crate) parts: wgpu::Buffer,
    pub(crate) outputs: wgpu::Buffer,
    pub(crate) totals: wgpu::Buffer,
    picked: Option<Picked>,
}

/// Which rows of a batch a call is about; the others are ignored.
#[derive(Debug)]
struct Picked {
    of: usize,
    rows: Vec<u32>,
}

impl Call {
    pub(crate) fn new(binder: &Binder, params: Params, rows: &Rows) -> Result<Self, Error> {
        let device = &binder.device;
        let count = rows.len().max(1) as u64;
        let sizes = [
            count * size_of::<RowOutput>() as u64,
            count * u64::from(params.splits) * size_of::<Part>() as u64,
        ];
        let needed = sizes[0].max(sizes[1]);
        let limit = device.limits().max_storage_buffer_binding_size;
        if needed > limit {
            return Err(Error::Limit { name: "max_storage_buffer_binding_size", needed, limit });
        }
        let empty = |size| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("surprisal rows"),
                size,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            })
        };
        let filled = |contents: &[u8]| binder.filled(contents, wgpu::BufferUsages::STORAGE);
        // A binding must not be empty.
        let least = size_of::<RowInput>() as u64;
        let (inputs, outputs) = match rows {
            Rows::Inputs(rows) if !rows.is_empty() => {
                (filled(bytemuck::cast_slice(rows)), empty(sizes[0]))
            }
            Rows::Outputs(rows) if !rows.is_empty() => {
                (empty(least), filled(bytemuck::cast_slice(rows)))
            }
            _ => (empty(least), empty(sizes[0])),
        };
        let (parts, totals) = (empty(sizes[1]), binder.totals.clone());
        Ok(Self { params, inputs, outputs, parts, totals, picked: None })
    }

    /// A call about some rows of a batch alone.
    pub(crate) fn of_active(
        binder: &Binder,
        params: Params,
        rows: &Rows,
        active: Vec<u32>,
    ) -> Result<Self, Error> {
        let (of, rows) = (rows.len(), rows.pick(&active));
        let params = Params { rows: u32::try_from(active.len()).unwrap_or(u32::MAX), ..params };
        let call = Self::new(binder, params, &rows)?;
        Ok(Self { picked: Some(Picked { of, rows: active }), ..call })
    }

    /// A call over memory of the caller's.
    pub(crate) fn of_workspace(params: Params, workspace: &Workspace) -> Self {
        Self {
            params,
            inputs: workspace.inputs.clone(),
            parts: workspace.parts.clone(),
            outputs: workspace.outputs.clone(),
            totals: workspace.totals.clone(),
            picked: None,
        }
    }

    /// Waits for the device and reads what the call left of every row. The only function here that blocks; the encoder must have been submitted.
    ///
    /// # Errors
    /// [`Error::Readback`].
    pub fn read(&self, device: &wgpu::Device, queue: &wgpu::Queue) -> Result<RowResults, Error> {
        let params = self.params;
        let mut rows = Vec::new();
        if params.rows > 0 {
            let size = u64::from(params.rows) * size_of::<RowOutput>() as u64;
            let bytes = read_buffer(device, queue, &self.outputs, 0, size)?;
            rows = bytemuck::pod_collect_to_vec::<u8, RowOutput>(&bytes);
        }
        if let Some(picked) = &self.picked {
            let mut all = vec![RowOutput::ignored(); picked.of];
            picked.rows.iter().zip(rows).for_each(|(&row, output)| all[row as usize] = output);
            rows = all;
        }
        Ok(RowResults { rows, params })
    }
}

/// Copies a part of a buffer to the host, and waits for it.
///
/// # Errors
/// [`Error::Readback`].
pub fn read_buffer(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    buffer: &wgpu::Buffer,
    offset: u64,
    size: u64,
) -> Result<Vec<u8>, Error> {
    let staging = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("surprisal readback"),
        size,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_buffer(buffer, offset, &staging, 0, size);
    queue.submit([encoder.finish()]);
    let failed = |why: String| Error::Readback(why);
    let (sender, receiver) = std::sync::mpsc::channel();
    staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
        // Whoever waits is still there, or does not care.
        let _ = sender.send(result);
    });
    device.poll(wgpu::PollType::wait_indefinitely()).map_err(|why| failed(why.to_string()))?;
    let mapped = receiver.recv().map_err(|why| failed(why.to_string()))?;
    mapped.map_err(|why| failed(why.to_string()))?;
    let bytes = staging.slice(..).get_mapped_range();
    let bytes = bytes.map_err(|why| failed(why.to_string()))?.to_vec();
    staging.unmap();
    Ok(bytes)
}
