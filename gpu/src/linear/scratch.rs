//! Buffers that calls work in: how much they want, and what a budget buys.

use crate::error::Error;

/// Rows of a chunk from which on more rows gain little: each chunk walks over the weights, for a product, as often as all rows at once would.
const EFFICIENT_ROWS: u64 = 512;
/// f32 entries of a packet, with which rows begin.
const PACKET: u64 = 4;

/// What calls of one shape want of memory, from [`LinearLoss::memory`](crate::LinearLoss::memory), in bytes.
///
/// # Formula
/// For chunks of `c` rows: `4·c·(V' + d')` bytes, where V' and d' are the vocabulary and the width rounded up to multiples of 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Rows of a call.
    rows: u64,
    pub(crate) logits_stride: u64,
    pub(crate) hidden_stride: u64,
    /// Bytes of the largest buffer, and of the largest binding.
    buffer_limit: u64,
    binding_limit: u64,
}

/// How large the buffers of a [`Scratch`] are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScratchLen {
    /// Of the logits of a chunk, which become their gradient.
    pub logits: u64,
    /// Of its hidden states, then of their gradient.
    pub hidden: u64,
}

impl ScratchLen {
    /// Both.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.logits.saturating_add(self.hidden)
    }
}

impl Memory {
    pub(crate) fn new(rows: usize, vocab: u32, d: u32, device: &wgpu::Device) -> Self {
        let limits = device.limits();
        Self {
            rows: rows as u64,
            logits_stride: u64::from(vocab).next_multiple_of(PACKET),
            hidden_stride: u64::from(d).next_multiple_of(PACKET),
            buffer_limit: limits.max_buffer_size,
            binding_limit: limits.max_storage_buffer_binding_size,
        }
    }

    /// Bytes of buffers for chunks of so many rows, at least one.
    #[must_use]
    pub fn len(&self, chunk_rows: usize) -> ScratchLen {
        let bytes = |stride: u64| (chunk_rows.max(1) as u64).saturating_mul(4 * stride);
        ScratchLen { logits: bytes(self.logits_stride), hidden: bytes(self.hidden_stride) }
    }

    /// Bytes below which no call is possible: chunks of one row.
    #[must_use]
    pub fn least(&self) -> u64 {
        self.len(1).bytes()
    }

    /// Rows of a chunk that so many bytes give, at most those of the call and what the device's buffers hold; 0 below [`Memory::least`].
    #[must_use]
    pub fn chunk_rows(&self, bytes: u64) -> usize {
        let rows = bytes / self.least();
        let most =
            self.rows_in(ScratchLen { logits: self.buffer_limit, hidden: self.buffer_limit });
        usize::try_from(rows.min(self.rows.max(1)).min(most.into())).unwrap_or(usize::MAX)
    }

    /// Rows of a chunk beyond which a call gains little: 512, or less where the call or a buffer of the device has less.
    ///
    /// [`Tiled`](crate::Tiled) multiplies by 64 rows at a time: where the bare products are 1, a call in chunks of 128 rows took 1.08, of 32 rows 2.55
    /// (software Vulkan, the command at [`LinearLoss`](crate::LinearLoss)).
    #[must_use]
    pub fn recommended_rows(&self) -> usize {
        self.chunk_rows(EFFICIENT_ROWS.saturating_mul(self.least()))
    }

    /// Rows of a chunk in buffers of these sizes.
    pub(crate) fn rows_in(&self, len: ScratchLen) -> u32 {
        // Hidden states are bound at once, logits in parts.
        let hidden = len.hidden.min(self.binding_limit) / (4 * self.hidden_stride);
        let rows = (len.logits / (4 * self.logits_stride)).min(hidden);
        u32::try_from(rows).unwrap_or(u32::MAX)
    }
}

/// Buffers that a call may use; what they hold afterwards means nothing. Rows of a chunk follow from their sizes ([`Memory`]).
///
/// Calls of one queue may share them: each is done with them before the next one begins.
#[derive(Clone, Debug)]
pub struct Scratch {
    pub(crate) logits: wgpu::Buffer,
    pub(crate) hidden: wgpu::Buffer,
}

impl Scratch {
    /// Buffers of these sizes, for instance `memory.len(memory.recommended_rows())`. Make them once.
    ///
    /// # Errors
    /// [`Error::Limit`] where the device has no buffers of this size.
    pub fn new(device: &wgpu::Device, len: ScratchLen) -> Result<Self, Error> {
        let (needed, limit) = (len.logits.max(len.hidden), device.limits().max_buffer_size);
        if needed > limit {
            return Err(Error::Limit { name: "max_buffer_size", needed, limit });
        }
        let buffer = |size| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("surprisal scratch"),
                size,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        };
        Ok(Self { logits: buffer(len.logits), hidden: buffer(len.hidden) })
    }

    /// Buffers of the caller's, two of them, with usage `STORAGE`.
    #[must_use]
    pub fn lent(logits: &wgpu::Buffer, hidden: &wgpu::Buffer) -> Self {
        Self { logits: logits.clone(), hidden: hidden.clone() }
    }

    pub(crate) fn all(&self) -> [(&'static str, &wgpu::Buffer); 2] {
        [("scratch logits", &self.logits), ("scratch hidden", &self.hidden)]
    }

    /// Rows of a chunk, at least one.
    pub(crate) fn rows(&self, memory: &Memory) -> Result<u32, Error> {
        for (name, buffer) in self.all() {
            if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
                return Err(Error::Buffer { name, message: "has no usage STORAGE" });
            }
        }
        let len = ScratchLen { logits: self.logits.size(), hidden: self.hidden.size() };
        match memory.rows_in(len) {
            0 => Err(Error::Buffer { name: "scratch", message: "holds less than a row" }),
            rows => Ok(rows),
        }
    }
}
