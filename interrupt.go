package bonnx

import (
	"context"
	"io"
	"io/fs"

	"github.com/bonnx/bonnx/internal/atomicfile"
)

// interruptible is a file system that stops writing when ctx is cancelled; it
// is under itself where there is nothing to wait for.
func interruptible(ctx context.Context, under atomicfile.FS) atomicfile.FS {
	if ctx == nil {
		return under
	}
	if under == nil {
		under = atomicfile.OS{}
	}
	return &ctxFS{under, ctx}
}

type ctxFS struct {
	atomicfile.FS
	ctx context.Context
}

// Create implements atomicfile.FS.
func (f *ctxFS) Create(name string, perm fs.FileMode) (atomicfile.Handle, error) {
	if err := f.ctx.Err(); err != nil {
		return nil, err
	}
	h, err := f.FS.Create(name, perm)
	if err != nil {
		return nil, err
	}
	return &ctxHandle{h, f.ctx}, nil
}

type ctxHandle struct {
	atomicfile.Handle
	ctx context.Context
}

// Write implements io.Writer.
func (h *ctxHandle) Write(p []byte) (int, error) {
	if err := h.ctx.Err(); err != nil {
		return 0, err
	}
	return h.Handle.Write(p)
}

// copyPiece is how much is copied between two looks at the context.
const copyPiece = 64 << 20

// ReadFrom implements io.ReaderFrom, so that the operating system goes on
// copying from file to file.
func (h *ctxHandle) ReadFrom(r io.Reader) (int64, error) {
	rest := int64(-1) // unknown
	if l, ok := r.(*io.LimitedReader); ok {
		r, rest = l.R, l.N
	}
	var n int64
	for rest != 0 {
		if err := h.ctx.Err(); err != nil {
			return n, err
		}
		piece := int64(copyPiece)
		if rest >= 0 {
			piece = min(piece, rest)
		}
		// A LimitedReader over a file is what the operating system can copy.
		m, err := io.Copy(h.Handle, &io.LimitedReader{R: r, N: piece})
		n += m
		if rest > 0 {
			rest -= m
		}
		if err != nil || m < piece {
			return n, err
		}
	}
	return n, nil
}
