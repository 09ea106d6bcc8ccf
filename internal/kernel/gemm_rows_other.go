//go:build noasm || !(amd64 || arm64)

package kernel

// platformRows32 and platformRows64 are the rows written in assembly for this
// platform, best first: none.
func platformRows32() []gemmRow[float32] { return nil }
func platformRows64() []gemmRow[float64] { return nil }
