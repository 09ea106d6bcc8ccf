//go:build !noasm && (amd64 || arm64)

package kernel

// checkTile panics where a microkernel would leave its slices.
func checkTile(a, b, c, needA, needB, ldc, rows, cols int) {
	if rows < 1 || cols < 1 || a < needA || b < needB || c < (rows-1)*ldc+cols {
		panic(errShort)
	}
}

// checkRows panics where axpy would.
func checkRows(a, b, k, inca, ldb, n int) {
	if k < 1 || n < 1 || a < (k-1)*inca+1 || b < (k-1)*ldb+n {
		panic(errShort)
	}
}

const errShort = "kernel: slice too short"
