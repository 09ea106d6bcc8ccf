//go:build noasm || !(amd64 || arm64)

package kernel

// platformVectors32 are the rows of the vector table written in assembly for
// this platform, best first: none.
func platformVectors32() []vecRow[float32] { return nil }

func sumLine32(acc []float64, x []float32) { sumLine(acc, x) }

func normParam32(dg, db []float64, x, dy []float32, mean, inv float64) {
	normParamRow(dg, db, x, dy, mean, inv)
}
