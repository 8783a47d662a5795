//! The device, and the time that it takes.

use std::time::Instant;

use surprisal_gpu::{read_buffer, wgpu};

/// Whatever goes wrong ends the program.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// A device with timestamps where it has them.
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    timestamps: Option<Timestamps>,
}

/// Two of them, and where they go.
struct Timestamps {
    set: wgpu::QuerySet,
    buffer: wgpu::Buffer,
}

/// Nanoseconds of a submission on the device, and of the host until it has submitted.
#[derive(Clone, Copy)]
pub(crate) struct Time {
    pub(crate) device: f64,
    pub(crate) host: f64,
}

impl Device {
    /// The adapter of this index among those that are no software, then those that are.
    pub(crate) fn open(index: usize) -> Result<Self, Failure> {
        let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
        let instance = wgpu::Instance::new(descriptor);
        let mut all = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
        all.sort_by_key(|adapter| adapter.get_info().device_type == wgpu::DeviceType::Cpu);
        let adapter = all.into_iter().nth(index).ok_or("there is no such adapter")?;
        let wanted =
            wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS;
        let has_timestamps = adapter.features().contains(wanted);
        let (device, queue) =
            pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
                required_features: if has_timestamps { wanted } else { wgpu::Features::empty() },
                required_limits: adapter.limits(),
                ..wgpu::DeviceDescriptor::default()
            }))?;
        let info = adapter.get_info();
        let timestamps = has_timestamps.then(|| Timestamps::new(&device));
        Ok(Self { name: format!("{} ({})", info.name, info.backend), device, queue, timestamps })
    }

    /// Whether its times are its own, and not those of the host that waits for it.
    pub(crate) fn has_timestamps(&self) -> bool {
        self.timestamps.is_some()
    }

    pub(crate) fn buffer(&self, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes.next_multiple_of(16),
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    pub(crate) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Submits, and waits.
    pub(crate) fn finish(&self, encoder: wgpu::CommandEncoder) -> Result<(), Failure> {
        self.queue.submit([encoder.finish()]);
        self.device.poll(wgpu::PollType::wait_indefinitely())?;
        Ok(())
    }

    /// Times what a function records.
    pub(crate) fn time(
        &self,
        record: &mut dyn FnMut(&mut wgpu::CommandEncoder) -> Result<(), Failure>,
    ) -> Result<Time, Failure> {
        let start = Instant::now();
        let mut encoder = self.encoder();
        if let Some(Timestamps { set, .. }) = &self.timestamps {
            encoder.write_timestamp(set, 0);
        }
        record(&mut encoder)?;
        if let Some(Timestamps { set, buffer }) = &self.timestamps {
            encoder.write_timestamp(set, 1);
            encoder.resolve_query_set(set, 0..2, buffer, 0);
        }
        self.queue.submit([encoder.finish()]);
        let host = start.elapsed().as_secs_f64() * 1e9;
        self.device.poll(wgpu::PollType::wait_indefinitely())?;
        let wall = start.elapsed().as_secs_f64() * 1e9;
        let device = match &self.timestamps {
            Some(timestamps) => timestamps.elapsed(self)?,
            None => wall,
        };
        Ok(Time { device, host })
    }
}

impl Timestamps {
    fn new(device: &wgpu::Device) -> Self {
        let set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 16,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Self { set, buffer }
    }

    /// Nanoseconds from the first to the second.
    fn elapsed(&self, device: &Device) -> Result<f64, Failure> {
        let bytes = read_buffer(&device.device, &device.queue, &self.buffer, 0, 16)?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
        let ticks = ticks[1].saturating_sub(ticks[0]);
        Ok(ticks as f64 * f64::from(device.queue.get_timestamp_period()))
    }
}
