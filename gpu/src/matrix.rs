//! Matrices in device buffers, and the chunks of rows that a binding can hold.

use core::ops::Range;

use surprisal::Error as LossError;

use crate::error::Error;

/// Element types on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// The upper half of an f32, two to a word.
    Bf16,
    /// IEEE binary16, two to a word.
    F16,
}

impl Dtype {
    /// Bytes of an element.
    #[must_use]
    pub const fn size(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// Elements of a packet.
    pub(crate) const fn packet(self) -> u32 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 8,
        }
    }

    /// Its number in the shader.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::Bf16 => 1,
            Self::F16 => 2,
        }
    }
}

/// A matrix `[rows × vocab]` in a buffer with usage `STORAGE`, row-major.
///
/// It may begin at any element. The device reads and writes packets of 16 bytes, so the buffer must go on to the end of the last packet; what
/// else is in the packets keeps its value.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    pub(crate) buffer: &'a wgpu::Buffer,
    pub(crate) dtype: Dtype,
    pub(crate) offset: u64,
    pub(crate) rows: u32,
    pub(crate) vocab: u32,
    pub(crate) row_stride: u32,
    pub(crate) vocab_start: u32,
    pub(crate) vocab_total: u32,
}

/// Bytes of a packet.
const PACKET: u64 = 16;
/// Bytes of a row that 512 invocations hold in 64 registers each, or of which a device keeps several hundred in its second-level cache.
const ROW_ON_CHIP: u64 = 128 << 10;
/// Rows from which a workgroup for each keeps a device busy.
const ROWS_ON_CHIP: u32 = 16;

impl<'a> Matrix<'a> {
    /// Rows without padding that begin at the start of the buffer.
    ///
    /// # Errors
    /// [`Error::Limit`] where a size does not fit 32 bits, [`surprisal::Error::EmptyVocab`].
    pub fn new(
        buffer: &'a wgpu::Buffer,
        dtype: Dtype,
        rows: usize,
        vocab: usize,
    ) -> Result<Self, Error> {
        Self::strided(buffer, dtype, 0, rows, vocab, vocab)
    }

    /// Rows that start every `row_stride` elements, from `offset` bytes on (a multiple of the element's size).
    ///
    /// # Errors
    /// As [`Matrix::new`], and [`surprisal::Error::Stride`], [`Error::Buffer`].
    pub fn strided(
        buffer: &'a wgpu::Buffer,
        dtype: Dtype,
        offset: u64,
        rows: usize,
        vocab: usize,
        row_stride: usize,
    ) -> Result<Self, Error> {
        let argument = surprisal::Argument::Logits;
        if vocab == 0 {
            return Err(LossError::EmptyVocab.into());
        }
        if row_stride < vocab {
            return Err(LossError::Stride { argument, row_stride, vocab }.into());
        }
        let (rows, vocab, row_stride) = (fit(rows)?, fit(vocab)?, fit(row_stride)?);
        let matrix = Self {
            buffer,
            dtype,
            offset,
            rows,
            vocab,
            row_stride,
            vocab_start: 0,
            vocab_total: vocab,
        };
        if !offset.is_multiple_of(dtype.size()) {
            return Err(Error::Buffer { name: "offset", message: "is not at an element" });
        }
        let end = matrix.bytes(0, rows).1;
        if rows > 0 && end.next_multiple_of(PACKET) > buffer.size() {
            let message = "ends before its last packet of 16 bytes does";
            return Err(Error::Buffer { name: "buffer", message });
        }
        if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return Err(Error::Buffer { name: "buffer", message: "has no usage STORAGE" });
        }
        Ok(matrix)
    }

    /// As [`surprisal::Logits::shard`].
    ///
    /// # Errors
    /// [`surprisal::Error::Shard`].
    pub fn shard(mut self, vocab_start: usize, vocab_total: usize) -> Result<Self, Error> {
        let vocab = self.vocab as usize;
        if vocab_start.checked_add(vocab).is_none_or(|end| end > vocab_total) {
            return Err(LossError::Shard { vocab_start, vocab, vocab_total }.into());
        }
        (self.vocab_start, self.vocab_total) = (fit(vocab_start)?, fit(vocab_total)?);
        Ok(self)
    }

    /// Some of its rows.
    pub(crate) fn row_range(self, rows: Range<u32>) -> Self {
        let offset = self.bytes(rows.start, rows.end).0;
        Self { offset, rows: rows.end - rows.start, ..self }
    }

    /// First byte of some rows, and the one past their end.
    fn bytes(&self, first: u32, end: u32) -> (u64, u64) {
        let size = self.dtype.size();
        let start = |row: u32| self.offset + u64::from(row) * u64::from(self.row_stride) * size;
        (start(first), start(end.saturating_sub(1)) + u64::from(self.vocab) * size)
    }

    /// Whether two matrices share a packet.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let packets = |matrix: &Self| {
            let (start, end) = matrix.bytes(0, matrix.rows);
            (start / PACKET, end.div_ceil(PACKET))
        };
        let ((start, end), (other_start, other_end)) = (packets(self), packets(other));
        self.buffer == other.buffer && start < other_end && other_start < end
    }

    /// Whether every row begins with a packet and shares none with another row.
    pub(crate) fn rows_are_apart(&self) -> bool {
        let stride = u64::from(self.row_stride) * self.dtype.size();
        self.offset.is_multiple_of(PACKET) && (stride.is_multiple_of(PACKET) || self.rows <= 1)
    }

    /// Whether the rows that a device works on at once stay on its chip, and are enough to keep it busy.
    pub(crate) fn fits_on_chip(&self) -> bool {
        u64::from(self.vocab) * self.dtype.size() <= ROW_ON_CHIP && self.rows >= ROWS_ON_CHIP
    }

    /// Rows that a binding of `limit` bytes holds, wherever it begins.
    pub(crate) fn rows_within(&self, limit: u64, align: u64) -> Result<u32, Error> {
        let size = self.dtype.size();
        let around = align + PACKET + u64::from(self.vocab) * size;
        let Some(more) = limit.checked_sub(around) else {
            let name = "max_storage_buffer_binding_size";
            return Err(Error::Limit { name, needed: around, limit });
        };
        let rows = more / (u64::from(self.row_stride) * size) + 1;
        Ok(u32::try_from(rows).unwrap_or(u32::MAX))
    }

    /// The binding of some rows, and where in it they begin, in elements; then its packets.
    pub(crate) fn binding(
        &self,
        first: u32,
        end: u32,
        align: u64,
    ) -> (wgpu::BufferBinding<'a>, u32, u32) {
        let (start, stop) = self.bytes(first, end);
        let offset = start / align * align;
        let size = stop.next_multiple_of(PACKET) - offset;
        let binding = wgpu::BufferBinding {
            buffer: self.buffer,
            offset,
            size: std::num::NonZeroU64::new(size),
        };
        // A binding is below 2 GiB.
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        (binding, small((start - offset) / self.dtype.size()), small(size / PACKET))
    }
}

fn fit(value: usize) -> Result<u32, Error> {
    let limit = u64::from(u32::MAX);
    u32::try_from(value).map_err(|_| Error::Limit {
        name: "32-bit size",
        needed: value as u64,
        limit,
    })
}
