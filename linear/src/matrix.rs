//! Views over the caller's matrices, with a stride for each direction. Every check of strides lives here.

use core::ops::Range;

use crate::error::Error;

/// Rows, columns, and how far apart their entries lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl Layout {
    /// The layout, and how many elements it reaches over.
    fn new(
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Result<(Self, usize), Error> {
        let reach = |len: usize, stride: usize| match len {
            0 | 1 => Some(0),
            _ => (len - 1).checked_mul(stride),
        };
        let (down, across) = (reach(rows, row_stride), reach(cols, col_stride));
        let (down, across) = down.zip(across).ok_or(Error::Extent)?;
        let empty = rows == 0 || cols == 0;
        let apart = (rows <= 1 || row_stride > across) && (cols <= 1 || col_stride > 0)
            || (cols <= 1 || col_stride > down) && (rows <= 1 || row_stride > 0);
        if !apart && !empty {
            return Err(Error::Strides { row_stride, col_stride });
        }
        let last = down.checked_add(across).and_then(|last| last.checked_add(1));
        let extent = if empty { 0 } else { last.ok_or(Error::Extent)? };
        Ok((Self { rows, cols, row_stride, col_stride }, extent))
    }

    fn transposed(self) -> Self {
        let Self { rows, cols, row_stride, col_stride } = self;
        Self { rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride }
    }

    /// Some of the rows, and where they start.
    fn rows(self, rows: Range<usize>) -> (Self, usize) {
        let (start, end) = (rows.start.min(self.rows), rows.end.min(self.rows));
        (Self { rows: end.saturating_sub(start), ..self }, start.saturating_mul(self.row_stride))
    }

    fn offset(self, row: usize, col: usize) -> usize {
        row * self.row_stride + col * self.col_stride
    }
}

/// Elements that a matrix of this shape and these strides reaches over: what a slice of it has at least.
///
/// # Errors
/// [`Error::Strides`] where entries would overlap, a stride of 0 among them; [`Error::Extent`].
pub fn extent(
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
) -> Result<usize, Error> {
    Layout::new(rows, cols, row_stride, col_stride).map(|(_, extent)| extent)
}

fn check_exact(actual: usize, rows: usize, cols: usize) -> Result<(), Error> {
    let expected = rows.checked_mul(cols).ok_or(Error::Extent)?;
    if actual == expected { Ok(()) } else { Err(Error::Length { expected, actual }) }
}

fn check_extent(actual: usize, extent: usize) -> Result<(), Error> {
    if actual >= extent { Ok(()) } else { Err(Error::Length { expected: extent, actual }) }
}

macro_rules! shape_methods {
    () => {
        /// Number of rows.
        #[must_use]
        pub fn rows(&self) -> usize {
            self.layout.rows
        }

        /// Number of columns.
        #[must_use]
        pub fn cols(&self) -> usize {
            self.layout.cols
        }

        /// Elements from a row to the next.
        #[must_use]
        pub fn row_stride(&self) -> usize {
            self.layout.row_stride
        }

        /// Elements from a column to the next.
        #[must_use]
        pub fn col_stride(&self) -> usize {
            self.layout.col_stride
        }

        /// Rows and columns.
        #[must_use]
        pub fn shape(&self) -> (usize, usize) {
            (self.layout.rows, self.layout.cols)
        }
    };
}

/// A matrix `[rows × cols]` to read: entry `(i, j)` lies at `i·row_stride + j·col_stride`. A pointer and a shape: copy it freely.
///
/// ```
/// # use surprisal_linear::Matrix;
/// let data = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let a = Matrix::new(&data, 2, 3)?; // [[1, 2, 3], [4, 5, 6]]
/// assert_eq!((a.get(1, 0), a.transposed().get(0, 1)), (Some(4.0), Some(4.0)));
/// # Ok::<(), surprisal_linear::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    layout: Layout,
}

impl<'a, T: Copy> Matrix<'a, T> {
    /// Row-major without padding: `data` has exactly `rows * cols` elements.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Extent`].
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Result<Self, Error> {
        check_exact(data.len(), rows, cols)?;
        Self::strided(data, rows, cols, cols, 1)
    }

    /// With strides in elements: `(cols, 1)` is row-major, `(1, rows)` column-major (a transposed checkpoint). `data` may be longer than needed.
    ///
    /// # Errors
    /// [`Error::Strides`] where entries would overlap, a stride of 0 among them; [`Error::Length`], [`Error::Extent`].
    pub fn strided(
        data: &'a [T],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Result<Self, Error> {
        let (layout, extent) = Layout::new(rows, cols, row_stride, col_stride)?;
        check_extent(data.len(), extent)?;
        Ok(Self { data, layout })
    }

    shape_methods!();

    /// The slice that starts with entry (0, 0), for a matrix product of one's own.
    #[must_use]
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// An entry; `None` outside.
    #[must_use]
    pub fn get(&self, row: usize, col: usize) -> Option<T> {
        let inside = row < self.layout.rows && col < self.layout.cols;
        self.data.get(self.layout.offset(row, col)).filter(|_| inside).copied()
    }

    /// The same entries with rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self { layout: self.layout.transposed(), ..self }
    }

    /// Some of the rows.
    #[must_use]
    pub fn row_range(self, rows: Range<usize>) -> Self {
        let (layout, start) = self.layout.rows(rows);
        Self { data: self.data.get(start..).unwrap_or_default(), layout }
    }

    /// A row whose entries lie side by side.
    pub(crate) fn row(self, row: usize) -> Option<&'a [T]> {
        let start = self.layout.offset(row, 0);
        let side_by_side = self.layout.col_stride == 1 || self.layout.cols <= 1;
        self.data.get(start..start + self.layout.cols).filter(|_| side_by_side)
    }
}

/// A matrix `[rows × cols]` to write; layout rules and errors are those of [`Matrix`].
#[derive(Debug)]
pub struct MatrixMut<'a, T> {
    data: &'a mut [T],
    layout: Layout,
}

impl<'a, T: Copy> MatrixMut<'a, T> {
    /// As [`Matrix::new`].
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Extent`].
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> Result<Self, Error> {
        check_exact(data.len(), rows, cols)?;
        Self::strided(data, rows, cols, cols, 1)
    }

    /// As [`Matrix::strided`].
    ///
    /// # Errors
    /// [`Error::Strides`], [`Error::Length`], [`Error::Extent`].
    pub fn strided(
        data: &'a mut [T],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Result<Self, Error> {
        let (layout, extent) = Layout::new(rows, cols, row_stride, col_stride)?;
        check_extent(data.len(), extent)?;
        Ok(Self { data, layout })
    }

    shape_methods!();

    /// The slice that starts with entry (0, 0), for a matrix product of one's own.
    #[must_use]
    pub fn data(&mut self) -> &mut [T] {
        self.data
    }

    /// The same matrix, borrowed.
    #[must_use]
    pub fn reborrow(&mut self) -> MatrixMut<'_, T> {
        MatrixMut { data: self.data, layout: self.layout }
    }

    /// The same matrix, to read.
    #[must_use]
    pub fn as_matrix(&self) -> Matrix<'_, T> {
        Matrix { data: self.data, layout: self.layout }
    }

    /// The same entries with rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self { layout: self.layout.transposed(), ..self }
    }

    /// Some of the rows.
    #[must_use]
    pub fn row_range(self, rows: Range<usize>) -> Self {
        let (layout, start) = self.layout.rows(rows);
        Self { data: self.data.get_mut(start..).unwrap_or_default(), layout }
    }

    /// Calls `write(j, entry)` for every entry of a row.
    pub(crate) fn each_of_row(&mut self, row: usize, mut write: impl FnMut(usize, &mut T)) {
        for col in 0..self.layout.cols {
            if let Some(entry) = self.data.get_mut(self.layout.offset(row, col)) {
                write(col, entry);
            }
        }
    }

    /// A row whose entries lie side by side.
    pub(crate) fn row(&mut self, row: usize) -> Option<&mut [T]> {
        let start = self.layout.offset(row, 0);
        let side_by_side = self.layout.col_stride == 1 || self.layout.cols <= 1;
        self.data.get_mut(start..start + self.layout.cols).filter(|_| side_by_side)
    }
}
